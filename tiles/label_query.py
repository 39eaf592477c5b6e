"""The statement that makes a tile of the label points of a polygon layer. Pure."""

from __future__ import annotations

from layers.model import Layer
from layers.shapes import WORLD, labels_table, pixel_m
from layers.sql import ident, literal
from layers.tables import CITY
from tiles.address import TileAddress
from tiles.query import (
    COUNTS,
    EXTENT,
    Cut,
    TileQuery,
    columns_in,
    important,
    revision_of,
    value_of,
)
from tiles.shape_query import EVERYTHING

LABEL_PIXELS = 4  # the side of a square as large as the least polygon that has a label
AREA = "area"  # square metres on the ground, unless a column of that name travels


def label_query(
    layer: Layer, name: str, at: TileAddress, cut: Cut = EVERYTHING, *, counts: bool = False
) -> TileQuery:
    """The query for the label points of one tile, the largest polygons first; its text depends on
    the layer and zoom alone.

    A point is in one tile alone, so that nothing is named twice: tiles have no buffer, and each
    has its north and west edge. Polygons too small to name at this zoom are left out, but not at
    the last, which clients stretch.
    """
    return TileQuery(label_sql(layer, name, at.z, cut, label_rows(layer, at.z), counts=counts), at)


def label_sql(  # noqa: PLR0913 - each is told once
    layer: Layer, name: str, z: int, cut: Cut, found: str, *, counts: bool
) -> str:
    """The statement over `found`, the FROM and WHERE of labels `l` and their rows `c`."""
    carried = columns_in(layer, cut)
    columns = "".join(f", {value_of(column)}" for column in carried)
    area = f", round({ident('#area')})::bigint AS {AREA}" if has_area(layer) else ""
    raw = "".join(f", c.{ident(column.name)}" for column in carried)
    order = [*important(layer), '"#size" DESC', "fid"]
    matched = f", (SELECT count(*) {found}) AS matched" if counts else ""
    unit = WORLD / 2.0**z / EXTENT
    return f"""
        SELECT {revision_of(layer)} AS revision,
               ST_AsMVT("#m", {literal(name)}, {EXTENT}, 'geom', 'fid') AS tile,
               {COUNTS}{matched}
        FROM (
            SELECT fid,
                   ST_MakePoint(
                       least({EXTENT - 1}, floor((ST_X("#place") - {_west(z, 0)}) / {unit!r})),
                       least({EXTENT - 1}, floor(({_north(z, 0)} - ST_Y("#place")) / {unit!r}))
                   ) AS geom{columns}{area}
            FROM (
                SELECT c.fid, l.geom AS "#place", "#size", "#area"{raw}
                {found}
                ORDER BY {", ".join(order)}
                LIMIT {cut.features}
            ) r
        ) AS "#m" -- an alias that no declared column can have"""


def has_area(layer: Layer) -> bool:
    return all(column.name != AREA for column in layer.tile_columns)


def label_rows(layer: Layer, z: int) -> str:
    """The FROM and WHERE of a tile's labels `l` and their rows `c`."""
    smallest = 0.0 if z >= layer.maxzoom else (LABEL_PIXELS * pixel_m(z)) ** 2
    return f"""FROM {labels_table(layer)} l JOIN {CITY}.{ident(layer.id)} c ON c.fid = l.fid
                WHERE "#size" >= {smallest!r}
                  AND l.geom && ST_TileEnvelope($1, $2, $3, margin => 0.001)
                  AND ST_X(l.geom) >= {_west(z, 0)} AND ST_X(l.geom) < {_west(z, 1)}
                  AND ST_Y(l.geom) <= {_north(z, 0)} AND ST_Y(l.geom) > {_north(z, 1)}"""


def _west(z: int, further: int) -> str:
    """The western edge of a tile, or of those `further` east; the same number for both."""
    return f"(($2::int + {further}) * {WORLD / 2.0**z!r}::float8 - {WORLD / 2!r})"


def _north(z: int, further: int) -> str:
    return f"({WORLD / 2!r} - ($3::int + {further}) * {WORLD / 2.0**z!r}::float8)"
