"""The document at `/api`: OpenAPI 3.0.3, shaped for what OGC clients read in it.

QGIS and GDAL look for the path of a collection by its very name, and for its columns among the
parameters. FastAPI's own document, of everything there is, stays at `/openapi.json`.
"""

from __future__ import annotations

from typing import Any

from api.forms import OPENAPI, SCHEMA
from api.links import JSON
from api.openapi_parts import (
    ABOUT_FACETS,
    COLLECTIONS,
    FACET_PARAMETERS,
    FEATURE,
    FEATURES,
    GROUP_PARAMETERS,
    GROUPS,
    ITEM_PARAMETERS,
    PAGE,
    PARAMETERS,
    RESPONSES,
    SEARCH,
    Schema,
    answers,
    as_json,
    found,
    parameter,
    schema,
    simple_queryables,
)
from api.openapi_schemas import SCHEMAS
from api.tileset_documents import MVT, TMS_ID
from api.web.words import DEFAULT, words
from layers.catalog import Catalog
from layers.columns import in_language
from layers.model import Layer

VERSION = "0.1.0"
ANY_COLLECTION = "{collectionId}"
CONTENT_CRS = {"Content-Crs": "the system of the coordinates, in angle brackets"}
TAGS = {
    "capabilities": "What this server is and keeps to",
    "collections": "What is published",
    "features": "The features of a collection",
    "schemas": "What features have, are asked for by and are sorted by",
    "tiles": "Vector tiles of a collection",
}


def document(catalog: Catalog, base_url: str) -> dict[str, Any]:
    said = words(DEFAULT)
    paths = general_paths()
    for published in catalog.layers.values():
        paths |= collection_paths(published.id, published.layer)
    return {
        "openapi": "3.0.3",
        "info": {
            "title": said["portal"],
            "description": f"{said['portal_lead']} Everything there is, for map clients and sites"
            f" too, stands in {base_url}/openapi.json.",
            "version": VERSION,
        },
        "servers": [{"url": base_url}],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": paths,
        "components": {
            "parameters": PARAMETERS,
            "responses": RESPONSES,
            "schemas": SCHEMAS | {"search": SEARCH},
        },
    }


def operation(
    tag: str, name: str, summary: str, ok: Schema, *parameters: Schema, more: tuple[str, ...] = ()
) -> Schema:
    """A GET; `more` are statuses besides those that any may answer."""
    return {
        "get": {
            "tags": [tag],
            "operationId": name,
            "summary": summary,
            "parameters": list(parameters),
            "responses": answers(ok, *more),
        }
    }


def general_paths() -> dict[str, Schema]:
    f, f_json = parameter("f"), parameter("f-json")
    here, tiles = "capabilities", "tiles"
    return {
        "/": operation(
            here, "getLandingPage", "Where to begin",
            found("links", as_json("landingPage"), PAGE), f,
        ),
        "/conformance": operation(
            here, "getConformance", "The classes of OGC standards that are kept to",
            found("their URIs", as_json("confClasses"), PAGE), f,
        ),
        "/api": operation(
            here, "getApi", "This document",
            found("OpenAPI 3.0", (OPENAPI, {"type": "object"}), PAGE), f,
        ),
        "/collections": operation(
            "collections", "getCollections", "Every collection",
            found("collections", as_json("collections"), PAGE), f,
        ),
        "/tileMatrixSets": operation(
            tiles, "getTileMatrixSetsList", "The tile matrix sets there are",
            found("tile matrix sets", as_json("tileMatrixSets")), f_json,
        ),
        "/tileMatrixSets/{tileMatrixSetId}": operation(
            tiles, "getTileMatrixSet", "A tile matrix set",
            found("its matrices", as_json("tileMatrixSet")), parameter("tileMatrixSetId"), f_json,
        ),
    }  # fmt: skip


def collection_paths(collection_id: str, layer: Layer | None = None) -> dict[str, Schema]:
    """The paths of a collection, or of any where no layer is given."""
    title = "a collection" if layer is None else in_language(layer.title)
    base = f"/collections/{collection_id}"
    called = "" if layer is None else f"{collection_id}."
    paths = {
        base: operation(
            "collections", f"{called}getCollection", f"{title}: extent, columns, licence, links",
            found("the collection", as_json("collection"), PAGE), parameter("f"),
        ),
        f"{base}/items": _items(called, title, layer),
        f"{base}/items/{{featureId}}": operation(
            "features", f"{called}getFeature", f"{title}: one feature",
            found("the feature", *FEATURE, **CONTENT_CRS),
            parameter("featureId"), parameter("crs"), parameter("f-item"),
        ),
        f"{base}/search": _search(called, title),
        f"{base}/aggregate": operation(
            "features", f"{called}aggregate", f"{title}: groups of features, counted and measured",
            found("groups", *GROUPS), *GROUP_PARAMETERS.values(), more=("413", "422"),
        ),
        f"{base}/facets": operation(
            "features", f"{called}facets", f"{title}: how often each value occurs",
            found("values and their counts", (JSON, ABOUT_FACETS)), *FACET_PARAMETERS.values(),
            more=("413", "422"),
        ),
    }  # fmt: skip
    for name, about in (
        ("queryables", "what features are asked for by"),
        ("sortables", "what features are sorted by"),
        ("schema", "what features have"),
    ):
        paths[f"{base}/{name}"] = operation(
            "schemas", f"{called}get{name.capitalize()}", f"{title}: {about}",
            found("a JSON Schema", as_json("jsonSchema", SCHEMA), PAGE), parameter("f"),
        )  # fmt: skip
    if layer is None or layer.has_geometry:
        paths |= _tiles(base, called, title)
    return paths if layer is not None else _for_any(paths)


def _items(called: str, title: str, layer: Layer | None) -> Schema:
    named = [parameter(name) for name in ITEM_PARAMETERS]
    own = [] if layer is None else simple_queryables(layer)
    return operation(
        "features", f"{called}getFeatures", f"{title}: features, a page at a time",
        found("features", *FEATURES, **CONTENT_CRS), *named, parameter("f-items"), *own,
        more=("413", "422"),
    )  # fmt: skip


def _search(called: str, title: str) -> Schema:
    asked = operation(
        "features", f"{called}search", f"{title}: features, asked for by a body that may be long",
        found("features", *COLLECTIONS, **CONTENT_CRS), more=("413", "422"),
    )["get"]  # fmt: skip
    body = {"application/json": {"schema": schema("search")}}
    about = "the parameters of items as members of an object"
    return {"post": asked | {"requestBody": {"description": about, "content": body}}}


def _tiles(base: str, called: str, title: str) -> dict[str, Schema]:
    tile = found("the tile", (MVT, {"type": "string", "format": "binary"}))
    at = [parameter(name) for name in ("tileMatrix", "tileRow", "tileCol")]
    get_tile = operation(
        "tiles", f"{called}collection.vector.getTile", f"{title}: a vector tile",
        tile, *at, parameter("f-tile"),
    )  # fmt: skip
    get_tile["get"]["responses"]["204"] = {"$ref": "#/components/responses/NoContent"}
    return {
        f"{base}/tiles": operation(
            "tiles", f"{called}collection.vector.getTileSetsList", f"{title}: tilesets",
            found("tilesets", as_json("tileSets")), parameter("f-json"),
        ),
        f"{base}/tiles/{TMS_ID}": operation(
            "tiles", f"{called}collection.vector.getTileSet", f"{title}: the tileset",
            found("the tileset", as_json("tileSet")), parameter("f-json"),
        ),
        f"{base}/tiles/{TMS_ID}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}": get_tile,
    }  # fmt: skip


def _for_any(paths: dict[str, Schema]) -> dict[str, Schema]:
    """Paths of any collection, which its id is a parameter of."""
    which = {
        "name": "collectionId", "in": "path", "required": True, "schema": {"type": "string"},
        "description": "the id of a collection",
    }  # fmt: skip
    for methods in paths.values():
        for each in methods.values():
            each["parameters"].insert(0, which)
    return paths
