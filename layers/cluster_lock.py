"""Who uses a cluster, told by the kernel: the lock of a killed process vanishes with it.

Two files: `turn.lock` is held while somebody starts or stops the server, `holders.lock` is
shared by everyone who uses it. An opener must give descriptors that programs do not inherit.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Opener = Callable[[Path], int]


@contextmanager
def shared_hold(
    directory: Path, *, opener: Opener, first: Callable[[], None], last: Callable[[], None]
) -> Iterator[None]:
    """Hold what lives in `directory`.

    `first` makes it usable and runs for every holder, one at a time; `last` runs when nobody
    else holds it, also after `first` failed.
    """
    holders = opener(directory / "holders.lock")
    try:
        with _turn(directory, opener):
            fcntl.flock(holders, fcntl.LOCK_SH)
            first()
        yield
    finally:
        try:
            with _turn(directory, opener):
                if _alone(holders):
                    last()
                fcntl.flock(holders, fcntl.LOCK_UN)  # before the turn ends, in forked copies too
        finally:
            os.close(holders)


@contextmanager
def _turn(directory: Path, opener: Opener) -> Iterator[None]:
    descriptor = opener(directory / "turn.lock")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _alone(holders: int) -> bool:
    try:
        fcntl.flock(holders, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
