"""One render for a tile, in one worker and over several; nothing that fails is remembered."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import brotli
import pytest

from tiles import recompress
from tiles.cache import Entry, MemoryCache
from tiles.disk_cache import DiskCache
from tiles.packing import compress
from tiles.tally import Source, Tally
from tiles.tiers import Tiers, Wanted

pytestmark = pytest.mark.anyio

TEXT = " ".join(random.Random(1).choices(["Tilia", "Acer", "Ulmus", "Quercus"], k=2000)).encode()
TILE = Entry(validator="1", body=compress(TEXT))


class Kitchen:
    """Where tiles are made, and counted."""

    def __init__(self) -> None:
        self.made = 0
        self.validator = "1"
        self.fails = False

    async def make(self) -> Entry:
        self.made += 1
        await asyncio.sleep(0.03)
        if self.fails:
            raise OSError("the database")
        return Entry(validator=self.validator, body=TILE.body)

    def wanted(self, make: Callable[[], Awaitable[Entry]] | None = None) -> Wanted:
        return Wanted("k", lambda: self.validator, make or self.make)


@asynccontextmanager
async def workers(folder: Path, count: int = 2) -> AsyncIterator[list[Tiers]]:
    """Workers that share a folder and nothing else."""
    running = [Tiers(MemoryCache(10**7), DiskCache(folder, 10**7), Tally()) for _ in range(count)]
    for tiers in running:
        await tiers.start()
    yield running
    for tiers in running:
        await tiers.close()


async def test_a_tile_comes_from_the_nearest_tier_that_has_it(tmp_path: Path) -> None:
    kitchen = Kitchen()
    async with workers(tmp_path) as (one, two):
        sources = [(await tiers.find(kitchen.wanted())).source for tiers in (one, one, two, two)]
    assert sources == [Source.RENDERED, Source.MEMORY, Source.SHARED, Source.MEMORY]
    assert kitchen.made == 1


async def test_however_many_ask_of_however_many_workers_a_tile_is_made_once(
    tmp_path: Path,
) -> None:
    kitchen = Kitchen()
    async with workers(tmp_path, 3) as running:
        asked = [tiers.find(kitchen.wanted()) for tiers in running for _ in range(20)]
        found = await asyncio.gather(*asked)
    assert kitchen.made == 1
    assert {each.entry.validator for each in found} == {"1"}


async def test_another_version_is_made_anew_and_takes_the_place_of_the_old(tmp_path: Path) -> None:
    kitchen = Kitchen()
    async with workers(tmp_path) as (one, two):
        await one.find(kitchen.wanted())
        kitchen.validator = "2"
        for tiers in (one, two):
            assert (await tiers.find(kitchen.wanted())).entry.validator == "2"
    assert kitchen.made == 2


async def test_a_failure_is_told_to_those_who_wait_and_to_nobody_after(tmp_path: Path) -> None:
    kitchen = Kitchen()
    kitchen.fails = True
    async with workers(tmp_path) as (one, two):
        asked = [tiers.find(kitchen.wanted()) for tiers in (one, two) for _ in range(3)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(each, OSError) for each in found)
        kitchen.fails = False
        assert (await two.find(kitchen.wanted())).source is Source.RENDERED


async def test_when_all_who_asked_one_worker_leave_another_makes_the_tile(tmp_path: Path) -> None:
    kitchen = Kitchen()

    async def endless() -> Entry:
        await asyncio.sleep(60)
        return TILE

    async with workers(tmp_path) as (one, two):
        leaver = asyncio.ensure_future(one.find(kitchen.wanted(endless)))
        await asyncio.sleep(0.02)
        stayer = asyncio.ensure_future(two.find(kitchen.wanted()))
        await asyncio.sleep(0.02)
        leaver.cancel()
        assert (await asyncio.wait_for(stayer, 2)).source is Source.RENDERED


async def test_a_tile_packed_better_is_the_same_tile_and_smaller(tmp_path: Path) -> None:
    kitchen = Kitchen()
    async with workers(tmp_path) as (one, two):
        before = (await one.find(kitchen.wanted())).entry
        better = await one.improve("k", before)
        assert better is not None
        assert gzip.decompress(better.body) == brotli.decompress(better.brotli) == TEXT
        assert len(better.brotli) < len(better.body) < len(before.body)
        assert (await one.find(kitchen.wanted())).entry == better
        assert (await two.find(kitchen.wanted())).entry == better


async def test_what_one_worker_packed_the_others_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kitchen = Kitchen()
    async with workers(tmp_path) as (one, two):
        entry = (await one.find(kitchen.wanted())).entry
        await two.find(kitchen.wanted())
        better = await one.improve("k", entry)
        monkeypatch.setattr(recompress, "tightened", lambda _: pytest.fail("packed twice"))
        assert await two.improve("k", entry) == better


async def test_a_tile_that_is_another_by_now_is_not_brought_back(tmp_path: Path) -> None:
    kitchen = Kitchen()
    async with workers(tmp_path) as (one, _):
        entry = (await one.find(kitchen.wanted())).entry
        kitchen.validator = "2"
        await one.find(kitchen.wanted())
        assert await one.improve("k", entry) is None
        assert (await one.find(kitchen.wanted())).entry.validator == "2"


async def test_the_queue_of_tiles_to_pack_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompress, "QUEUE", 2)
    tally = Tally()
    tiers = Tiers(MemoryCache(10**7), None, tally)
    for key in "abcde":
        await tiers.memory.put(key, TILE)
    better = await asyncio.gather(*(tiers.improve(key, TILE) for key in "abcde"))
    await tiers.close()
    assert [each is not None for each in better] == [True, True, False, False, False]
    assert tally.recompressed == {"done": 2, "refused": 3}
