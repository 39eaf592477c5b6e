/** Which tiles have changed since the page was made: by arithmetic, from the cells that are announced. */

/** A tile of the world, z/x/y, in which something changed. */
export type Cell = [z: number, x: number, y: number];

/** What `/changes` says of one layer. */
export interface Change {
  revision: number;
  updated: string | null;
  configuration?: string;
  cells?: Cell[];
  all?: boolean;
  withdrawn?: boolean;
}

export type Changes = Record<string, Change>;

export const EVERYWHERE: Cell = [0, 0, 0];

const REACH = 72 / 4096; // of a tile: its buffer, and a pixel that a simplified shape may stray
const TOUCH = 1e-6; // cells; what lies on the buffer's edge is in the tile
const REMEMBERED = 2048; // cells of a layer, before all its tiles count as changed
const TILE = /\/tiles\/([^/?]+)\/(\d+)\/(\d+)\/(\d+)\.\w+/;
const TEMPLATE = /\/tiles\/([^/?]+)\/\{z\}\//;

/** Whether a tile or its buffer reaches a cell. The server works tile versions out alike. */
export function touches([cz, cx, cy]: Cell, z: number, x: number, y: number): boolean {
  const scale = 2 ** (cz - z);
  return reaches(cx, x, scale) && reaches(cy, y, scale);
}

function reaches(cell: number, tile: number, scale: number): boolean {
  const first = Math.floor((tile - REACH) * scale - TOUCH);
  const last = Math.floor((tile + 1 + REACH) * scale + TOUCH);
  return first <= cell && cell <= last;
}

/** The layers whose tiles an address or a template of addresses names, without repetition. */
export function layersIn(url: string, pattern = TEMPLATE): string[] {
  const named = decodeURIComponent(pattern.exec(url)?.[1] ?? "");
  const ids = named.split(",").map((each) => each.split(":")[0] ?? "");
  return [...new Set(ids.filter((id) => id !== ""))];
}

/** The latest revision that was announced for each place. */
export class Announced {
  private readonly layers = new Map<string, { all: number; cells: Map<string, [Cell, number]> }>();

  add(changes: Changes): void {
    for (const [id, { revision, cells = [EVERYWHERE], all = false }] of Object.entries(changes)) {
      const known = this.layers.get(id) ?? { all: 0, cells: new Map<string, [Cell, number]>() };
      this.layers.set(id, known);
      for (const cell of cells) known.cells.set(cell.join("/"), [cell, revision]);
      if (all || known.cells.size > REMEMBERED) {
        known.all = revision;
        known.cells.clear();
      }
    }
  }

  /** The address of a tile; one that changed names the revision that it must not be older than. */
  address(url: string): string {
    const [, , z, x, y] = TILE.exec(url)?.map(Number) ?? [];
    if (z === undefined || x === undefined || y === undefined) return url;
    const told = layersIn(url, TILE)
      .map((id) => [id, this.revision(id, z, x, y)] as const)
      .filter(([, revision]) => revision > 0);
    if (!told.length) return url;
    const revisions = told.map(([id, revision]) => `${id}:${revision}`).join(",");
    return `${url}${url.includes("?") ? "&" : "?"}revision=${revisions}`;
  }

  private revision(id: string, z: number, x: number, y: number): number {
    const known = this.layers.get(id);
    if (!known) return 0;
    let latest = known.all;
    for (const [cell, revision] of known.cells.values()) {
      if (revision > latest && touches(cell, z, x, y)) latest = revision;
    }
    return latest;
  }
}
