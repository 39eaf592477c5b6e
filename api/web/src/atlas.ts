/** The map itself: MapLibre, drawing our style by day or by night. */

import maplibregl, {
  type MapOptions,
  type RequestTransformFunction,
  type StyleSpecification,
} from "maplibre-gl";

import { Announced, type Changes } from "./changes";
import type { Choices } from "./choices";
import type { Page, Theme } from "./page";
import { readPlace } from "./place";
import { Refresher } from "./refresh";
import { withSelection } from "./selection";
import type { State } from "./state";

const DARK = matchMedia("(prefers-color-scheme: dark)");
const CALM = matchMedia("(prefers-reduced-motion: reduce)");
const NOT_OURS = "drawn-here";

export class Atlas {
  readonly map: maplibregl.Map;
  /** Whether there is a style to ask what lies where. */
  drawn = false;
  private readonly announced = new Announced();
  private readonly refresher: Refresher;

  constructor(
    private readonly page: Page,
    private readonly choices: Choices,
    private readonly state: State,
    options: Partial<MapOptions>,
  ) {
    drawForeignLettersHere();
    this.map = new maplibregl.Map({
      container: "map",
      locale: page.words.maplibre,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      fadeDuration: CALM.matches ? 0 : 150,
      attributionControl: false,
      transformRequest: this.requests(ourLetters(page.glyph_ranges)),
      ...opening(page),
      ...options,
    });
    this.refresher = new Refresher(this.map);
    this.comeClose();
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.map.on("error", ({ error }) => {
      if ("status" in error) this.fail(error);
      else console.warn(`Quartier: ${error.message}`);
    });
    this.map.on("idle", () => state.ready());
    this.map.on("style.load", () => (this.drawn = true));
    DARK.addEventListener("change", () => void this.draw());
    void this.draw();
  }

  get theme(): Theme {
    const forced = document.documentElement.dataset.theme;
    if (forced === "light" || forced === "dark") return forced;
    return DARK.matches ? "dark" : "light";
  }

  /** Draw the style anew: at first, in the other theme, or after a failure. */
  async draw(): Promise<void> {
    try {
      const answer = await fetch(this.page.map.styles[this.theme]);
      if (!answer.ok) throw new Error(`the style answered ${answer.status}`);
      const style = this.choices.applied((await answer.json()) as StyleSpecification);
      this.drawn = false;
      this.map.setStyle(withSelection(style, this.theme), { diff: false });
    } catch (error) {
      this.fail(error);
    }
  }

  /** Fetch again what changed. What is no more declared as it was is drawn anew. */
  hear(changes: Changes, anew: boolean): void {
    this.announced.add(changes);
    if (anew) void this.draw();
    else this.refresher.refresh(changes);
  }

  /** Show what the reader has chosen of one layer. */
  refresh(id: string): void {
    for (const layer of this.choices.layersOf(id)) {
      if (!this.map.getLayer(layer.id) || layer.type === "background") continue;
      this.map.setFilter(layer.id, layer.filter ?? null);
      for (const [name, value] of Object.entries(layer.layout ?? {})) {
        this.map.setLayoutProperty(layer.id, name as never, value as never);
      }
      for (const [name, value] of Object.entries(layer.paint ?? {})) {
        this.map.setPaintProperty(layer.id, name as never, value as never);
      }
    }
  }

  private requests(otherwise: RequestTransformFunction): RequestTransformFunction {
    return (url, type) =>
      type === "Tile" ? { url: this.announced.address(url) } : otherwise(url, type);
  }

  /** Where nobody chose the view, open close enough for something to be drawn. */
  private comeClose(): void {
    const shown = this.page.map.layers.filter((layer) => layer.visible);
    const lowest = Math.min(...shown.map((layer) => layer.minzoom));
    const { view } = this.page.map;
    if (!view && !readPlace(location.hash) && shown.length && this.map.getZoom() < lowest) {
      this.map.setZoom(lowest + 0.01);
    }
  }

  private fail(error: unknown): void {
    console.warn(`Quartier: ${error instanceof Error ? error.message : String(error)}`);
    this.state.failed(() => {
      this.state.loading();
      void this.draw();
    });
  }
}

export function canDraw(): boolean {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("webgl2") ?? canvas.getContext("webgl");
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  return context !== null;
}

function opening(page: Page): Partial<MapOptions> {
  const { view, bounds } = page.map;
  if (view) return { center: [view.longitude, view.latitude], zoom: view.zoom };
  if (bounds) return { bounds, fitBoundsOptions: { padding: 32, maxZoom: 16 } };
  return {};
}

/** Where the address of the page opens the map, if it names a place. */
export function placeAsked(): Partial<MapOptions> {
  const place = readPlace(location.hash);
  return place ? { ...place, bounds: undefined } : {};
}

/** Ask for no letters that were never made; MapLibre then draws them from the reader's fonts. */
function ourLetters(ranges: Page["glyph_ranges"]): RequestTransformFunction {
  return (url, type) => {
    const match = type === "Glyphs" ? /\/([^/]+)\/([^/]+)\.pbf$/.exec(url) : null;
    if (!match) return { url };
    const made = ranges[decodeURIComponent(match[1] ?? "")] ?? [];
    return { url: made.includes(match[2] ?? "") ? url : `${NOT_OURS}://letters` };
  };
}

function drawForeignLettersHere(): void {
  maplibregl.addProtocol(NOT_OURS, () => Promise.reject(new Error("no such letters are made")));
}
