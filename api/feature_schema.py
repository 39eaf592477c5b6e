"""Schemas of features (OGC API – Features – Part 5): what is returned, asked by, and sorted by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layers.columns import Column, ColumnType, GeometryType, in_language
from layers.model import Layer

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID, GEOMETRY = "fid", "geom"  # as queries name them
GEOMETRIES = {
    GeometryType.POINT: "geometry-point",
    GeometryType.LINE: "geometry-linestring-or-multilinestring",
    GeometryType.POLYGON: "geometry-polygon-or-multipolygon",
    GeometryType.MIXED: "geometry-any",
}
TYPES: dict[ColumnType, dict[str, Any]] = {
    ColumnType.TEXT: {"type": "string"},
    ColumnType.INTEGER: {"type": "integer"},
    ColumnType.NUMBER: {"type": "number"},
    ColumnType.BOOLEAN: {"type": "boolean"},
    ColumnType.DATE: {"type": "string", "format": "date"},
    ColumnType.DATETIME: {"type": "string", "format": "date-time"},
    ColumnType.TIME: {"type": "string", "pattern": r"^\d\d:\d\d:\d\d(\.\d+)?$"},
    ColumnType.JSON: {"type": ["array", "object", "string", "number", "boolean"]},
}
LIST: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
UCUM = {  # units as catalogues write them, and as UCUM does where that differs
    "°C": "Cel", "°": "deg", "m²": "m2", "km²": "km2", "m³": "m3", "ha": "har", "l": "L",
    "µg/m³": "ug/m3", "km/h": "km/h", "m/s": "m/s", "dB": "dB", "%": "%",
} | {unit: unit for unit in (
    "m", "cm", "mm", "km", "s", "min", "h", "d", "wk", "mo", "a", "g", "kg", "t", "L", "W", "kW",
    "MW", "Wh", "kWh", "MWh", "V", "A", "Hz", "Pa", "hPa", "lx", "lm", "Cel", "m2", "m3", "har",
)}  # fmt: skip


def returnables(layer: Layer, url: str, *languages: str) -> dict[str, Any]:
    """What features have; `url` is where the schema itself is found."""
    schema = _schema(layer, url, {**_place(layer), **_columns(layer, layer.columns, languages)},
                     languages)  # fmt: skip
    required = [column.name for column in layer.columns if column.required]
    if required and layer.privacy is None:  # which may leave any of them empty
        schema["required"] = required
    return schema


def queryables(layer: Layer, url: str, *languages: str) -> dict[str, Any]:
    """What features are asked for by. Nested values are left out, lists are not."""
    columns = [column for column in layer.columns if is_queryable(column)]
    properties = {**_place(layer), **_columns(layer, columns, languages)}
    return _schema(layer, url, properties, languages)


def sortables(layer: Layer, url: str, *languages: str) -> dict[str, Any]:
    """What features come in the order of: numbers, texts and times."""
    columns = [column for column in layer.columns if column.type is not ColumnType.JSON]
    return _schema(layer, url, _columns(layer, columns, languages), languages)


def is_queryable(column: Column) -> bool:
    return column.type is not ColumnType.JSON or column.separator is not None


def value_schema(column: Column) -> dict[str, Any]:
    """The type of a column's values, as JSON Schema says it."""
    return dict(LIST if column.separator is not None else TYPES[column.type])


def _schema(
    layer: Layer, url: str, properties: dict[str, Any], languages: tuple[str, ...]
) -> dict[str, Any]:
    identified = {ID: {"title": "Feature id", "type": "integer", "readOnly": True,
                       "x-ogc-role": "id"}, **properties}  # fmt: skip
    numbered = {
        name: {**told, "x-ogc-propertySeq": number}
        for number, (name, told) in enumerate(identified.items(), 1)
    }
    schema = {
        "$schema": DIALECT,
        "$id": url,
        "type": "object",
        "title": in_language(layer.title, *languages),
        "description": in_language(layer.description, *languages),
        "properties": numbered,
        "additionalProperties": False,
    }
    return {name: value for name, value in schema.items() if value != ""}


def _place(layer: Layer) -> dict[str, Any]:
    if not layer.has_geometry:
        return {}
    geometry = {
        "title": "Geometry",
        "format": GEOMETRIES[layer.geometry],
        "x-ogc-role": "primary-geometry",
    }
    return {GEOMETRY: geometry}


def _columns(layer: Layer, columns: Sequence[Column], languages: tuple[str, ...]) -> dict[str, Any]:
    roles = _roles(layer)
    return {column.name: _property(column, roles.get(column.name), languages) for column in columns}


def _property(column: Column, role: str | None, languages: tuple[str, ...]) -> dict[str, Any]:
    described = {"title": in_language(column.label or column.name, *languages)}
    if column.description:
        described["description"] = in_language(column.description, *languages)
    described |= value_schema(column)
    if column.unit is not None:
        described["x-ogc-unit"] = UCUM.get(column.unit, column.unit)
        if column.unit not in UCUM:
            described["x-ogc-unitLang"] = "text"
    if role is not None:
        described["x-ogc-role"] = role
    return described


def _roles(layer: Layer) -> dict[str, str]:
    """Roles of columns; a column has one, and time comes before the category."""
    roles = {layer.category: "type"} if layer.category else {}
    if layer.time is None:
        return roles
    if layer.time.end is None:
        return roles | {layer.time.start: "primary-instant"}
    return roles | {
        layer.time.start: "primary-interval-start",
        layer.time.end: "primary-interval-end",
    }
