"""Tiles of a point layer's features: the statement sends rows, and the tile is made of them here,
which takes half as long as ST_AsMVT where there are some thousands.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from layers.changes import unmorton
from layers.model import Layer
from layers.overviews import ROW_DEPTH
from tiles.address import TileAddress
from tiles.mvt import Numbers, Points, encode
from tiles.query import (
    BUFFER,
    EXTENT,
    MAX_FEATURES,
    Made,
    TileQuery,
    drawing_order,
    revision_of,
    rows_in_tile,
)
from tiles.vocabulary import Vocabulary
from tiles.wire import TEXTS, Answer, Carried, Packing, Rows, Sent, native

UNIT_BITS = 12  # of a place within a tile
DEEPEST_BY_CELL = ROW_DEPTH - UNIT_BITS - 1  # one bit is left to round with
HALF_WORLD = 20_037_508.342789244  # metres, EPSG:3857
BY_CELL = (Sent("cell", "int8send(cell)", ">i8"),)
BY_PLACE = (
    Sent("x", "float8send(ST_X(tile_geom))", ">f8"),
    Sent("y", "float8send(ST_Y(tile_geom))", ">f8"),
)


def packed_points(layer: Layer, name: str, at: TileAddress, most: int = MAX_FEATURES) -> TileQuery:
    """As `tile_query`, of a layer of points."""
    wanted = _Wanted(layer, _by_cell(at), most)
    return TileQuery(_sql(wanted), at, partial(_made, wanted, name, at))


def _by_cell(at: TileAddress) -> bool:
    """Whether a point's cell tells its place in the tile. Cells end at the edge of the square
    world, and points a little beyond it are drawn.
    """
    return at.z <= DEEPEST_BY_CELL and 0 < at.y < 2**at.z - 1


class _Wanted:
    """What a statement asks for and how its answer is read."""

    def __init__(self, layer: Layer, by_cell: bool, most: int) -> None:
        self.layer = layer
        self.by_cell = by_cell
        self.most = most
        self.carried = Carried(layer.tile_columns)
        place = BY_CELL if by_cell else BY_PLACE
        self.packing = Packing(
            (Sent("fid", "int8send(fid)", ">i8"), *place, *self.carried.sent()),
            self.carried.counts(),
        )

    @property
    def ordered_here(self) -> bool:
        """Whether what decides the order travels as numbers; texts have an order of their own."""
        numbers = {column.name for column in self.layer.tile_columns if column.type not in TEXTS}
        return all(name.removeprefix("-") in numbers for name in self.layer.priority)


def _sql(wanted: _Wanted) -> str:
    layer = wanted.layer
    columns = "".join(f", {column}" for column in wanted.carried.selected())
    texts = "".join(f",\n               {text}" for text in wanted.carried.texts())
    # Without an order here a LIMIT that is reached tells only that there are more than may be.
    order = "" if wanted.ordered_here else f"ORDER BY {', '.join(drawing_order(layer))}"
    return f"""
        SELECT {revision_of(layer)} AS revision, count(*) AS seen,
               {wanted.packing.sql()} AS rows{texts}
        FROM (
            SELECT fid, cell, tile_geom{columns}
            {rows_in_tile(layer)}
            {order}
            LIMIT {wanted.most + 1}
        ) AS "#m\""""


def _made(wanted: _Wanted, name: str, at: TileAddress, answer: Answer) -> Made:
    rows = wanted.packing.read(answer["rows"])
    if len(rows) != answer["seen"]:
        raise RuntimeError(f"{len(rows)} of {answer['seen']} rows of {wanted.layer.id} came")
    x, y = _by_cell_place(rows, at) if wanted.by_cell else _by_place(rows, at)
    drawn = np.ones(len(rows), np.bool_)
    for axis in (x, y):
        drawn &= (axis >= -BUFFER) & (axis <= EXTENT + BUFFER)
    order = _order(wanted, rows)
    order = order[drawn[order]]
    vocabulary = Vocabulary()
    codes, values = vocabulary.values(wanted.carried.codes(rows, answer, vocabulary))
    points = Points(
        ids=native(rows["fid"])[order],
        x=x[order],
        y=y[order],
        names=[column.name for column in wanted.layer.tile_columns],
        codes=codes[:, order],
        values=values,
    )
    return Made(encode(name, points), len(order))


def _by_cell_place(rows: Rows, at: TileAddress) -> tuple[Numbers, Numbers]:
    """The nearest point of the tile's grid, which is coarser than cells are. Exactly between two
    it is the one to the south-east, where PostGIS takes the even one.
    """
    finer = ROW_DEPTH - UNIT_BITS - at.z
    column, row = ((cells + (1 << finer - 1)) >> finer for cells in unmorton(native(rows["cell"])))
    return column - at.x * EXTENT, row - at.y * EXTENT


def _by_place(rows: Rows, at: TileAddress) -> tuple[Numbers, Numbers]:
    """As ST_TileEnvelope and ST_AsMVTGeom work it out, step by step, so that it rounds alike."""
    side = 2 * HALF_WORLD / 2**at.z
    west, east = -HALF_WORLD + side * at.x, -HALF_WORLD + side * (at.x + 1)
    north, south = HALF_WORLD - side * at.y, HALF_WORLD - side * (at.y + 1)
    across, down = EXTENT / (east - west), -(EXTENT / (north - south))
    found = (across * native(rows["x"]) + -west * across, down * native(rows["y"]) + -north * down)
    x, y = (np.rint(axis).astype(np.int64) for axis in found)
    return x, y


def _order(wanted: _Wanted, rows: Rows) -> NDArray[np.intp]:
    """By what is declared to be important, then by fid, unless they came in order."""
    if not wanted.ordered_here:
        return np.arange(len(rows))
    keys: list[Numbers] = [native(rows["fid"])]
    for name in reversed(wanted.layer.priority):
        values, null = wanted.carried.numbers(name.removeprefix("-"), rows)
        rank = _ranks(values)
        keys += [np.where(null, 0, ~rank if name.startswith("-") else rank), null.astype(np.int8)]
    return np.lexsort(keys) if len(keys) > 1 else np.argsort(keys[0])


def _ranks(values: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers in the order of these; NaN comes after all, and 0 and -0 are equal."""
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    bits = np.where(np.isnan(values), np.nan, values + 0.0).view(np.int64)
    return bits ^ (bits >> 63 & np.int64(2**63 - 1))
