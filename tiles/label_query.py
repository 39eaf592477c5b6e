"""The statement that makes a tile of the label points of a polygon layer. Pure."""

from __future__ import annotations

from layers.model import Layer
from layers.shape_batch import WORLD, pixel_m
from layers.shapes import labels_table
from layers.sql import ident, literal
from layers.tables import CITY
from tiles.address import TileAddress
from tiles.query import EXTENT, MAX_FEATURES, TileQuery
from tiles.shape_query import important, text_of

LABEL_PIXELS = 4  # the side of a square as large as the least polygon that has a label


def label_query(layer: Layer, at: TileAddress) -> TileQuery:
    """The query for the `<id>:labels` of one tile; its text depends on the layer and zoom alone.

    A point is in one tile alone, so that nothing is named twice: tiles have no buffer, and each
    has its north and west edge. Polygons too small to name at this zoom are left out, but not at
    the last, which clients stretch.
    """
    columns = "".join(f", {text_of(layer, column.name, 'c')}" for column in layer.tile_columns)
    names = {column.name for column in layer.tile_columns}
    area = "" if "area" in names else ", round(l.area)::bigint AS area"
    order = ", ".join([*important(layer, "c."), "l.size DESC", "l.fid"])
    side = WORLD / 2.0**at.z
    unit = side / EXTENT
    west, east = (f"(($2::int + {n}) * {side!r}::float8 - {WORLD / 2!r})" for n in (0, 1))
    north, south = (f"({WORLD / 2!r} - ($3::int + {n}) * {side!r}::float8)" for n in (0, 1))
    sql = f"""
        SELECT (SELECT revision FROM quartier.public_state WHERE layer_id = {literal(layer.id)})
                   AS revision,
               ST_AsMVT("#m", {literal(layer.id + ":labels")}, {EXTENT}, 'geom', 'fid') AS tile,
               count(*) > {MAX_FEATURES} AS truncated
        FROM (
            SELECT l.fid,
                   ST_MakePoint(
                       least({EXTENT - 1}, floor((ST_X(l.geom) - {west}) / {unit!r})),
                       least({EXTENT - 1}, floor(({north} - ST_Y(l.geom)) / {unit!r}))
                   ) AS geom{columns}{area}
            FROM {labels_table(layer)} l JOIN {CITY}.{ident(layer.id)} c ON c.fid = l.fid
            WHERE l.size >= {_least_size(layer, at.z)!r}
              AND l.geom && ST_TileEnvelope($1, $2, $3, margin => 0.001)
              AND ST_X(l.geom) >= {west} AND ST_X(l.geom) < {east}
              AND ST_Y(l.geom) <= {north} AND ST_Y(l.geom) > {south}
            ORDER BY {order}
            LIMIT {MAX_FEATURES + 1}
        ) AS "#m" -- an alias that no declared column can have"""
    return TileQuery(sql, at)


def _least_size(layer: Layer, z: int) -> float:
    """In square metres of EPSG:3857."""
    return 0.0 if z >= layer.maxzoom else float((LABEL_PIXELS * pixel_m(z)) ** 2)
