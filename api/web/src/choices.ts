/** What the reader has switched on and off, put into a style before the map draws it. */

import type { FilterSpecification, LayerSpecification, StyleSpecification } from "maplibre-gl";

import type { Layer } from "./page";

export class Choices {
  readonly visible: Set<string>;
  /** For each layer, the class values that are switched off; null stands for "other". */
  readonly off = new Map<string, Set<string | null>>();

  constructor(private readonly layers: Layer[]) {
    this.visible = new Set(layers.filter((layer) => layer.visible).map((layer) => layer.id));
  }

  switchLayer(id: string, on: boolean): void {
    if (on) this.visible.add(id);
    else this.visible.delete(id);
  }

  switchClass(id: string, value: string | null, on: boolean): void {
    const off = this.off.get(id) ?? new Set();
    if (on) off.delete(value);
    else off.add(value);
    this.off.set(id, off);
  }

  /** The style as the reader has chosen it. The style given is not changed. */
  applied(style: StyleSpecification): StyleSpecification {
    return { ...style, layers: style.layers.map((layer) => this.chosen(layer)) };
  }

  visibility(id: string): "visible" | "none" {
    return this.visible.has(id) ? "visible" : "none";
  }

  /** The filter of a style layer, with the classes that are off left out. */
  filter(id: string, given: FilterSpecification | undefined): FilterSpecification | undefined {
    const kept = this.kept(id);
    if (!kept) return given;
    return (given ? ["all", given, kept] : kept) as FilterSpecification;
  }

  private chosen(layer: LayerSpecification): LayerSpecification {
    const id = owner(layer);
    if (id === null || layer.type === "background") return layer;
    const filter = this.filter(id, layer.filter);
    const layout = { ...layer.layout, visibility: this.visibility(id) };
    return { ...layer, ...(filter ? { filter } : {}), layout } as LayerSpecification;
  }

  private kept(id: string): unknown[] | null {
    const off = this.off.get(id);
    const legend = this.layers.find((layer) => layer.id === id)?.legend.light;
    if (!off?.size || !legend?.column) return null;
    const value = ["to-string", ["get", legend.column]];
    const named = [...off].filter((each) => each !== null);
    const conditions: unknown[] = named.length ? [["!", ["in", value, ["literal", named]]]] : [];
    if (off.has(null)) {
      const declared = legend.swatches.map((each) => each.value).filter((each) => each !== null);
      conditions.push(["in", value, ["literal", declared]]);
    }
    return ["all", ...conditions];
  }
}

/** The Quartier layer a style layer belongs to. */
export function owner(layer: LayerSpecification): string | null {
  const metadata = layer.metadata as Record<string, string> | undefined;
  return metadata?.["quartier:layer"] ?? null;
}
