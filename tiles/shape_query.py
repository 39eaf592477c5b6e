"""The statement that makes a tile of a layer's overview of lines and polygons. Pure."""

from __future__ import annotations

from layers.model import Layer
from layers.shapes import band_of, shapes_table
from layers.sql import ident, literal
from tiles.address import TileAddress
from tiles.query import (
    BUFFER,
    COUNTS,
    EXTENT,
    EXTENT_DRAWN,
    MAX_FEATURES,
    Cut,
    TileQuery,
    columns_in,
    important,
    revision_of,
    truly_in_tile,
    value_of,
)

EVERYTHING = Cut(MAX_FEATURES + 1)


def shape_query(
    layer: Layer, name: str, at: TileAddress, cut: Cut = EVERYTHING, *, counts: bool = False
) -> TileQuery | None:
    """The query for a tile that is made of the overview, or None where zoom `at.z` shows the table
    itself; its text depends on the layer and the band of zooms alone.

    The most important features come first: by the declared priority, else the longest or largest;
    they stay where a budget cuts. `counts`: say too how many there are. A chain of lines has no
    id, and only the columns that its lines agree in.
    """
    band = band_of(layer, at.z)
    return None if band is None else TileQuery(_sql(layer, name, band, cut, counts), at)


def _sql(layer: Layer, name: str, band: int, cut: Cut, counts: bool) -> str:
    columns = "".join(f", {value_of(column)}" for column in columns_in(layer, cut))
    raw = "".join(f", {ident(column.name)}" for column in columns_in(layer, cut))
    found = f"""FROM {shapes_table(layer)}
                WHERE "#band" = {band}
                  AND geom && {EXTENT_DRAWN}{truly_in_tile(layer, "geom") if counts else ""}"""
    matched = f", (SELECT count(*) {found}) AS matched" if counts else ""
    return f"""
        SELECT {revision_of(layer)} AS revision,
               ST_AsMVT("#m", {literal(name)}, {EXTENT}, 'geom', 'fid') AS tile,
               {COUNTS}{matched}
        FROM (
            SELECT nullif(greatest(fid, 0), 0) AS fid,
                   ST_AsMVTGeom(geom, (SELECT ST_TileEnvelope($1, $2, $3)::box2d),
                                {EXTENT}, {BUFFER}, true) AS geom{columns}
            FROM (
                SELECT fid, geom{raw}
                {found}
                ORDER BY {", ".join([*important(layer), '"#size" DESC', "fid"])}
                LIMIT {cut.features}
            ) r
        ) AS "#m" -- an alias that no declared column can have"""
