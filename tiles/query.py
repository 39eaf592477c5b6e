"""The statement that makes one layer's part of a tile. Pure: nothing here runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from layers.changes import BUFFER_FRACTION
from layers.columns import Column, ColumnType, GeometryType
from layers.feature_sql import revision_of as revision_of  # of statements about tiles, too
from layers.model import Layer
from layers.sql import ident, literal
from layers.tables import CITY
from tiles.address import TileAddress

EXTENT = 4096  # the MVT grid; every client assumes it
BUFFER = int(EXTENT * BUFFER_FRACTION)  # grid units drawn past the edge, so strokes meet at seams
MAX_FEATURES = 50_000  # of one layer in one tile; a header tells of more
TEXT_TYPES = {  # MVT has no type for them; ST_AsMVT would spread the keys of a JSON object
    ColumnType.DATE, ColumnType.DATETIME, ColumnType.TIME, ColumnType.JSON,
}  # fmt: skip
SCATTER = "((fid & 1048575) * 2654435761) & 4294967295"  # an even sample, the same everywhere


@dataclass(frozen=True, slots=True)
class Made:
    """A layer's part of a tile, and how many features it holds."""

    tile: bytes
    features: int


@dataclass(frozen=True, slots=True)
class TileQuery:
    """A statement and its arguments. It returns one row: `revision`, `tile`, `features` (how
    many it holds); where it draws shapes, `seen` (rows, some of which may turn out to be
    nothing in the tile); and, where it may hold less than there is, `matched` rows.

    Where there is a `make`, the row has `seen` rows in the place of `tile` and `features`, which
    `make` makes of them.
    """

    sql: str
    args: tuple[object, ...]
    make: Callable[[Any], Made] | None = field(default=None, compare=False)

    def made(self, row: Any) -> Made:
        """The part of a tile that the statement's row is, or is made into."""
        if self.make is not None:
            return self.make(row)
        return Made(bytes(row["tile"] or b""), row["features"])


@dataclass(frozen=True, slots=True)
class Cut:
    """What a tile may hold of a layer: so many features, all columns or the style's alone."""

    features: int
    style_only: bool = False


def tile_query(layer: Layer, name: str, at: TileAddress, most: int = MAX_FEATURES) -> TileQuery:
    """The query for one tile of one layer, as the MVT layer `name`; its text depends on the
    layer alone.

    Where it answers more than `most` features, the tile lacks some: ask `cut_query` instead.
    """
    return TileQuery(_tile_sql(layer, name, drawing_order(layer), Cut(most + 1)), at)


def drawing_order(layer: Layer) -> list[str]:
    """What is important first, each time alike."""
    # An expression, so that the planner never walks the index of fid to find a few rows.
    return [*important(layer), "fid + 0"]


def cut_query(layer: Layer, name: str, at: TileAddress, cut: Cut) -> TileQuery:
    """The query for a tile that may not hold everything: the most important features; where none
    is declared to be, the longest or largest, and of points an even sample over the tile. The
    same ones each time.
    """
    order = [*important(layer), *_size(layer), SCATTER, "fid"]
    return TileQuery(_tile_sql(layer, name, order, cut, counts=True), at)


EXTENT_DRAWN = f"ST_TileEnvelope($1, $2, $3, margin => {BUFFER_FRACTION})"
COUNTS = 'count("#m".geom) AS features, count(*) AS seen'


def truly_in_tile(layer: Layer, geom: str) -> str:
    """A condition for a tile that counts what it keeps: the box of a shape that goes round a tile
    meets it, and the shape is not in it.
    """
    if layer.geometry is GeometryType.POINT:
        return ""
    return f" AND ST_Intersects({geom}, {EXTENT_DRAWN})"


def columns_in(layer: Layer, cut: Cut) -> tuple[Column, ...]:
    """The columns that travel: what a style needs always does."""
    return layer.style_columns if cut.style_only else layer.tile_columns


def _tile_sql(layer: Layer, name: str, order: list[str], cut: Cut, *, counts: bool = False) -> str:
    """One statement, so that the revision is that of the snapshot the features came from."""
    found = rows_in_tile(layer)
    if counts:
        found += truly_in_tile(layer, "tile_geom")
    matched = f", (SELECT count(*) {found}) AS matched" if counts else ""
    columns = "".join(f", {value_of(column)}" for column in columns_in(layer, cut))
    raw = "".join(f", {ident(column.name)}" for column in columns_in(layer, cut))
    # Transform the envelope, never the column: the index is on the stored tile_geom. Order the
    # rows before their geometries are cut: what is sorted stays small. The envelope is a subquery
    # so that a prepared plan works it out once and not for each row.
    return f"""
        SELECT {revision_of(layer)} AS revision,
               ST_AsMVT("#m", {literal(name)}, {EXTENT}, 'geom', 'fid') AS tile,
               {COUNTS}{matched}
        FROM (
            SELECT fid,
                   ST_AsMVTGeom(tile_geom, (SELECT ST_TileEnvelope($1, $2, $3)::box2d),
                                {EXTENT}, {BUFFER}, true) AS geom{columns}
            FROM (
                SELECT fid, tile_geom{raw}
                {found}
                ORDER BY {", ".join(order)}
                LIMIT {cut.features}
            ) r
        ) AS "#m" -- an alias that no declared column can have"""


def rows_in_tile(layer: Layer) -> str:
    return f"FROM {CITY}.{ident(layer.id)} WHERE tile_geom && {EXTENT_DRAWN}"


def value_of(column: Column) -> str:
    """A column as MVT can hold it, under its name."""
    name = ident(column.name)
    return f"{name}::text AS {name}" if column.type in TEXT_TYPES else name


def _size(layer: Layer) -> list[str]:
    if layer.geometry is GeometryType.POINT:
        return []
    return ["ST_Area(tile_geom) DESC", "ST_Length(tile_geom) DESC"]


def important(layer: Layer) -> list[str]:
    """The declared priority, as ORDER BY lists it."""
    return [
        f"{ident(name.removeprefix('-'))} {'DESC' if name.startswith('-') else 'ASC'} NULLS LAST"
        for name in layer.priority
    ]
