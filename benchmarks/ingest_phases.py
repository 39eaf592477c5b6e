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

READ, STAGE, OTHER = "read, while it is sent", "sending, beside reading", "the rest"
PLACES, KEYS = "index of places", ("index of fid", "index of source_key")
PHASES = {  # the first pattern that a statement matches names its phase
    r"ANALYZE city_stage": "analyze stage",
    r"UPDATE city_stage": "number equal rows",
    r"SELECT source_key, array_agg": "look for double keys",
    r"INSERT INTO city_stage": "fill the new table, in spatial order",
    r"CREATE INDEX .* gist": PLACES,
    r"CREATE UNIQUE INDEX .*\(fid\)": KEYS[0],
    r"CREATE UNIQUE INDEX .*\(source_key\)": KEYS[1],
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
    """Seconds of each phase; what is done beside another is told with it, and not in the sum."""
    clock, started = _Clock(), time.perf_counter()
    with _watched(clock):
        run(ingest_url, Job(layer=layer, files=(file,)))
    whole = time.perf_counter() - started
    beside = {
        READ: clock.seconds.pop(STAGE, 0.0),
        PLACES: sum(clock.seconds.pop(name, 0.0) for name in KEYS),
    }
    found = clock.seconds | {OTHER: whole - sum(clock.seconds.values())}
    return {
        f"{name} ({beside[name]:.1f} s beside it)" if name in beside else name: seconds
        for name, seconds in found.items()
    }


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
