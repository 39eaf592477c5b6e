"""A tile of features nobody asked for before, against its SQL alone.

The layer shows features at every zoom: its overview is switched off. The ways to the same
features are taken one after the other for each address, by turns which is first: over HTTP; our
statement on a connection of asyncpg; the least statement, which knows neither revision nor order
nor limit; martin, where it is there. The bare statement is timed without and with compression as
the server compresses. Then the tile is asked for again: what HTTP costs by itself.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg
import uvloop

from benchmarks.addresses import drawn
from benchmarks.city import City
from benchmarks.client import Client
from benchmarks.datasets import FEATURES
from benchmarks.ours import make_cold, published, statement, tile_path
from benchmarks.peers import peers_serving
from benchmarks.result import Result
from benchmarks.rounds import percentile
from benchmarks.servers import quartier_serving
from layers.changes import BUFFER_FRACTION
from layers.model import Layer
from layers.sql import ident, literal
from layers.store import QUERY_SETTINGS
from layers.tables import CITY
from tiles.address import TileAddress
from tiles.fullness import Fullness
from tiles.query import BUFFER, EXTENT, TileQuery
from tiles.render import compress

ZOOMS = (12, 13, 14, 15, 16, 17)
TILES, WARM_TILES, ROUNDS = 60, 8, 5
HTTP, STATEMENT, BARE, AGAIN = "http", "statement", "bare", "again"
PACKED = "bare, packed"  # timed together with BARE
ADDED_MS, TARGET, PEER_TARGET = 2.0, 1.15, 0.45
JUDGED = (14, 16)  # the zooms that the targets are for
Times = dict[str, list[float]]
Way = Callable[[TileAddress], dict[str, float]]  # seconds by name


def bare_sql(layer: Layer) -> str:
    """What a tile server with no promises would run on the same rows and columns."""
    columns = "".join(f", {ident(column.name)}" for column in layer.tile_columns)
    return f"""
        SELECT ST_AsMVT(m, {literal(layer.id)}, {EXTENT}, 'geom', 'fid') AS tile,
               0 AS features FROM (
            SELECT ST_AsMVTGeom(tile_geom, ST_TileEnvelope($1, $2, $3), {EXTENT}, {BUFFER}, true)
                       AS geom, fid{columns}
            FROM {CITY}.{ident(layer.id)}
            WHERE tile_geom && ST_TileEnvelope($1, $2, $3, margin => {BUFFER_FRACTION})) m"""


def measure(city: City) -> Result:
    layer = city.load(FEATURES)
    addresses = drawn(city, dict.fromkeys(ZOOMS, TILES + WARM_TILES))
    rounds = []
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        client = stack.enter_context(Client(stack.enter_context(quartier_serving(city, workers=1))))
        again = {AGAIN: partial(_http, AGAIN, client, partial(tile_path, layer))}
        ways: dict[str, Way] = {HTTP: partial(_http, HTTP, client, partial(tile_path, layer))}
        ways |= runner.run(_statements(city, layer, runner))
        for peer in stack.enter_context(peers_serving(city, caching=False)):
            if peer.name == "martin":
                own = stack.enter_context(Client(peer.url))
                ways[peer.name] = partial(_http, peer.name, own, partial(peer.path, layer))
        for number in range(ROUNDS):
            make_cold(city, client, [layer])
            rounds.append({z: _timed(ways, again, tiles, number) for z, tiles in addresses.items()})
    return _result(rounds)


def _http(
    name: str, client: Client, path: Callable[[TileAddress], str], at: TileAddress
) -> dict[str, float]:
    asked = path(at)
    begun = time.perf_counter()
    answer = client.get(asked, accept_encoding="gzip")
    took = time.perf_counter() - begun
    if answer.status != 200:
        raise RuntimeError(f"{asked}: {answer.status}")
    return {name: took}


async def _statements(city: City, layer: Layer, runner: asyncio.Runner) -> dict[str, Way]:
    """Each statement on a connection of its own, with the settings of the web's connections."""
    known, fullness = published(city, layer), Fullness()
    queries: dict[str, Callable[[TileAddress], TileQuery]] = {
        STATEMENT: lambda at: statement(known, at, fullness),
        BARE: partial(TileQuery, bare_sql(layer)),
    }
    found: dict[str, Way] = {}
    for name, query in queries.items():
        connection = await asyncpg.connect(city.urls.web, server_settings=QUERY_SETTINGS)
        found[name] = _Alone(name, query, connection, runner, partial(fullness.tell, layer.id))
    return found


@dataclass(frozen=True, slots=True)
class _Alone:
    """The tile of a statement by itself, made here where the statement sends rows."""

    name: str
    query: Callable[[TileAddress], TileQuery]
    connection: Any
    runner: asyncio.Runner
    tell: Callable[[TileAddress, int], None]

    def __call__(self, at: TileAddress) -> dict[str, float]:
        return self.runner.run(self._ask(at))

    async def _ask(self, at: TileAddress) -> dict[str, float]:
        query = self.query(at)
        begun = time.perf_counter()
        made = query.made(await self.connection.fetchrow(query.sql, *query.args))
        took = {self.name: time.perf_counter() - begun}
        compress(made.tile)
        if self.name == BARE:
            return took | {PACKED: time.perf_counter() - begun}
        self.tell(at, made.features)
        return took


def _timed(
    ways: Mapping[str, Way], again: Mapping[str, Way], tiles: Sequence[TileAddress], turn: int
) -> Times:
    """Milliseconds of each way for each tile, after some tiles that only warm up."""
    found: Times = {}
    everything = {**ways, **again}
    warm, names = min(WARM_TILES, len(tiles) // 4), list(ways)
    for number, at in enumerate(tiles):
        first = (number + turn) % len(names)
        for name in (*names[first:], *names[:first], *again):
            for said, took in everything[name](at).items():
                if number >= warm:
                    found.setdefault(said, []).append(took * 1000)
    return found


def _result(rounds: Sequence[Mapping[int, Times]]) -> Result:
    martin = "martin" in rounds[0][ZOOMS[0]]
    rows = [_row(f"z{z}", [found[z] for found in rounds]) for z in ZOOMS]
    targets = {f"z{z}": _judged([found[z] for found in rounds]) for z in JUDGED}
    return Result(
        title=f"Cold features: up to {TILES} tiles a zoom, {ROUNDS} rounds, one client; median ms",
        columns=["zoom", "tiles", "http", "our SQL", "bare SQL", "and packed", "SQL ÷ bare",
                 "(http - 2) ÷ bare", "p95 http", "p95 bare", "again",
                 *(["martin", "p95 martin", "http ÷ martin"] if martin else [])],
        rows=rows,
        targets=targets,
        raw={"rounds": [{f"z{z}": _summary(times) for z, times in found.items()}
                        for found in rounds]},
    )  # fmt: skip


def _row(name: str, rounds: Sequence[Times]) -> list[object]:
    """Medians of the rounds' medians, and medians of the rounds' ratios."""
    middle, end = (
        _across(rounds, statistics.median),
        _across(rounds, partial(percentile, share=0.95)),
    )
    figures = [name, len(rounds[0][BARE])]
    figures += [middle[way] for way in (HTTP, STATEMENT, BARE, PACKED)]
    figures += [_ratio(rounds, STATEMENT, BARE), _ratio(rounds, HTTP, BARE, ADDED_MS)]
    figures += [end[HTTP], end[BARE], middle[AGAIN]]
    if "martin" in middle:
        figures += [middle["martin"], end["martin"], _ratio(rounds, HTTP, "martin")]
    return figures


def _across(rounds: Sequence[Times], of: Callable[[Sequence[float]], float]) -> dict[str, float]:
    return {way: statistics.median(of(found[way]) for found in rounds) for way in rounds[0]}


def _ratio(rounds: Sequence[Times], above: str, below: str, less: float = 0.0) -> float:
    """The median of the rounds' ratios of medians."""
    return statistics.median(
        (statistics.median(found[above]) - less) / statistics.median(found[below])
        for found in rounds
    )


def _judged(rounds: Sequence[Times]) -> str:
    said = (
        f"http - {ADDED_MS:g} ms ≤ {TARGET} × bare SQL: {_ratio(rounds, HTTP, BARE, ADDED_MS):.2f}"
    )
    if "martin" in rounds[0]:
        said += f"; ≤ {PEER_TARGET} × martin: {_ratio(rounds, HTTP, 'martin'):.2f}"
    return said


def _summary(times: Times) -> dict[str, dict[str, float]]:
    return {
        way: {"median": statistics.median(ms), "p95": percentile(ms, 0.95), "max": max(ms)}
        for way, ms in times.items()
    }
