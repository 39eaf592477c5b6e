/** What the reader has switched on and off, put into a style before the map draws it. */

import type { LayerSpecification, StyleSpecification } from "maplibre-gl";

import type { Layer } from "./page";

export class Choices {
  readonly visible: Set<string>;
  /** For each layer, the class values that are switched off; null stands for "other". */
  readonly off = new Map<string, Set<string | null>>();

  private given = new Map<string, LayerSpecification>();

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

  /** The style as the reader has chosen it. The style given is not changed, and remembered. */
  applied(style: StyleSpecification): StyleSpecification {
    this.given = new Map(style.layers.map((layer) => [layer.id, layer]));
    return { ...style, layers: style.layers.map((layer) => this.chosen(layer)) };
  }

  /** The style layers of a Quartier layer as the reader has chosen them now. */
  layersOf(id: string): LayerSpecification[] {
    return [...this.given.values()].filter((layer) => owner(layer) === id).map((layer) => this.chosen(layer));
  }

  private chosen(layer: LayerSpecification): LayerSpecification {
    const id = owner(layer);
    if (id === null || layer.type === "background") return layer;
    const layout = { ...layer.layout, visibility: this.visible.has(id) ? "visible" : "none" };
    const shown = { ...layer, layout } as LayerSpecification;
    if (isCounted(layer)) return this.counted(id, shown);
    const kept = this.kept(id);
    return kept ? withFilter(shown, kept) : shown;
  }

  /** Counted cells of the classes that are on: they count no others, and vanish where none is. */
  private counted(id: string, layer: LayerSpecification): LayerSpecification {
    const off = this.off.get(id);
    const legend = this.layers.find((each) => each.id === id)?.legend.light;
    if (!off?.size || !legend?.column) return layer;
    const on = legend.swatches.map(({ value }) => value).filter((value) => !off.has(value));
    const counts = on.map((value) => ["coalesce", ["get", `point_count:${value ?? "other"}`], 0]);
    const sum = ["+", 0, ...counts];
    return withFilter(replaceCount(layer, sum), [">", sum, 0]);
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

function isCounted(layer: LayerSpecification): boolean {
  const part = (layer.metadata as Record<string, string> | undefined)?.["quartier:part"];
  return part === "cluster" || part === "count";
}

function withFilter(layer: LayerSpecification, more: unknown[]): LayerSpecification {
  const given = "filter" in layer ? layer.filter : undefined;
  return { ...layer, filter: given ? ["all", given, more] : more } as LayerSpecification;
}

/** A style layer in which another number stands wherever it reads `point_count`. */
function replaceCount<T>(part: T, count: unknown[]): T {
  if (Array.isArray(part)) {
    if (part.length === 2 && part[0] === "get" && part[1] === "point_count") return count as T;
    return part.map((each: unknown) => replaceCount(each, count)) as T;
  }
  if (typeof part !== "object" || part === null) return part;
  const parts = Object.entries(part).map(([name, each]: [string, unknown]) => [name, replaceCount(each, count)]);
  return Object.fromEntries(parts) as T;
}
