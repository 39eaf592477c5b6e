"""Map sessions as browsers make them, against each server: cold, warm and revalidating apart.

The same walks three times. *cold*: nobody asked the server before (what an earlier session of the
same pass saw is then no longer cold, as in life). *warm*: new browsers, a server that has seen it
all. *revalidating*: the pages are opened again by browsers that have the tiles in their cache.
Sessions go one after the other; those of all servers by turns.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop

from benchmarks.addresses import HALF_WORLD_M, places
from benchmarks.browser import Fetched, HttpCache, Page, Shown
from benchmarks.city import DEEPEST, City
from benchmarks.datasets import SIZES
from benchmarks.ours import tile_path
from benchmarks.peers import peers_serving
from benchmarks.result import Result
from benchmarks.rounds import percentile
from benchmarks.servers import quartier_serving
from benchmarks.walk import LAPTOP, PHONE, Place, Screen, View, tiles_in, walk
from layers.model import Layer
from tiles.address import TileAddress

SESSIONS = 12  # half of them on each screen
FRAME_S = 0.12  # between the views of a fling
PEER_S = 90.0  # of sessions that another server gets in each pass; then it plays no more
PASSES = ("cold", "warm", "revalidating")
OURS = "quartier"
PathOf = Callable[[TileAddress], str]


@dataclass(frozen=True, slots=True)
class Session:
    screen: Screen
    views: tuple[View, ...]


@dataclass(slots=True)
class Server:
    """One that is asked, with the caches of the browsers that ask it."""

    name: str
    url: str
    path: PathOf
    caches: list[HttpCache] = field(default_factory=list)
    spent_s: float = 0.0


@dataclass(slots=True)
class Seen:
    """What the sessions of one pass saw of one server."""

    sessions: int = 0
    fetched: list[Fetched] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    given_up: int = 0
    from_cache: int = 0

    def figures(self) -> dict[str, Any]:
        tiles = [each.ms for each in self.fetched] or [0.0]
        views = [each.ms for each in self.shown if each.fetched] or [0.0]
        statuses = Counter(str(each.status) for each in self.fetched)
        return {
            "sessions": self.sessions,
            "requests": len(self.fetched),
            "tile": _percentiles(tiles),
            "view": _percentiles(views),
            "MB": sum(each.bytes for each in self.fetched) / 1e6,
            "kB max": max((each.bytes for each in self.fetched), default=0) / 1000,
            "statuses": dict(sorted(statuses.items())),
            "given up": self.given_up,
            "from the browser's cache": self.from_cache,
        }


def _percentiles(ms: Sequence[float]) -> dict[str, float]:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: percentile(ms, share) for name, share in shares.items()}


def measure(city: City) -> Result:
    sessions = _sessions(city)
    found: dict[str, dict[str, dict[str, Seen]]] = {}
    for size in SIZES:
        layer = city.load(size)
        with ExitStack() as stack:
            runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
            servers = _servers(city, layer, stack)
            found[size.says] = runner.run(_passes(servers, sessions))
    return _result(found)


def _sessions(city: City) -> list[Session]:
    world = [
        (0.5 + x / (2 * HALF_WORLD_M), 0.5 - y / (2 * HALF_WORLD_M)) for x, y in places(city, 100)
    ]
    return [_session(number, world) for number in range(SESSIONS)]


def _session(number: int, world: Sequence[Place]) -> Session:
    screen = (LAPTOP, PHONE)[number % 2]
    return Session(screen, tuple(walk(number, world, screen)))


def _servers(city: City, layer: Layer, stack: ExitStack) -> list[Server]:
    """Each as it comes: ours keeps tiles in memory and on disk, in a folder that is empty yet."""
    folder = Path(stack.enter_context(TemporaryDirectory()))
    url = stack.enter_context(quartier_serving(city, QUARTIER_CACHE_URL=folder.as_uri()))
    servers = [Server(OURS, url, partial(tile_path, layer))]
    for peer in stack.enter_context(peers_serving(city, caching=True)):
        servers.append(Server(peer.name, peer.url, partial(peer.path, layer)))
    return servers


async def _passes(
    servers: Sequence[Server], sessions: Sequence[Session]
) -> dict[str, dict[str, Seen]]:
    found: dict[str, dict[str, Seen]] = {}
    for name in PASSES:
        found[name] = {server.name: Seen() for server in servers}
        for server in servers:
            server.spent_s = 0.0
            if name != "revalidating":
                server.caches = [HttpCache() for _ in sessions]
        for number, session in enumerate(sessions):
            for server in servers if number % 2 == 0 else reversed(servers):
                if server.name == OURS or server.spent_s < PEER_S:
                    await _play(session, server, server.caches[number], found[name][server.name])
    return found


async def _play(session: Session, server: Server, cache: HttpCache, seen: Seen) -> None:
    begun, page = time.perf_counter(), Page(server.url, cache)
    try:
        for view in session.views:
            tiles = tiles_in(view, session.screen, DEEPEST)
            paths = [server.path(at) for at in tiles]
            if view.passing:
                await page.pass_by(paths, FRAME_S)
            else:
                seen.shown.append(await page.show(paths))
    finally:
        await page.close()
    seen.sessions += 1
    seen.fetched += page.fetched
    seen.given_up += page.given_up
    seen.from_cache += page.from_cache
    server.spent_s += time.perf_counter() - begun


def _result(found: Mapping[str, Mapping[str, Mapping[str, Seen]]]) -> Result:
    figures = {
        f"{size}, {name}, {server}": seen.figures()
        for size, passes in found.items()
        for name, servers in passes.items()
        for server, seen in servers.items()
    }
    return Result(
        title=f"Map sessions: {SESSIONS} walks, 6 connections; ms",
        columns=["", "sessions", "requests", "tile", "p95", "p99", "view complete", "p95", "p99",
                 "MB", "kB max", "answers"],
        rows=[[name, *_cells(each)] for name, each in figures.items()],
        targets={"sessions": f"another server plays on for {PEER_S:g} s in each pass"},
        raw=figures,
    )  # fmt: skip


def _cells(figures: Mapping[str, Any]) -> list[object]:
    tile, view, statuses = figures["tile"], figures["view"], figures["statuses"]
    said = ", ".join(f"{count} × {status}" for status, count in statuses.items())
    parts = [each[name] for each in (tile, view) for name in ("p50", "p95", "p99")]
    return [figures["sessions"], figures["requests"], *parts, figures["MB"], figures["kB max"],
            said]  # fmt: skip
