"""`/collections/{id}/items` and `/search`: features, each answer with its revision."""

from __future__ import annotations

import reprlib
from dataclasses import replace
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from api import feature_docs
from api.deps import BaseUrlDep, CountsDep, LayerDep, StoreDep
from api.feature_answers import FORMS, LINES, Asking, feature_collection, lines
from api.feature_asking import address_of, features_asked, unchanged
from api.feature_params import Wanted, read_asked
from api.feature_streams import Exports, stream_flatgeobuf, stream_lines
from api.head import WITHOUT_BODY
from api.html import item_page, items_page
from api.links import link
from api.negotiate import chosen
from api.packed import packed
from layers.catalog import PublishedLayer
from layers.errors import FeatureNotFound, QueryRefused
from layers.read import Counts, read_feature, read_page
from layers.store import Store

router = APIRouter(tags=["analysts"])
ITEM_PARAMETERS = (*feature_docs.OF_ONE, "f")
ITEM_FORMS = {name: FORMS[name] for name in ("geojson", "json", "html")}
JSON_FORMS = {name: FORMS[name] for name in ("geojson", "json")}


@router.get(
    "/collections/{collection_id}/items",
    summary="Features, a page at a time",
    openapi_extra=feature_docs.ITEMS,
    responses=feature_docs.RESPONSES,
)
async def list_items(
    request: Request, layer: LayerDep, store: StoreDep, counts: CountsDep
) -> Response:
    asked = read_asked(request.query_params.multi_items(), layer)
    form = chosen(FORMS, asked.get("f"), request.headers.get("accept"))
    asking, said = await _asking(request, layer, asked, form)
    if form != "html" and (held := await unchanged(request, asking)) is not None:
        return held
    if form == "html":
        page = await _page(asking, store, counts)
        features = orjson.loads(b"[" + page.body + b"]")
        return items_page(request, layer, features, asking.links(page), matched=page.matched)
    if form == "fgb" or (form in LINES and said.limit is None and asking.query.after is None):
        return await _whole(request, asking, said, store)
    page = await _page(asking, store, counts)
    headers = asking.headers(page.revision)
    if form in LINES:
        if (following := asking.next_url(page)) is not None:
            headers["link"] = f'<{following}>; rel="next"'
        body = lines(asking, page.body, is_first=asking.query.after is None)
        return _packed(request, asking, body, headers)
    return _packed(request, asking, feature_collection(asking, page), headers)


def _packed(request: Request, asking: Asking, body: bytes, headers: dict[str, str]) -> Response:
    return packed(request, body, headers | {"content-type": FORMS[asking.form]})


async def _asking(
    request: Request, layer: PublishedLayer, asked: dict[str, Any], form: str, body: bytes = b""
) -> tuple[Asking, Wanted]:
    said = await features_asked(request, layer, asked, body)
    return Asking(layer, address_of(request, layer, "items"), asked, form, said.query), said


async def _page(asking: Asking, store: Store, counts: Counts) -> Any:
    form = LINES.get(asking.form)
    expected = asking.published.revision
    if form is None:
        return await read_page(store, asking.query, counts, expected=expected)
    return await read_page(store, asking.query, counts, form, expected=expected)


async def _whole(request: Request, asking: Asking, said: Wanted, store: Store) -> Response:
    """All features that match, however many: a file that is made while it is sent."""
    exports: Exports = request.state.exports
    query = asking.query
    if said.limit is None and query.after is None:
        query = replace(query, limit=None)
    every = replace(asking, query=query)
    if request.scope.get(WITHOUT_BODY):
        return _only_headers(every)
    takes_gzip = "gzip" in request.headers.get("accept-encoding", "")
    if asking.form == "fgb":
        return await stream_flatgeobuf(every, store, exports)
    return await stream_lines(every, store, exports, packed=takes_gzip)


def _only_headers(asking: Asking) -> Response:
    """What a file's headers would be, without making it: its length is not known before."""
    headers = asking.headers(asking.published.revision) | {"content-type": FORMS[asking.form]}
    answer = Response(headers=headers)
    del answer.headers["content-length"]
    return answer


@router.post(
    "/collections/{collection_id}/search",
    summary="The same with a body, for filters that are too long for an address",
    openapi_extra=feature_docs.SEARCH,
    responses=feature_docs.RESPONSES,
)
async def search_items(
    request: Request, layer: LayerDep, store: StoreDep, counts: CountsDep, base_url: BaseUrlDep
) -> Response:
    if request.query_params:
        name, value = next(iter(request.query_params.items()))
        raise QueryRefused(name, value, "parameters of a search stand in its body")
    body = await _body(request, layer)
    asked = {name: _as_words(name, value) for name, value in body.items()}
    form = chosen(JSON_FORMS, asked.get("f"), request.headers.get("accept"))
    asking, _ = await _asking(request, layer, asked, form, await request.body())
    page = await _page(asking, store, counts)
    here = f"{base_url}/collections/{layer.id}/search"
    links: list[dict[str, Any]] = [link("self", here, FORMS[form])]
    if page.following is not None:
        following = {**body, "cursor": page.following.encode()}
        links.append({**link("next", here, FORMS[form]), "method": "POST", "body": following})
    headers = asking.headers(page.revision)
    del headers["etag"]
    return _packed(request, asking, feature_collection(asking, page, links), headers)


async def _body(request: Request, layer: PublishedLayer) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as exc:
        raise QueryRefused("body", "", f"is no JSON: {exc}") from None
    if not isinstance(body, dict):
        raise QueryRefused("body", "", 'is no object of parameters, such as {"limit": 10}')
    plain = {name: value for name, value in body.items() if value is not None}
    for name, value in plain.items():
        listed = isinstance(value, list) and not any(isinstance(v, dict | list) for v in value)
        if not (isinstance(value, str | int | float) or listed or name == "filter"):
            raise QueryRefused(
                name, reprlib.repr(value)[:60], "write a text, a number or a list of them"
            )
    known = read_asked([(name, "") for name in plain], layer)
    return {name: plain[name] for name in known}


def _as_words(name: str, value: Any) -> Any:
    """A value of a body as an address would have it; a filter stays what it is."""
    if name == "filter" and not isinstance(value, bool | int | float):
        return value
    if isinstance(value, list):
        return ",".join(str(_as_words("", each)) for each in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


@router.get(
    "/collections/{collection_id}/items/{fid}",
    summary="One feature",
    openapi_extra=feature_docs.ITEM,
    responses=feature_docs.RESPONSES,
)
async def get_item(request: Request, fid: str, layer: LayerDep, store: StoreDep) -> Response:
    asked = read_asked(request.query_params.multi_items(), layer)
    for name, value in asked.items():
        if name not in ITEM_PARAMETERS:
            fix = f"is for many features; one takes {', '.join(ITEM_PARAMETERS)}"
            raise QueryRefused(name, value, fix)
    form = chosen(ITEM_FORMS, asked.get("f"), request.headers.get("accept"))
    found, _ = await _asking(request, layer, asked, form)
    asking = replace(found, here=f"{found.here}/{fid}")
    if not (fid.isascii() and fid.isdigit() and len(fid) < 17):
        raise FeatureNotFound(layer.id, fid)
    revision, feature = await read_feature(store, asking.query, int(fid))
    if not feature:
        raise FeatureNotFound(layer.id, fid)
    if form == "html":
        return item_page(request, layer, orjson.loads(feature))
    if (held := await unchanged(request, asking)) is not None:
        return held
    body = _with_links(asking, revision, feature)
    return _packed(request, asking, body, asking.headers(revision))


def _with_links(asking: Asking, revision: int, feature: bytes) -> bytes:
    """One feature with what stands around it: its links and its revision."""
    here, collection = asking.here, asking.here.rpartition("/items/")[0]
    links = [
        link("self", here, FORMS[asking.form]),
        link("alternate", f"{here}?f=html", "text/html"),
        link("collection", collection, "application/json"),
    ]
    around = orjson.dumps({"revision": revision, "links": links})[1:]
    return feature[:-1] + b"," + around
