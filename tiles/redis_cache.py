"""The shared tier of several machines: Redis, or Valkey, which speaks the same."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Any

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.lock import Lock
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import LockError, RedisError, ResponseError

from tiles.background import Background
from tiles.cache import Entry, Usage
from tiles.disk_cache import PATIENCE_S
from tiles.entry_format import MOST_BYTES, NotAnEntry, pack, unpack
from tiles.errors import CacheNotEmptied

CONNECTIONS = 16  # in each worker
PREFIX = "quartier:tile:"
KEPT_S = 7 * 24 * 3600  # what nobody asked to be made anew for a week goes
ANSWER_S = 0.5  # Redis answers in less, or a tile is made sooner without it
HELD_S = 3.0  # a lock outlives a worker that was killed by no more than this
RENEWED_S = 1.0
PAUSE_S = 0.01  # between two looks at a lock
RETRY_S = 1.0  # between two looks whether Redis is back

log = structlog.get_logger()


class NoTurn:
    """Leave to make the tile, with no lock behind it."""

    def __init__(self, *, has_waited: bool) -> None:
        self.has_waited = has_waited

    async def release(self) -> None:
        return


class RedisTurn:
    """A lock that is renewed while it is held. Only its own holder can give it back."""

    def __init__(self, lock: Lock, *, has_waited: bool) -> None:
        self._lock = lock
        self.has_waited = has_waited
        self._renewing = asyncio.ensure_future(self._renew())

    async def _renew(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            while True:
                await asyncio.sleep(RENEWED_S)
                await self._lock.reacquire()

    async def release(self) -> None:
        self._renewing.cancel()
        with contextlib.suppress(RedisError, OSError, asyncio.CancelledError):
            await self._renewing
        with contextlib.suppress(RedisError, OSError):
            await self._lock.release()


class RedisCache:
    """Tiles in Redis. While it is away everything is a miss: that is said once, and found out
    again in the background.
    """

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=ANSWER_S,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._client = Redis.from_pool(pool)
        self._patience_s = patience_s
        self._background = Background()
        self._looking: asyncio.Task[None] | None = None
        self._has_refused = False

    async def start(self) -> None:
        await self._ask(self._client.ping)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._background.finish(ANSWER_S)
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    async def get(self, key: str, validator: str) -> Entry | None:
        packed = await self._ask(lambda: self._client.get(PREFIX + key))
        if packed is None:
            return None
        try:
            entry = unpack(key, packed)
        except NotAnEntry:
            await self._ask(lambda: self._client.delete(PREFIX + key))
            return None
        return entry if entry.validator == validator else None

    async def put(self, key: str, entry: Entry) -> None:
        packed = pack(key, entry)
        if len(packed) <= MOST_BYTES:
            await self._ask(lambda: self._client.set(PREFIX + key, packed, ex=KEPT_S))

    async def usage(self) -> Usage | None:
        """What Redis holds in all; it may hold other things than tiles."""
        said = await self._ask(lambda: self._client.info("memory"))
        return None if said is None else Usage(said["used_memory"])

    async def clear(self) -> None:
        """Remove every tile, and nothing else that is kept there; raises CacheNotEmptied."""
        try:
            async for name in self._client.scan_iter(f"{PREFIX}*", count=1000):
                await self._client.unlink(name)
        except (RedisError, OSError) as exc:
            raise CacheNotEmptied(str(exc)) from exc

    async def turn(self, key: str, validator: str) -> NoTurn | RedisTurn:
        """Wait, for `patience_s` at most, until nobody else makes the tile."""
        name, token = f"{PREFIX}lock:{key}@{validator}", secrets.token_hex(16)
        lock = Lock(self._client, name, timeout=HELD_S, thread_local=False)
        until, has_waited = time.monotonic() + self._patience_s, False
        while (held := await self._try(lock, token)) is False:
            has_waited = True
            if time.monotonic() >= until:
                break
            await asyncio.sleep(PAUSE_S)
        if held:
            return RedisTurn(lock, has_waited=has_waited)
        return NoTurn(has_waited=has_waited)

    async def _try(self, lock: Lock, token: str) -> bool | None:
        """Whether we hold the lock now; None where nobody can tell."""
        try:
            held: bool | None = await self._ask(lambda: lock.acquire(blocking=False, token=token))
        except asyncio.CancelledError:
            # It may be ours all the same, and nobody shall have to wait for that.
            self._background.run(self._ask(lambda: lock.do_release(token.encode())))
            raise
        return held

    async def _ask(self, question: Callable[[], Any]) -> Any:
        """What Redis answers; None while it is away, and where it refuses."""
        if self._looking is not None:
            return None
        try:
            return await question()
        except LockError:
            return None
        except ResponseError as exc:
            self._note_refusal(exc)
        except (RedisError, OSError) as exc:
            self._lose(exc)
        return None

    def _note_refusal(self, exc: Exception) -> None:
        if not self._has_refused:
            self._has_refused = True
            log.warning("the shared cache refuses; serving without it", reason=str(exc))

    def _lose(self, exc: Exception) -> None:
        if self._looking is None:
            log.warning("the shared cache is away; serving without it", reason=str(exc))
            self._looking = asyncio.ensure_future(self._look_for_it())

    async def _look_for_it(self) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            with contextlib.suppress(RedisError, OSError):
                await self._client.ping()
                break
        self._looking, self._has_refused = None, False
        log.info("the shared cache is back")
