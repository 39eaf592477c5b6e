"""`/collections/{id}/items` and `/diff`: the features of a layer, each answer with its revision."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from api.deps import BaseUrlDep, CountsDep, LayerDep, StoreDep, refuse_unknown_parameters
from api.links import GEOJSON, as_json, link, with_parameters
from layers.errors import FeatureNotFound, QueryRefused
from layers.history import MAX_CHANGES, DiffQuery, read_diff, read_past_page, resolve
from layers.read import MAX_LIMIT, FeaturePage, FeatureQuery, parse_bbox, read_feature, read_page

DEFAULT_LIMIT = 100
router = APIRouter(tags=["analysts"], dependencies=[Depends(refuse_unknown_parameters)])


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
    links = [link("self", with_parameters(base, dict(request.query_params)), GEOJSON)]
    if page.next_after is not None:
        asked["cursor"] = str(page.next_after)
        links.append(link("next", with_parameters(base, asked), GEOJSON))
    around = {
        "numberMatched": page.matched,
        "numberReturned": len(page.features),
        "revision": page.revision,
        "links": links,
    }
    head = b'{"type":"FeatureCollection",' + orjson.dumps(around)[1:-1]
    return head + b',"features":[' + ",".join(page.features).encode() + b"]}"


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
    links = [link("self", with_parameters(here, asked), "application/json")]
    if found.next_after is not None:
        more = asked | {"cursor": str(found.next_after)}
        links.append(link("next", with_parameters(here, more), "application/json"))
    return as_json({
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
