"""Dry runs of files, each in a process of its own. Imported by each, so it imports little."""

from __future__ import annotations

import multiprocessing
import resource
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ingest.draft import draft
from ingest.errors import SourceRefused
from ingest.inspect import inspect_files
from layers.columns import GeometryType
from layers.source import Source

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.accept.dry_run"])
MOST_KB, MOST_S = 1_000_000, 120


@dataclass(frozen=True, slots=True)
class Way:
    """One file and the options it is read with."""

    path: Path
    name: str
    options: dict[str, str]


def inspected(way: Way) -> dict[str, Any]:
    """What a dry run says, in a process of its own that must not die, swell or take long."""
    ours, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=inspect_in_child, args=(theirs, way))
    process.start()
    theirs.close()
    said: dict[str, Any] = ours.recv() if ours.poll(MOST_S) else {"state": "hangs"}
    process.terminate()
    process.join()
    assert said["state"] in ("refused", "readable"), f"{way.name}: {said}"
    assert said["kB"] <= MOST_KB, f"{way.name}: {said['kB']:,} kB"
    return said


def inspect_in_child(to: Connection, way: Way) -> None:
    """`quartier inspect --json`, and the most memory that it took."""
    options = dict(way.options)
    drawn = options.pop("geometry", None)
    try:
        source = Source.model_validate(options)
        made = draft([way.path], geometry=GeometryType(drawn) if drawn else None, source=source)
        found = inspect_files(made.layer, [way.path])
        said = {"state": "readable", "layer": made.layer, **found.as_json()}
    except SourceRefused as refused:
        said = {"state": "refused", "message": str(refused)}
    to.send(said | {"kB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss})
