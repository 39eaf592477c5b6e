"""`/`, `/conformance` and `/api`: what this server is, what it keeps to, and how it is asked."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from api import html, openapi
from api.collection_json import REL
from api.conformance import declaration
from api.deps import BaseUrlDep, CatalogDep
from api.everything_docs import answering
from api.forms import EITHER, HTML, OPENAPI, ApiPageDep, PageDep, json_answer, under_etag
from api.links import JSON, link
from api.pages import ReaderDep, home
from api.web.words import DEFAULT, words

router = APIRouter(tags=["analysts"])
NEGOTIATED = "Accept, Accept-Language"


@router.get(
    "/",
    summary="Where to begin: links for programs, for browsers all maps and layers",
    responses=EITHER,
)
async def get_landing(
    request: Request, is_page: PageDep, catalog: CatalogDep, reader: ReaderDep, base_url: BaseUrlDep
) -> Response:
    if is_page:
        page = home(request, catalog, reader)
        page.headers["vary"] = NEGOTIATED
        return under_etag(request, page)
    answer = json_answer(request, _landing(base_url))
    answer.headers["link"] = ", ".join(
        f'<{each["href"]}>; rel="{each["rel"]}"; type="{each["type"]}"' for each in _links(base_url)
    )
    return answer


def _landing(base_url: str) -> dict[str, Any]:
    said = words(DEFAULT)
    return {
        "title": said["portal"],
        "description": said["portal_lead"],
        "links": _links(base_url),
    }


def _links(base_url: str) -> list[dict[str, str]]:
    return [
        link("self", f"{base_url}/", JSON, "This document"),
        link("alternate", f"{base_url}/?f=html", HTML, "Maps and layers, for people"),
        link("service-desc", f"{base_url}/api", OPENAPI, "The API as OpenAPI 3.0"),
        link("service-doc", f"{base_url}/api?f=html", HTML, "The API, for people"),
        link("conformance", f"{base_url}/conformance", JSON, "What is kept to"),
        link("data", f"{base_url}/collections", JSON, "Collections"),
        link(f"{REL}tiling-schemes", f"{base_url}/tileMatrixSets", JSON, "Tile matrix sets"),
    ]


@router.get(
    "/conformance", summary="The classes of OGC standards that are kept to", responses=EITHER
)
async def get_conformance(request: Request, is_page: PageDep) -> Response:
    if is_page:
        return html.conformance_page(request)
    return json_answer(request, declaration())


@router.get(
    "/api",
    summary="This API as OpenAPI 3.0, shaped for OGC clients; a page for people",
    response_class=Response,
    responses=answering(OPENAPI, HTML),
)
async def get_api(
    request: Request, is_page: ApiPageDep, catalog: CatalogDep, base_url: BaseUrlDep
) -> Response:
    if is_page:
        return html.api_page(request, catalog)
    document = await asyncio.to_thread(openapi.document, catalog, base_url)
    return json_answer(request, document, OPENAPI)


@router.get("/docs", include_in_schema=False)
async def get_docs(request: Request, catalog: CatalogDep) -> Response:
    """The page of `/api`, where FastAPI's readers look for it."""
    return html.api_page(request, catalog)
