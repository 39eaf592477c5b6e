"""Which tiles of a layer hold anything, told by its rows, zoom by zoom from the top.

A child's buffered extent lies within its parent's, so only children of occupied tiles are asked
about. A tile that is named may still turn out empty, and none is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from layers.catalog import Bounds
from layers.changes import BUFFER_FRACTION
from layers.columns import GeometryType
from layers.model import Layer
from layers.sql import ident
from layers.store import Store
from layers.tables import CITY
from tiles.hilbert import Columns, tile_ids

REACH = BUFFER_FRACTION + 1 / 128  # of a tile's width; shapes move a little when simplified
MOST_ASKED = 20_000  # candidates in one statement
Tiles = tuple[Columns, Columns]


async def occupied(
    store: Store, layers: Sequence[Layer], zooms: range, bbox: Bounds | None = None
) -> Mapping[int, Tiles]:
    """Columns and rows of the tiles to make at each zoom, in the order of a PMTiles file."""
    found: dict[int, list[Tiles]] = {z: [] for z in zooms}
    for layer in layers:
        tiles = (np.zeros(1, np.int64), np.zeros(1, np.int64))
        for z in range(zooms.stop):
            if z > layer.maxzoom or not len(tiles[0]):
                break
            asked = _within(bbox, z, _children(tiles) if z else tiles)
            tiles = await _holding(store, layer, z, asked)
            if z in found and layer.covers(z):
                found[z].append(tiles)
    return {z: _in_order(z, parts) for z, parts in found.items()}


def _children(tiles: Tiles) -> Tiles:
    xs, ys = (np.repeat(each * 2, 4) for each in tiles)
    return xs + np.tile([0, 1, 0, 1], len(tiles[0])), ys + np.tile([0, 0, 1, 1], len(tiles[0]))


def _within(bbox: Bounds | None, z: int, tiles: Tiles) -> Tiles:
    if bbox is None:
        return tiles
    xs, ys = tiles
    east, south = _place(bbox.east, bbox.south, z)
    west, north = _place(bbox.west, bbox.north, z)
    inside_x = (xs >= west) & (xs <= east) if west <= east else (xs >= west) | (xs <= east)
    inside = inside_x & (ys >= north) & (ys <= south)
    return xs[inside], ys[inside]


def _place(longitude: float, latitude: float, z: int) -> tuple[int, int]:
    last = (1 << z) - 1
    x = (longitude / 360 + 0.5) * (1 << z)
    y = 0.5 - np.arcsinh(np.tan(np.radians(np.clip(latitude, -85.06, 85.06)))) / (2 * np.pi)
    return int(np.clip(x, 0, last)), int(np.clip(y * (1 << z), 0, last))


def _in_order(z: int, parts: list[Tiles]) -> Tiles:
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    xs, ys = (np.concatenate([part[axis] for part in parts]) for axis in (0, 1))
    _, first = np.unique(tile_ids(z, xs, ys), return_index=True)
    return xs[first], ys[first]


async def _holding(store: Store, layer: Layer, z: int, asked: Tiles) -> Tiles:
    """Those of the tiles asked about that a row reaches into."""
    kept = np.zeros(len(asked[0]), bool)
    sql = _holding_sql(layer)
    for start in range(0, len(kept), MOST_ASKED):
        part = slice(start, start + MOST_ASKED)
        rows = await store.fetch(sql, z, asked[0][part].tolist(), asked[1][part].tolist())
        kept[[start + row["n"] - 1 for row in rows]] = True
    return asked[0][kept], asked[1][kept]


def _holding_sql(layer: Layer) -> str:
    envelope = f"ST_TileEnvelope($1, t.x, t.y, margin => {REACH})"
    exact = f"AND ST_Intersects(tile_geom, {envelope})"
    if layer.geometry is GeometryType.POINT:
        exact = ""
    return f"""
        SELECT t.n FROM unnest($2::int[], $3::int[]) WITH ORDINALITY AS t(x, y, n)
        WHERE EXISTS (
            SELECT FROM {CITY}.{ident(layer.id)} WHERE tile_geom && {envelope} {exact}
        )"""
