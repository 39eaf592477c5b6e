"""The contract of the cache and of single flight."""

from __future__ import annotations

import asyncio

import pytest

from tiles.cache import ENTRY_OVERHEAD, Entry, MemoryCache, SingleFlight

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def entry(validator: str = "v", size: int = 100) -> Entry:
    return Entry(validator=validator, body=b"x" * size)


async def test_what_was_put_is_got_under_its_validator_only() -> None:
    cache = MemoryCache(10_000)
    await cache.put("k", entry("1"))
    assert await cache.get("k", "1") == entry("1")
    assert await cache.get("k", "2") is None
    assert await cache.get("other", "1") is None


async def test_a_newer_entry_takes_the_place_of_the_older_one() -> None:
    cache = MemoryCache(10_000)
    await cache.put("k", entry("1"))
    await cache.put("k", entry("2"))
    assert len(cache) == 1
    assert await cache.get("k", "1") is None


async def test_the_bytes_held_never_exceed_the_bound() -> None:
    bound = 10 * (100 + ENTRY_OVERHEAD)
    cache = MemoryCache(bound)
    for number in range(50):
        await cache.put(f"k{number}", entry(size=number * 10))
        assert cache.bytes <= bound
    await cache.put("huge", entry(size=bound))
    assert await cache.get("huge", "v") is None


async def test_the_least_recently_used_goes_first() -> None:
    cache = MemoryCache(2 * (100 + ENTRY_OVERHEAD + 1))
    await cache.put("a", entry())
    await cache.put("b", entry())
    await cache.get("a", "v")
    await cache.put("c", entry())
    assert await cache.get("a", "v") is not None
    assert await cache.get("b", "v") is None


async def test_many_who_ask_at_once_cost_one_piece_of_work() -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    done = 0

    async def work() -> int:
        nonlocal done
        done += 1
        await asyncio.sleep(0.01)
        return 42

    assert await asyncio.gather(*(flight.do("k", work) for _ in range(10))) == [42] * 10
    assert done == 1


async def test_a_failure_is_told_to_all_and_not_remembered() -> None:
    flight: SingleFlight[str, int] = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise OSError("away")

    async def succeed() -> int:
        return 1

    told = await asyncio.gather(*(flight.do("k", fail) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in told] == [OSError] * 3
    assert await flight.do("k", succeed) == 1


async def test_one_who_leaves_does_not_take_the_work_from_the_others() -> None:
    flight: SingleFlight[str, int] = SingleFlight()

    async def work() -> int:
        await asyncio.sleep(0.02)
        return 7

    leaver = asyncio.create_task(flight.do("k", work))
    stayer = asyncio.create_task(flight.do("k", work))
    await asyncio.sleep(0)
    leaver.cancel()
    assert await stayer == 7


async def test_when_the_last_one_leaves_the_work_is_cancelled() -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    ended: list[str] = []

    async def work() -> int:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return 7

    leaver = asyncio.create_task(flight.do("k", work))
    await asyncio.sleep(0.01)
    leaver.cancel()
    await asyncio.sleep(0.01)
    assert ended == ["cancelled"]


async def test_a_flight_that_ends_late_does_not_forget_the_one_that_came_after() -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    begun: list[int] = []

    async def stubborn() -> int:
        begun.append(len(begun))
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await asyncio.sleep(0.02)
            raise
        return 0

    async def work() -> int:
        begun.append(len(begun))
        await asyncio.sleep(0.05)
        return 7

    leaver = asyncio.create_task(flight.do("k", stubborn))
    await asyncio.sleep(0.01)
    leaver.cancel()
    await asyncio.sleep(0)
    first = asyncio.create_task(flight.do("k", work))
    await asyncio.sleep(0.03)
    assert list(await asyncio.gather(first, flight.do("k", work))) == [7, 7]
    assert begun == [0, 1]
