"""A feature as a line of text, written by PostgreSQL: half as much again as json_agg manages.

Each is an expression over a row `t` that has `fid`, the layer's columns and `geom`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from layers.columns import ColumnType, GeometryType
from layers.crs import CRS84
from layers.feature_query import FeatureQuery
from layers.sql import ident

PIXELS = 512  # of a tile's side, as maps draw it
PROPERTIES = "#properties"  # an alias that no declared column can have
PLAIN = (  # values whose text never needs quotes
    ColumnType.INTEGER, ColumnType.NUMBER, ColumnType.BOOLEAN, ColumnType.DATE, ColumnType.TIME,
)  # fmt: skip


def shape_of(query: FeatureQuery) -> str:
    """The geometry as it was asked for, in its system and order of axes."""
    shape = "t.geom"
    if query.zoom is not None and query.layer.geometry is not GeometryType.POINT:
        shape = f"ST_Simplify({shape}, {360 / (PIXELS * 2**query.zoom) / 4}, true)"
    if query.crs.srid != CRS84.srid:
        shape = f"ST_Transform({shape}, {query.crs.srid})"
    if query.layer.geometry in (GeometryType.POLYGON, GeometryType.MIXED):
        shape = f"ST_ForcePolygonCCW({shape})"
    return f"ST_FlipCoordinates({shape})" if query.crs.is_flipped else shape


def geojson(query: FeatureQuery) -> str:
    """A feature of GeoJSON (RFC 7946)."""
    geometry = "'null'"
    if query.has_geometry:
        geometry = f"coalesce(ST_AsGeoJSON({shape_of(query)}, {query.decimals}, 0), 'null')"
    properties = "'{}'"
    if query.names:
        named = ", ".join(f"t.{ident(name)}" for name in query.names)
        whole = ident(PROPERTIES)
        properties = f"(SELECT row_to_json({whole}) FROM (SELECT {named}) AS {whole})"
    return (
        f"""concat('{{"type":"Feature","id":', t.fid, ',"geometry":', {geometry},"""
        f""" ',"properties":', {properties}, '}}')"""
    )


def csv_header(query: FeatureQuery) -> str:
    return ",".join(("fid", *query.names, *csv_places(query)))


def csv_places(query: FeatureQuery) -> tuple[str, ...]:
    """The columns that tell the place: points have two numbers, shapes well-known text."""
    if not query.has_geometry:
        return ()
    if query.layer.geometry is not GeometryType.POINT:
        return ("geometry",)
    return ("longitude", "latitude") if query.crs.srid == CRS84.srid else ("x", "y")


def csv(query: FeatureQuery) -> str:
    """A line of CSV (RFC 4180) without its end. A missing value is nothing, an empty text is ""."""
    columns = {column.name: column for column in query.layer.columns}
    cells = ["t.fid"]
    for name in query.names:
        value = f"t.{ident(name)}"
        if columns[name].type is ColumnType.DATETIME:
            cells.append(f"trim('\"' FROM to_jsonb({value})::text)")  # ISO 8601, as in JSON
        elif columns[name].type in PLAIN:
            cells.append(f"{value}::text")  # true and false, which concat would write as t and f
        else:
            cells.append(_quoted(f"{value}::text"))
    every = ", ',', ".join([*cells, *_places(query)])
    return f"concat({every})"


def _places(query: FeatureQuery) -> list[str]:
    if not query.has_geometry:
        return []
    shape, digits = shape_of(query), query.decimals
    if query.layer.geometry is not GeometryType.POINT:
        return [f"'\"' || ST_AsText({shape}, {digits}) || '\"'"]
    x, y = ("ST_Y", "ST_X") if query.crs.is_flipped else ("ST_X", "ST_Y")
    return [f"trim_scale(round({axis}({shape})::numeric, {digits}))" for axis in (x, y)]


def _quoted(text: str) -> str:
    needs = f"""{text} ~ '[",\\r\\n]' OR {text} = ''"""
    doubled = f"""replace({text}, '"', '""')"""
    return f"""CASE WHEN {needs} THEN '"' || {doubled} || '"' ELSE {text} END"""


@dataclass(frozen=True, slots=True)
class Form:
    """How features are written: each as a line, and what stands between two."""

    line: Callable[[FeatureQuery], str]
    separator: str


def _record(query: FeatureQuery) -> str:
    """A feature behind the mark that begins a text of a sequence (RFC 8142)."""
    return f"chr(30) || {geojson(query)}"


GEOJSON = Form(geojson, ",")
GEOJSON_LINES = Form(geojson, "\n")
GEOJSON_SEQUENCE = Form(_record, "\n")
CSV = Form(csv, "\n")
