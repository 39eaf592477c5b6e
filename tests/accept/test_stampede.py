"""Crowds: one query for a cold tile, and nothing left behind by clients that leave.

The server is the real one, with worker processes; queries are counted by PostgreSQL.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import mercantile
import pytest

from tests.conftest import Database
from tests.examples import TREES
from tests.redis import redis_server
from tests.web import measured, total, web_server

pytestmark = [pytest.mark.db, pytest.mark.anyio]

FEATURES = TREES.model_copy(  # at every zoom, so that the layer's table is what is asked
    update={"overview": TREES.overview.model_copy(update={"detail_zoom": 0})}
)
CROWD = 64
ROWS = 45_000  # in each tile, so that one takes long enough to be asked for by all meanwhile
TILES = [mercantile.tile(4.85, 45.2, 14), mercantile.tile(5.35, 45.2, 14)]
REPORTED_S = 11  # an idle connection reports what it did within ten
CONNECTIONS = 4  # of each worker, for tiles
OURS = "datname = current_database() AND application_name = 'quartier-web'"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def path(at: mercantile.Tile) -> str:
    return f"/tiles/trees/{at.z}/{at.x}/{at.y}.mvt"


@pytest.fixture
def city(database: Database) -> Database:
    database.declare(FEATURES)
    for number, at in enumerate(TILES):
        database.run(
            "INSERT INTO city.trees (number, genus, geom) SELECT :n || '-' || i, 'Tilia',"
            " ST_Point(:x + i % 200 * 0.00005, :y + i / 200 * 0.00005, 4326)"
            f" FROM generate_series(1, {ROWS}) i",
            n=str(number), x=mercantile.bounds(at).west, y=mercantile.bounds(at).south,
        )  # fmt: skip
    database.run("ANALYZE city.trees")
    return database


def scans(database: Database) -> int:
    """How often the layer's table was looked into."""
    time.sleep(REPORTED_S)
    found: int = database.value(
        "SELECT coalesce(seq_scan, 0) + coalesce(idx_scan, 0) FROM pg_stat_user_tables"
        " WHERE schemaname = 'city' AND relname = 'trees'"
    )
    return found


async def crowd(url: str, at: mercantile.Tile, clients: int = CROWD) -> list[httpx.Response]:
    """Every client on a connection of its own, so that the kernel spreads them over workers."""

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            return await client.get(path(at))

    return list(await asyncio.gather(*(ask() for _ in range(clients))))


@pytest.fixture(params=["disk", "redis"])
def cache_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "disk":
        yield (tmp_path / "tiles").as_uri()
        return
    with redis_server() as redis:
        yield redis.url


async def test_a_crowd_on_one_cold_tile_costs_one_query_over_all_workers(
    city: Database, tmp_path: Path, cache_url: str
) -> None:
    with web_server(city, tmp_path, workers=2, cache_url=cache_url) as url:
        before = scans(city)
        [alone] = await crowd(url, TILES[0], 1)
        assert alone.status_code == 200
        one_query = scans(city) - before
        assert one_query >= 1
        answers = await crowd(url, TILES[1])
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert scans(city) - before == 2 * one_query
        numbers = measured(url)
        assert total(numbers, "quartier_tile_render_seconds_count") == 2
        shared = total(numbers, "quartier_tile_answers_total", source="shared")
        print(f"\n  {CROWD} clients, one query; {shared:.0f} answered by the other worker")


async def test_clients_that_leave_in_the_midst_leave_no_connection_and_no_query_behind(
    city: Database, tmp_path: Path
) -> None:
    with web_server(city, tmp_path, workers=2, cache_url="memory:") as url:
        where = urlsplit(url)
        for at in range(100):
            tile = mercantile.Tile(TILES[0].x + at % 2, TILES[0].y, 14)
            city.run("UPDATE city.trees SET genus = 'Acer' WHERE number = '0-1'")
            client = socket.create_connection((where.hostname or "", where.port or 0))
            client.sendall(f"GET {path(tile)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await asyncio.sleep(0.03 * (at % 4))
            client.close()
        await asyncio.sleep(2)
        busy = city.value(
            f"SELECT count(*) FROM pg_stat_activity WHERE {OURS} AND state = 'active'"
        )
        held = city.value(f"SELECT count(*) FROM pg_stat_activity WHERE {OURS}")
        assert busy == 0
        assert held <= 2 * (CONNECTIONS + 3), "what the pools may hold, and no more"
        answers = await crowd(url, TILES[0])
        assert {answer.status_code for answer in answers} == {200}
        print(f"\n  100 clients left; {held} connections held, none at work")
