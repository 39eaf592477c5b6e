"""Unfiltered tiles of every zoom, cold, at three sizes; other servers beside ours.

A tile is asked for over HTTP and as the bare statement, at each size, one after the other, by
turns which is first; so are the other servers, until they have had their time at that zoom.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import asyncpg
import uvloop

from benchmarks.addresses import drawn
from benchmarks.city import DEEPEST, City
from benchmarks.client import Answer, Client
from benchmarks.datasets import LARGE, SIZES, WHOLE, DataSet
from benchmarks.ours import make_cold, published, statement, tile_path
from benchmarks.peers import Peer, peers_serving
from benchmarks.result import Result
from benchmarks.rounds import percentile, ratio
from benchmarks.servers import quartier_serving
from layers.catalog import PublishedLayer
from layers.model import Layer
from layers.store import QUERY_SETTINGS
from tiles.address import TileAddress
from tiles.fullness import Fullness

ZOOMS = range(DEEPEST + 1)
TILES, WARM_TILES, ROUNDS = 60, 8, 3
PEER_S = 8.0  # that another server gets at one zoom of one size; then it is asked no more there
HTTP, SQL = "http", "statement"
BELOW_MS, ABOVE_MS, GROWTH, MOST_BYTES = 15, 60, 2, 500_000
Key = tuple[str, str]  # the size, and who answered


@dataclass(slots=True)
class Seen:
    """What one way gave at one zoom in one round."""

    ms: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    cut: int = 0

    def add(self, seconds: float, size: int, cut: bool) -> None:
        self.ms.append(seconds * 1000)
        self.sizes.append(size)
        self.cut += cut

    def figures(self) -> dict[str, float]:
        return {
            "tiles": len(self.ms),
            "median": statistics.median(self.ms),
            "p95": percentile(self.ms, 0.95),
            "max": max(self.ms),
            "kB p95": percentile(self.sizes, 0.95) / 1000,
            "kB max": max(self.sizes) / 1000,
            "cut": self.cut,
        }


@dataclass(frozen=True, slots=True)
class Way:
    """One way to a tile: how long it takes, the bytes that came, and whether some were cut."""

    key: Key
    ask: Callable[[TileAddress], tuple[float, int, bool]]
    budget_s: float | None = None


Round = dict[int, dict[Key, Seen]]


def measure(city: City) -> Result:
    layers = {size: city.load(size) for size in SIZES}
    known = {size: published(city, layer) for size, layer in layers.items()}
    addresses = drawn(city, dict.fromkeys(ZOOMS, TILES))
    rounds: list[Round] = []
    with (
        quartier_serving(city, workers=1) as url,
        Client(url) as client,
        _statements(city, known) as alone,
    ):
        ours = [Way((size.says, HTTP), partial(_over_http, client, partial(tile_path, layer)))
                for size, layer in layers.items()]  # fmt: skip
        ours += [Way((size.says, SQL), ask) for size, ask in alone.items()]
        _round({z: tiles[:WARM_TILES] for z, tiles in addresses.items()}, ours, 0)
        for number in range(ROUNDS):
            make_cold(city, client, list(layers.values()))
            with _others(city, layers if number == 0 else {}) as others:
                rounds.append(_round(addresses, [*ours, *others], number))
    return _result(rounds, {size.says: each.detail_zoom for size, each in known.items()})


@contextmanager
def _statements(
    city: City, known: Mapping[DataSet, PublishedLayer]
) -> Iterator[dict[DataSet, Callable[[TileAddress], tuple[float, int, bool]]]]:
    """Our statements on one connection that is set as the web's are, prepared when first run."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        connection = runner.run(asyncpg.connect(city.urls.web, server_settings=QUERY_SETTINGS))
        prepared: dict[str, Any] = {}
        fullness = Fullness()

        def ask(layer: PublishedLayer, at: TileAddress) -> tuple[float, int, bool]:
            query = statement(layer, at, fullness)
            if query.sql not in prepared:
                prepared[query.sql] = runner.run(connection.prepare(query.sql))
            begun = time.perf_counter()
            made = query.made(runner.run(prepared[query.sql].fetchrow(*query.args)))
            took = time.perf_counter() - begun
            fullness.tell(layer.id, at, made.features)
            return took, len(made.tile), False

        yield {size: partial(ask, layer) for size, layer in known.items()}
        runner.run(connection.close())


@contextmanager
def _others(city: City, layers: Mapping[DataSet, Layer]) -> Iterator[list[Way]]:
    """Other servers, without a cache, each on one connection."""
    if not layers:
        yield []
        return
    with ExitStack() as stack:
        yield [
            Way(
                (size.says, peer.name),
                partial(_from_peer, stack.enter_context(Client(peer.url, may_close=True)), path),
                PEER_S,
            )
            for peer in stack.enter_context(peers_serving(city, caching=False))
            for size, layer in layers.items()
            for path in [partial(_peer_path, peer, layer)]
        ]


def _peer_path(peer: Peer, layer: Layer, at: TileAddress) -> str:
    return peer.path(layer, at)


def _from_peer(
    client: Client, path: Callable[[TileAddress], str], at: TileAddress
) -> tuple[float, int, bool]:
    """A peer that gives a tile up is counted with the time it took to, and no bytes."""
    begun = time.perf_counter()
    answer = client.get(path(at), accept_encoding="gzip")
    has_tile = answer.status in (200, 204)
    return time.perf_counter() - begun, len(answer.body) if has_tile else 0, not has_tile


def _over_http(
    client: Client, path: Callable[[TileAddress], str], at: TileAddress
) -> tuple[float, int, bool]:
    asked = path(at)
    begun = time.perf_counter()
    answer = client.get(asked, accept_encoding="gzip")
    took = time.perf_counter() - begun
    _expect_a_tile(asked, answer)
    return took, len(answer.body), bool(answer.header(b"quartier-truncated"))


def _expect_a_tile(path: str, answer: Answer) -> None:
    if answer.status not in (200, 204):
        raise RuntimeError(f"{path}: {answer.status} {answer.body[:300]!r}")


def _round(
    addresses: Mapping[int, Sequence[TileAddress]], ways: Sequence[Way], number: int
) -> Round:
    found: Round = {}
    for z, tiles in addresses.items():
        found[z] = {way.key: Seen() for way in ways}
        spent = dict.fromkeys(found[z], 0.0)
        for turn, at in enumerate(tiles):
            first = (number + turn) % len(ways)
            for way in (*ways[first:], *ways[:first]):
                if way.budget_s is not None and spent[way.key] >= way.budget_s:
                    continue
                took, size, cut = way.ask(at)
                spent[way.key] += took
                found[z][way.key].add(took, size, cut)
    return found


def _result(rounds: Sequence[Round], detail: Mapping[str, int]) -> Result:
    names = list(dict.fromkeys(name for _, name in rounds[0][0]))
    others = [name for name in names if name not in (HTTP, SQL)]
    rows = [
        [z, size, "" if z < detail[size] else "yes", *_figures(rounds, z, size)]
        + [_other(rounds, z, size, name) for name in others]
        for z in ZOOMS
        for size in detail
    ]
    return Result(
        title=f"Every zoom: up to {TILES} tiles, cold, {ROUNDS} rounds, one client; ms",
        columns=["zoom", "rows", "features", "tiles", "http", "p95", "SQL", "SQL p95", "kB max",
                 "cut", *(f"{name}, p95, kB max" for name in others)],
        rows=rows,
        targets=_targets(rounds, detail),
        raw={
            "detail_zooms": dict(detail),
            "rounds": [
                {f"z{z} {size} {name}": seen.figures() for z, ways in each.items()
                 for (size, name), seen in ways.items() if seen.ms}
                for each in rounds
            ],
        },
    )  # fmt: skip


def _figures(rounds: Sequence[Round], z: int, size: str) -> list[object]:
    http = [each[z][size, HTTP] for each in rounds]
    sql = [each[z][size, SQL] for each in rounds]
    return [
        len(http[0].ms),
        *(_middle([seen.figures()[name] for seen in http]) for name in ("median", "p95")),
        *(_middle([seen.figures()[name] for seen in sql]) for name in ("median", "p95")),
        max(max(seen.sizes) for seen in http) / 1000,
        http[0].cut,
    ]


def _other(rounds: Sequence[Round], z: int, size: str, name: str) -> str:
    figures = rounds[0][z][size, name].figures()
    few = "" if figures["tiles"] >= rounds[0][z][size, HTTP].figures()["tiles"] else " *"
    said = ", ".join(f"{figures[each]:,.3g}" for each in ("median", "p95", "kB max"))
    return f"{said}{few}"


def _middle(values: Sequence[float]) -> float:
    return statistics.median(values)


def _p95(rounds: Sequence[Round], z: int, size: str) -> list[float]:
    return [percentile(each[z][size, HTTP].ms, 0.95) for each in rounds]


def _targets(rounds: Sequence[Round], detail: Mapping[str, int]) -> dict[str, str]:
    """What is wanted, with the worst that was found."""
    large, whole = LARGE.says, WHOLE.says
    below = range(min(detail[large], DEEPEST + 1))
    above = range(detail[large], DEEPEST + 1)
    slowest = {z: _middle(_p95(rounds, z, large)) for z in ZOOMS}
    growth = {
        z: ratio(_p95(rounds, z, large), _p95(rounds, z, whole))
        for z in range(min(detail[large], detail[whole]))
    }
    biggest = max(
        (max(each[z][size, HTTP].sizes), z, size) for each in rounds for z in ZOOMS
        for size in detail
    )  # fmt: skip
    found = {}
    if below:
        found[f"{large}, counted cells, p95 ≤ {BELOW_MS} ms"] = _worst(slowest, below, "ms")
    if above:
        found[f"{large}, features, p95 ≤ {ABOVE_MS} ms"] = _worst(slowest, above, "ms")
    if growth:
        found[f"p95 from {whole} to {large}, cells, ≤ {GROWTH} ×"] = _worst(growth, growth, "×")
    found[f"largest tile ≤ {MOST_BYTES / 1000:.0f} kB"] = (
        f"{biggest[0] / 1000:.0f} kB (z{biggest[1]}, {biggest[2]})"
    )
    if any(name not in (HTTP, SQL) for _, name in rounds[0][0]):
        found["*"] = f"asked until its {PEER_S:g} s at this zoom were over"
    return found


def _worst(
    figures: Mapping[int, float], zooms: Sequence[int] | Mapping[int, float], unit: str
) -> str:
    worst = max(zooms, key=lambda z: figures[z])
    return f"at worst {figures[worst]:.3g} {unit} (z{worst})"
