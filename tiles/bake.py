"""Make tiles before anybody asks: those that hold something, in an area, at some zooms.

A tile that the shared tier has under its present validator is left alone, so that a bake that
was cut off goes on where it was, and one that runs again makes only what changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any

from layers.catalog import Bounds
from layers.feed import Feed
from layers.store import Store
from tiles.address import TileAddress, TileLayer, parse_layers
from tiles.batch import BatchedDatabase
from tiles.cache import Entry, MemoryCache, SharedTier, Turn, Usage
from tiles.export import addresses, ids_of, zooms_of
from tiles.occupied import occupied
from tiles.render import Renderer
from tiles.tally import Source
from tiles.tiers import Found

AHEAD = 128  # tiles in the making at once
SAMPLE = 200  # tiles that are looked for again at the end
PATIENCE_S = 30.0  # for the last tiles to be written
Tell = Callable[[int, int], None]  # tiles done, of how many


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeJob:
    """What to bake: `layers` as an address names them, such as `trees,parks`."""

    layers: str
    minzoom: int | None = None
    maxzoom: int | None = None
    bbox: Bounds | None = None
    connections: int = 2


@dataclass(slots=True, kw_only=True)
class BakeReport:
    """What was done. `ready` tiles were there already; `empty` ones hold nothing to draw; `lost` is
    the share of those made that the tier does not have at the end, by a sample.
    """

    layers: str
    made: int = 0
    ready: int = 0
    empty: int = 0
    bytes: int = 0
    by_zoom: dict[int, int] = field(default_factory=dict)
    lost: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def fill(
    url: str, shared: SharedTier, job: BakeJob, tell: Tell = lambda _done, _all: None
) -> BakeReport:
    """Fill the shared tier. Raises LayerNotFound, AddressRefused, StoreUnavailable."""
    store = Store(url, size=job.connections + 1, queue=2 * AHEAD, timeout_s=600)
    feed = Feed(store, url)
    database = BatchedDatabase(store, connections=job.connections)
    witness = Witness(shared)
    renderer = Renderer(database, feed, MemoryCache(0), witness)
    await renderer.tiers.start()
    await feed.start()
    try:
        wanted = parse_layers(job.layers)
        renderer.validator(wanted, TileAddress(0, 0, 0))  # says what is wrong with the ids
        layers = [feed.catalog.layer(layer_id) for layer_id in ids_of(wanted)]
        zooms = zooms_of(layers, job.minzoom, job.maxzoom)
        plan = await occupied(store, [each.layer for each in layers], zooms, job.bbox)
        report, total = BakeReport(layers=job.layers), sum(len(xs) for xs, _ in plan.values())
        places = addresses(plan)
        async with aclosing(_found(renderer, wanted, places)) as tiles:
            async for at, found in tiles:
                _count(report, at, found)
                tell(report.made + report.ready, total)
        report.lost = await witness.lost()
        return report
    finally:
        await database.aclose()
        await feed.stop()
        await renderer.tiers.close()
        await store.close()


class Witness:
    """The shared tier, and whether it keeps what it is given: by itself it never says."""

    def __init__(self, inner: SharedTier) -> None:
        self._inner = inner
        self._chance = random.Random(0)
        self._puts = 0
        self._sample: list[tuple[str, str]] = []
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        await self._inner.start()

    async def get(self, key: str, validator: str) -> Entry | None:
        return await self._inner.get(key, validator)

    async def turn(self, key: str, validator: str) -> Turn:
        self._under_way += 1
        self._idle.clear()
        return WitnessedTurn(await self._inner.turn(key, validator), self._over)

    def _over(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()

    async def put(self, key: str, entry: Entry) -> None:
        await self._inner.put(key, entry)
        self._puts += 1
        place = len(self._sample) if self._puts <= SAMPLE else self._chance.randrange(self._puts)
        if place < SAMPLE:
            self._sample[place : place + 1] = [(key, entry.validator)]

    async def usage(self) -> Usage | None:
        return await self._inner.usage()

    async def clear(self) -> None:
        await self._inner.clear()

    async def close(self) -> None:
        await self._inner.close()

    async def lost(self) -> float:
        """The share of a sample of what was put that is not there, once all is written."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self._idle.wait()
        gone = [await self.get(key, validator) is None for key, validator in self._sample]
        return sum(gone) / len(gone) if gone else 0.0


class WitnessedTurn:
    def __init__(self, inner: Turn, over: Callable[[], None]) -> None:
        self._inner = inner
        self._over = over

    @property
    def has_waited(self) -> bool:
        return self._inner.has_waited

    async def release(self) -> None:
        try:
            await self._inner.release()
        finally:
            self._over()


def _count(report: BakeReport, at: TileAddress, found: Found) -> None:
    if found.source is Source.RENDERED:
        report.made += 1
        report.by_zoom[at.z] = report.by_zoom.get(at.z, 0) + 1
    else:
        report.ready += 1
    report.empty += not found.entry.body
    report.bytes += found.entry.size


async def _found(
    renderer: Renderer, wanted: Sequence[TileLayer], places: Iterator[TileAddress]
) -> AsyncGenerator[tuple[TileAddress, Found], None]:
    """Every tile once it is there, as soon as it is."""
    making: dict[asyncio.Task[Found], TileAddress] = {}
    try:
        for at in places:
            making[asyncio.create_task(renderer.find(wanted, at))] = at
            if len(making) >= AHEAD:
                done, _ = await asyncio.wait(making, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield making.pop(task), task.result()
        while making:
            done, _ = await asyncio.wait(making, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield making.pop(task), task.result()
    finally:
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)
