"""Folders for what is only half there: gone with their process, even with a killed one.

Each is locked by its process for as long as it is needed, and the kernel takes the lock from a dead
one. Whoever makes the next folder of the kind removes those that nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder in `parent` (without: where temporary files are), removed with the block."""
    within = parent or Path(tempfile.gettempdir())
    for left in within.glob(f"{prefix}*"):
        _remove_abandoned(left)
    while True:
        with tempfile.TemporaryDirectory(prefix=prefix, dir=within) as name:
            held = _opened(name)
            if held is None:  # taken for abandoned before it was locked
                continue
            try:
                fcntl.flock(held, fcntl.LOCK_EX)
                if os.fstat(held).st_nlink == 0:
                    continue
                yield Path(name)
                return
            finally:
                os.close(held)


def _remove_abandoned(folder: Path) -> None:
    held = _opened(folder)
    if held is None:
        return
    try:
        if os.fstat(held).st_uid == os.geteuid():
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # its process is alive, or the file system knows no locks
    finally:
        os.close(held)


def _opened(folder: str | Path) -> int | None:
    """A descriptor of a folder that is one and that we may look into."""
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
