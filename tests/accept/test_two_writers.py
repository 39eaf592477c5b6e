"""Two writers of one layer, whatever the order of their rows, never deadlock."""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ingest.run import Job, run
from layers.engine import owner_engine
from tests.accept.house import Table
from tests.conftest import Database
from tests.examples import TREES

pytestmark = pytest.mark.db

TRANSACTIONS = 1_000  # of each writer
TREES_THERE = 200
MERGES = 30  # against a writer that never stops
SEED = 20261123


def revision(database: Database) -> int:
    found = database.value("SELECT revision FROM quartier.layer_state WHERE layer_id = 'trees'")
    assert isinstance(found, int)
    return found


@pytest.fixture
def trees(database: Database) -> Database:
    database.declare(TREES)
    database.run(
        "INSERT INTO city.trees (source_key, number, genus, height, geom)"
        " SELECT n, n, 'Tilia', 0, ST_Point(4.8 + n * 0.001, 45.2, 4326)"
        f" FROM generate_series(1, {TREES_THERE}) n"
    )
    return database


STATEMENTS = (
    "UPDATE city.trees SET height = height + 1 WHERE number = :a",
    "UPDATE city.trees SET geom = ST_Translate(geom, 0.0001, 0) WHERE number IN (:a, :b)",
    "INSERT INTO city.trees (source_key, number, height, geom)"
    " VALUES (:key, :key, 1, ST_Point(4.9, 45.21, 4326)) ON CONFLICT (source_key)"
    " DO UPDATE SET height = city.trees.height + 1",
    "DELETE FROM city.trees WHERE source_key = :key",
    "SELECT * FROM city.trees WHERE number = :b FOR UPDATE",
)


def _writer(database: Database, name: str, failures: list[str]) -> Callable[[], None]:
    chance = random.Random(f"{SEED}{name}")

    def write() -> None:
        engine = owner_engine(database.urls.ingest)
        try:
            with engine.connect() as connection:
                for turn in range(TRANSACTIONS):
                    with connection.begin():
                        for statement in _transaction(chance):
                            numbers = chance.sample(range(1, TREES_THERE + 1), 2)
                            told = {"a": str(numbers[0]), "b": str(numbers[1])}
                            key = f"new {chance.randrange(20)}"
                            connection.execute(sa.text(statement), told | {"key": key})
                        connection.execute(sa.text(STATEMENTS[0]), {"a": str(turn % 200 + 1)})
        except DBAPIError as exc:
            failures.append(f"{name}: {exc.orig}")
        finally:
            engine.dispose()

    return write


def _transaction(chance: random.Random) -> list[str]:
    """Several statements in any order; one that locks rows comes after one that writes.

    A client that takes row locks first and writes afterwards can deadlock with any server.
    """
    chosen = chance.choices(STATEMENTS[:4], k=chance.randint(2, 4))
    return [*chosen, STATEMENTS[4]] if chance.random() < 0.3 else chosen


def test_two_writers_of_1000_transactions_each_never_deadlock(trees: Database) -> None:
    failures: list[str] = []
    before, started = revision(trees), time.monotonic()
    threads = [threading.Thread(target=_writer(trees, name, failures)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - started
    table = Table("Two writers", ["transactions", "deadlocks", "revisions", "seconds", "per s"])
    made = revision(trees) - before
    table.add(2 * TRANSACTIONS, len(failures), made, f"{seconds:.1f}",
              round(2 * TRANSACTIONS / seconds))  # fmt: skip
    table.print()
    assert failures == []
    assert made == 2 * TRANSACTIONS
    counted = trees.run("SELECT count(*), min(revision), max(revision) FROM quartier.revisions")[0]
    assert tuple(counted) == (made + before, 1, made + before), "one record for each revision"


def test_merges_beside_a_psql_that_writes_never_deadlock(trees: Database, tmp_path: Path) -> None:
    psql = shutil.which("psql")
    assert psql is not None
    stop = threading.Event()
    told: Counter[str] = Counter()
    said: list[str] = []

    def edit() -> None:
        chance = random.Random(SEED)
        while not stop.is_set():
            numbers = chance.sample(range(1, TREES_THERE + 1), 8)
            script = "BEGIN;" + "".join(
                f"UPDATE city.trees SET genus = 'Acer' || {chance.random()} WHERE number = '{n}';"
                for n in numbers
            )
            ended = subprocess.run(
                [psql, trees.urls.ingest, "-qX", "-v", "ON_ERROR_STOP=1", "-c", script + "COMMIT;"],
                capture_output=True, text=True,
            )  # fmt: skip
            told["psql" if ended.returncode == 0 else "psql failed"] += 1
            said.extend(ended.stderr.splitlines()[:1])

    editor = threading.Thread(target=edit)
    editor.start()
    chance = random.Random(SEED + 1)
    try:
        for turn in range(MERGES):
            numbers = list(range(1, TREES_THERE + 1))
            chance.shuffle(numbers)
            rows = [f"{n},Tilia,{turn},,{4.8 + n * 0.001:.3f},45.2" for n in numbers]
            file = tmp_path / "trees.csv"
            file.write_text("\n".join(["number,genus,height,planted,lon,lat", *rows]) + "\n")
            report = run(trees.urls.ingest, Job(layer=TREES, files=(file,)))
            assert report.counts.adds_up
            told[f"merge {report.state}"] += 1
    finally:
        stop.set()
        editor.join()
    table = Table("Merges beside psql", ["what", "times"])
    for what, times in sorted(told.items()):
        table.add(what, times)
    table.print()
    assert said == []
    assert told["merge published"] == MERGES
    assert told["psql"] > MERGES // 2
    assert revision(trees) == 1 + MERGES + told["psql"]
