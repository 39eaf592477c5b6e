/** What differs between two revisions: on a map, and as a list for everybody who has no use for one. */

import maplibregl, { type FilterSpecification, type LayerSpecification, type StyleSpecification } from "maplibre-gl";

import { owner } from "../choices";
import { h } from "../dom";
import type { Desk } from "./desk";
import { table } from "./parts";

type Kind = "added" | "changed" | "removed";
type Theme = "light" | "dark";

interface Change {
  fid: number;
  change: Kind;
  before: GeoJSON.Feature | null;
  after: GeoJSON.Feature | null;
  fields?: string[];
  moved_m?: number | null;
}

interface Diff {
  counts: Record<Kind, number>;
  changes: Change[];
}

const KINDS: Kind[] = ["added", "changed", "removed"];
const SIGNS: Record<Kind, string> = { added: "+", changed: "~", removed: "−" };
const COLOURS: Record<Theme, Record<Kind, string>> = {
  light: { added: "#176e4a", changed: "#4016b5", removed: "#c2125c" },
  dark: { added: "#7bf779", changed: "#adaefb", removed: "#f0669c" },
};
const DASHES: Record<Kind, number[] | null> = { added: null, changed: [1, 1.5], removed: [3, 2] };
const MOST = 1000; // what one answer holds
const LISTED = 50;
const DARK = matchMedia("(prefers-color-scheme: dark)");

export async function showDiff(desk: Desk, layer: string, since: number, until: number, box: HTMLElement): Promise<void> {
  const path = `/collections/${encodeURIComponent(layer)}/diff?since=${since}&until=${until}&limit=${MOST}`;
  const diff = (await desk.ask(path)) as Diff;
  const all = KINDS.reduce((sum, kind) => sum + diff.counts[kind], 0);
  box.append(legend(desk, diff));
  if (all > diff.changes.length) {
    box.append(h("p", { class: "small" }, desk.word("first_of", { shown: desk.number(diff.changes.length), all: desk.number(all) })));
  }
  const placed = diff.changes.some((change) => (change.after ?? change.before)?.geometry);
  if (placed && desk.page.maps[layer]) box.append(drawn(desk, layer, diff));
  box.append(list(desk, diff));
}

function legend(desk: Desk, diff: Diff): HTMLElement {
  const entries = KINDS.map((kind) =>
    h("li", { "data-kind": kind }, h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[kind]), `${desk.word(kind)}: ${desk.number(diff.counts[kind])}`),
  );
  return h("ul", { class: "kinds" }, ...entries);
}

function list(desk: Desk, diff: Diff): HTMLElement {
  const rows = diff.changes.slice(0, LISTED).map((change) => [
    h("span", { class: "kind", "data-kind": change.change }, h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[change.change]), desk.word(change.change)),
    String(change.fid),
    change.change === "changed" ? fields(desk, change) : title(change),
  ]);
  const columns = [desk.word("change"), `#${desk.word("feature")}`, desk.word("what")];
  return table(desk.word("changes"), columns, rows);
}

function fields(desk: Desk, change: Change): string {
  const was = change.before?.properties ?? {};
  const is = change.after?.properties ?? {};
  const told = (change.fields ?? []).map((name) => {
    if (name !== "geometry") return `${name}: ${spell(was[name])} → ${spell(is[name])}`;
    const metres = change.moved_m ? ` (${desk.number(change.moved_m)}\u00a0m)` : "";
    return `${desk.word("place")}${metres}`;
  });
  return told.join("; ");
}

function title(change: Change): string {
  const properties = (change.after ?? change.before)?.properties ?? {};
  return Object.values(properties).filter((value) => value !== null && value !== "").slice(0, 3).map(spell).join(" · ");
}

function spell(value: unknown): string {
  if (value === null || value === undefined) return "–";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function drawn(desk: Desk, layer: string, diff: Diff): HTMLElement {
  const container = h("div", { class: "diff-map" });
  const frame = h("figure", { class: "diff", role: "group", "aria-label": desk.word("diff_map", { layer: desk.title(layer) }) }, container);
  // A map measures its container, which has to be in the page.
  requestAnimationFrame(() => void draw(desk, layer, diff, container).catch((error: unknown) => {
    console.warn(error);
    frame.replaceChildren(h("p", { class: "small" }, desk.word("no_map")));
  }));
  return frame;
}

async function draw(desk: Desk, layer: string, diff: Diff, container: HTMLElement): Promise<void> {
  const map = new maplibregl.Map({
    container,
    style: await style(desk, layer, diff),
    bounds: boundsOf(diff),
    fitBoundsOptions: { padding: 48, maxZoom: 16 },
    dragRotate: false,
    pitchWithRotate: false,
    cooperativeGestures: true,
    attributionControl: { compact: true },
    locale: (desk.page.words as unknown as { maplibre: Record<string, string> }).maplibre,
  });
  map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-right");
  map.addControl(new maplibregl.ScaleControl({ unit: "metric" }), "bottom-left");
  map.getCanvas().setAttribute("aria-label", desk.word("diff_map", { layer: desk.title(layer) }));
  const redraw = async (): Promise<void> => void map.setStyle(await style(desk, layer, diff), { diff: false });
  DARK.addEventListener("change", () => void redraw());
}

function theme(): Theme {
  const forced = document.documentElement.dataset.theme;
  if (forced === "light" || forced === "dark") return forced;
  return DARK.matches ? "dark" : "light";
}

/** The city behind, without its data, and the differences on it. */
async function style(desk: Desk, layer: string, diff: Diff): Promise<StyleSpecification> {
  const asked = new URLSearchParams({ theme: theme(), lang: desk.page.language });
  const ground = (await desk.ask(`/styles/${desk.page.maps[layer]}.json?${asked}`)) as StyleSpecification;
  const about = ground.metadata as { "quartier:layers"?: Record<string, { role: string }> };
  const roles = about["quartier:layers"] ?? {};
  const quiet = ground.layers.filter((each) => {
    const id = owner(each);
    return id === null || (id !== layer && roles[id]?.role !== "data");
  });
  const used = new Set(quiet.map((each) => ("source" in each ? each.source : "")));
  const sources = Object.fromEntries(Object.entries(ground.sources).filter(([name]) => used.has(name)));
  return {
    ...ground,
    sources: { ...sources, diff: { type: "geojson", data: features(diff) } },
    layers: [...quiet, ...KINDS.flatMap((kind) => marks(kind, theme()))],
  };
}

/** Each change where it is now, or was; of what moved also where it was, marked so. */
function features(diff: Diff): GeoJSON.FeatureCollection {
  const made: GeoJSON.Feature[] = [];
  for (const { change, before, after } of diff.changes) {
    const place = (after ?? before)?.geometry;
    if (place) made.push({ type: "Feature", geometry: place, properties: { kind: change, old: false } });
    const was = change === "changed" ? before?.geometry : null;
    if (was && JSON.stringify(was) !== JSON.stringify(place)) {
      made.push({ type: "Feature", geometry: was, properties: { kind: change, old: true } });
    }
  }
  return { type: "FeatureCollection", features: made };
}

function marks(kind: Kind, by: Theme): LayerSpecification[] {
  const colour = COLOURS[by][kind];
  const ground = by === "dark" ? "#15181d" : "#ffffff";
  const dashes = DASHES[kind];
  const of = (type: string): FilterSpecification =>
    ["all", ["==", ["get", "kind"], kind], ["==", ["geometry-type"], type]];
  const faint = ["case", ["get", "old"], 0.35, 1] as never;
  return [
    { id: `diff-${kind}-area`, type: "fill", source: "diff", filter: of("Polygon"), paint: { "fill-color": colour, "fill-opacity": ["case", ["get", "old"], 0.08, 0.25] } },
    {
      id: `diff-${kind}-line`, type: "line", source: "diff",
      filter: ["all", ["==", ["get", "kind"], kind], ["!=", ["geometry-type"], "Point"]],
      paint: { "line-color": colour, "line-width": 2.5, "line-opacity": faint, ...(dashes ? { "line-dasharray": dashes } : {}) },
    },
    {
      id: `diff-${kind}-point`, type: "circle", source: "diff", filter: of("Point"),
      paint: {
        "circle-color": colour, "circle-radius": ["interpolate", ["linear"], ["zoom"], 11, 4, 16, 8],
        "circle-stroke-color": ground, "circle-stroke-width": 1, "circle-opacity": faint,
      },
    },
    {
      id: `diff-${kind}-sign`, type: "symbol", source: "diff", minzoom: 14, filter: of("Point"),
      layout: { "text-field": SIGNS[kind], "text-font": ["Source Sans Semibold"], "text-size": 13, "text-allow-overlap": true },
      paint: { "text-color": ground, "text-opacity": faint },
    },
  ];
}

function boundsOf(diff: Diff): maplibregl.LngLatBounds {
  const bounds = new maplibregl.LngLatBounds();
  const extend = (coordinates: unknown): void => {
    if (!Array.isArray(coordinates)) return;
    if (typeof coordinates[0] === "number") bounds.extend(coordinates.slice(0, 2) as [number, number]);
    else coordinates.forEach(extend);
  };
  const visit = (geometry: GeoJSON.Geometry | null | undefined): void => {
    if (!geometry) return;
    if (geometry.type === "GeometryCollection") geometry.geometries.forEach(visit);
    else extend(geometry.coordinates);
  };
  for (const { before, after } of diff.changes) [before, after].forEach((each) => visit(each?.geometry));
  return bounds;
}
