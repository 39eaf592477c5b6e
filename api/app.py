"""The application, assembled from parts already made. The only module that knows every part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from api import pages, problems, styles_routes
from api.addresses import Network, parse_networks
from api.answers_at_hand import EXPOSED, AnswersAtHand
from api.assets import Assets
from api.body_limit import BodyLimit
from api.door import Door
from api.everything_docs import document_every_answer, of_tiles
from api.feature_streams import Exports
from api.head import HeadAsGet
from api.long_questions import LongQuestions
from api.metrics import Meter
from api.ogc_tile_path import OgcTilePath
from api.rate_limit import RateLimit
from api.request_log import RequestLog
from api.routers import (
    aggregate,
    changes,
    collections,
    diffs,
    facets,
    health,
    items,
    landing,
    metrics,
    runs,
    tilejson,
    tilesets,
)
from api.settings import ApiSettings
from api.streams import Streams
from api.tile_path import App, TilePath
from api.tileset_documents import MVT
from api.tileset_path import TilesetPath
from layers.catalog import Catalog
from layers.errors import LayerNotFound
from layers.feed import Feed
from layers.freshness import Freshness
from layers.plan_cost import Guarded
from layers.read import Counts
from layers.store import Store
from tiles.announced import Announcements
from tiles.cache import MemoryCache
from tiles.parts import Budget
from tiles.render import Renderer
from tiles.shared import shared_tier
from tiles.tilesets import Tilesets

ASSETS = Path(__file__).parent / "web" / "dist"
ROUTED = (  # what has a router, in the order in which addresses are looked for
    health, metrics, tilejson, changes, landing, collections, items, aggregate, facets, diffs,
    tilesets, styles_routes, runs, pages,
)  # fmt: skip


class State(TypedDict):
    """What handlers reach through `request.state`; see `api.deps`."""

    catalog: Callable[[], Catalog]
    is_current: Callable[[], bool]
    store: Store
    counts: Counts
    exports: Exports
    long_questions: LongQuestions
    fresh: Freshness
    tilesets: Tilesets
    public_url: str | None
    measure: Callable[[], Awaitable[bytes]]
    feed: Feed
    streams: Streams
    announcements: Announcements
    door: Door


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one address may ask, and what is logged of requests."""

    per_s: float = 0.0
    burst: int = 1
    trusted: tuple[Network, ...] = ()
    log_requests: bool = False

    @classmethod
    def from_settings(cls, settings: ApiSettings) -> Limits:
        trusted = parse_networks(settings.trusted_proxies)
        return cls(settings.rate_per_s, settings.rate_burst, trusted, settings.log_requests)

    def around(self, app: App) -> RateLimit:
        return RateLimit(app, per_s=self.per_s, burst=self.burst, trusted=self.trusted)


@dataclass(frozen=True)
class Parts:
    """What an application is made of. `tiles` and `queries` have connections of their own, so
    that a slow question never keeps a tile waiting.
    """

    feed: Feed
    tiles: Store
    queries: Store
    renderer: Renderer
    announcements: Announcements
    hot_bytes: int
    streams: Streams
    public_url: str | None = None
    filtering: Store | None = None
    tilesets: Tilesets = field(default_factory=Tilesets)
    door: Door = field(default_factory=Door)
    exports: Exports = field(default_factory=lambda: Exports(4))
    limits: Limits = field(default_factory=Limits)

    @cached_property
    def fresh(self) -> Freshness:
        """Asked over the connections of tiles, where nothing is slow."""
        return Freshness(self.tiles)

    @classmethod
    def from_settings(cls, settings: ApiSettings, budget: Budget | None = None) -> Parts:
        """Parts for real use; nothing is connected yet."""
        if settings.web_database_url is None:
            raise ValueError("QUARTIER_WEB_DATABASE_URL is not set; start with quartier serve")
        url = settings.web_database_url.get_secret_value()
        limits: dict[str, Any] = {"queue": settings.queue, "timeout_s": settings.query_timeout_s}
        tiles = Store(url, size=settings.tile_connections, **limits)
        queries = Store(
            url, size=settings.query_connections, cost_ceiling=settings.query_cost,
            custom_plans=True, **limits,
        )  # fmt: skip
        filtering = Store(
            url, size=settings.filter_connections, queue=settings.filter_queue,
            timeout_s=settings.filter_timeout_s, cost_ceiling=settings.filter_cost,
            custom_plans=True, yields=True,
        )  # fmt: skip
        feed = Feed(tiles, url, measuring=queries)
        hot = settings.cache_bytes // 4
        cache = settings.cache_url.get_secret_value() if settings.cache_url else "memory:"
        shared = shared_tier(cache, settings.cache_disk_bytes)
        memory = MemoryCache(settings.cache_bytes - hot)
        renderer = Renderer(tiles, feed, memory, shared, budget, Guarded(filtering))
        streams = Streams(settings.streams)
        return cls(
            feed, tiles, queries, renderer, Announcements(feed), hot, streams, settings.public_url,
            filtering=filtering, door=Door.from_settings(settings),
            exports=Exports(settings.exports), limits=Limits.from_settings(settings),
        )  # fmt: skip


def create_app(parts: Parts, *, on_start: Callable[[], None] | None = None) -> OgcTilePath:
    """Everything that is served: tiles on the fast path, the rest through FastAPI.

    `on_start` is called in the running loop before anything is answered.
    """
    meter = Meter(lambda: tile_path.gather(), parts.renderer.tiers.usage, lambda: at_hand.served())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        if on_start is not None:
            on_start()
        async with _running(parts, meter):
            yield _state(parts, meter)

    app = FastAPI(
        title="Quartier", version="0.1.0", lifespan=lifespan, docs_url=None, redoc_url=None
    )
    problems.install(app)
    for module in ROUTED:
        app.include_router(module.router)
    app.mount("/assets", Assets(ASSETS))
    app.add_middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"],
        expose_headers=EXPOSED, max_age=86_400,
    )  # fmt: skip
    app.add_middleware(HeadAsGet)
    app.add_middleware(BodyLimit)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    _document_tiles(app)
    document_every_answer(app)
    limited = parts.limits.around(app)
    logged = RequestLog(limited, meter, every=parts.limits.log_requests)
    at_hand = AnswersAtHand(logged, parts.feed, parts.fresh)
    tile_path = TilePath(at_hand, parts.renderer, parts.feed, parts.announcements, parts.hot_bytes)
    of_tilesets = TilesetPath(tile_path, parts.tilesets, parts.feed)
    return OgcTilePath(of_tilesets, tile_path, parts.feed)


@asynccontextmanager
async def _running(parts: Parts, meter: Meter) -> AsyncIterator[None]:
    """The parts at work, until the application ends."""
    await parts.renderer.tiers.start()
    await parts.feed.start()
    gathering = asyncio.create_task(meter.gather_for_ever())
    yield
    parts.streams.close()
    gathering.cancel()
    meter.gather_last()
    await parts.feed.stop()
    await parts.tilesets.close()
    await parts.renderer.tiers.close()
    await parts.tiles.close()
    await parts.queries.close()
    if parts.filtering is not None:
        await parts.filtering.close()
    await parts.door.close()


def _state(parts: Parts, meter: Meter) -> State:
    return State(
        catalog=lambda: parts.feed.catalog,
        is_current=lambda: parts.feed.is_current,
        store=parts.queries,
        counts=Counts(),
        exports=parts.exports,
        long_questions=LongQuestions(),
        fresh=parts.fresh,
        tilesets=parts.tilesets,
        public_url=parts.public_url,
        measure=meter.measure,
        feed=parts.feed,
        streams=parts.streams,
        announcements=parts.announcements,
        door=parts.door,
    )


def _document_tiles(app: FastAPI) -> None:
    """Tiles never reach this handler; it stands here so that OpenAPI tells of them."""

    @app.get(
        "/tiles/{layers}/{z}/{x}/{y}.mvt",
        tags=["map clients"],
        summary="A vector tile of one or more layers",
        response_class=Response,
        responses=of_tiles(MVT),
    )
    async def get_tile(_: Request, layers: str, z: int, x: int, y: int) -> Response:
        """Layer ids separated by commas; z, x and y of WebMercatorQuad, y from the north."""
        raise AssertionError(f"{layers}/{z}/{x}/{y} belongs to the fast path")

    @app.get(
        "/tiles/{tileset}/{z}/{x}/{y}.{ending}",
        tags=["map clients"],
        summary="A tile of a tileset: an archive's vector or image tile, or a raster's image",
        response_class=Response,
        responses=of_tiles(MVT, "image/png", "image/webp", "image/jpeg"),
    )
    async def get_tileset_tile(  # noqa: PLR0913 - each is a part of the address
        tileset: str,
        z: str,
        x: str,
        y: str,
        ending: str,
        bidx: str | None = None,
        rescale: str | None = None,
        colormap_name: str | None = None,
    ) -> Response:
        """`mvt`, `png`, `webp` or `jpg`, as the tileset has them. Rasters take `bidx`, `rescale`
        and `colormap_name`, and `@2x` after y for 512 pixels.
        """
        raise LayerNotFound(tileset, "only tilesets have tiles that are images")
