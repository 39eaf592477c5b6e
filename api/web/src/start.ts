/** Put a map and all its parts together. */

import maplibregl, { type MapOptions } from "maplibre-gl";

import { Atlas, canDraw } from "./atlas";
import { Choices } from "./choices";
import { spellFreshness } from "./format";
import { followChanges } from "./live";
import { followZoom, switchLayers } from "./panel";
import { type Page, say } from "./page";
import { Popups } from "./popup";
import { State } from "./state";
import { tellNewest, tellTimes } from "./times";

const AFTER_THE_FIRST_TILES = 500; // milliseconds; nothing is missed: changes since the page was made are told

/** The map of a page, or null where the browser cannot draw one (and the page says so). */
export function start(page: Page, options: Partial<MapOptions>): Atlas | null {
  const state = new State(page);
  tellTimes();
  if (!canDraw()) {
    state.impossible();
    return null;
  }
  state.loading();
  const choices = new Choices(page.map.layers);
  const atlas = new Atlas(page, choices, state, options);
  addControls(atlas, page);
  describeCanvas(atlas, page);
  switchLayers(atlas, choices);
  followZoom(atlas);
  const popups = new Popups(page, atlas);
  setTimeout(() => follow(page, atlas, popups), AFTER_THE_FIRST_TILES);
  return atlas;
}

function follow(page: Page, atlas: Atlas, popups: Popups): void {
  if (!page.map.layers.length) return;
  followChanges(page.map.changes, page.map.state, (changes, anew) => {
    atlas.hear(changes, anew);
    popups.hear(changes);
    tellNewest(page, changes);
  });
}

function addControls({ map }: Atlas, page: Page): void {
  const [begin, end] = document.documentElement.dir === "rtl" ? ["right", "left"] as const : ["left", "right"] as const;
  const embedded = document.body.classList.contains("embed");
  const narrow = map.getContainer().clientWidth < 480;
  const scale = new maplibregl.ScaleControl({ unit: "metric", maxWidth: narrow ? 60 : 100 });
  const attribution = new maplibregl.AttributionControl({
    customAttribution: embedded && !narrow ? freshness(page) : "",
  });
  map.addControl(new maplibregl.NavigationControl({ showCompass: false }), `top-${end}`);
  map.addControl(scale, narrow && !embedded ? `top-${begin}` : `bottom-${begin}`);
  map.addControl(attribution, `bottom-${end}`);
  if (narrow && embedded) foldAttribution(map);
}

/** In a narrow embed the names of the sources wait behind their button. */
function foldAttribution(map: maplibregl.Map): void {
  const box = map.getContainer().querySelector(".maplibregl-ctrl-attrib");
  box?.classList.remove("maplibregl-compact-show");
  box?.removeAttribute("open");
}

/** "Updated today 06:12", of the newest data on the map. */
function freshness(page: Page): string {
  const { newest } = page.map;
  if (!newest?.changed_at) return "";
  const when = spellFreshness(newest.changed_at, page.language, newest.time_zone);
  return `${say(page, "updated")} ${when}`;
}

function describeCanvas({ map }: Atlas, page: Page): void {
  const canvas = map.getCanvas();
  canvas.setAttribute("aria-label", page.map.title);
  canvas.setAttribute("aria-describedby", "map-help");
}
