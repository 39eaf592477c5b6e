"""The tiers of the cache, and one render for a tile however many ask, in however many workers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tiles.background import Background
from tiles.cache import Entry, SharedTier, SingleFlight, TileCache, Turn, Usage
from tiles.recompress import Recompressor
from tiles.tally import Source, Tally

FINISH_S = 2.0  # for what is still to be written when a worker stops


class Found(NamedTuple):
    """A tile, the key it is kept under and where it came from."""

    key: str
    entry: Entry
    source: Source


class Wanted(NamedTuple):
    """A tile that is asked for: its key, its validator as it is now, and how to make it."""

    key: str
    validator: Callable[[], str]
    make: Callable[[], Awaitable[Entry]]


class Tiers:
    """Memory, then what workers share, then the render itself."""

    def __init__(self, memory: TileCache, shared: SharedTier | None, tally: Tally) -> None:
        self.memory = memory
        self.shared = shared
        self._tally = tally
        self._flights: SingleFlight[tuple[str, str], Found] = SingleFlight(tally)
        self._recompressor = Recompressor(tally)
        self._background = Background()

    async def start(self) -> None:
        if self.shared is not None:
            await self.shared.start()

    async def close(self) -> None:
        self._recompressor.close()
        await self._background.finish(FINISH_S)
        if self.shared is not None:
            await self.shared.close()

    async def usage(self) -> tuple[Usage, Usage | None]:
        """What is held in memory, and in what workers share."""
        shared = await self.shared.usage() if self.shared is not None else None
        return self.memory.usage, shared

    async def find(self, wanted: Wanted) -> Found:
        """The tile under the validator it has now, or a later one."""
        validator = wanted.validator()
        if (hit := await self.memory.get(wanted.key, validator)) is not None:
            return Found(wanted.key, hit, Source.MEMORY)
        return await self._flights.do((wanted.key, validator), lambda: self._fill(wanted))

    async def _fill(self, wanted: Wanted) -> Found:
        if self.shared is None:
            return await self._made(wanted)
        if (found := await self._shared_by_others(self.shared, wanted)) is not None:
            return found
        turn = await self.shared.turn(wanted.key, wanted.validator())
        self._tally.lock_waits += turn.has_waited
        try:
            found = await self._shared_by_others(self.shared, wanted)
            if found is not None:
                self._background.run(turn.release())
                return found
            found = await self._made(wanted)
        except BaseException:
            self._background.run(turn.release())
            raise
        self._background.run(_share(self.shared, found, turn))
        return found

    async def _shared_by_others(self, shared: SharedTier, wanted: Wanted) -> Found | None:
        entry = await shared.get(wanted.key, wanted.validator())
        if entry is None:
            return None
        await self.memory.put(wanted.key, entry)
        return Found(wanted.key, entry, Source.SHARED)

    async def _made(self, wanted: Wanted) -> Found:
        begun = time.perf_counter()
        entry = await wanted.make()
        self._tally.render_s.append(time.perf_counter() - begun)
        self._tally.truncated.update(entry.truncated)
        await self.memory.put(wanted.key, entry)
        return Found(wanted.key, entry, Source.RENDERED)

    async def improve(self, key: str, entry: Entry) -> Entry | None:
        """The same tile packed better, by another worker or by this one; None where that has to
        wait, or where the tile is another by now.
        """
        shared = self.shared
        better = await shared.get(key, entry.validator) if shared else None
        is_news = better is None or not better.is_tight
        if is_news:
            better = await self._recompressor.pack(entry)
        if better is None or await self.memory.get(key, entry.validator) is None:
            return None
        await self.memory.put(key, better)
        if is_news and shared is not None:
            await shared.put(key, better)
        return better


async def _share(shared: SharedTier, found: Found, turn: Turn) -> None:
    """Those who wait for their turn shall find the tile."""
    try:
        await shared.put(found.key, found.entry)
    finally:
        await turn.release()
