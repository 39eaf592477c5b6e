"""The application, assembled from parts already made. The only module that knows every part."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from api import pages, problems, styles_routes
from api.assets import Assets
from api.head import HeadAsGet
from api.routers import collections, health, tilejson
from api.settings import ApiSettings
from api.tile_path import App, TilePath
from layers.catalog import Catalog
from layers.feed import Feed
from layers.read import Counts
from layers.store import Store
from tiles.cache import MemoryCache
from tiles.parts import Budget
from tiles.render import Renderer

ASSETS = Path(__file__).parent / "web" / "dist"
EXPOSED = ["ETag", "Link", "Content-Crs", "Retry-After", "Quartier-Truncated"]


class State(TypedDict):
    """What handlers reach through `request.state`; see `api.deps`."""

    catalog: Callable[[], Catalog]
    is_current: Callable[[], bool]
    store: Store
    counts: Counts
    public_url: str | None


@dataclass(frozen=True, slots=True)
class Parts:
    """What an application is made of. `tiles` and `queries` have connections of their own, so
    that a slow question never keeps a tile waiting.
    """

    feed: Feed
    tiles: Store
    queries: Store
    renderer: Renderer
    hot_bytes: int
    public_url: str | None = None

    @classmethod
    def from_settings(cls, settings: ApiSettings, budget: Budget | None = None) -> Parts:
        """Parts for real use; nothing is connected yet."""
        if settings.web_database_url is None:
            raise ValueError("QUARTIER_WEB_DATABASE_URL is not set; start with quartier serve")
        url = settings.web_database_url.get_secret_value()
        limits: dict[str, Any] = {"queue": settings.queue, "timeout_s": settings.query_timeout_s}
        tiles = Store(url, size=settings.tile_connections, **limits)
        queries = Store(url, size=settings.query_connections, **limits)
        feed = Feed(queries, url)
        hot = settings.cache_bytes // 4
        renderer = Renderer(tiles, feed, MemoryCache(settings.cache_bytes - hot), budget)
        return cls(feed, tiles, queries, renderer, hot, settings.public_url)


def create_app(parts: Parts) -> App:
    """Everything that is served: tiles on the fast path, the rest through FastAPI."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        await parts.feed.start()
        yield State(
            catalog=lambda: parts.feed.catalog,
            is_current=lambda: parts.feed.is_current,
            store=parts.queries,
            counts=Counts(),
            public_url=parts.public_url,
        )
        await parts.feed.stop()
        await parts.tiles.close()
        await parts.queries.close()

    app = FastAPI(
        title="Quartier", version="0.1.0", lifespan=lifespan, docs_url=None, redoc_url=None
    )
    problems.install(app)
    for module in (health, tilejson, collections, styles_routes, pages):
        app.include_router(module.router)
    app.mount("/assets", Assets(ASSETS))
    app.add_middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"],
        expose_headers=EXPOSED, max_age=86_400,
    )  # fmt: skip
    app.add_middleware(HeadAsGet)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    _document_tiles(app)
    return TilePath(app, parts.renderer, parts.feed, parts.hot_bytes)


def _document_tiles(app: FastAPI) -> None:
    """Tiles never reach this handler; it stands here so that OpenAPI tells of them."""

    @app.get(
        "/tiles/{layers}/{z}/{x}/{y}.mvt",
        tags=["map clients"],
        summary="A vector tile of one or more layers",
        responses={204: {"description": "nothing to draw here"}, 304: {"description": "unchanged"}},
    )
    async def get_tile(_: Request, layers: str, z: int, x: int, y: int) -> Response:
        """Layer ids separated by commas; z, x and y of WebMercatorQuad, y from the north."""
        raise AssertionError(f"{layers}/{z}/{x}/{y} belongs to the fast path")
