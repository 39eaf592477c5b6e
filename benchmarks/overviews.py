"""What an overview of points costs: rows, disk, counting it anew, and keeping it true.

An edit of the layer, with revision, history, change log, overview and cube, is timed against the
same UPDATE of a bare copy of the table that has the same columns and indexes and no triggers; each
is committed. Counting anew is timed against counting the points of each cell once.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg

from benchmarks.city import City
from benchmarks.datasets import LARGE, WHOLE, DataSet, vacuum
from benchmarks.ours import published
from benchmarks.result import Result
from benchmarks.rounds import interleaved, ratio
from layers.columns import ColumnType
from layers.model import Layer
from layers.overviews import GRID_DEPTH, ROW_DEPTH, Kept, cells, cube, has_cube, tables_of
from layers.sql import ident
from layers.tables import CITY

MOVED, ROUNDS, SINGLES, REBUILDS = 5_000, 9, 20, 3
ROWS_WANTED = {WHOLE: 0.4, LARGE: 0.2}  # of the overview, for each row of the table
CUBE_WANTED, REBUILD_S, MOVE_WANTED, CHANGE_WANTED, ONE_MS = 0.5, 10, 4, 2, 5
COPY = f"{CITY}.bench_bare"
SHIFT = "ST_Translate(geom, 0.001 * (random() - 0.5), 0.001 * (random() - 0.5))"
Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Pair:
    """The same thing done to the layer and to what it is measured against, in seconds."""

    ours: list[float]
    against: list[float]

    @property
    def row(self) -> list[object]:
        return [
            statistics.median(self.ours) * 1000,
            statistics.median(self.against) * 1000,
            ratio(self.ours, self.against),
        ]


def measure(city: City) -> Result:
    rows: list[list[object]] = []
    raw: dict[str, object] = {}
    for size in (WHOLE, LARGE):
        layer = city.load(size)
        with _connected(city) as connection:
            rows += _sizes(connection, city, layer, size)
            rebuilt = _pairs(REBUILDS, partial(_rebuild, city, connection, layer),
                             partial(_scan, connection, layer))  # fmt: skip
            wanted = f"≤ {REBUILD_S} s" if size is WHOLE else None
            rows.append([f"{size.says}: counted anew, all of it; one scan", *rebuilt.row, wanted])
            raw[f"{size.says} rebuild"] = [rebuilt.ours, rebuilt.against]
    layer = city.load()
    with _connected(city) as connection, _bare_copy(connection, layer):
        for what, wanted, pair in _edits(connection, layer):
            rows.append([what, *pair.row, wanted])
            raw[what] = [pair.ours, pair.against]
        same = _is_as_rebuilt(connection, layer)
    rows.append(["maintained = rebuilt, byte for byte", None, None, None, "yes" if same else "NO"])
    return Result(
        title=f"Overviews: {MOVED:,} rows an edit, {ROUNDS} rounds, medians",
        columns=["", "ours, ms or MB", "against", "ratio", "wanted"],
        rows=rows,
        raw=raw,
    )


@contextmanager
def _connected(city: City) -> Iterator[Connection]:
    with psycopg.connect(city.urls.ingest, autocommit=True) as connection:
        found = connection.execute(
            "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'postgis'"
        ).fetchone()
        assert found is not None
        connection.execute(f"SET search_path = {found[0]}".encode())
        yield connection


def _sizes(connection: Connection, city: City, layer: Layer, size: DataSet) -> list[list[object]]:
    """Rows and bytes of the overview and the cube, for each row and byte of the table."""
    table = f"{CITY}.{ident(layer.id)}"
    known = published(city, layer)
    kept: list[tuple[str, Kept, float]] = [("overview", cells(layer), ROWS_WANTED[size])]
    kept += [("cube", cube(layer), CUBE_WANTED)] if has_cube(layer) else []
    found: list[list[object]] = []
    for name, each, wanted in kept:
        part = _count(connection, each.table) / _count(connection, table)
        says = f"{size.says}: rows of the {name}"
        says += f" (features from z{known.detail_zoom})" if name == "overview" else (
            f" (to depth {known.cube_depth})"
        )  # fmt: skip
        found.append([says, None, None, part, f"≤ {wanted}"])
        mine, whole = (_bytes(connection, one) / 1e6 for one in (each.table, table))
        found.append([f"{size.says}: MB of the {name}; of the table", mine, whole, mine / whole,
                      None])  # fmt: skip
    return found


def _count(connection: Connection, table: str) -> int:
    return int(_one(connection, f"SELECT count(*) FROM {table}"))


def _bytes(connection: Connection, table: str) -> int:
    return int(_one(connection, f"SELECT pg_total_relation_size('{table}')"))


def _one(connection: Connection, sql: str) -> Any:
    found = connection.execute(sql.encode()).fetchone()
    assert found is not None
    return found[0]


def _pairs(count: int, ours: Callable[[], float], against: Callable[[], float]) -> Pair:
    found = interleaved(count, {"ours": ours, "against": against})
    return Pair(found["ours"], found["against"])


def _timed(connection: Connection, *statements: str) -> float:
    """Seconds of one transaction, its commit included."""
    begun = time.perf_counter()
    with connection.transaction():
        for statement in statements:
            connection.execute(statement.encode())
    return time.perf_counter() - begun


def _rebuild(city: City, connection: Connection, layer: Layer) -> float:
    took = _timed(connection, f"SELECT quartier.{ident(f'{layer.id}__overview')}(true)")
    vacuum(city.urls.ingest, layer)
    return took


def _scan(connection: Connection, layer: Layer) -> float:
    """The finest cells with their counts, by one scan of the table, written nowhere."""
    return _timed(
        connection,
        "SET LOCAL work_mem = '256MB'",
        "SELECT count(*) FROM (SELECT count(*), sum(ST_X(tile_geom)), sum(ST_Y(tile_geom))"
        f" FROM {CITY}.{ident(layer.id)} GROUP BY cell >> {2 * (ROW_DEPTH - GRID_DEPTH)}) c",
    )


@contextmanager
def _bare_copy(connection: Connection, layer: Layer) -> Iterator[None]:
    """A table of the same rows with the same fids and indexes, in the same order."""
    table = f"{CITY}.{ident(layer.id)}"
    generated = ("tile_geom", "cell")
    found = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
        " AND NOT attisdropped AND NOT attname = ANY (%s) ORDER BY attnum",
        (table, list(generated)),
    ).fetchall()
    names = ", ".join(ident(name) for (name,) in found)
    connection.execute(f"DROP TABLE IF EXISTS {COPY}".encode())
    connection.execute(f"CREATE TABLE {COPY} (LIKE {table} INCLUDING ALL)".encode())
    try:
        connection.execute(
            f"INSERT INTO {COPY} ({names}) OVERRIDING SYSTEM VALUE"
            f" SELECT {names} FROM {table} ORDER BY ctid".encode()
        )
        connection.execute(f"VACUUM ANALYZE {COPY}".encode())
        yield
    finally:
        connection.execute(f"DROP TABLE {COPY}".encode())


def _edits(connection: Connection, layer: Layer) -> Iterator[tuple[str, str | None, Pair]]:
    """Each edit of both tables, by turns which is first, of other rows each time."""
    table = f"{CITY}.{ident(layer.id)}"
    text = ident(_free_text(layer))
    edits: list[tuple[str, str, str | None]] = [
        (f"moving {MOVED:,} points", f"geom = {SHIFT}", f"≤ {MOVE_WANTED} ×"),
        (f"an attribute of {MOVED:,} rows", f"{text} = coalesce({text}, '') || '.'",
         f"≤ {CHANGE_WANTED} ×"),
    ]  # fmt: skip
    if layer.category is not None:
        category = ident(layer.category)
        edits.append((f"the group of {MOVED:,} rows", f"{category} = {category} || '.'", None))
    for what, change, wanted in edits:
        yield what, wanted, _pair_of(connection, table, change, MOVED)
    one = _pair_of(connection, table, f"geom = {SHIFT}", 1)
    yield "one point", f"≤ {ONE_MS} ms", one


def _free_text(layer: Layer) -> str:
    """A column of text that neither names a row nor is counted apart."""
    taken = {layer.category, *layer.key}
    texts = (each.name for each in layer.columns if each.type is ColumnType.TEXT)
    return next(name for name in texts if name not in taken)


def _pair_of(connection: Connection, table: str, change: str, rows: int) -> Pair:
    """So many rows in one statement; a single one so many times that a median is steady."""
    times: dict[str, list[float]] = {table: [], COPY: []}
    for number, fids in enumerate(_picks(connection, table, rows if rows > 1 else SINGLES)):
        for name in (table, COPY) if number % 2 == 0 else (COPY, table):
            connection.execute("SELECT setseed(%s)", (number / 100,))
            times[name].append(_update(connection, name, change, fids, rows))
    return Pair(times[table][1:], times[COPY][1:])


def _picks(connection: Connection, table: str, most: int) -> list[list[int]]:
    """Other fids for each round, after one round that warms up; the same in every run."""
    found = connection.execute(
        f"SELECT fid FROM {table} ORDER BY hashint8extended(fid, 11), fid LIMIT %s".encode(),
        (most * (ROUNDS + 1),),
    ).fetchall()
    fids = [fid for (fid,) in found]
    return [fids[start : start + most] for start in range(0, len(fids), most)]


def _update(
    connection: Connection, table: str, change: str, fids: list[int], at_once: int
) -> float:
    """Seconds of one statement and its commit; of several, the median."""
    sql = f"UPDATE {table} SET {change} WHERE fid = ANY (%s)".encode()
    took = []
    for start in range(0, len(fids), at_once):
        begun = time.perf_counter()
        connection.execute(sql, (fids[start : start + at_once],))
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


def _is_as_rebuilt(connection: Connection, layer: Layer) -> bool:
    """Whether the overview that was kept true is what counting anew gives."""
    maintained = [_digest(connection, table) for table in tables_of(layer)]
    connection.execute(f"SELECT quartier.{ident(f'{layer.id}__overview')}(false)".encode())
    return maintained == [_digest(connection, table) for table in tables_of(layer)]


def _digest(connection: Connection, table: str) -> str:
    text = f"SELECT hashtextextended(t::text, 0) AS h FROM {table} t"
    return str(_one(connection, f"SELECT format('%s %s', count(*), sum(h)) FROM ({text}) s"))
