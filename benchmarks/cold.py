"""A tile nobody asked for before, against its SQL alone and compression.

Three ways to the same features, one after the other for each address, by turns which is first:
over HTTP; our statement on a connection of asyncpg; the least statement, which knows neither
revision nor order nor limit. The last two are compressed as the server compresses. Then the tile
is asked for again: what HTTP costs by itself.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncpg
import uvloop

from benchmarks.addresses import drawn, path_of
from benchmarks.city import City
from benchmarks.client import Client
from benchmarks.result import Result
from benchmarks.rounds import percentile, ratio
from benchmarks.servers import quartier_serving
from layers.changes import BUFFER_FRACTION
from layers.model import Layer
from layers.sql import ident, literal
from layers.store import QUERY_SETTINGS
from layers.tables import CITY
from tiles.address import TileAddress
from tiles.query import BUFFER, EXTENT, tile_query
from tiles.render import compress

ZOOMS = (12, 13, 14, 15, 16, 17)
TILES, WARM_TILES, ROUNDS = 60, 8, 3
WAYS, AGAIN = ("http", "statement", "bare"), "again"
TARGET = 1.2
Times = dict[str, list[float]]


def bare_sql(layer: Layer) -> str:
    """What a tile server with no promises would run on the same rows and columns."""
    columns = "".join(f", {ident(column.name)}" for column in layer.tile_columns)
    return f"""
        SELECT ST_AsMVT(m, {literal(layer.id)}, {EXTENT}, 'geom', 'fid') AS tile FROM (
            SELECT ST_AsMVTGeom(tile_geom, ST_TileEnvelope($1, $2, $3), {EXTENT}, {BUFFER}, true)
                       AS geom, fid{columns}
            FROM {CITY}.{ident(layer.id)}
            WHERE tile_geom && ST_TileEnvelope($1, $2, $3, margin => {BUFFER_FRACTION})) m"""


def measure(city: City) -> Result:
    city.load()
    addresses = drawn(city, dict.fromkeys(ZOOMS, TILES + WARM_TILES))
    rounds = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        prepared = runner.run(_prepare(city))
        for number in range(ROUNDS):
            with quartier_serving(city) as url, Client(url) as client:
                ways = _ways(city, client, runner, prepared)
                rounds.append({z: _timed(ways, tiles, number) for z, tiles in addresses.items()})
    return _result(rounds)


async def _prepare(city: City) -> dict[str, Any]:
    """Each statement on a connection of its own, with the settings of the web's connections."""
    anywhere = TileAddress(0, 0, 0)  # the text is the same for every address
    ours = tile_query(city.layer, city.layer.id, anywhere).sql
    statements = {"statement": ours, "bare": bare_sql(city.layer)}
    found = {}
    for name, sql in statements.items():
        connection = await asyncpg.connect(city.urls.web, server_settings=QUERY_SETTINGS)
        found[name] = await connection.prepare(sql)
    return found


def _ways(
    city: City, client: Client, runner: asyncio.Runner, prepared: Mapping[str, Any]
) -> dict[str, Callable[[TileAddress], float]]:
    def http(at: TileAddress) -> float:
        path = path_of(city, at)
        started = time.perf_counter()
        answer = client.get(path, accept_encoding="gzip")
        took = time.perf_counter() - started
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        return took

    async def alone(name: str, at: TileAddress) -> float:
        started = time.perf_counter()
        row = await prepared[name].fetchrow(*at)
        compress(row["tile"])
        return time.perf_counter() - started

    return {
        "http": http,
        AGAIN: http,
        "statement": lambda at: runner.run(alone("statement", at)),
        "bare": lambda at: runner.run(alone("bare", at)),
    }


def _timed(
    ways: Mapping[str, Callable[[TileAddress], float]], tiles: Sequence[TileAddress], turn: int
) -> Times:
    """Milliseconds of each way for each tile, after some tiles that only warm up."""
    found: Times = {name: [] for name in (*WAYS, AGAIN)}
    warm = min(WARM_TILES, len(tiles) // 4)
    for number, at in enumerate(tiles):
        first = (number + turn) % len(WAYS)
        for name in (*WAYS[first:], *WAYS[:first], AGAIN):
            took = ways[name](at) * 1000
            if number >= warm:
                found[name].append(took)
    return found


def _result(rounds: Sequence[Mapping[int, Times]]) -> Result:
    rows = [_row(f"z{z}", [found[z] for found in rounds]) for z in ZOOMS]
    together = [
        {way: [t for z in ZOOMS for t in found[z][way]] for way in (*WAYS, AGAIN)}
        for found in rounds
    ]
    rows.append(_row("all", together))
    return Result(
        title=f"Cold: up to {TILES} tiles a zoom, {ROUNDS} rounds, one client; median ms",
        columns=["zoom", "tiles", "http", "our SQL", "bare SQL", "http ÷ bare",
                 "our SQL ÷ bare", "p95 http", "p95 bare", "http again"],
        rows=rows,
        targets={"target": f"http ÷ bare SQL with compression ≤ {TARGET}"},
        raw={"rounds": rounds},
    )  # fmt: skip


def _row(name: str, rounds: Sequence[Times]) -> list[object]:
    """Medians of the rounds' medians, and medians of the rounds' ratios."""

    middles = {way: [statistics.median(found[way]) for found in rounds] for way in WAYS}
    ends = {way: [percentile(found[way], 0.95) for found in rounds] for way in WAYS}

    return [
        name,
        len(rounds[0]["bare"]),
        *(statistics.median(middles[way]) for way in WAYS),
        *(ratio(middles[way], middles["bare"]) for way in ("http", "statement")),
        *(statistics.median(ends[way]) for way in ("http", "bare")),
        statistics.median(statistics.median(found[AGAIN]) for found in rounds),
    ]
