"""Ingests killed at random moments: readers keep the old revision whole, the next run succeeds."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mapbox_vector_tile
import mercantile
import pytest
import sqlalchemy as sa
import yaml
from sqlalchemy.exc import OperationalError

from tests.accept.house import House, Table, house
from tests.conftest import Database
from tests.examples import COMMON

pytestmark = pytest.mark.db

SEED = int(os.environ.get("SEED", "20261123"))
KILLS = 24  # of an ingest that merges into a loaded layer
BUILDS = 6  # of one that loads a layer that was emptied
CRASHES = 6  # of the whole database server in the middle of an ingest
ROWS = 30_000
HOME = mercantile.tile(4.85, 45.2, 14)
DECLARED = COMMON | {
    "id": "trees",
    "geometry": "point",
    "key": "number",
    "columns": [{"name": "number", "type": "integer"}, {"name": "genus"},
                {"name": "height", "type": "number"}],
    "tile": ["genus"],
}  # fmt: skip
CONTENT = (
    "SELECT count(*), md5(string_agg(md5(concat_ws('|', number, genus, height, geom::text)), ''"
    " ORDER BY number)) FROM city.trees"
)
WHOLE = (
    "SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY fid)),"
    " (SELECT revision FROM quartier.layer_state WHERE layer_id = 'trees') FROM city.trees t"
)
PHASE = (
    "SELECT (SELECT state FROM quartier.runs ORDER BY id DESC LIMIT 1),"
    " (SELECT max(id) FROM quartier.runs),"
    " coalesce((SELECT max(btrim(query)) FROM pg_stat_activity WHERE state = 'active'"
    "  AND pid <> pg_backend_pid() AND query ~* 'city\\.\"trees\"|build_|run_'), '')"
)


@dataclass(frozen=True, slots=True)
class Files:
    """Two versions of the layer: half of the rows differ, some come and some go."""

    one: Path
    two: Path

    def other(self, content: object, known: dict[Path, object]) -> Path:
        return self.two if known[self.one] == content else self.one


def write(path: Path, seed: int, first: int) -> Path:
    chance = random.Random(seed)
    lines = ["number,genus,height,lon,lat"]
    for number in range(first, first + ROWS):
        genus = "Tilia" if number % 2 else chance.choice(["Acer", "Ulmus", "Salix"])
        place = f"{4.8 + number % 300 / 3000:.5f},{45.15 + number // 300 / 2000:.5f}"
        lines.append(f"{number},{genus},{chance.random() * 30:.2f},{place}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    catalogue = tmp_path_factory.mktemp("catalogue")
    (catalogue / "layers").mkdir()
    declared = yaml.safe_dump(DECLARED, allow_unicode=True)
    (catalogue / "layers" / "trees.yaml").write_text(declared, encoding="utf-8")
    with house(catalogue) as made:
        yield made


@pytest.fixture(scope="module")
def files(trees: House) -> Files:
    return Files(write(trees.home / "one.csv", 1, 0), write(trees.home / "two.csv", 2, 500))


def state(database: Database) -> tuple[Any, ...]:
    return tuple(database.run(WHOLE)[0])


def content(database: Database) -> tuple[Any, ...]:
    return tuple(database.run(CONTENT)[0])


def phase(connection: sa.Connection, before: int) -> str:
    """What the ingest was doing when it was killed."""
    last, run, query = connection.execute(sa.text(PHASE)).one()
    if run == before:
        return "starting"
    if last != "running":
        return "ended"
    return "publishing: " + " ".join(query.split()[:2]) if query else "reading"


def last_run(database: Database) -> int:
    found = database.value("SELECT coalesce(max(id), 0) FROM quartier.runs")
    assert isinstance(found, int)
    return found


def leftovers(database: Database) -> list[str]:
    found = database.run("SELECT tablename FROM pg_tables WHERE schemaname = 'city_stage'")
    return [str(row[0]) for row in found]


def kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def served(url: str) -> tuple[int, int, str]:
    """How many trees the web counts, how many stand in one tile, and the tile's ETag."""
    with urllib.request.urlopen(f"{url}/collections/trees/items?limit=1") as answer:
        counted = json.loads(answer.read())["numberMatched"]
    address = f"{url}/tiles/trees/{HOME.z}/{HOME.x}/{HOME.y}.mvt"
    with urllib.request.urlopen(address) as answer:
        body, etag = answer.read(), answer.headers["etag"]
    drawn = mapbox_vector_tile.decode(body).get("trees", {"features": []})["features"]
    return counted, len(drawn), etag


def in_tile(database: Database) -> int:
    """How many trees PostGIS finds in the tile and its buffer."""
    found = database.value(
        "SELECT count(*) FROM city.trees WHERE tile_geom &&"
        f" ST_TileEnvelope({HOME.z}, {HOME.x}, {HOME.y}, margin => 64.0 / 4096)"
    )
    assert isinstance(found, int)
    return found


def settle(
    trees: House, database: Database, files: Files
) -> tuple[dict[Path, object], dict[bool, float]]:
    """Load both versions; their contents, and the seconds of a first load (True) and a merge."""
    database.run("TRUNCATE city.trees")
    known: dict[Path, object] = {}
    seconds: dict[bool, float] = {}
    for path, first in ((files.one, True), (files.two, False)):
        seconds[first] = trees.ingest("trees", path)["seconds"]
        known[path] = content(database)
    return known, seconds


def _let_the_run_begin(looking: sa.Connection, before: int) -> None:
    deadline = time.monotonic() + 30
    while looking.scalar(sa.text("SELECT max(id) FROM quartier.runs")) == before:
        assert time.monotonic() < deadline, "the ingest does not start"
        time.sleep(0.01)


def test_an_ingest_killed_at_any_moment_leaves_a_whole_revision(trees: House, files: Files) -> None:
    chance = random.Random(SEED)
    print(f"\nseed {SEED} (SEED=… for another), {ROWS:,} rows")
    table = Table(
        "kill -9 of an ingest",
        ["trial", "load", "run killed after", "phase", "revision", "rows", "outcome", "next run"],
    )
    outcomes: Counter[str] = Counter()
    trees.run("apply")
    with trees.database() as database, database.connect() as looking:
        known, seconds = settle(trees, database, files)
        with trees.serving() as url:
            for trial in range(KILLS + BUILDS):
                build = trial >= KILLS
                goal = files.other(content(database), known)
                if build:
                    database.run("TRUNCATE city.trees")
                before, seen, run = state(database), served(url), last_run(database)
                process = trees.start("ingest", "trees", goal, "--json")
                _let_the_run_begin(looking, run)
                moment = chance.uniform(0, 1.1 * seconds[build])
                time.sleep(moment)
                doing = phase(looking, run)
                kill(process)
                _let_the_server_notice(looking)
                after, shown = state(database), served(url)
                outcome = "old revision" if after == before else "new revision"
                outcomes[outcome] += 1
                if outcome == "old revision":
                    assert shown == seen, "the web serves what it served"
                else:
                    assert content(database) == known[goal], "all of the new revision"
                    assert after[2] == before[2] + 1
                    assert shown[2] != seen[2], "the tile has another ETag"
                assert shown[:2] == (after[0], in_tile(database))
                report = trees.ingest("trees", goal)
                assert content(database) == known[goal]
                assert leftovers(database) == []
                assert served(url)[:2] == (known[goal][0], in_tile(database))  # type: ignore[index]
                table.add(
                    trial + 1, "first" if build else "merge", f"{moment:.2f} s", doing, after[2],
                    after[0], outcome, f"{report['state']}, revision {report['revision']}",
                )  # fmt: skip
        unburied = database.value("SELECT count(*) FROM quartier.runs WHERE state = 'running'")
        assert unburied == 0
    table.print()
    print(dict(outcomes))
    assert outcomes["old revision"] >= (KILLS + BUILDS) // 3, "most kills came before the commit"


def _let_the_server_notice(looking: sa.Connection) -> None:
    """Wait until no backend works for the killed ingest any more."""
    others = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'quartier_ingest'"
        " AND pid <> pg_backend_pid()"
    )
    for _ in range(400):
        if not looking.scalar(others):
            return
        time.sleep(0.05)
    raise AssertionError("a backend still works for a process that is gone")


def test_a_database_server_killed_in_an_ingest_recovers_a_whole_revision(
    trees: House, files: Files
) -> None:
    """The ingest is the only one that uses the cluster; postmaster and ingest are both killed."""
    chance = random.Random(SEED + 1)
    table = Table(
        "kill -9 of PostgreSQL in an ingest",
        ["trial", "run killed after", "also", "ingest said", "revision", "outcome", "next run"],
    )
    trees.run("apply")
    with trees.database() as database:
        known, seconds = settle(trees, database, files)
        before, goal = state(database), files.other(content(database), known)
        run = last_run(database)
    for trial in range(CRASHES):
        moment = chance.uniform(0, 0.9 * seconds[False])
        both = bool(trial % 2)
        process = trees.start("ingest", "trees", goal)
        _let_its_server_run_it(database, run)
        time.sleep(moment)
        _kill_the_server(trees)
        if both:
            kill(process)
            said = ""
        else:
            _, errors = process.communicate(timeout=60)
            said = " ".join(errors.replace("Starting PostGIS", "").split())[:100]
            assert "Traceback" not in errors, errors
            assert process.returncode == 0 or "Not finished" in errors
        with trees.database() as database:
            after = state(database)
            outcome = "old revision" if after == before else "new revision"
            if outcome == "new revision":
                assert (content(database), after[2]) == (known[goal], before[2] + 1)
            report = trees.ingest("trees", goal)
            assert content(database) == known[goal]
            assert leftovers(database) == []
            table.add(
                trial + 1, f"{moment:.2f} s", "the ingest" if both else "", said, after[2],
                outcome, f"{report['state']}, revision {report['revision']}",
            )  # fmt: skip
            before, goal = state(database), files.other(content(database), known)
            run = last_run(database)
    table.print()


def _let_its_server_run_it(database: Database, before: int) -> None:
    """Wait for the run without holding the cluster, which the ingest itself has to start."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OperationalError), database.connect() as looking:
            return _let_the_run_begin(looking, before)
        time.sleep(0.05)
    raise AssertionError("the ingest starts no server")


def _kill_the_server(trees: House) -> None:
    pidfile = trees.home / "postgres" / "data" / "postmaster.pid"
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int(pidfile.read_text().split()[0]), signal.SIGKILL)
