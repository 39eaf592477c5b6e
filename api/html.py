"""The pages of the API: what programs read as JSON, for people, at the same addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from fastapi import Request, Response

from api.conformance import PARTS
from api.forms import under_etag
from api.links import with_parameters
from api.openapi import ANY_COLLECTION, collection_paths, general_paths
from api.openapi_parts import PARAMETERS, Schema
from api.pages import get_reader, render
from api.web.describe import Reader, describe_layer
from api.web.words import words
from layers.catalog import Catalog, PublishedLayer
from layers.columns import Column, ColumnType, in_language

NUMBERS = (ColumnType.INTEGER, ColumnType.NUMBER)
CLOSE = 17  # the zoom at which one feature is shown


def conformance_page(request: Request) -> Response:
    return _page(request, "conformance.html", {"parts": PARTS})


def collections_page(request: Request, catalog: Catalog, reader: Reader) -> Response:
    layers = [describe_layer(each, reader) for each in catalog.layers.values()]
    return _page(request, "collections.html", {"layers": layers})


def collection_page(
    request: Request, published: PublishedLayer, collection: Mapping[str, Any], reader: Reader
) -> Response:
    told = {"extent": {}, "crs": (), **collection}
    shown = {"layer": describe_layer(published, reader), "collection": told}
    return _page(request, "collection.html", shown)


def schema_page(
    request: Request, published: PublishedLayer, name: str, schema: Mapping[str, Any]
) -> Response:
    """`name` is queryables, sortables or schema."""
    properties = [
        {
            "name": property_name,
            "title": told["title"] if told["title"] != property_name else "",
            "description": told.get("description"),
            "type": _type(told),
            "unit": told.get("x-ogc-unit"),
            "role": told.get("x-ogc-role", ""),
        }
        for property_name, told in schema["properties"].items()
    ]
    layer = describe_layer(published, get_reader(request))
    return _page(request, "schema.html", {"layer": layer, "name": name, "properties": properties})


def api_page(request: Request, catalog: Catalog) -> Response:
    """Operations of collections stand there once, for any of them."""
    paths = general_paths() | collection_paths(ANY_COLLECTION)
    operations = [
        {
            "path": path,
            "method": method.upper(),
            "summary": told["summary"],
            "parameters": [_parameter(each) for each in told["parameters"]],
            "answers": sorted(told["responses"]),
        }
        for path, methods in paths.items()
        for method, told in methods.items()
    ]
    return _page(request, "api.html", {"operations": operations})


# Features ----------------------------------------------------------------------------------------


class Shown(NamedTuple):
    """A value as a cell of a table has it."""

    text: str
    is_number: bool = False
    href: str | None = None


def items_page(
    request: Request,
    published: PublishedLayer,
    features: Sequence[Mapping[str, Any]],
    links: Sequence[Mapping[str, str]],
    *,
    matched: int | None = None,
) -> Response:
    """A page of features as a table. Of `links` those whose rel is next and first are offered,
    as pages; columns that no feature has are left out.
    """
    reader = get_reader(request)
    layer = describe_layer(published, reader)
    columns = [
        column
        for column in published.layer.columns
        if not features or any(column.name in (each["properties"] or {}) for each in features)
    ]
    shown = {
        "layer": layer,
        "columns": [_heading(column, reader.language) for column in columns],
        "rows": [_row(feature, columns, layer, reader) for feature in features],
        "matched": matched,
        "following": _linked(links, "next"),
        "first": _linked(links, "first"),
    }
    return _page(request, "items.html", shown, "geojson")


def item_page(request: Request, published: PublishedLayer, feature: Mapping[str, Any]) -> Response:
    """One feature, with its place on the map where its coordinates are degrees."""
    reader = get_reader(request)
    layer = describe_layer(published, reader)
    properties = feature["properties"] or {}
    columns = [column for column in published.layer.columns if column.name in properties]
    row = _row(feature, columns, layer, reader)
    headings = [_heading(column, reader.language) for column in columns]
    geometry = feature.get("geometry")
    shown = {
        "layer": layer,
        "row": row,
        "fields": list(zip(headings, row["cells"], strict=True)),
        "geometry": geometry["type"] if geometry else None,
        "on_the_map": _on_the_map(geometry, layer),
    }
    return _page(request, "item.html", shown, "geojson")


def _heading(column: Column, language: str) -> dict[str, Any]:
    return {
        "label": in_language(column.label or column.name, language),
        "unit": column.unit,
        "is_number": column.type in NUMBERS,
    }


def _row(
    feature: Mapping[str, Any],
    columns: Sequence[Column],
    layer: Mapping[str, Any],
    reader: Reader,
) -> dict[str, Any]:
    said, properties = words(reader.language), feature["properties"] or {}
    return {
        "fid": feature["id"],
        "address": f"{layer['features']}/{feature['id']}?f=html",
        "cells": [_shown(properties.get(column.name), said) for column in columns],
    }


def _shown(value: object, said: Mapping[str, Any]) -> Shown:
    if value is None:
        return Shown("")
    if isinstance(value, bool):
        return Shown(said["yes"] if value else said["no"])
    if isinstance(value, int | float):
        return Shown(str(value), is_number=True)
    if isinstance(value, str):
        is_address = value.startswith(("https://", "http://")) and " " not in value
        return Shown(value, href=value if is_address else None)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return Shown(", ".join(value))
    return Shown(orjson.dumps(value).decode())


def _linked(links: Sequence[Mapping[str, str]], rel: str) -> str | None:
    return next((link["href"] for link in links if link["rel"] == rel), None)


def _on_the_map(geometry: Mapping[str, Any] | None, layer: Mapping[str, Any]) -> str | None:
    """The map at the first of the coordinates, which stand in the order of CRS84."""
    place = next(_positions(geometry), None) if geometry else None
    if place is None or abs(place[0]) > 180 or abs(place[1]) > 90:
        return None
    return f"{layer['map_page']}#{CLOSE}/{place[1]}/{place[0]}"


def _positions(geometry: Mapping[str, Any]) -> Iterator[Sequence[float]]:
    for part in geometry.get("geometries", ()):
        yield from _positions(part)
    inner = geometry.get("coordinates") or ()
    while inner and isinstance(inner[0], list):
        inner = inner[0]
    if inner:
        yield inner


# What all of them share --------------------------------------------------------------------------


def _page(
    request: Request, template: str, shown: Mapping[str, Any], plain: str = "json"
) -> Response:
    """The page, with a link to what programs are given; `plain` is that form's name."""
    asked = {
        name: value
        for name, value in request.query_params.items()
        if name not in ("f", "lang", "theme")
    }
    alternate = with_parameters("", {**asked, "f": plain})
    page = render(request, template, get_reader(request), {"alternate": alternate, **shown})
    page.headers["vary"] = "Accept, Accept-Language"
    return under_etag(request, page)


def _parameter(told: Schema) -> dict[str, Any]:
    parameter = PARAMETERS[told["$ref"].rpartition("/")[2]] if "$ref" in told else told
    return {
        "name": parameter["name"],
        "where": parameter["in"],
        "description": parameter["description"],
        "type": _type(parameter["schema"]),
    }


def _type(told: Schema) -> str:
    """The type of a value in a few letters, as programmers write it."""
    if "enum" in told:
        return " | ".join(map(str, told["enum"]))
    kind = told.get("format") or told.get("type", "")
    if isinstance(kind, list):
        return " | ".join(kind)
    if kind == "array":
        return f"{_type(told['items'])}[]"
    return str(kind)
