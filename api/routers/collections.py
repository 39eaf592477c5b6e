"""`/collections`: layers and their features as GeoJSON, each answer with its revision."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from api.deps import (
    BaseUrlDep,
    CatalogDep,
    CountsDep,
    LayerDep,
    StoreDep,
    refuse_unknown_parameters,
)
from layers.catalog import PublishedLayer
from layers.columns import Column, in_language
from layers.errors import FeatureNotFound, QueryRefused, StoreUnavailable
from layers.history import MAX_CHANGES, DiffQuery, read_diff, read_past_page, resolve
from layers.provenance import read_privacy, read_provenance
from layers.read import MAX_LIMIT, FeaturePage, FeatureQuery, parse_bbox, read_feature, read_page

DEFAULT_LIMIT = 100
GEOJSON = "application/geo+json"
router = APIRouter(tags=["analysts"], dependencies=[Depends(refuse_unknown_parameters)])


def _json(content: object, media_type: str = "application/json") -> Response:
    return Response(orjson.dumps(content), media_type=media_type)


@router.get("/collections", summary="Every published layer")
async def get_collections(catalog: CatalogDep, base_url: BaseUrlDep) -> Response:
    described = [describe(layer, base_url) for layer in catalog.layers.values()]
    links = [_link("self", f"{base_url}/collections", "application/json")]
    return _json({"links": links, "collections": described})


@router.get("/collections/{collection_id}", summary="One layer: extent, columns, licence, links")
async def get_collection(layer: LayerDep, base_url: BaseUrlDep, store: StoreDep) -> Response:
    described = describe(layer, base_url)
    with suppress(StoreUnavailable):  # what is known of the layer itself is told without it
        described |= await read_provenance(store, layer.id)
        described |= await read_privacy(store, layer.layer)
    return _json(described)


def describe(published: PublishedLayer, base_url: str) -> dict[str, Any]:
    """A collection as OGC API Features has it, with what a reader of open data asks beside."""
    layer = published.layer
    here = f"{base_url}/collections/{layer.id}"
    described: dict[str, Any] = {
        "id": layer.id,
        "title": in_language(layer.title),
        "description": in_language(layer.description),
        "itemType": "feature",
        "geometry": layer.geometry,
        "theme": layer.theme,
        "keywords": layer.keywords,
        "publisher": layer.publisher,
        "contact": layer.contact,
        "licence": layer.licence,
        "attribution": layer.attribution,
        "timeZone": layer.time_zone,
        "revision": published.revision,
        "updated": published.changed_at.isoformat() if published.changed_at else None,
        "columns": [_column(column) for column in layer.columns],
        "links": [
            _link("self", here, "application/json"),
            _link("items", f"{here}/items", GEOJSON),
        ],
    }
    if layer.has_geometry:
        tiles = f"{base_url}/tiles/{layer.id}.json"
        described["links"].append(_link("tilejson", tiles, "application/json"))
        described["crs"] = ["http://www.opengis.net/def/crs/OGC/1.3/CRS84"]
    if published.extent is not None:
        crs = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
        described["extent"] = {"spatial": {"bbox": [list(published.extent)], "crs": crs}}
    return described


def _column(column: Column) -> dict[str, Any]:
    described = {
        "name": column.name,
        "type": column.type,
        "label": in_language(column.label) if column.label else None,
        "description": in_language(column.description) if column.description else None,
        "unit": column.unit,
    }
    return {name: value for name, value in described.items() if value is not None}


def _link(rel: str, href: str, media_type: str) -> dict[str, str]:
    return {"rel": rel, "href": href, "type": media_type}


async def feature_query(
    layer: LayerDep,
    bbox: Annotated[str | None, Query(description="west,south,east,north in degrees")] = None,
    limit: Annotated[
        int, Query(ge=1, le=MAX_LIMIT, description="features on a page")
    ] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(description="from the link `next`; opaque")] = None,
) -> FeatureQuery:
    """The question that the parameters ask; raises QueryRefused."""
    return FeatureQuery(
        layer=layer.layer,
        bbox=None if bbox is None else parse_bbox(bbox),
        limit=limit,
        after=_after(cursor),
    )


def _after(cursor: str | None) -> int:
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 17):
        raise QueryRefused("cursor", cursor, "use the link `next` of a page as it stands")
    return int(cursor or 0)


@router.get("/collections/{collection_id}/items", summary="Features, a page at a time")
async def list_items(  # noqa: PLR0913
    request: Request,
    query: Annotated[FeatureQuery, Depends(feature_query)],
    store: StoreDep,
    counts: CountsDep,
    base_url: BaseUrlDep,
    as_of: Annotated[
        str | None, Query(description="as the layer was: a revision, or an instant (RFC 3339)")
    ] = None,
) -> Response:
    if as_of is None:
        page = await read_page(store, query, counts)
    else:
        revision = await resolve(store, query.layer.id, "as_of", as_of)
        page = await read_past_page(store, query, revision)
    return Response(_collection(request, base_url, query, page), media_type=GEOJSON)


def _collection(request: Request, base_url: str, query: FeatureQuery, page: FeaturePage) -> bytes:
    """The features are texts already: only what stands around them is made here."""
    base = f"{base_url}/collections/{query.layer.id}/items"
    asked = {name: value for name, value in request.query_params.items() if name != "cursor"}
    links = [_link("self", _url(base, dict(request.query_params)), GEOJSON)]
    if page.next_after is not None:
        asked["cursor"] = str(page.next_after)
        links.append(_link("next", _url(base, asked), GEOJSON))
    around = {
        "numberMatched": page.matched,
        "numberReturned": len(page.features),
        "revision": page.revision,
        "links": links,
    }
    head = b'{"type":"FeatureCollection",' + orjson.dumps(around)[1:-1]
    return head + b',"features":[' + ",".join(page.features).encode() + b"]}"


def _url(base: str, parameters: dict[str, str]) -> str:
    return f"{base}?{urlencode(parameters)}" if parameters else base


@router.get("/collections/{collection_id}/diff", summary="What differs between two revisions")
async def get_diff(  # noqa: PLR0913
    layer: LayerDep,
    store: StoreDep,
    base_url: BaseUrlDep,
    since: Annotated[str, Query(description="a revision, or an instant (RFC 3339)")],
    until: Annotated[
        str | None, Query(description="a revision, or an instant; now without it")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_CHANGES, description="changes on a page")] = 100,
    cursor: Annotated[str | None, Query(description="from the link `next`; opaque")] = None,
) -> Response:
    first = await resolve(store, layer.id, "since", since)
    last = await resolve(store, layer.id, "until", until or "9999-12-31T23:59:59Z")
    if first > last:
        raise QueryRefused("since", since, f"is later than until, revision {last}")
    query = DiffQuery(layer=layer.layer, since=first, until=last, after=_after(cursor), limit=limit)
    found = await read_diff(store, query)
    here = f"{base_url}/collections/{layer.id}/diff"
    asked = {"since": str(first), "until": str(last), "limit": str(limit)}
    links = [_link("self", _url(here, asked), "application/json")]
    if found.next_after is not None:
        more = asked | {"cursor": str(found.next_after)}
        links.append(_link("next", _url(here, more), "application/json"))
    return _json({
        "layer": layer.id, "since": first, "until": last, "counts": found.counts,
        "changes": found.changes, "links": links,
    })  # fmt: skip


@router.get("/collections/{collection_id}/items/{fid}", summary="One feature")
async def get_item(fid: str, layer: LayerDep, store: StoreDep) -> Response:
    if not (fid.isascii() and fid.isdigit() and len(fid) < 17):
        raise FeatureNotFound(layer.id, fid)
    feature = await read_feature(store, layer.layer, int(fid))
    if feature is None:
        raise FeatureNotFound(layer.id, fid)
    return Response(feature, media_type=GEOJSON)
