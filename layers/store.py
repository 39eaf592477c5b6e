"""The web's way to PostGIS: a bounded asyncpg pool that reads; only that of officers writes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from layers.errors import StoreBusy, StoreUnavailable

CONNECT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 2.0
NICE = 15  # of what yields: about a thirtieth of the time of what does not
QUERY_SETTINGS = {
    "application_name": "quartier-web",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "default_transaction_read_only": "on",
}


class Store:
    """At most `size` connections, at most `queue` callers waiting for one.

    A query that runs longer than `timeout_s` is cancelled by PostgreSQL. `writes` lets functions
    write that the login may call. `custom_plans`: each question is planned for its own values.
    `cost_ceiling`: what a question may cost that is asked by a filter. `yields`: what is asked here
    lets everything else on this machine go first, where PostgreSQL runs on it too.
    """

    def __init__(  # noqa: PLR0913 - each is a limit
        self,
        url: str,
        *,
        size: int,
        queue: int = 64,
        timeout_s: float = 10.0,
        writes: bool = False,
        cost_ceiling: float = 1_500_000.0,
        custom_plans: bool = False,
        yields: bool = False,
    ) -> None:
        self.url = url
        self.cost_ceiling = cost_ceiling
        self._yields = yields
        self._size = size
        self._queue = queue
        self._settings = QUERY_SETTINGS | {"statement_timeout": str(int(timeout_s * 1000))}
        if custom_plans:
            self._settings["plan_cache_mode"] = "force_custom_plan"
        if writes:
            self._settings["default_transaction_read_only"] = "off"
        self._pool: asyncpg.Pool | None = None
        self._asking = 0
        self._opening = asyncio.Lock()

    async def _opened(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self.url,
                    min_size=1,
                    max_size=self._size,
                    server_settings=self._settings,
                    timeout=CONNECT_TIMEOUT_S,
                    reset=_leave_as_it_is,
                    init=_yield if self._yields else None,
                    max_cached_statement_lifetime=0,
                )
            return self._pool

    async def close(self) -> None:
        """Let go of every connection; one that is still at work is cut off."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            await asyncio.wait_for(pool.close(), CLOSE_TIMEOUT_S)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection of the pool. Raises StoreBusy where too many wait, StoreUnavailable."""
        if self._asking >= self._size + self._queue:
            raise StoreBusy(f"{self._asking} questions are waiting for {self._size} connections")
        self._asking += 1
        try:
            async with store_errors():
                pool = self._pool or await self._opened()
                async with pool.acquire(timeout=CONNECT_TIMEOUT_S) as connection:
                    yield connection
        finally:
            self._asking -= 1

    async def fetch(self, sql: str, *args: object) -> Sequence[Any]:
        async with self.connection() as connection:
            rows: Sequence[Any] = await connection.fetch(sql, *args)
            return rows

    async def fetchrow(self, sql: str, *args: object) -> Any:
        async with self.connection() as connection:
            return await connection.fetchrow(sql, *args)


async def _leave_as_it_is(_: object) -> None:
    """What we ask leaves no state behind: a reset after each question would cost a round trip."""


async def _yield(connection: Any) -> None:
    """Lower the priority of the connection's process, which is this machine's where a socket of it
    is spoken through, and where we may.
    """
    address = connection._addr  # asyncpg tells it nowhere else
    if isinstance(address, str):
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        _lower(pid)


def _lower(pid: int) -> None:
    """Where we may. Linux weighs sessions before processes, and each connection is a session."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, NICE)
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(NICE))


@asynccontextmanager
async def store_errors() -> AsyncIterator[None]:
    """Say in our words what asyncpg said in its own."""
    try:
        yield
    except asyncpg.QueryCanceledError as exc:
        raise StoreBusy("the query took longer than it may") from exc
    except (
        OSError,
        TimeoutError,
        asyncpg.PostgresConnectionError,
        asyncpg.InterfaceError,
        asyncpg.CannotConnectNowError,
        asyncpg.TooManyConnectionsError,
        asyncpg.AdminShutdownError,
        asyncpg.CrashShutdownError,
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
        asyncpg.InsufficientResourcesError,
        asyncpg.InsufficientPrivilegeError,
        asyncpg.UndefinedTableError,  # withdrawn or replaced while we asked
        asyncpg.UndefinedColumnError,
    ) as exc:
        raise StoreUnavailable(f"PostGIS cannot be reached: {type(exc).__name__}") from exc
