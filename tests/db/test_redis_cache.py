"""Tiles in a real Redis, and without it when it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from tests.redis import RedisServer, redis_server
from tiles import redis_cache
from tiles.cache import Entry
from tiles.errors import CacheNotEmptied
from tiles.redis_cache import PREFIX, RedisCache

pytestmark = pytest.mark.anyio

ENTRY = Entry(validator="v", body=b"g" * 100, truncated=("trees",), brotli=b"b" * 50)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@asynccontextmanager
async def cache_at(server: RedisServer, **how: float) -> AsyncIterator[RedisCache]:
    cache = RedisCache(server.url, **how)
    await cache.start()
    yield cache
    await cache.close()


async def eventually_got(cache: RedisCache) -> Entry | None:
    for _ in range(500):
        await cache.put("k", ENTRY)
        if (found := await cache.get("k", "v")) is not None:
            return found
        await asyncio.sleep(0.02)
    return None


async def test_what_one_machine_puts_another_gets_under_its_validator_only(
    server: RedisServer,
) -> None:
    async with cache_at(server) as one, cache_at(server) as two:
        await one.put("k", ENTRY)
        assert await two.get("k", "v") == ENTRY
        assert await two.get("k", "w") is None
        assert await two.get("other", "v") is None
        usage = await two.usage()
    assert usage is not None
    assert usage.bytes > 0


async def test_what_is_no_whole_entry_is_a_miss_and_goes(server: RedisServer) -> None:
    async with cache_at(server) as cache:
        with server.client() as client:
            client.set(PREFIX + "k", b"<html>")
            assert await cache.get("k", "v") is None
            assert client.get(PREFIX + "k") is None


async def test_entries_do_not_stay_for_ever(server: RedisServer) -> None:
    async with cache_at(server) as cache:
        await cache.put("k", ENTRY)
        with server.client() as client:
            assert 0 < int(str(client.ttl(PREFIX + "k"))) <= redis_cache.KEPT_S


async def test_while_redis_is_away_everything_misses_at_once_and_that_is_said_once(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_cache, "RETRY_S", 0.1)
    async with cache_at(server) as cache:
        await cache.put("k", ENTRY)
        server.stop()
        with capture_logs() as said:
            begun = time.monotonic()
            for _ in range(50):
                assert await cache.get("k", "v") is None
                await cache.put("k", ENTRY)
                turn = await cache.turn("k", "v")
                await turn.release()
            assert time.monotonic() - begun < 1
            server.start()
            assert await eventually_got(cache) == ENTRY
        events = [line["event"] for line in said]
    assert events == ["the shared cache is away; serving without it", "the shared cache is back"]


async def test_a_worker_may_start_before_redis(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_cache, "RETRY_S", 0.05)
    server.stop()
    async with cache_at(server) as cache:
        assert await cache.get("k", "v") is None
        server.start()
        assert await eventually_got(cache) == ENTRY


async def test_a_redis_that_is_full_refuses_and_is_still_read(server: RedisServer) -> None:
    async with cache_at(server) as cache:
        await cache.put("k", ENTRY)
        with server.client() as client, capture_logs() as said:
            client.config_set("maxmemory", "1mb")
            client.config_set("maxmemory-policy", "noeviction")
            for number in range(5):
                await cache.put(f"k{number}", ENTRY)
            turn = await cache.turn("k", "w")
            assert not turn.has_waited
            assert await cache.get("k", "v") == ENTRY
    assert [line["event"] for line in said] == ["the shared cache refuses; serving without it"]


async def test_turns_come_one_after_the_other(server: RedisServer) -> None:
    async with cache_at(server) as one, cache_at(server) as two:
        first = await one.turn("k", "v")
        assert not (await two.turn("k", "w")).has_waited
        second = asyncio.ensure_future(two.turn("k", "v"))
        await asyncio.sleep(0.05)
        assert not second.done()
        await first.release()
        turn = await asyncio.wait_for(second, 1)
        assert turn.has_waited
        await turn.release()
        with server.client() as client:
            assert client.exists(f"{PREFIX}lock:k@v") == 0


async def test_a_wait_that_is_too_long_ends_without_the_lock(server: RedisServer) -> None:
    async with cache_at(server) as one, cache_at(server, patience_s=0.05) as two:
        first = await one.turn("k", "v")
        second = await two.turn("k", "v")
        assert second.has_waited
        await second.release()
        with server.client() as client:
            assert client.exists(f"{PREFIX}lock:k@v") == 1, "and takes it from nobody"
        await first.release()


async def test_a_lock_outlives_neither_its_holder_nor_a_long_render(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_cache, "HELD_S", 0.3)
    monkeypatch.setattr(redis_cache, "RENEWED_S", 0.1)
    async with cache_at(server) as one, cache_at(server) as two:
        held = await one.turn("k", "v")
        waiter = asyncio.ensure_future(two.turn("k", "v"))
        await asyncio.sleep(0.6)
        assert not waiter.done(), "renewed while the render goes on"
        assert isinstance(held, redis_cache.RedisTurn)
        held._renewing.cancel()  # as when the holder is killed
        turn = await asyncio.wait_for(waiter, 1)
        await held.release()
        with server.client() as client:
            assert client.exists(f"{PREFIX}lock:k@v") == 1, "a late holder frees no other's lock"
        await turn.release()


async def test_who_stops_waiting_holds_nothing(server: RedisServer) -> None:
    async with cache_at(server) as cache:
        for pause_s in (0.0, 0.0001, 0.0005, 0.001, 0.003):
            waiter = asyncio.ensure_future(cache.turn("k", "v"))
            await asyncio.sleep(pause_s)
            waiter.cancel()
            [outcome] = await asyncio.gather(waiter, return_exceptions=True)
            if not isinstance(outcome, BaseException):
                await outcome.release()
        await cache._background.finish(1)
        with server.client() as client:
            assert client.exists(f"{PREFIX}lock:k@v") == 0


async def test_tiles_are_cleared_and_nothing_else(server: RedisServer) -> None:
    async with cache_at(server) as cache:
        for number in range(30):
            await cache.put(f"k{number}", ENTRY)
        await cache._client.set("somebody else's", b"x")
        await cache.clear()
        assert [key async for key in cache._client.scan_iter()] == [b"somebody else's"]
    server.stop()
    with pytest.raises(CacheNotEmptied):
        await cache.clear()
