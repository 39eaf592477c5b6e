"""Tilesets of layers as OGC API – Tiles has them, and the one tile matrix set there is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

import mercantile

from api.collection_json import REL, licence_url, padded, rfc3339
from api.feature_schema import value_schema
from api.links import JSON, link
from layers.catalog import Bounds, PublishedLayer
from layers.columns import ColumnType, GeometryType, in_language
from layers.crs import CRS84
from layers.model import Layer
from tiles.tilejson import WORLD

TMS_ID = "WebMercatorQuad"
TMS_URI = f"http://www.opengis.net/def/tilematrixset/OGC/1.0/{TMS_ID}"
TMS_CRS = "http://www.opengis.net/def/crs/EPSG/0/3857"
MVT = "application/vnd.mapbox-vector-tile"
DIMENSIONS = {GeometryType.POINT: 0, GeometryType.LINE: 1, GeometryType.POLYGON: 2}
ADDED = {"Number": "number", "Boolean": "boolean", "String": "string"}  # as TileJSON says them


class NoSuchTile(Exception):
    """There is no such tile matrix set, tileset or tile. Its text is shown."""


class Limits(NamedTuple):
    """The tiles of a matrix that a tileset has: rows from the north, both ends included."""

    min_row: int
    max_row: int
    min_column: int
    max_column: int

    def hold(self, row: int, column: int) -> bool:
        is_row = self.min_row <= row <= self.max_row
        return is_row and self.min_column <= column <= self.max_column


@lru_cache(maxsize=4096)
def limits_at(extent: Bounds | None, z: int) -> Limits:
    """Where an extent lies in the matrix of zoom `z`; all of it where the extent is not known."""
    west, south, east, north = extent or WORLD
    if west > east:
        west, east = WORLD.west, WORLD.east
    first = mercantile.tile(west, min(north, WORLD.north), z)
    last = mercantile.tile(east, max(south, WORLD.south), z)
    end = (1 << z) - 1
    return Limits(max(0, first.y), min(end, last.y), max(0, first.x), min(end, last.x))


def check_tileset(published: PublishedLayer, tile_matrix_set: str = TMS_ID) -> None:
    """Raises NoSuchTile where the layer has no tileset in the tile matrix set."""
    if not published.layer.has_geometry:
        raise NoSuchTile(f"layer {published.id!r} has no geometry, so it has no tiles")
    check_tile_matrix_set(tile_matrix_set)


def check_tile_matrix_set(name: str) -> None:
    if name != TMS_ID:
        raise NoSuchTile(f"no tile matrix set {name!r}; there is {TMS_ID}")


@cache
def web_mercator_quad() -> dict[str, Any]:
    """The definition of the tile matrix set (TMS 2.0); the library takes long to import."""
    import morecantile

    found: dict[str, Any] = morecantile.tms.get(TMS_ID).model_dump(mode="json", exclude_none=True)
    return found


def tile_matrix_sets(base_url: str) -> dict[str, Any]:
    here = f"{base_url}/tileMatrixSets"
    one = {
        "id": TMS_ID,
        "title": "Google Maps Compatible for the World",
        "uri": TMS_URI,
        "crs": TMS_CRS,
        "links": [link("self", f"{here}/{TMS_ID}", JSON)],
    }
    return {"links": [link("self", here, JSON)], "tileMatrixSets": [one]}


def tilesets(published: PublishedLayer, base_url: str) -> dict[str, Any]:
    """The list of a layer's tilesets, which has one."""
    here = f"{base_url}/collections/{published.id}"
    return {
        "links": [
            link("self", f"{here}/tiles", JSON),
            link(f"{REL}geodata", here, JSON),
        ],
        "tilesets": [_outline(published, base_url)],
    }


def tileset(published: PublishedLayer, base_url: str, fields: Mapping[str, str]) -> dict[str, Any]:
    """The tileset itself; `fields` is what its features may carry, in the words of TileJSON."""
    layer = published.layer
    here = f"{base_url}/collections/{layer.id}"
    document = _outline(published, base_url) | {
        "description": in_language(layer.description),
        "keywords": layer.keywords,
        "attribution": layer.attribution,
        "license": licence_url(layer.licence) or layer.licence,
        "version": str(published.revision),
        "layers": [_layer(layer, fields)],
    }
    if published.changed_at is not None:
        document["updated"] = rfc3339(published.changed_at)
    if published.extent is not None:
        document["boundingBox"] = _box(padded(published.extent))
    at = f"{here}/tiles/{TMS_ID}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}"
    document["links"] += [
        {**link("item", at, MVT, "Tiles"), "templated": True},
        link("tilejson", f"{base_url}/tiles/{layer.id}.json", JSON, "TileJSON"),
        link(f"{REL}geodata", here, JSON),
    ]
    return document


def _outline(published: PublishedLayer, base_url: str) -> dict[str, Any]:
    layer = published.layer
    here = f"{base_url}/collections/{layer.id}/tiles/{TMS_ID}"
    zooms = range(layer.minzoom, layer.maxzoom + 1)
    return {
        "title": in_language(layer.title),
        "dataType": "vector",
        "crs": TMS_CRS,
        "tileMatrixSetId": TMS_ID,
        "tileMatrixSetURI": TMS_URI,
        "tileMatrixSetLimits": [_limits(z, limits_at(published.extent, z)) for z in zooms],
        "mediaTypes": [MVT],
        "links": [
            link("self", here, JSON),
            link(f"{REL}tiling-scheme", f"{base_url}/tileMatrixSets/{TMS_ID}", JSON),
        ],
    }


def _limits(z: int, limits: Limits) -> dict[str, Any]:
    return {
        "tileMatrix": str(z),
        "minTileRow": limits.min_row,
        "maxTileRow": limits.max_row,
        "minTileCol": limits.min_column,
        "maxTileCol": limits.max_column,
    }


def _layer(layer: Layer, fields: Mapping[str, str]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "id": layer.id,
        "title": in_language(layer.title),
        "dataType": "vector",
        "minTileMatrix": str(layer.minzoom),
        "maxTileMatrix": str(layer.maxzoom),
        "propertiesSchema": {"type": "object", "properties": _properties(layer, fields)},
    }
    if layer.geometry in DIMENSIONS:
        described["geometryDimension"] = DIMENSIONS[layer.geometry]
    return described


def _properties(layer: Layer, fields: Mapping[str, str]) -> dict[str, Any]:
    properties: dict[str, Any] = {name: {"type": ADDED[kind]} for name, kind in fields.items()}
    for column in layer.tile_columns:
        if column.type is not ColumnType.JSON:  # which tiles hold as texts
            properties[column.name] = value_schema(column)
        properties[column.name]["title"] = in_language(column.label or column.name)
    return properties


def _box(extent: Bounds) -> dict[str, Any]:
    west, south, east, north = extent
    return {"lowerLeft": [west, south], "upperRight": [east, north], "crs": CRS84.uri}
