"""The application over a fresh database, asked in process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from api.app import Parts, create_app
from api.settings import ApiSettings
from api.tile_path import App, Message, TilePath
from api.tileset_path import TilesetPath
from tests.conftest import Database
from tiles.parts import Budget

BASE = "http://city.test"
NOWHERE = "postgresql://secret:word@127.0.0.1:9/none"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True, slots=True)
class Service:
    """A running application and a client that asks it."""

    parts: Parts
    client: httpx.AsyncClient
    tiles: TilePath
    asked: App

    async def get(self, path: str, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(path, headers={"accept-encoding": "gzip"} | named)

    async def lose_database(self) -> None:
        """From now on every new connection is refused and the old ones are closed."""
        for store in (self.parts.tiles, self.parts.queries, self.parts.filtering):
            assert store is not None
            store.url = NOWHERE
            await store.close()

    async def caught_up(self) -> None:
        """Return once the application knows all that is in the database now."""
        await self.parts.feed.read()


@asynccontextmanager
async def serving(
    database: Database, *, budget: Budget | None = None, **settings: Any
) -> AsyncIterator[Service]:
    """An application that has started; it stops when the block ends."""
    urls = database.urls
    told = {"web_database_url": urls.web, "officer_database_url": urls.officer, "public_url": BASE}
    told |= settings
    parts = Parts.from_settings(ApiSettings.model_validate(told), budget)
    app = create_app(parts)
    async with _started(app) as state:

        async def asked(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state)}, receive, send)

        transport = httpx.ASGITransport(app=asked, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            assert isinstance(app.app, TilesetPath)
            assert isinstance(app.app.app, TilePath)
            yield Service(parts, client, app.app.app, asked)


@asynccontextmanager
async def _started(app: App) -> AsyncIterator[dict[str, Any]]:
    """Play the server's part of the lifespan protocol."""
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    outbox: asyncio.Queue[Message] = asyncio.Queue()
    scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    running = asyncio.create_task(_run(app, scope, inbox, outbox))
    await inbox.put({"type": "lifespan.startup"})
    assert (await outbox.get())["type"] == "lifespan.startup.complete"
    try:
        yield scope["state"]
    finally:
        await inbox.put({"type": "lifespan.shutdown"})
        await running


async def _run(
    app: App, scope: dict[str, Any], inbox: asyncio.Queue[Message], outbox: asyncio.Queue[Message]
) -> None:
    await app(scope, inbox.get, outbox.put)


@pytest.fixture
async def service(unwritten: Database) -> AsyncIterator[Service]:
    """An application over a module's `cities`, for tests that read only."""
    async with serving(unwritten) as running:
        await running.caught_up()
        yield running
