"""A server that was told to stop and never will.

PostgreSQL 15, told to stop fast after the crash of one of its processes and before it begins to
redo, waits for its checkpointer, which nobody told to end.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

LOOK_S = 3.0
MAY_STAY = ("logger", "checkpointer")


class _Child(NamedTuple):
    title: str
    state: str
    ticks: str
    written: str


def is_stuck(postmaster: int) -> bool:
    """Whether for some seconds nothing is left of the server but a checkpointer that sleeps."""
    before = _children(postmaster)
    time.sleep(LOOK_S)
    after = _children(postmaster)
    stayed = {pid: child for pid, child in after.items() if pid in before}
    titles = {child.title for child in stayed.values()}
    return (
        "checkpointer" in titles
        and titles <= {*MAY_STAY}
        and all(child == before[pid] and child.state == "S" for pid, child in stayed.items())
    )


def _children(postmaster: int) -> dict[int, _Child]:
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            said = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(said[1]) != postmaster:
                continue
            title = (folder / "cmdline").read_bytes().partition(b"\0")[0].decode()
            written = (folder / "io").read_text()
        except OSError:  # it is gone, or not ours
            continue
        state, ticks = said[0], f"{said[11]} {said[12]}"  # user and system time
        named = title.removeprefix("postgres: ").strip()
        found[int(folder.name)] = _Child(named, state, ticks, written)
    return found
