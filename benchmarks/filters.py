"""Tiles of one category and one month of 6.5 million points: cold at every zoom, and what a flood
of costly filters does to tiles that are at hand. Sums of random filters are held against SQL's.
"""

from __future__ import annotations

import gzip
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import mapbox_vector_tile
import mercantile
import psycopg

from benchmarks.addresses import drawn
from benchmarks.city import DEEPEST, City
from benchmarks.client import Client
from benchmarks.datasets import LARGE
from benchmarks.ours import tile_path
from benchmarks.result import Result
from benchmarks.rounds import percentile
from benchmarks.servers import quartier_serving
from benchmarks.wrk import wrk
from layers.model import Layer
from layers.sql import ident
from layers.tables import CITY
from tiles.address import TileAddress

ZOOMS = range(DEEPEST + 1)
TILES, PAIRS = 40, 200
MOST_TILES = 400  # of a zoom that are added up
HOT_TILES, FLOOD_S, CONNECTIONS = 60, 6, 16
FEW, MANY = 3, 20  # categories drawn: the most frequent, and those behind them


def measure(city: City) -> Result:
    layer = city.load(LARGE)
    draws = _Draws(layer, *_drawn(city, layer), random.Random(11))
    with quartier_serving(city, QUARTIER_FILTER_COST="1e9") as url, Client(url) as client:
        rows = [
            (f"z{z}", *_cold(client, tiles, draws))
            for z, tiles in drawn(city, dict.fromkeys(ZOOMS, TILES)).items()
        ]
        wrong = sum(not _adds_up(city, client, draws) for _ in range(PAIRS))
    with quartier_serving(city) as url:
        quiet, flooded = _flood(city, url, layer)
    worst = max(p95 for _, _, p95, _ in rows)
    more = [
        [f"{PAIRS} random (zoom, filter) pairs that do not add up", wrong, "", ""],
        ["p99 of tiles at hand, quiet / flooded (ms)", quiet, flooded, flooded / quiet],
    ]
    return Result(
        title=f"Filtered tiles, one category and one month of {LARGE.says}: cold, ms"
        f" (worst p95 {worst:.0f})",
        columns=["", "median", "p95", "max"],
        rows=[*map(list, rows), *more],
        raw={"rows": [*rows, *more]},
    )


@dataclass(frozen=True, slots=True)
class _Draws:
    """Categories and months to draw from."""

    layer: Layer
    kinds: list[str]
    months: list[str]
    chance: random.Random

    def draw(self) -> tuple[str, str]:
        return self.chance.choice(self.kinds), self.chance.choice(self.months)


def _drawn(city: City, layer: Layer) -> tuple[list[str], list[str]]:
    """Categories, frequent and less so, and the months there are."""
    assert layer.category is not None
    assert layer.time is not None
    table, kind, at = (ident(each) for each in (layer.id, layer.category, layer.time.start))
    with psycopg.connect(city.urls.web) as connection:
        kinds = connection.execute(
            f"SELECT {kind} FROM {CITY}.{table} WHERE {kind} IS NOT NULL GROUP BY 1"
            f" ORDER BY count(*) DESC LIMIT {FEW + MANY}".encode()
        ).fetchall()
        months = connection.execute(
            f"SELECT DISTINCT to_char({at} AT TIME ZONE %s, 'YYYY-MM') FROM {CITY}.{table}"
            f" WHERE {at} IS NOT NULL AND {at} > '2019-01-01' ORDER BY 1".encode(),
            (layer.time_zone,),
        ).fetchall()
    return [each for (each,) in kinds], [each for (each,) in months]


def _asked(layer: Layer, kind: str, month: str) -> str:
    year, number = map(int, month.split("-"))
    first, after = f"{month}-01", f"{year + number // 12}-{number % 12 + 1:02d}-01"
    assert layer.time is not None
    at = layer.time.start
    said = f"{at} >= DATE('{first}') AND {at} < DATE('{after}')"
    return f"{layer.category}={quote(kind)}&filter={quote(said)}"


def _cold(client: Client, tiles: list[TileAddress], draws: _Draws) -> tuple[float, float, float]:
    """Each tile once, of a category and month of its own: no cache has any of them."""
    took = []
    for number in range(TILES):
        at = tiles[number % len(tiles)]
        path = f"{tile_path(draws.layer, at)}?{_asked(draws.layer, *draws.draw())}"
        begun = time.perf_counter()
        answer = client.get(path, accept_encoding="gzip")
        took.append((time.perf_counter() - begun) * 1000)
        if answer.status not in (200, 204):
            raise RuntimeError(f"{path}: {answer.status} {answer.body!r}")
    return statistics.median(took), percentile(took, 0.95), max(took)


def _adds_up(city: City, client: Client, draws: _Draws) -> bool:
    """Whether the tiles of a zoom hold as many points as SQL counts."""
    layer, (kind, month) = draws.layer, draws.draw()
    assert layer.category is not None
    assert layer.time is not None
    with psycopg.connect(city.urls.web) as connection:
        table, column, at = (
            ident(each) for each in (layer.id, layer.category or "", layer.time.start)
        )
        row = connection.execute(
            f"SELECT count(*), min(ST_X(geom)), min(ST_Y(geom)), max(ST_X(geom)), max(ST_Y(geom))"
            f" FROM {CITY}.{table} WHERE {column} = %s AND geom IS NOT NULL"
            f" AND to_char({at} AT TIME ZONE %s, 'YYYY-MM') = %s".encode(),
            (kind, layer.time_zone, month),
        ).fetchone()
    assert row is not None
    rows, *bounds = row
    if not rows:
        return True
    z = max(z for z in range(draws.chance.randrange(13) + 1) if _count(bounds, z) <= MOST_TILES)
    asked, found = _asked(layer, kind, month), 0
    for at in mercantile.tiles(*bounds, zooms=z):
        answer = client.get(f"{tile_path(layer, at)}?{asked}", accept_encoding="gzip")
        if answer.status == 200:
            tile = mapbox_vector_tile.decode(gzip.decompress(answer.body))
            found += sum(
                each["properties"]["point_count"]
                for drawn_ in tile.values()
                for each in drawn_["features"]
            )
    return bool(found == rows)


def _count(bounds: list[float], z: int) -> int:
    return sum(1 for _ in mercantile.tiles(*bounds, zooms=z))


def _flood(city: City, url: str, layer: Layer) -> tuple[float, float]:
    """The p99 of tiles at hand while nothing else is asked, and while costly filters are."""
    tiles = drawn(city, {13: HOT_TILES})[13]
    with tempfile.TemporaryDirectory() as name:
        hot, costly = Path(name) / "hot", Path(name) / "costly"
        hot.write_text("".join(f"{tile_path(layer, at)}\n" for at in tiles))
        with costly.open("w") as file:
            for number in range(20_000):
                said = quote(f"fid % {1_000 + number} = 7 AND colonia LIKE '%{number % 90}%'")
                at = tiles[number % len(tiles)]
                file.write(f"{tile_path(layer, at)}?filter={said}\n")
        wrk(url, hot, seconds=2, connections=CONNECTIONS)
        quiet = wrk(url, hot, seconds=FLOOD_S, connections=CONNECTIONS)["p99_ms"]
        with _flooding(url, costly):
            flooded = wrk(url, hot, seconds=FLOOD_S, connections=CONNECTIONS)["p99_ms"]
    return quiet, flooded


@contextmanager
def _flooding(url: str, lines: Path) -> Iterator[None]:
    """Costly filters from many at once, refused or not, until the block ends."""
    script = Path(__file__).with_name("wrk.lua")
    flood = subprocess.Popen(
        ["wrk", "-t1", "-c64", f"-d{FLOOD_S * 3}s", "--timeout", "20s", "-s", str(script),
         url, "--", str(lines)], stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        time.sleep(1)
        yield
    finally:
        flood.terminate()
        flood.wait()
