"""Better compression for tiles that turned out to be asked for often. Nobody waits for it."""

from __future__ import annotations

import asyncio
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import brotli

from tiles.background import be_nice
from tiles.cache import Entry
from tiles.packing import GZIP, decompress
from tiles.tally import Tally

QUEUE = 64  # tiles that may wait; one that finds no room is offered again when it is still hot
BROTLI_QUALITY = 10  # 12 % smaller than 5 to 9; 11 saves 4 % more and takes three times as long
GZIP_LEVEL = 9  # 12 % smaller than isal's level 2


class Recompressor:
    """One thread of low priority; both libraries let others work meanwhile."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._thread = ThreadPoolExecutor(1, "recompress", be_nice)
        self._waiting = 0

    async def pack(self, entry: Entry) -> Entry | None:
        """The entry packed well, or None where too many wait."""
        if self._waiting >= QUEUE:
            self._tally.recompressed["refused"] += 1
            return None
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            better = await loop.run_in_executor(self._thread, tightened, entry)
        finally:
            self._waiting -= 1
        self._tally.recompressed["done"] += 1
        return better

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def tightened(entry: Entry) -> Entry:
    """The same tile; what did not become smaller stays as it was."""
    raw = decompress(entry.body)
    gzip = zlib.compress(raw, GZIP_LEVEL, GZIP)
    body = min(gzip, entry.body, key=len)
    packed = brotli.compress(raw, quality=BROTLI_QUALITY)
    return replace(
        entry, body=body, brotli=packed if len(packed) < len(body) else b"", is_tight=True
    )
