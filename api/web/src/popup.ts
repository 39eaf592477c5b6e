/** What lies at a place: one thing with its values, or a list to choose from. */

import maplibregl, { type MapGeoJSONFeature, type PointLike } from "maplibre-gl";

import type { Atlas } from "./atlas";
import type { Changes } from "./changes";
import { owner } from "./choices";
import { h } from "./dom";
import { spell } from "./format";
import { type Column, type Layer, type Page, say } from "./page";
import { select } from "./selection";

const MOST_VALUES = 6;
const MOST_THINGS = 20;
const REACH = matchMedia("(pointer: coarse)").matches ? 14 : 5; // pixels around a click

interface Thing {
  layer: Layer;
  fid: string;
  tile: Record<string, unknown>;
}

export class Popups {
  private popup: maplibregl.Popup | null = null;
  private before: Element | null = null;
  /** Reads the shown thing again, once its layer changed. */
  private again: { id: string; read: () => Promise<void> } | null = null;

  constructor(
    private readonly page: Page,
    private readonly atlas: Atlas,
  ) {
    const { map } = atlas;
    map.on("click", (event) => this.openAt(event.point, event.lngLat));
    map.on("mousemove", ({ point }) => {
      const touches = this.things(point).length || this.clusterAt(point);
      map.getCanvas().style.cursor = touches ? "pointer" : "";
    });
    map.getCanvas().addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.openAt(map.project(map.getCenter()), map.getCenter());
    });
    addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
  }

  hear(changes: Changes): void {
    if (this.again && this.again.id in changes) void this.again.read();
  }

  private openAt(point: maplibregl.Point, place: maplibregl.LngLat): void {
    const things = this.things(point);
    this.close();
    if (!things.length) {
      this.openCluster(point);
      return;
    }
    this.before = document.activeElement;
    this.popup = new maplibregl.Popup({
      closeButton: false,
      closeOnClick: false,
      focusAfterOpen: false,
      offset: 12, // clear of the ring around a selected point
      maxWidth: "min(320px, calc(100vw - 24px))",
    });
    this.popup.setLngLat(place).setDOMContent(h("div")).addTo(this.atlas.map);
    if (things.length === 1 && things[0]) void this.showThing(things[0], null);
    else this.showList(things);
  }

  /** Counted points are seen apart a few zooms closer, and the cell says at which. */
  private openCluster(point: maplibregl.Point): void {
    const { map } = this.atlas;
    const cluster = this.clusterAt(point);
    if (cluster?.geometry.type !== "Point") return;
    const [longitude, latitude] = cluster.geometry.coordinates;
    if (longitude === undefined || latitude === undefined) return;
    const told: unknown = cluster.properties.expansion_zoom; // cells of a filtered tile may not know
    const zoom = Number(told ?? map.getZoom() + 2) + 0.05; // just beyond, so that it is reached
    map.easeTo({ center: [longitude, latitude], zoom: Math.max(zoom, map.getZoom() + 1) });
  }

  /** The cell of the greatest count near a point of the screen. */
  private clusterAt(point: maplibregl.Point): MapGeoJSONFeature | undefined {
    const layers = this.touchable().filter((id) => id.endsWith(":cluster"));
    if (!this.atlas.drawn || !layers.length) return undefined;
    const count = ({ properties }: MapGeoJSONFeature): number => Number(properties.point_count);
    const found = this.atlas.map.queryRenderedFeatures(around(point), { layers });
    return found.sort((one, other) => count(other) - count(one))[0];
  }

  private close(): void {
    if (!this.popup) return;
    this.popup.remove();
    this.popup = null;
    this.again = null;
    select(this.atlas.map, null);
    const back = this.before instanceof HTMLElement ? this.before : null;
    if (back && back !== document.body) back.focus();
    else this.atlas.map.getCanvas().focus({ preventScroll: true });
  }

  private showList(things: Thing[]): void {
    this.again = null;
    select(this.atlas.map, null);
    const title = say(this.page, "several", { count: String(things.length) });
    const items = things.map((thing) => {
      const open = (): void => void this.showThing(thing, () => this.showList(things));
      const words = [h("strong", {}, listTitleOf(thing, this.page)), h("small", {}, thing.layer.title)];
      return h("li", {}, h("button", { type: "button", onclick: open }, ...words));
    });
    this.show(title, h("ul", { class: "things" }, ...items));
  }

  private async showThing(thing: Thing, back: (() => void) | null): Promise<void> {
    const title = titleOf(thing, this.page);
    const values = h("dl", { class: "values", "aria-busy": "true" });
    values.append(...[1, 2, 3].map(() => h("div", { class: "skeleton" })));
    const foot = h("p", { class: "foot" }, h("a", { href: thing.layer.page }, thing.layer.title));
    foot.append(` · ${thing.layer.licence}`);
    const again = back && h("button", { type: "button", class: "back", onclick: back }, say(this.page, "back"));
    this.show(title, ...(again ? [again] : []), values, foot);
    const read = (): Promise<void> => this.fill(thing, values);
    this.again = { id: thing.layer.id, read };
    await read();
  }

  private async fill(thing: Thing, values: HTMLElement): Promise<void> {
    const shown = this.popup;
    try {
      const feature = await read(thing);
      if (shown !== this.popup || !values.isConnected) return;
      values.replaceChildren(...this.values(thing, feature.properties ?? {}));
      select(this.atlas.map, feature);
    } catch {
      values.replaceChildren(...this.values(thing, thing.tile), h("p", {}, say(this.page, "details_failed")));
    }
    values.removeAttribute("aria-busy");
  }

  /** At most six values in catalogue order; the title is not said twice. */
  private values(thing: Thing, properties: Record<string, unknown>): Node[] {
    const rows = thing.layer.columns
      .filter((column) => column.name !== thing.layer.label)
      .map((column) => [column, spell(properties[column.name], column, thing.layer, this.page)] as const)
      .filter(([, text]) => text !== "")
      .slice(0, MOST_VALUES)
      .map(([column, text]) => row(column, text));
    return rows.length ? rows : [h("p", {}, say(this.page, "no_values"))];
  }

  private show(title: string, ...content: Node[]): void {
    const close = h("button", { type: "button", class: "close", "aria-label": say(this.page, "close"), onclick: () => this.close() }, "×");
    const heading = h("h2", { id: "popup-title", tabindex: "-1" }, title);
    const body = h("div", { class: "popup", role: "dialog", "aria-labelledby": "popup-title" }, h("header", {}, heading, close), ...content);
    this.popup?.setDOMContent(body);
    heading.focus({ preventScroll: true });
  }

  private things(point: maplibregl.Point): Thing[] {
    const { map } = this.atlas;
    if (!this.atlas.drawn) return [];
    const layers = this.touchable().filter((id) => !/:(cluster|count)$/.test(id));
    const found = new Map<string, Thing>();
    for (const feature of map.queryRenderedFeatures(around(point), { layers })) {
      const thing = this.thing(feature);
      if (thing && found.size < MOST_THINGS) found.set(`${thing.layer.id}/${thing.fid}`, thing);
    }
    return [...found.values()];
  }

  /** The layers of data; the background answers only where there is nothing else to ask. */
  private touchable(): string[] {
    const layers = this.page.map.layers;
    const data = layers.filter((layer) => layer.role === "data");
    const ids = new Set((data.length ? data : layers).map((layer) => layer.id));
    return this.atlas.map
      .getLayersOrder()
      .filter((id) => ids.has(id.split(":")[0] ?? "") && !id.endsWith(":casing"));
  }

  private thing(feature: MapGeoJSONFeature): Thing | null {
    const layer = this.page.map.layers.find((each) => each.id === owner(feature.layer));
    if (!layer || feature.id === undefined) return null;
    return { layer, fid: String(feature.id), tile: feature.properties };
  }
}

function around({ x, y }: maplibregl.Point): [PointLike, PointLike] {
  return [
    [x - REACH, y - REACH],
    [x + REACH, y + REACH],
  ];
}

async function read(thing: Thing): Promise<GeoJSON.Feature> {
  const answer = await fetch(`${thing.layer.features}/${thing.fid}`);
  if (!answer.ok) throw new Error(`the feature answered ${answer.status}`);
  return (await answer.json()) as GeoJSON.Feature;
}

/** What a thing is called: its own name, else what its layer holds. */
function titleOf(thing: Thing, page: Page): string {
  return told(thing, thing.layer.label, page) || thing.layer.title;
}

/** In a list, nameless things of one layer are told apart by their class. */
function listTitleOf(thing: Thing, page: Page): string {
  const { label, legend, title } = thing.layer;
  return told(thing, label, page) || told(thing, legend.light.column, page) || title;
}

function told({ layer, tile }: Thing, name: string | null, page: Page): string {
  const column = layer.columns.find((each) => each.name === name);
  return column ? spell(tile[column.name], column, layer, page) : "";
}

function row(column: Column, text: string): Node {
  const host = /^https?:\/\/([\w.-]+)(\/\S*)?$/.exec(text)?.[1];
  const value = host ? h("a", { href: text, rel: "noopener", target: "_blank" }, host) : text;
  return h("div", {}, h("dt", {}, column.label), h("dd", {}, value));
}
