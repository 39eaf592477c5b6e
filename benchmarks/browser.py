"""A browser with a map, as far as tiles are concerned: six connections, a cache, a memory."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.client import Answer, length_of, read_head, request

CONNECTIONS = 6  # of a browser to one origin, over HTTP/1.1
SCREENS_HELD = 5  # of tiles out of sight that MapLibre keeps
ENCODINGS = "gzip, deflate, br, zstd"
TIMEOUT_S = 120
BUFFER_BYTES = 1 << 20


class Fetched(NamedTuple):
    """A tile that came over the network: from sent to there, not from when it was wanted."""

    path: str
    ms: float
    status: int
    bytes: int


class Shown(NamedTuple):
    """A view that was waited for: how long until its last tile was there, and how many it has."""

    ms: float
    tiles: int
    fetched: int


class Stored(NamedTuple):
    """What the browser's cache has of a tile."""

    etag: str
    fresh_until: float


@dataclass(slots=True)
class HttpCache:
    """Outlives the page, as a browser's cache does."""

    stored: dict[str, Stored] = field(default_factory=dict)

    def keep(self, path: str, answer: Answer) -> None:
        said = answer.header(b"cache-control").decode()
        if "no-store" in said:
            return
        age = re.search(r"(?:^|[\s,])max-age=(\d+)", said)
        fresh_s = int(age[1]) if age and "no-cache" not in said else 0
        etag = answer.header(b"etag").decode()
        if etag or fresh_s:
            self.stored[path] = Stored(etag, time.monotonic() + fresh_s)


class Connection:
    """One connection, which is closed where its answer is no longer wanted."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._where = (parts.hostname, parts.port)
        self._host = parts.netloc
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str, headers: dict[str, str]) -> Answer:
        try:
            return await asyncio.wait_for(self._get(path, headers), TIMEOUT_S)
        except BaseException:
            await self.close()
            raise

    async def _get(self, path: str, headers: dict[str, str]) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._where, limit=BUFFER_BYTES)
            self._streams[1].get_extra_info("socket").setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
            )
        reader, writer = self._streams
        writer.write(request(path, self._host, headers))
        status, said = read_head((await reader.readuntil(b"\r\n\r\n"))[:-4])
        length = length_of(status, said)
        body = await (_chunked(reader) if length is None else reader.readexactly(length))
        if dict(said).get(b"connection", b"").lower() == b"close":
            await self.close()
        return Answer(status, said, body)

    async def close(self) -> None:
        if self._streams is not None:
            writer, self._streams = self._streams[1], None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        chunks.append((await reader.readexactly(size + 2))[:-2])
    await reader.readexactly(2)
    return b"".join(chunks)


class Page:
    """A page with a map on it. Its memory of tiles goes with it, the browser's cache stays."""

    def __init__(self, url: str, cache: HttpCache) -> None:
        self._cache = cache
        self._idle = [Connection(url) for _ in range(CONNECTIONS)]
        self._all = tuple(self._idle)
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._memory: OrderedDict[str, None] = OrderedDict()
        self._coming: dict[str, asyncio.Task[None]] = {}
        self.fetched: list[Fetched] = []
        self.given_up = 0
        self.from_cache = 0

    async def show(self, paths: Sequence[str]) -> Shown:
        """Have all tiles of a view; what only an earlier one wanted is given up."""
        begun = time.perf_counter()
        coming = await self._want(paths)
        if coming:
            await asyncio.gather(*coming)
        self._forget(len(paths))
        return Shown((time.perf_counter() - begun) * 1000, len(paths), len(coming))

    async def pass_by(self, paths: Sequence[str], seconds: float) -> None:
        """Ask for the tiles of a view that is left again at once."""
        await self._want(paths)
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        await self._give_up(list(self._coming))
        for connection in self._all:
            await connection.close()

    async def _want(self, paths: Sequence[str]) -> list[asyncio.Task[None]]:
        wanted = set(paths)
        await self._give_up([path for path in self._coming if path not in wanted])
        for path in paths:
            if path in self._memory:
                self._memory.move_to_end(path)
            elif path not in self._coming:
                self._coming[path] = asyncio.create_task(self._bring(path))
        return [self._coming[path] for path in paths if path in self._coming]

    async def _give_up(self, paths: Sequence[str]) -> None:
        tasks = [self._coming.pop(path) for path in paths]
        for task in tasks:
            self.given_up += task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _bring(self, path: str) -> None:
        stored = self._cache.stored.get(path)
        if stored is not None and stored.fresh_until > time.monotonic():
            self.from_cache += 1
        else:
            async with self._free:
                await self._fetch(path, stored)
        self._memory[path] = None
        self._coming.pop(path, None)

    async def _fetch(self, path: str, stored: Stored | None) -> None:
        headers = {"accept-encoding": ENCODINGS}
        if stored is not None and stored.etag:
            headers["if-none-match"] = stored.etag
        connection = self._idle.pop()
        try:
            begun = time.perf_counter()
            answer = await connection.get(path, headers)
            took = (time.perf_counter() - begun) * 1000
        finally:
            self._idle.append(connection)
        self.fetched.append(Fetched(path, took, answer.status, len(answer.body)))
        if answer.status in (200, 204):
            self._cache.keep(path, answer)

    def _forget(self, in_view: int) -> None:
        while len(self._memory) > in_view * SCREENS_HELD:
            self._memory.popitem(last=False)
