"""Where finished tiles wait, compressed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from tiles.tally import Tally

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
ENTRY_OVERHEAD = 400  # bytes of Python objects an entry costs beside its body


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A finished tile. `body` is gzip, or empty for a tile that holds nothing.

    `validator` says which layers, versions and configuration it was made of. `truncated` tells of
    layers that had more features than a tile may hold. `brotli` is empty until the tile has
    turned out to be asked for often; `is_tight` says that it has, and that both are packed well.
    """

    validator: str
    body: bytes
    truncated: tuple[str, ...] = ()
    brotli: bytes = b""
    is_tight: bool = False

    @property
    def size(self) -> int:
        return len(self.body) + len(self.brotli)


class Usage(NamedTuple):
    """How much a tier holds."""

    bytes: int
    entries: int | None = None


class TileCache(Protocol):
    """A tier. `None` is a miss; an entry under another validator is a miss too."""

    async def get(self, key: str, validator: str) -> Entry | None: ...
    async def put(self, key: str, entry: Entry) -> None: ...
    @property
    def usage(self) -> Usage: ...


class Turn(Protocol):
    """The right to make a tile, while others wait; or leave to make it all the same, because the
    wait became too long or there is nobody to ask.
    """

    @property
    def has_waited(self) -> bool: ...
    async def release(self) -> None: ...


class SharedTier(Protocol):
    """Where workers, or machines, leave finished tiles for each other.

    It never fails: one that is away or full misses, forgets and keeps nobody waiting for long.
    """

    async def start(self) -> None: ...
    async def get(self, key: str, validator: str) -> Entry | None: ...
    async def put(self, key: str, entry: Entry) -> None: ...
    async def turn(self, key: str, validator: str) -> Turn: ...
    async def usage(self) -> Usage | None: ...
    async def clear(self) -> None: ...
    async def close(self) -> None: ...


class MemoryCache:
    """The least recently used go first once `max_bytes` are held."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self.bytes = 0

    async def get(self, key: str, validator: str) -> Entry | None:
        entry = self._entries.get(key)
        if entry is None or entry.validator != validator:
            return None
        self._entries.move_to_end(key)
        return entry

    async def put(self, key: str, entry: Entry) -> None:
        self._drop(key)
        size = _size(key, entry)
        if size > self._max_bytes:
            return
        self._entries[key] = entry
        self.bytes += size
        while self.bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    @property
    def usage(self) -> Usage:
        return Usage(self.bytes, len(self._entries))

    def _drop(self, key: str) -> None:
        if (old := self._entries.pop(key, None)) is not None:
            self.bytes -= _size(key, old)

    def __len__(self) -> int:
        return len(self._entries)


def _size(key: str, entry: Entry) -> int:
    return entry.size + len(key) + ENTRY_OVERHEAD


class SingleFlight(Generic[K, T]):
    """One render a key at a time, whoever asks; a failure is told to all and not remembered.

    The work is cancelled when the last of those who wait for it has left.
    """

    def __init__(self, tally: Tally | None = None) -> None:
        self._flights: dict[K, tuple[asyncio.Task[T], list[int]]] = {}
        self._tally = tally or Tally()

    async def do(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        if key not in self._flights:
            task = asyncio.ensure_future(_await(work))
            self._flights[key] = (task, [0])
            task.add_done_callback(lambda done: self._forget(key, done))
        else:
            self._tally.joins += 1
        task, waiting = self._flights[key]
        waiting[0] += 1
        try:
            return await asyncio.shield(task)
        finally:
            waiting[0] -= 1
            if not waiting[0] and not task.done():
                self._forget(key, task)
                task.cancel()

    def _forget(self, key: K, task: asyncio.Task[T]) -> None:
        """Only this flight: another may have begun under the key since."""
        if key in self._flights and self._flights[key][0] is task:
            del self._flights[key]


async def _await(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
