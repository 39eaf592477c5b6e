"""The shared tier on one machine: a folder of finished tiles that all workers read and write.

folder/
    00/ … ff/     entries, named by a hash of their key; written beside and renamed when whole
    locks/        one of these files is locked while a tile of its stripe is made
    taken         bytes on disk, counted by all
    sweep.lock    held by the worker that removes the least recently used
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog
import xxhash

from tiles.background import be_nice
from tiles.cache import Entry, Usage
from tiles.disk_room import UNFINISHED, DiskRoom, room_of
from tiles.entry_format import MOST_BYTES, NotAnEntry, pack, unpack
from tiles.errors import CacheNotEmptied

T = TypeVar("T")
THREADS = 4
STRIPES = 1024  # locks; two tiles made at once share one so seldom that it does not matter
PATIENCE_S = 10.0  # for somebody else to make a tile, before it is made here too
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 0.025  # between two looks at a lock
DISK_PATIENCE_S = 2.0  # a disk that answers no sooner is left alone for a while
REST_S = 30.0  # before a disk that failed is tried again
SWEEP_PAUSE_S = 1.0
FAILURES = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
    errno.ENAMETOOLONG, errno.ENOTDIR, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE,
}  # fmt: skip

log = structlog.get_logger()


class DiskTurn:
    """A stripe's lock. The kernel gives it back when the process dies."""

    def __init__(self, descriptor: int | None, *, has_waited: bool) -> None:
        self._descriptor = descriptor
        self.has_waited = has_waited

    async def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class DiskCache:
    """Tiles in `folder`, at most `max_bytes` of disk, or a little more for a moment.

    A file that is no whole entry is a miss and goes. Nothing is written for `REST_S` to a disk
    that is full or read-only, nothing asked of one that does not answer, and that is said once.
    """

    def __init__(self, folder: Path, max_bytes: int, *, patience_s: float = PATIENCE_S) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._room = DiskRoom(folder, max_bytes)
        self._patience_s = patience_s
        self._threads = ThreadPoolExecutor(THREADS, "tiles-on-disk")
        self._sweeper = ThreadPoolExecutor(1, "tiles-sweep", be_nice)
        self._sweep_is_due = False
        self._no_sweep_until = 0.0
        self._numbers = itertools.count()
        self._no_reads_until = 0.0
        self._no_writes_until = 0.0
        self._is_failing = False

    async def start(self) -> None:
        await self._run(lambda: self._writing(self._prepare), None)
        self._sweeper.submit(self._writing, self._room.recount)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._sweeper.shutdown(wait=False, cancel_futures=True)

    async def get(self, key: str, validator: str) -> Entry | None:
        return await self._run(lambda: self._read(key, validator), None)

    async def put(self, key: str, entry: Entry) -> None:
        if time.monotonic() >= self._no_writes_until:
            await self._run(lambda: self._writing(lambda: self._write(key, entry)), None)

    async def usage(self) -> Usage | None:
        return Usage(await self._run(self._room.taken, 0))

    async def clear(self) -> None:
        """Remove every entry, however long it takes; raises CacheNotEmptied."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, self._room.clear)
        except OSError as exc:
            raise CacheNotEmptied(str(exc)) from exc

    async def turn(self, key: str, validator: str) -> DiskTurn:
        """Wait, for `patience_s` at most, until nobody else makes the tile."""
        try:
            descriptor = self._open_stripe(f"{key}@{validator}")
        except OSError:
            return DiskTurn(None, has_waited=False)
        try:
            return await self._wait_for(descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    async def _wait_for(self, descriptor: int) -> DiskTurn:
        until, pause = time.monotonic() + self._patience_s, FIRST_PAUSE_S
        has_waited = False
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return DiskTurn(descriptor, has_waited=has_waited)
            has_waited = True
            if time.monotonic() >= until:
                os.close(descriptor)
                return DiskTurn(None, has_waited=True)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_S)

    def _open_stripe(self, name: str) -> int:
        stripe = xxhash.xxh3_64_intdigest(name.encode()) % STRIPES
        path = self._folder / "locks" / f"{stripe:03x}"
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _path(self, key: str) -> Path:
        name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        return self._folder / name[:2] / name[2:]

    def _prepare(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._folder / "locks").mkdir(mode=0o700, exist_ok=True)

    def _read(self, key: str, validator: str) -> Entry | None:
        path = self._path(key)
        try:
            size = path.stat().st_size
            entry = unpack(key, path.read_bytes() if size <= MOST_BYTES else b"")
        except (FileNotFoundError, IsADirectoryError):
            return None
        except NotAnEntry:
            self._remove(path, size)
            return None
        if entry.validator != validator:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # what is used stays
        return entry

    def _remove(self, path: Path, size: int) -> None:
        with contextlib.suppress(OSError):
            path.unlink()
            self._room.add(-room_of(size))

    def _write(self, key: str, entry: Entry) -> None:
        packed = pack(key, entry)
        if room_of(len(packed)) > self._max_bytes or len(packed) > MOST_BYTES:
            return
        if not self._room.has_room_for(len(packed)):
            self._sweep()
            return
        path = self._path(key)
        try:
            before = self._replace(path, packed)
        except FileNotFoundError:  # somebody removed the folder, as they may
            self._prepare()
            path.parent.mkdir(mode=0o700, exist_ok=True)
            before = self._replace(path, packed)
        if self._room.add(room_of(len(packed)) - before):
            self._sweep()

    def _replace(self, path: Path, packed: bytes) -> int:
        """Put the file in its place in one step; the room that the one before took."""
        unfinished = path.with_name(f"{os.getpid()}-{next(self._numbers)}{UNFINISHED}")
        try:
            unfinished.write_bytes(packed)
            try:
                before = room_of(path.stat().st_size)
            except FileNotFoundError:
                before = 0
            unfinished.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise
        return before

    def _sweep(self) -> None:
        if not self._sweep_is_due and time.monotonic() >= self._no_sweep_until:
            self._sweep_is_due = True
            self._sweeper.submit(self._writing, self._sweep_now)

    def _sweep_now(self) -> None:
        try:
            self._room.sweep()
        finally:
            self._no_sweep_until = time.monotonic() + SWEEP_PAUSE_S
            self._sweep_is_due = False

    async def _run(self, work: Callable[[], T], otherwise: T) -> T:
        """In a thread, because a disk may take its time; what fails is a miss."""
        if time.monotonic() < self._no_reads_until:
            return otherwise
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(DISK_PATIENCE_S):
                return await loop.run_in_executor(self._threads, work)
        except (OSError, TimeoutError) as exc:
            if isinstance(exc, TimeoutError) or exc.errno in FAILURES:
                self._no_reads_until = time.monotonic() + REST_S
                self._tell(exc)
        except RuntimeError:  # closed meanwhile
            pass
        return otherwise

    def _writing(self, work: Callable[[], None]) -> None:
        """Do it, or nothing more of the kind for a while."""
        try:
            work()
        except OSError as exc:
            if exc.errno in FAILURES:
                self._no_writes_until = time.monotonic() + REST_S
                self._tell(exc)
            return
        if self._is_failing:
            self._is_failing = False
            log.info("tiles are kept on disk again", folder=str(self._folder))

    def _tell(self, exc: OSError) -> None:
        """One line when a disk begins to fail, however many requests notice."""
        if not self._is_failing:
            self._is_failing = True
            reason = str(exc) or "the disk does not answer"
            log.warning("tiles are not kept on disk", folder=str(self._folder), reason=reason)
