"""Several connections that see one moment of the database, for as long as a long read takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg

from layers.store import CONNECT_TIMEOUT_S, QUERY_SETTINGS, Store, store_errors


class Snapshot(Store):
    """A store whose every answer is of the same moment. Made by `open_snapshot`."""

    def __init__(self, url: str, connections: list[Any]) -> None:
        super().__init__(url, size=len(connections))
        self._free: asyncio.Queue[Any] = asyncio.Queue()
        for connection in connections:
            self._free.put_nowait(connection)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        connection = await self._free.get()
        try:
            async with store_errors():
                yield connection
        finally:
            self._free.put_nowait(connection)


@asynccontextmanager
async def open_snapshot(url: str, *, size: int) -> AsyncIterator[Snapshot]:
    """`size` connections in read-only transactions of one snapshot. Raises StoreUnavailable."""
    async with AsyncExitStack() as stack:
        async with store_errors():
            connections = [await stack.enter_async_context(_begun(url)) for _ in range(size)]
            moment = await connections[0].fetchval("SELECT pg_export_snapshot()")
            for other in connections[1:]:
                await other.execute(f"SET TRANSACTION SNAPSHOT '{moment}'")
        yield Snapshot(url, connections)


@asynccontextmanager
async def _begun(url: str) -> AsyncIterator[Any]:
    settings = QUERY_SETTINGS | {"application_name": "quartier-archive"}
    connection = await asyncpg.connect(url, server_settings=settings, timeout=CONNECT_TIMEOUT_S)
    try:
        await connection.transaction(isolation="repeatable_read", readonly=True).start()
        yield connection
    finally:
        connection.terminate()  # nothing was written, and a query may still be at work
        await asyncio.sleep(0)
