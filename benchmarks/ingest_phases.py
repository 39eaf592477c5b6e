"""Where the time of an ingest goes: the same run in this process, with a clock at each door."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg

from ingest import load as loading
from ingest.run import Job, run
from layers.model import Layer
from layers.stage import Stage

READ, STAGE, OTHER = "read, while staging", "staging, beside reading", "the rest"
PHASES = {  # the first pattern that a statement matches names its phase
    r"ANALYZE city_stage": "analyze stage",
    r"UPDATE city_stage": "number equal rows",
    r"SELECT source_key, array_agg": "look for double keys",
    r"INSERT INTO city_stage": "fill the new table, in spatial order",
    r"CREATE INDEX .* gist": "index of places",
    r"CREATE UNIQUE INDEX .*\(fid\)": "index of fid",
    r"CREATE UNIQUE INDEX .*\(source_key\)": "index of source_key",
    r"ANALYZE city\.": "analyze table",
    r"DROP TABLE": "drop stage and old table",
    r"COMMIT": "commit",
}


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def phases(ingest_url: str, layer: Layer, file: Path) -> dict[str, float]:
    """Seconds of each phase; staging overlaps reading and is left out of the sum."""
    clock, started = _Clock(), time.perf_counter()
    with _watched(clock):
        run(ingest_url, Job(layer=layer, files=(file,)))
    whole = time.perf_counter() - started
    staging = clock.seconds.pop(STAGE)
    found = clock.seconds | {OTHER: whole - sum(clock.seconds.values())}
    return {f"{name} ({staging:.1f} s in its thread)" if name == READ else name: seconds
            for name, seconds in found.items()}  # fmt: skip


@contextmanager
def _watched(clock: _Clock) -> Iterator[None]:
    read_into = loading._Load._read_into
    append, execute = Stage.append, psycopg.Cursor.execute
    commit = psycopg.Connection.commit

    def timed_reading(self: Any, staged: Stage, *, since: int) -> None:
        with clock.at(READ):
            read_into(self, staged, since=since)

    def timed_append(self: Stage, rows: Any) -> None:
        with clock.at(STAGE):
            append(self, rows)

    def timed_execute(self: Any, query: Any, *args: Any, **more: Any) -> Any:
        if (phase := _phase(str(query))) is None:
            return execute(self, query, *args, **more)
        with clock.at(phase):
            return execute(self, query, *args, **more)

    def timed_commit(self: Any) -> None:
        with clock.at("commit"):
            commit(self)

    with (
        patch.object(loading._Load, "_read_into", timed_reading),
        patch.object(Stage, "append", timed_append),
        patch.object(psycopg.Cursor, "execute", timed_execute),
        patch.object(psycopg.Connection, "commit", timed_commit),
    ):
        yield


def _phase(statement: str) -> str | None:
    flat = re.sub(r"\s+", " ", statement)
    return next((name for pattern, name in PHASES.items() if re.search(pattern, flat)), None)
