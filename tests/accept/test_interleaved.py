"""Never old bytes under a new ETag, nor two tiles under one: readers of several workers, some of
them deaf, with a tier in common, while writers commit and roll back.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import mercantile
import pytest
import sqlalchemy as sa

from tests.api.conftest import Service, serving
from tests.api.test_tiles import decoded
from tests.conftest import Database
from tests.examples import TREES

pytestmark = [pytest.mark.db, pytest.mark.anyio]

SEED = 20261126
ROUNDS = 30
WRITES = 4  # in each round, while readers read
READERS = 6
PLACES = [(4.85, 45.2), (4.851, 45.2), (5.35, 45.2)]
TILES = sorted({mercantile.tile(*place, z) for place in PLACES for z in (10, 13, 14)})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def path(at: mercantile.Tile) -> str:
    return f"/tiles/trees/{at.z}/{at.x}/{at.y}.mvt"


def genera(body: bytes) -> dict[int, int]:
    """What the tile holds of each tree: the number of the write that it saw."""
    layers = decoded(body) if body else {}
    features = layers["trees"]["features"] if layers else []
    return {each["id"]: int(each["properties"]["genus"]) for each in features}


class Witness:
    """What was seen under each ETag, and how new every write was when it was begun."""

    def __init__(self) -> None:
        self.seen: dict[tuple[mercantile.Tile, str], dict[int, int]] = {}
        self.looks = 0

    def look(self, at: mercantile.Tile, etag: str, held: dict[int, int]) -> None:
        self.looks += 1
        known = self.seen.setdefault((at, etag.removesuffix('-gz"').removesuffix('-id"')), held)
        assert known == held, f"{at}: two tiles under {etag}"


def write(connection: sa.Connection, chance: random.Random, number: int) -> None:
    """One transaction of another program; some take their time, some are rolled back."""
    run = connection.exec_driver_sql
    trees = chance.sample(range(1, len(PLACES) + 1), chance.choice([1, 1, 2]))
    run("BEGIN")
    run(f"UPDATE city.trees SET genus = '{number}' WHERE fid IN ({', '.join(map(str, trees))})")
    run(f"SELECT pg_sleep({chance.choice([0, 0, 0.01, 0.03])})")
    run("COMMIT" if chance.random() < 0.8 else "ROLLBACK")


async def read(
    services: list[Service], chance: random.Random, witness: Witness, done: asyncio.Event
) -> None:
    while not done.is_set():
        at = chance.choice(TILES)
        answer = await chance.choice(services).get(path(at))
        assert answer.status_code in (200, 204)
        witness.look(at, answer.headers["etag"], genera(answer.content))
        await asyncio.sleep(0.002)  # writers and feeds run in the same process


def planted(at: mercantile.Tile) -> set[int]:
    """The trees that stand in the tile itself."""
    return {fid for fid, place in enumerate(PLACES, 1) if mercantile.tile(*place, at.z) == at}


async def check_all(
    services: list[Service], witness: Witness, truth: dict[int, int], revision: int
) -> None:
    """Told of the revision, every worker shows what was written last: even the deaf one."""
    for service in services:
        for at in TILES:
            answer = await service.get(f"{path(at)}?revision=trees:{revision}")
            held = genera(answer.content)
            witness.look(at, answer.headers["etag"], held)
            assert held == {fid: truth[fid] for fid in held}
            assert planted(at) <= held.keys()


@pytest.fixture
def city(database: Database) -> Database:
    database.declare(TREES)
    for number, (x, y) in enumerate(PLACES, 1):
        database.run(
            "INSERT INTO city.trees (number, genus, geom) VALUES (:n, '0',"
            " ST_Point(:x, :y, 4326))", n=str(number), x=x, y=y,
        )  # fmt: skip
    return database


async def test_no_etag_ever_stands_for_two_tiles_and_the_last_write_is_seen_by_all(
    city: Database, tmp_path: Path
) -> None:
    chance, witness = random.Random(SEED), Witness()
    where: dict[str, Any] = {"cache_url": (tmp_path / "tiles").as_uri()}
    async with AsyncExitStack() as stack:
        services = [await stack.enter_async_context(serving(city, **where)) for _ in range(3)]
        await services[-1].parts.feed.stop()
        connection = stack.enter_context(city.connect())
        for round_ in range(ROUNDS):
            done = asyncio.Event()
            reading = [read(services, chance, witness, done) for _ in range(READERS)]
            readers = asyncio.gather(*reading)
            for number in range(WRITES):
                await asyncio.to_thread(write, connection, chance, round_ * WRITES + number + 1)
            done.set()
            await readers
            revision = city.value("SELECT revision FROM quartier.layer_state")
            rows = city.run("SELECT fid, genus FROM city.trees")
            truth = {int(str(fid)): int(str(genus)) for fid, genus in rows}
            await check_all(services, witness, truth, revision)
    print(f"\n  {ROUNDS * WRITES} transactions, {witness.looks} looks, {len(witness.seen)} ETags")
    assert witness.looks > ROUNDS * len(TILES)
    assert len(witness.seen) > ROUNDS
