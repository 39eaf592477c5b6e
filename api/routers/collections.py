"""`/collections`: what is published, layer by layer, and the schemas of its features."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Request, Response

from api import html
from api.collection_json import describe
from api.deps import BaseUrlDep, CatalogDep, LayerDep, StoreDep
from api.everything_docs import answering
from api.feature_schema import queryables, returnables, sortables
from api.forms import EITHER, HTML, SCHEMA, PageDep, SchemaPageDep, json_answer
from api.links import JSON, link
from api.pages import ReaderDep
from layers.catalog import Catalog, PublishedLayer
from layers.errors import StoreUnavailable
from layers.provenance import read_privacy, read_provenance

router = APIRouter(tags=["analysts"])
OF_SCHEMAS = answering(SCHEMA, HTML)


@router.get("/collections", summary="Every published layer", responses=EITHER)
async def get_collections(
    request: Request, is_page: PageDep, catalog: CatalogDep, reader: ReaderDep, base_url: BaseUrlDep
) -> Response:
    if is_page:
        return html.collections_page(request, catalog, reader)
    return json_answer(request, await asyncio.to_thread(_collections, catalog, base_url))


def _collections(catalog: Catalog, base_url: str) -> dict[str, Any]:
    here = f"{base_url}/collections"
    links = [link("self", here, JSON), link("alternate", f"{here}?f=html", HTML)]
    described = [describe(layer, base_url) for layer in catalog.layers.values()]
    return {"links": links, "collections": described}


@router.get(
    "/collections/{collection_id}",
    summary="One layer: extent, columns, licence, links",
    responses=EITHER,
)
async def get_collection(  # noqa: PLR0913
    request: Request,
    is_page: PageDep,
    layer: LayerDep,
    reader: ReaderDep,
    base_url: BaseUrlDep,
    store: StoreDep,
) -> Response:
    if is_page:
        described = await asyncio.to_thread(describe, layer, base_url, reader.language)
        return html.collection_page(request, layer, described, reader)
    described = await asyncio.to_thread(describe, layer, base_url)
    with suppress(StoreUnavailable):  # what is known of the layer itself is told without it
        described |= await read_provenance(store, layer.id)
        described |= await read_privacy(store, layer.layer)
    return json_answer(request, described)


class SchemaAsked(NamedTuple):
    """Of which layer a schema is asked for, and by whom."""

    request: Request
    is_page: bool
    published: PublishedLayer
    language: str
    base_url: str


async def get_schema_asked(
    request: Request,
    is_page: SchemaPageDep,
    layer: LayerDep,
    reader: ReaderDep,
    base_url: BaseUrlDep,
) -> SchemaAsked:
    return SchemaAsked(request, is_page, layer, reader.language, base_url)


SchemaAskedDep = Annotated[SchemaAsked, Depends(get_schema_asked)]


@router.get(
    "/collections/{collection_id}/queryables",
    summary="What features are asked for by",
    response_class=Response,
    responses=OF_SCHEMAS,
)
async def get_queryables(asked: SchemaAskedDep) -> Response:
    return _schema("queryables", queryables, asked)


@router.get(
    "/collections/{collection_id}/sortables",
    summary="What features are sorted by",
    response_class=Response,
    responses=OF_SCHEMAS,
)
async def get_sortables(asked: SchemaAskedDep) -> Response:
    return _schema("sortables", sortables, asked)


@router.get(
    "/collections/{collection_id}/schema",
    summary="What features have",
    response_class=Response,
    responses=OF_SCHEMAS,
)
async def get_schema(asked: SchemaAskedDep) -> Response:
    return _schema("schema", returnables, asked)


def _schema(name: str, build: Callable[..., dict[str, Any]], asked: SchemaAsked) -> Response:
    """The schema, whose `$id` is its own address without parameters."""
    url = f"{asked.base_url}/collections/{asked.published.id}/{name}"
    layer = asked.published.layer
    if asked.is_page:
        schema = build(layer, url, asked.language)
        return html.schema_page(asked.request, asked.published, name, schema)
    return json_answer(asked.request, build(layer, url), SCHEMA)
