"""Whole layers as files that are made while they are sent.

The database is read at its own pace into a file without a name, and the client reads that at its:
so a slow one holds neither a connection nor memory, only room on a disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import IO
from weakref import WeakSet

from fastapi import Response
from fastapi.responses import StreamingResponse
from isal import isal_zlib

from api.feature_answers import FORMS, LINES, Asking, lines
from api.packed import GZIP
from layers.errors import StoreBusy
from layers.feature_sql import rows_statement
from layers.flatgeobuf import write_flatgeobuf
from layers.read import reading_rows
from layers.store import Store

PIECE = 1 << 18  # bytes sent at once
HELD = 8  # files on the disk for each that may be made at once


class Exports:
    """At most so many files are made at once, and some times as many lie there until their clients
    have fetched them; one more is told to come back.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._working = 0
        self._spools: WeakSet[Spool] = WeakSet()

    def spool(self) -> Spool:
        """Where one more file is put. Raises StoreBusy."""
        held = sum(not spool.is_closed for spool in self._spools)
        if held >= self._most * HELD:
            raise StoreBusy(f"{held} files are being fetched already")
        spool = Spool()
        self._spools.add(spool)
        return spool

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Raises StoreBusy."""
        if self._working >= self._most:
            raise StoreBusy(f"{self._working} files are being made already")
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1


class Spool:
    """A file that one task writes and another reads from its beginning, without waiting for its
    end.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="quartier-export-")  # noqa: SIM115
        self._written = 0
        self._is_done = False
        self._failed: BaseException | None = None
        self._news = asyncio.Condition()

    @property
    def is_closed(self) -> bool:
        return self._file.closed

    async def write(self, piece: bytes) -> None:
        await asyncio.to_thread(self._append, piece)
        self._written += len(piece)
        async with self._news:
            self._news.notify_all()

    def _append(self, piece: bytes) -> None:
        self._file.seek(self._written)
        self._file.write(piece)
        self._file.flush()

    async def finish(self, failed: BaseException | None = None) -> None:
        self._is_done, self._failed = True, failed
        async with self._news:
            self._news.notify_all()

    async def pieces(self) -> AsyncIterator[bytes]:
        """What is written, as it comes. Raises what the writing task failed by."""
        sent = 0
        while True:
            async with self._news:
                while self._written == sent and not self._is_done:
                    await self._news.wait()
            if self._failed is not None:
                raise self._failed
            if self._written == sent:
                return
            piece = await asyncio.to_thread(self._read, sent, min(PIECE, self._written - sent))
            sent += len(piece)
            yield piece

    def _read(self, at: int, most: int) -> bytes:
        return os.pread(self._file.fileno(), most, at)

    def close(self) -> None:
        self._file.close()


Begun = asyncio.Future[int]  # the revision, as soon as it is known
Fill = Callable[[Spool, Begun], Awaitable[None]]


async def _streamed(asking: Asking, exports: Exports, fill: Fill, *, packed: bool) -> Response:
    """Answer as soon as the revision is known; what fails before then is an ordinary error."""
    spool = exports.spool()
    begun: Begun = asyncio.get_running_loop().create_future()

    async def work() -> None:
        try:
            async with exports.turn():
                await fill(spool, begun)
            await spool.finish()
        except BaseException as exc:
            if not begun.done():
                begun.set_exception(exc)
            await spool.finish(exc)
            if not isinstance(exc, Exception):
                raise

    writing = asyncio.ensure_future(work())
    try:
        revision = await begun
    except BaseException:
        await _stop(writing, spool)
        raise

    async def body() -> AsyncIterator[bytes]:
        try:
            async for piece in spool.pieces():
                yield piece
        finally:
            await _stop(writing, spool)

    headers = asking.headers(revision) | {"content-type": FORMS[asking.form]}
    headers["content-encoding"] = "gzip" if packed else "identity"
    return StreamingResponse(body(), headers=headers)


async def _stop(writing: asyncio.Future[None], spool: Spool) -> None:
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await writing
    spool.close()


async def stream_lines(asking: Asking, store: Store, exports: Exports, *, packed: bool) -> Response:
    """Every feature as a line. `packed`: by gzip, level 1, which costs less than sending more."""
    form = LINES[asking.form]
    statement = rows_statement(asking.query, f"convert_to({form.line(asking.query)}, 'UTF8')")

    async def fill(spool: Spool, begun: Begun) -> None:
        packer = isal_zlib.compressobj(1, wbits=GZIP) if packed else None
        async with reading_rows(store, asking.query, statement) as (revision, batches):
            begun.set_result(revision)
            await _write(spool, packer, lines(asking, b"", is_first=True))
            async for rows in batches:
                await _write(spool, packer, b"\n".join(row[0] for row in rows) + b"\n")
        if packer is not None:
            await spool.write(packer.flush())

    return await _streamed(asking, exports, fill, packed=packed)


async def _write(spool: Spool, packer: isal_zlib.Compress | None, piece: bytes) -> None:
    if packer is not None:
        piece = await asyncio.to_thread(packer.compress, piece)
    if piece:
        await spool.write(piece)


async def stream_flatgeobuf(asking: Asking, store: Store, exports: Exports) -> Response:
    """Every feature in a FlatGeobuf file, which GDAL writes as the rows come."""

    async def fill(spool: Spool, begun: Begun) -> None:
        await write_flatgeobuf(store, asking.query, begun.set_result, spool.write)

    return await _streamed(asking, exports, fill, packed=False)
