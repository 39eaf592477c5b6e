"""Groups of features over HTTP, never asked before and asked again, against the bare SQL that a
person would write for the same, on one connection with the same settings.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from urllib.parse import quote

from benchmarks.city import City
from benchmarks.client import Client
from benchmarks.result import Result
from benchmarks.rounds import interleaved, ratio
from benchmarks.servers import quartier_serving
from layers.columns import ColumnType
from layers.sql import ident, literal
from layers.store import Store

ROUNDS = 7
CELL_M = 500


def measure(city: City) -> Result:
    city.load()
    rows, raw = [], {}
    with quartier_serving(city) as url, Client(url) as client:
        numbers = count(1)
        for name, (asked, bare) in _questions(city).items():
            path = f"/collections/{city.layer.id}/aggregate?{asked}"
            found = interleaved(ROUNDS, {
                "new": partial(_took, client, path, numbers),
                "again": partial(_took, client, path, None),
                "bare": partial(_alone, city, bare),
            })  # fmt: skip
            told = [round(statistics.median(found[way]), 1) for way in ("new", "bare", "again")]
            rows.append([name, *told, ratio(found["new"], found["bare"])])
            raw[name] = found
    return Result(
        title="Groups: ms a question, one client",
        columns=["", "never asked before", "bare SQL", "asked again", "÷ bare SQL"],
        rows=rows,
        raw={"rounds": raw},
    )


def _questions(city: City) -> dict[str, tuple[str, str]]:
    """What is asked, and the bare SQL for it."""
    layer = city.layer
    assert layer.category is not None
    assert layer.time is not None
    table, when = f"city.{ident(layer.id)}", ident(layer.time.start)
    if layer.column(layer.time.start).type is ColumnType.DATETIME:
        when = f"({when} AT TIME ZONE {literal(layer.time_zone)})"
    kind = ident(layer.category)
    cells = f"floor(ST_X(tile_geom) / {CELL_M}), floor(ST_Y(tile_geom) / {CELL_M})"
    return {
        "by category": (
            f"group_by={layer.category}",
            f"SELECT {kind}, count(*) FROM {table} GROUP BY 1 ORDER BY 1",
        ),
        "by category and month": (
            f"group_by={quote(f'{layer.category},{layer.time.start}:month')}",
            f"SELECT {kind}, date_trunc('month', {when}::timestamp)::date, count(*)"
            f" FROM {table} GROUP BY 1, 2 ORDER BY 1, 2",
        ),
        f"squares of {CELL_M} m": (
            f"grid=square:{CELL_M}",
            f"SELECT {cells}, count(*) FROM {table} GROUP BY 1, 2 ORDER BY 1, 2",
        ),
        f"hexagons of {CELL_M} m, against squares": (
            f"grid=hex:{CELL_M}",
            f"SELECT {cells}, count(*) FROM {table} GROUP BY 1, 2 ORDER BY 1, 2",
        ),
    }


def _took(client: Client, path: str, numbers: Iterator[int] | None) -> float:
    """Milliseconds; with numbers, of a question whose limit nobody has asked for yet."""
    asked = f"{path}&limit={10_000 - next(numbers) if numbers is not None else 10_000}"
    begun = time.perf_counter()
    client.get(asked)
    return (time.perf_counter() - begun) * 1000


def _alone(city: City, sql: str) -> float:
    async def asked() -> float:
        store = Store(city.urls.web, size=1, timeout_s=60)
        await store.fetch("SELECT 1")
        begun = time.perf_counter()
        await store.fetch(sql)
        took = time.perf_counter() - begun
        await store.close()
        return took * 1000

    return asyncio.run(asked())
