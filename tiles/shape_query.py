"""The statement that makes a tile of a layer's overview of lines and polygons. Pure."""

from __future__ import annotations

from layers.changes import BUFFER_FRACTION
from layers.model import Layer
from layers.shapes import band_of, shapes_table
from layers.sql import ident, literal
from tiles.address import TileAddress
from tiles.query import BUFFER, EXTENT, MAX_FEATURES, TEXT_TYPES, TileQuery


def shape_query(layer: Layer, at: TileAddress) -> TileQuery | None:
    """The query for a tile that is made of the overview, or None where zoom `at.z` shows the table
    itself; its text depends on the layer and the band of zooms alone.

    The most important features come first: by the declared priority, else the longest or largest;
    they stay where there are more than a tile may hold. A chain of lines has no id, and only the
    columns that its lines agree in.
    """
    band = band_of(layer, at.z)
    return None if band is None else TileQuery(_sql(layer, band), at)


def _sql(layer: Layer, band: int) -> str:
    columns = "".join(f", {text_of(layer, c.name)}" for c in layer.tile_columns)
    raw = "".join(f", {ident(c.name)}" for c in layer.tile_columns)
    order = ", ".join([*important(layer), '"#size" DESC', "fid"])
    return f"""
        SELECT (SELECT revision FROM quartier.public_state WHERE layer_id = {literal(layer.id)})
                   AS revision,
               ST_AsMVT("#m", {literal(layer.id)}, {EXTENT}, 'geom', 'fid') AS tile,
               count(*) > {MAX_FEATURES} AS truncated
        FROM (
            SELECT nullif(greatest(fid, 0), 0) AS fid,
                   ST_AsMVTGeom(geom, (SELECT ST_TileEnvelope($1, $2, $3)::box2d),
                                {EXTENT}, {BUFFER}, true) AS geom{columns}
            FROM (
                SELECT fid, geom{raw}
                FROM {shapes_table(layer)}
                WHERE "#band" = {band}
                  AND geom && ST_TileEnvelope($1, $2, $3, margin => {BUFFER_FRACTION})
                ORDER BY {order}
                LIMIT {MAX_FEATURES + 1}
            ) r
        ) AS "#m" -- an alias that no declared column can have"""


def text_of(layer: Layer, name: str, row: str = "r") -> str:
    """A column of `row` as MVT can hold it, under its name."""
    value = f"{row}.{ident(name)}"
    if layer.column(name).type in TEXT_TYPES:
        value += "::text"
    return f"{value} AS {ident(name)}"


def important(layer: Layer, row: str = "") -> list[str]:
    """The declared priority as ORDER BY lists it."""
    return [
        f"{row}{ident(name.removeprefix('-'))}"
        f" {'DESC' if name.startswith('-') else 'ASC'} NULLS LAST"
        for name in layer.priority
    ]
