/** Fetch again the tiles of a map that changed, and no others. */

import type { Map as MapLibre } from "maplibre-gl";

import { type Change, layersIn, touches } from "./changes";

type TileManager = MapLibre["style"]["tileManagers"][string];
type Tile = ReturnType<TileManager["_inViewTiles"]["getAllTiles"]>[number];

const AGAIN = 200; // milliseconds, while a tile is still on its way

/**
 * MapLibre's `refreshTiles` leaves out tiles that are out of view and kept, and those whose answer
 * is still on its way and may be old. Nothing public names them; the compiler notices when a new
 * version calls them otherwise.
 */
export class Refresher {
  private readonly due = new Map<string, Set<Tile>>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly map: MapLibre) {}

  refresh(changes: Record<string, Change>): void {
    for (const [source, tiles] of Object.entries(this.managers())) {
      const { tiles: [template = ""] = [] } = tiles.getSource() as { tiles?: string[] };
      const cells = layersIn(template).flatMap((id) => changes[id]?.cells ?? []);
      if (!cells.length) continue;
      const changed = ({ tileID: { canonical } }: Tile): boolean =>
        cells.some((cell) => touches(cell, canonical.z, canonical.x, canonical.y));
      tiles._outOfViewCache.filter((tile) => !changed(tile));
      const due = this.due.get(source) ?? new Set();
      for (const tile of tiles._inViewTiles.getAllTiles()) if (changed(tile)) due.add(tile);
      this.due.set(source, due);
    }
    this.work();
  }

  private managers(): Record<string, TileManager> {
    return (this.map.style as MapLibre["style"] | undefined)?.tileManagers ?? {};
  }

  private work(): void {
    clearTimeout(this.timer);
    for (const [source, due] of this.due) {
      const tiles = this.managers()[source];
      if (tiles) this.workOn(source, tiles, due);
      if (!tiles || !due.size) this.due.delete(source);
    }
    if (this.due.size) this.timer = setTimeout(() => this.work(), AGAIN);
  }

  private workOn(source: string, tiles: TileManager, due: Set<Tile>): void {
    const shown = new Set(tiles._inViewTiles.getAllTiles());
    for (const tile of [...due].filter((each) => !shown.has(each))) {
      tiles._outOfViewCache.filter((each) => each !== tile);
      due.delete(tile);
    }
    const ready = [...due].filter((tile) => !tile.abortController && tile.state !== "loading");
    if (!ready.length) return;
    this.map.refreshTiles(source, ready.map((tile) => tile.tileID.canonical));
    for (const tile of ready) if (tile.state === "expired") due.delete(tile);
  }
}
