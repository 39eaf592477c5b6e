/** The one object that is read now, drawn in an outline of ink above everything else. */

import type { GeoJSONSource, LayerSpecification, Map as MapLibre, StyleSpecification } from "maplibre-gl";

import type { Theme } from "./page";

const SOURCE = "selection";
const INK: Record<Theme, string> = { light: "#20242a", dark: "#eceae5" };
const GROUND: Record<Theme, string> = { light: "#f7f5f0", dark: "#15181d" };
const NOTHING = { type: "FeatureCollection" as const, features: [] };

let selected: GeoJSON.GeoJSON = NOTHING;

/** The style with a place for the selection. */
export function withSelection(style: StyleSpecification, theme: Theme): StyleSpecification {
  const ring = { "circle-radius": 9, "circle-color": "transparent" };
  const point = ["in", ["geometry-type"], ["literal", ["Point", "MultiPoint"]]];
  const round = { "line-cap": "round", "line-join": "round" };
  const line = (id: string, color: string, width: number): unknown => ({
    id, type: "line", source: SOURCE, layout: round,
    paint: { "line-color": color, "line-width": width },
  });
  const circle = (id: string, color: string, width: number): unknown => ({
    id, type: "circle", source: SOURCE, filter: point,
    paint: { ...ring, "circle-stroke-color": color, "circle-stroke-width": width },
  });
  const layers = [
    line("selection:halo", GROUND[theme], 7), line("selection:line", INK[theme], 3),
    circle("selection:ground", GROUND[theme], 5), circle("selection:ring", INK[theme], 2.5),
  ] as LayerSpecification[];
  return {
    ...style,
    sources: { ...style.sources, [SOURCE]: { type: "geojson", data: selected } },
    layers: [...style.layers, ...layers],
  };
}

export function select(map: MapLibre, feature: GeoJSON.GeoJSON | null): void {
  selected = feature ?? NOTHING;
  map.getSource<GeoJSONSource>(SOURCE)?.setData(selected);
}
