/** The place of a map in its address: `#zoom/latitude/longitude`. */

import type { Map as MapLibre } from "maplibre-gl";

export interface Place {
  zoom: number;
  center: [number, number];
}

/** The place a hash names; null for any other hash, such as WordPress's `#?secret=…`. */
export function readPlace(hash: string): Place | null {
  const match = /^#(\d+(?:\.\d+)?)\/(-?\d+(?:\.\d+)?)\/(-?\d+(?:\.\d+)?)$/.exec(hash);
  if (!match) return null;
  const [zoom, latitude, longitude] = match.slice(1).map(Number) as [number, number, number];
  if (zoom > 24 || Math.abs(latitude) > 90 || Math.abs(longitude) > 180) return null;
  return { zoom, center: [longitude, latitude] };
}

export function writePlace(map: MapLibre): string {
  const { lng, lat } = map.getCenter();
  const digits = Math.max(2, Math.ceil(map.getZoom() / 4) + 2);
  return `#${map.getZoom().toFixed(2)}/${lat.toFixed(digits)}/${lng.toFixed(digits)}`;
}

/** Keep the address at the place the map shows, and the map at the place the address names. */
export function followPlace(map: MapLibre): void {
  map.on("moveend", () => history.replaceState(history.state, "", writePlace(map)));
  addEventListener("hashchange", () => {
    const place = readPlace(location.hash);
    if (place) map.jumpTo(place);
  });
}
