"""The pages people read: the overview, a layer, a map, and a map to set into another page."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from api.deps import CatalogDep, base_url_of
from api.web.assets import PagesNotBuilt, assets
from api.web.describe import Reader, describe_layer, describe_map, find_map
from api.web.words import RIGHT_TO_LEFT, languages, preferred_language, words
from layers.catalog import Catalog
from layers.columns import in_language
from layers.errors import LayerNotFound, MapNotFound
from layers.map import Map
from styles.colours import Theme

TEMPLATES = Path(__file__).parent / "templates"

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


def get_reader(request: Request) -> Reader:
    """Who asks: pages ignore parameters they do not know, and values they cannot use."""
    accept = request.headers.get("accept-language", "")
    language = preferred_language(request.query_params.get("lang"), accept)
    return Reader(language, request.scope.get("root_path", "").rstrip("/"))


ReaderDep = Annotated[Reader, Depends(get_reader)]


@router.get("/layers/{layer_id}")
def get_layer_page(
    layer_id: str, request: Request, catalog: CatalogDep, reader: ReaderDep
) -> HTMLResponse:
    """What a layer is, where it comes from, and how to have it."""
    try:
        published = catalog.layer(layer_id)
    except LayerNotFound:
        return render(request, "not_found.html", reader, {}, status=404)
    maps = [
        describe_map(catalog, drawn, reader)
        for drawn in catalog.maps.values()
        if any(at.id == layer_id for at in drawn.layers)
    ]
    shown = {"layer": describe_layer(published, reader), "maps": maps}
    return render(request, "layer.html", reader, shown)


@router.get("/maps/{map_id}")
def get_map_page(
    map_id: str, request: Request, catalog: CatalogDep, reader: ReaderDep
) -> HTMLResponse:
    """A map that fills the page."""
    return _map_page("map.html", map_id, request, catalog, reader)


@router.get("/embed/{map_id}")
def get_embed(
    map_id: str, request: Request, catalog: CatalogDep, reader: ReaderDep
) -> HTMLResponse:
    """The same map for an iframe of any site, sandboxed or not."""
    answer = _map_page("embed.html", map_id, request, catalog, reader)
    answer.headers["Content-Security-Policy"] = _policy(request, framed_by="*")
    return answer


def home(request: Request, catalog: Catalog, reader: Reader) -> HTMLResponse:
    """The overview, for whoever answers `/`: a portal to people, a landing page to programs."""
    shown = {
        "maps": [describe_map(catalog, drawn, reader) for drawn in catalog.maps.values()],
        "layers": [
            describe_layer(each, reader)
            for each in sorted(
                catalog.layers.values(), key=lambda each: each.layer.style.role != "data"
            )
        ],
    }
    return render(request, "home.html", reader, shown)


def _map_page(
    template: str, map_id: str, request: Request, catalog: Catalog, reader: Reader
) -> HTMLResponse:
    try:
        drawn = find_map(catalog, map_id)
    except MapNotFound:
        return render(request, "not_found.html", reader, {}, status=404)
    return render(request, template, reader, {"map": describe_map(catalog, drawn, reader)})


def runs_page(request: Request, catalog: Catalog, reader: Reader) -> HTMLResponse:
    """The officers' page. It holds nothing that needs a key: it asks for that, and then for runs.

    No other page may frame it, or a click on a button could be meant for something else.
    """
    shown = {
        "maps": {
            layer_id: next((m.id for m in catalog.maps.values() if layer_id in _drawn(m)), layer_id)
            for layer_id, each in catalog.layers.items()
            if each.layer.has_geometry
        },
        "titles": {
            layer_id: in_language(each.layer.title, reader.language)
            for layer_id, each in catalog.layers.items()
        },
    }
    answer = render(request, "runs.html", reader, shown)
    answer.headers["Content-Security-Policy"] = _policy(request, framed_by="'none'")
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Vary"] = "Accept, Accept-Language"
    return answer


def _drawn(of: Map) -> set[str]:
    return {at.id for at in of.layers}


def render(
    request: Request, template: str, reader: Reader, shown: Mapping[str, Any], status: int = 200
) -> HTMLResponse:
    """The page that a template makes of what is shown; 503 where the pages are not built."""
    try:
        built = assets()
    except PagesNotBuilt:
        return HTMLResponse(words(reader.language)["not_built"], status_code=503)
    known = reader.language if reader.language in languages() else "en"
    body = (
        templates()
        .get_template(template)
        .render(
            **shown,
            w=words(reader.language),
            language=known,
            direction="rtl" if known in RIGHT_TO_LEFT else "ltr",
            theme=_theme(request),
            root=reader.root,
            base_url=base_url_of(request),
            assets=built,
        )
    )
    return HTMLResponse(body, status_code=status, headers=_headers(request))


@cache
def templates() -> Environment:
    """The templates; they escape everything, and stop at a name that is not there."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _theme(request: Request) -> str | None:
    asked = request.query_params.get("theme")
    return asked if asked in list(Theme) else None


def _headers(request: Request) -> dict[str, str]:
    return {
        "Content-Security-Policy": _policy(request, framed_by="'self'"),
        "Referrer-Policy": "strict-origin-when-cross-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
        "Vary": "Accept-Language",
    }


def _policy(request: Request, *, framed_by: str) -> str:
    """Everything from here and nothing from elsewhere.

    A sandboxed frame has no origin of its own, so the server's is named beside 'self'.
    MapLibre starts its workers from a blob.
    """
    parts = urlsplit(base_url_of(request))
    here = f"'self' {parts.scheme}://{parts.netloc}"
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {here}",
            f"style-src {here}",
            f"font-src {here}",
            f"connect-src {here}",
            f"img-src {here} data: blob:",
            f"frame-src {here}",
            "worker-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
            f"frame-ancestors {framed_by}",
        )
    )
