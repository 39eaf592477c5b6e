"""How much room the tiles on disk take, counted by all workers together and kept below a bound.

Everything here blocks; it is called from threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

BLOCK = 4096  # a file takes whole blocks
KEPT = 0.9  # of the bound is left by a sweep, so that the next one is not due at once
HARD = 1.05  # of the bound: beyond, nothing more is written before a sweep
TEMPORARY_S = 600  # a file half written for longer was left by a worker that was killed
RECOUNT_S = 60  # a count this fresh need not be made again by each worker that starts
UNFINISHED = ".new"


def room_of(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


class DiskRoom:
    """The count is a number in a file that every worker adds to under a lock. A worker killed
    between a write and its count makes it wrong by one tile, until the next sweep counts anew.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._count = folder / "taken"
        self._sweeping = folder / "sweep.lock"
        self._max_bytes = max_bytes

    def has_room_for(self, size: int) -> bool:
        return self.taken() + room_of(size) <= self._max_bytes * HARD

    def taken(self) -> int:
        try:
            return int(self._count.read_bytes() or b"0")
        except (FileNotFoundError, ValueError):
            return 0

    def measured(self) -> int:
        """What the files take, looked at one by one; nothing is counted anew or removed."""
        total = 0
        for entry in self._files():
            with contextlib.suppress(FileNotFoundError):
                total += room_of(entry.stat(follow_symlinks=False).st_size)
        return total

    def add(self, difference: int) -> bool:
        """Count what came and went; true when a sweep is due."""
        with _locked(self._count) as descriptor:
            try:
                before = int(os.pread(descriptor, 32, 0) or b"0")
            except ValueError:
                before = 0
            after = max(0, before + difference)
            os.pwrite(descriptor, b"%-20d" % after, 0)
        return after > self._max_bytes

    def recount(self) -> None:
        """Make the count true, unless that was done a moment ago."""
        with contextlib.suppress(FileNotFoundError):
            if time.time() - self._sweeping.stat().st_mtime < RECOUNT_S and self._count.exists():
                return
        self.sweep()

    def sweep(self) -> None:
        """Count the files and remove the least recently used above the bound: one worker at a
        time, and a second one has nothing to do.
        """
        with contextlib.suppress(BlockingIOError), _locked(self._sweeping, fcntl.LOCK_NB) as lock:
            before = self.taken()
            total, newest_gone = self._survey()
            if newest_gone is not None:
                total -= self._remove_before(newest_gone, total)
            # What others wrote meanwhile may be counted twice, and never not at all.
            self.add(total - before)
            os.utime(lock)

    def clear(self) -> None:
        """Remove every file, the unfinished too, and count anew."""
        for entry in self._files():
            Path(entry).unlink(missing_ok=True)
        self.recount()

    def _survey(self) -> tuple[int, float | None]:
        """What is there, and the time of use of the newest file that has to go, if one has."""
        used, sizes = array("d"), array("q")
        for entry in self._files():
            with contextlib.suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                if entry.name.endswith(UNFINISHED):
                    self._remove_left_behind(entry, found.st_mtime)
                else:
                    used.append(found.st_mtime)
                    sizes.append(room_of(found.st_size))
        total = sum(sizes)
        if total <= self._max_bytes:
            return total, None
        order = np.argsort(np.frombuffer(used), kind="stable")
        going = np.cumsum(np.frombuffer(sizes, np.int64)[order])
        last = int(np.searchsorted(going, total - self._max_bytes * KEPT))
        return total, used[int(order[min(last, len(order) - 1)])]

    def _remove_before(self, newest_gone: float, total: int) -> int:
        """Remove files last used then or before, until the bound is kept to; the room won."""
        won = 0
        for entry in self._files():
            if total - won <= self._max_bytes * KEPT:
                break
            with contextlib.suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if found.st_mtime <= newest_gone and not entry.name.endswith(UNFINISHED):
                    Path(entry).unlink()
                    won += room_of(found.st_size)
        return won

    def _files(self) -> Iterator[os.DirEntry[str]]:
        for number in range(256):
            with (
                contextlib.suppress(FileNotFoundError, NotADirectoryError),
                os.scandir(self._folder / f"{number:02x}") as entries,
            ):
                yield from (entry for entry in entries if entry.is_file(follow_symlinks=False))

    def _remove_left_behind(self, entry: os.DirEntry[str], written: float) -> None:
        if time.time() - written > TEMPORARY_S:
            Path(entry).unlink(missing_ok=True)


@contextmanager
def _locked(path: Path, how: int = 0) -> Iterator[int]:
    """The file, open and ours alone; raises BlockingIOError with LOCK_NB where it is not."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
        yield descriptor
    finally:
        os.close(descriptor)
