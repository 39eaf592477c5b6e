"""Faults at every step of an ingest and at random: never half a revision, never a lost row."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
import yaml
from sqlalchemy.exc import DBAPIError

from layers import overviews, privacy_steps, shape_batch
from layers.engine import postgis_schema, run_ddl
from layers.model import Layer
from layers.overview_rebuild import count_anew
from layers.shape_sql import rebuild_statements
from layers.shapes import tables_of
from layers.tables import content_names, rows_table
from tests.accept import faults
from tests.accept.faults import (
    STEPS,
    Command,
    LockHold,
    Reader,
    ReadHold,
    SmallHouse,
    await_held,
    ingest,
    install_holds,
    small_house,
)
from tests.accept.house import Table
from tests.conftest import Database
from tests.examples import layer
from tests.privacy import CORNERS, CRIMES, DISTRICTS, KINDS, surround

pytestmark = [
    pytest.mark.db,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk, for which it must be root"),
]
SEED = int(os.environ.get("SEED", "20261126"))
TURNS = 2  # of every fault at every step
RANDOM = 18
CUTS = 2  # of every connection, for each load, at a random byte
ROWS = {"trees": 4_000, "streets": 900, "crimes": 600}
LOADS = [(name, first) for name in ROWS for first in (False, True)]
FAULTS = ("killed", "server killed", "server stopped", "connection cut", "disk full", "log full")
TREES = layer(
    id="trees", geometry="point", key="number", category="genus", time="planted",
    columns=[{"name": "number"}, {"name": "genus"}, {"name": "planted", "type": "date"}],
    overview={"groups": ["Tilia", "Acer"], "bucket": "year", "detail_zoom": 12},
)  # fmt: skip
STREETS = layer(
    id="streets", geometry="line", key="code",
    columns=[{"name": "code"}, {"name": "kind"}], tile=["kind"], overview={"merge_by": ["kind"]},
)  # fmt: skip
LAYERS = {"trees": TREES, "streets": STREETS, "crimes": CRIMES}
Seen = tuple[Any, ...]


# What is loaded ----------------------------------------------------------------------------------


def write(folder: Path, name: str, version: int) -> Path:
    """One of two versions of a layer: some rows come, some go, every third differs, one is
    withheld.
    """
    first = version * ROWS[name] // 20
    rows = [_row(name, n, version) for n in range(first, first + ROWS[name])]
    rows.append(_row(name, "odd", version))
    path = folder / f"{name}-{version}.csv"
    heads = {"trees": "number,genus,planted,lon,lat", "streets": "code,kind,wkt",
             "crimes": "number,kind,street,at,day,clock,lon,lat"}  # fmt: skip
    path.write_text("\n".join([heads[name], *rows]) + "\n")
    return path


def _row(name: str, n: int | str, version: int) -> str:
    """A row as its file has it; what is no number lies beyond the pole."""
    at, north = (n, 0) if isinstance(n, int) else (1, 60)
    shift = version if at % 3 == 0 else 0
    if name == "trees":
        genus = ["Tilia", "Acer", "Ulmus"][(at + shift) % 3]
        place = f"{4.8 + at % 70 / 500 + shift / 900:.5f},{45.15 + at // 70 / 600 + north:.5f}"
        return f"{n},{genus},{2000 + at % 20}-03-01,{place if at % 50 else ','}"
    if name == "streets":
        x, y = 4.8 + at % 30 / 200, 45.15 + at // 30 / 200 + north
        kind = ["road", "path"][(at // 4 + shift) % 2]
        line = f"LINESTRING({x:.4f} {y:.4f}, {x + 0.002:.4f} {y + 0.001:.4f}, {x + 0.005:.4f} {y})"
        return f'{n},{kind},"{line}"'
    kind = KINDS[at % len(KINDS)]  # for good: a row that changes its class loses its published past
    when = f"2026-03-{at % 28 + 1:02}"
    east = 2.3 + 0.1 * ((at + shift) * 0.618 % 1)
    place = f"{east:.5f},{48.8 + 0.1 * (at * 0.7548 % 1) + north:.5f}"
    return f"{n},{kind},High Street {at + shift},{when}T{at % 24:02}:06:07Z,{when},05:06:07,{place}"


@dataclass(slots=True)
class City:
    """The house, its files, and what each version of a layer is when it is whole."""

    house: SmallHouse
    files: dict[str, tuple[Path, Path]]
    database: Database
    keeping: ExitStack
    seconds: dict[tuple[str, bool], float] = field(default_factory=dict)
    whole: dict[Path, Seen] = field(default_factory=dict)

    def wake(self) -> None:
        """Hold the database's server, started anew where it is down."""
        self.keeping.close()
        self.database = self.keeping.enter_context(self.house.database())

    def other(self, name: str) -> Path:
        """The version that the layer does not hold now."""
        one, two = self.files[name]
        return two if content(self.database, name) == self.whole.get(one) else one


@pytest.fixture(scope="module")
def city() -> Iterator[City]:
    with small_house() as house, ExitStack() as keeping:
        database = keeping.enter_context(house.database())
        files = {name: (write(house.scratch.parent, name, 0), write(house.scratch.parent, name, 1))
                 for name in ROWS}  # fmt: skip
        for declared in (*LAYERS.values(), DISTRICTS, CORNERS):
            told = json.loads(declared.model_dump_json(by_alias=True, exclude_defaults=True))
            path = house.catalogue / "layers" / f"{declared.id}.yaml"
            path.write_text(yaml.safe_dump(told))
        assert Command(house, "apply").end() == 0
        surround(database, *LAYERS.values())
        made = City(house, files, database, keeping)
        install_holds(database, list(LAYERS))
        for name, (one, two) in files.items():
            for path, first in ((one, True), (two, False)):
                started = time.monotonic()
                report = ingest(house, name, path)
                made.seconds[name, first] = time.monotonic() - started
                assert (report["state"], report["counts"]["quarantined"]) == ("published", 1)
                made.whole[path] = content(database, name)
            assert made.whole[one] != made.whole[two]
        yield made


# What is looked at -------------------------------------------------------------------------------


def _names(name: str) -> list[str]:
    """The columns that say what a row is. (The published source_key of a private row is a new one
    whenever the row comes back.)
    """
    names = content_names(LAYERS[name].as_published())
    return [f'"{column}"' for column in names if column != "source_key"]


def _digest(name: str, source: str) -> str:
    key = LAYERS[name].key[0]
    texts = ", ".join(f"coalesce({column}::text, '-')" for column in _names(name))
    row = f"md5(concat_ws('|', {texts}))"
    return f"(SELECT md5(string_agg({row}, '' ORDER BY {key} COLLATE \"C\")) FROM {source})"


def seen_sql(name: str) -> str:
    """Revision, rows, what they are, and what the overview counts, in one statement."""
    told = f"(SELECT count(*) FROM city.{name}), {_digest(name, f'city.{name}')}"
    if name == "streets":
        counted = "(SELECT count(*) FROM city_overview.streets__shapes WHERE fid > 0)"
        placed = "(SELECT count(*) FROM city_overview.streets__shapes WHERE fid > 0)"
    else:
        counted = f"(SELECT coalesce(sum(n), 0) FROM city_overview.{name} WHERE depth = 0)"
        placed = f"(SELECT count(*) FROM city.{name} WHERE cell IS NOT NULL)"
    revision = f"(SELECT revision FROM quartier.public_state WHERE layer_id = '{name}')"
    return f"SELECT {revision}, {told}, {counted} = {placed}"


def seen(database: Database, name: str) -> Seen:
    return database.run(seen_sql(name), role="web")[0]


def content(database: Database, name: str) -> Seen:
    return seen(database, name)[1:]


def as_of(database: Database, name: str, revision: int) -> Seen:
    """Rows of a past revision, as history has them."""
    names = ", ".join(_names(name))
    rows = (
        f"(SELECT {names} FROM city.{name} WHERE since <= {revision} UNION ALL SELECT {names}"
        f" FROM city_overview.{name}__history WHERE valid_from <= {revision}"
        f" AND valid_to > {revision}) h"
    )
    sql = f"SELECT (SELECT count(*) FROM {rows}), {_digest(name, rows)}"
    return database.run(sql, role="web")[0]


def _made(connection: sa.Connection, of: Layer) -> list[list[tuple[Any, ...]]]:
    published = of.as_published()
    tables = [*overviews.tables_of(published), *tables_of(published)]
    texts = [f"SELECT t::text FROM {table} t ORDER BY 1" for table in tables]
    if of.privacy:
        texts.append(f"SELECT t::text FROM city.{of.id} t ORDER BY 1")
    return [[tuple(row) for row in connection.execute(sa.text(text))] for text in texts]


def check_derived(database: Database, name: str) -> None:
    """What is maintained is what is made anew, which is then undone."""
    of = LAYERS[name]
    engine = sa.create_engine(database.urls.ingest.replace("postgresql:", "postgresql+psycopg:"))
    with closing(engine.connect()) as connection:
        before = _made(connection, of)
        if of.privacy:
            privacy_steps.derive_anew(connection, of, borders=False)
        for statement, values in count_anew(of.as_published()):
            connection.execute(sa.text(statement), values)
        if name == "streets":
            for statement in rebuild_statements(of):
                run_ddl(connection, statement.replace("@postgis@", postgis_schema(connection)))
            shape_batch.settle(connection, of)
        after = _made(connection, of)
        connection.rollback()
    engine.dispose()
    for kept, anew in zip(before, after, strict=True):
        assert kept == anew, f"{name}: what is maintained is not what is made anew"


def check_nothing_left(city: City) -> None:
    """No run goes on, no stage, no lock, no connection, no file that is not whole."""
    database = city.database
    unburied = database.run("SELECT id, state, message FROM quartier.runs WHERE state = 'running'")
    assert unburied == [], "runs that ended are told so"
    assert database.run("SELECT tablename FROM pg_tables WHERE schemaname = 'city_stage'") == []
    locks = "SELECT classid, objid FROM pg_locks WHERE locktype = 'advisory'"
    assert database.run(locks, role="owner") == []
    working = "SELECT query FROM pg_stat_activity WHERE usename = 'quartier_ingest'"
    assert database.run(working, role="owner") == []
    wanted = {_sha(path) for pair in city.files.values() for path in pair}
    for path in city.house.raw.rglob("*"):
        if path.is_file():
            assert path.name in wanted, f"{path} is not a kept file"
            assert _sha(path) == path.name, "a kept file is whole"
    assert list(city.house.scratch.iterdir()) == [], "no temporary file is left"
    odd = database.run(
        "SELECT layer_id FROM quartier.revisions GROUP BY 1 HAVING count(*) <> max(revision)"
    )
    assert odd == [], "every revision has its record"


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Trials ------------------------------------------------------------------------------------------


def forget_kept(city: City, path: Path) -> None:
    """So that the file is fetched again."""
    sha = _sha(path)
    (city.house.raw / sha[:2] / sha).unlink(missing_ok=True)


def hold_at(city: City, step: str, goal: Path, chance: random.Random) -> LockHold | ReadHold:
    """Somewhere in the step."""
    if step == "fetch":
        return ReadHold(goal, opened=2, read=chance.choice([1, 2]))
    if step == "parse" and chance.random() < 0.5:
        return ReadHold(goal, opened=3, read=1)
    return LockHold(city.database, step)


def strike(city: City, fault: str, hold: LockHold | ReadHold | None, command: Command) -> None:
    """Do the damage; the command has ended afterwards."""
    backend = hold.backend() if hold is not None else None
    strikes: dict[str, Callable[[], None]] = {
        "killed": command.kill,
        "server killed": lambda: faults.kill_server(city.house),
        "server stopped": lambda: faults.stop_server(city.house, "immediate"),
        "backend killed": lambda: faults.kill_backend(backend, city.database),
        "connection cut": lambda: faults.cut(backend, city.database),
        "disk full": city.house.fill,
        "log full": lambda: faults.exhaust_log(city.database, city.house),
    }
    strikes[fault]()
    if hold is not None:
        hold.let_go()
    try:
        command.end()
    finally:
        if fault in ("disk full", "log full"):
            city.house.empty()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One load that a fault strikes at a step, or (`step` is none of them) at random."""

    name: str
    first: bool
    fault: str
    step: str
    seed: int

    @property
    def load(self) -> str:
        return f"{self.name}, {'first' if self.first else 'merge'}"


def trial(city: City, this: Trial) -> list[Any]:
    """Strike one ingest, look at everything, and run it again."""
    chance = random.Random(this.seed)
    goal, whole = _prepared(city, this)
    before = seen(city.database, this.name)
    hold = hold_at(city, this.step, goal, chance) if this.step in STEPS else None
    try:
        with Reader(city.database, seen_sql(this.name)) as reader:
            command = Command(city.house, "ingest", this.name, goal)
            if hold is not None:
                await_held(hold, command, this.step)
            else:
                time.sleep(chance.uniform(0.05, 1.05 * city.seconds[this.name, this.first]))
            strike(city, this.fault, hold, command)
    finally:
        if hold is not None:
            hold.let_go()
    assert "Traceback" not in command.said(), command.said()
    city.wake()
    return look(city, this, goal, before, reader, whole)


def _prepared(city: City, this: Trial) -> tuple[Path, Seen]:
    """The file to load into a layer that holds another version, or nothing; and what it held."""
    goal, was = city.other(this.name), seen(city.database, this.name)
    if this.first:
        city.database.run(f"TRUNCATE {rows_table(LAYERS[this.name])}")
    forget_kept(city, goal)
    return goal, was


def look(  # noqa: PLR0913
    city: City, this: Trial, goal: Path, before: Seen, reader: Reader, emptied: Seen
) -> list[Any]:
    """The layer is the old or the new one; the next run completes it and leaves nothing behind."""
    name, database = this.name, city.database
    new = (before[0] + 1, *city.whole[goal])
    _let_the_server_notice(database)
    after = seen(database, name)
    assert after in (before, new), f"{name}: half a revision: {before} → {after}, wanted {new}"
    assert reader.saw.keys() <= {before, new}, f"{name}: a reader saw half a revision"
    assert reader.said == set(), "readers get answers"
    struck = database.value("SELECT max(id) FROM quartier.runs WHERE layer_id = :id", id=name)
    report = ingest(city.house, name, goal)
    assert seen(database, name) == new, "the next run completes it"
    assert as_of(database, name, before[0]) == before[1:3], "history has the old rows"
    if this.first:
        assert as_of(database, name, emptied[0]) == emptied[1:3]
    check_derived(database, name)
    check_nothing_left(city)
    check_record(city, name, struck)
    outcome = "new revision" if after == new else "old revision"
    return [outcome, report["state"], sum(reader.saw.values())]


def check_record(city: City, name: str, run: int) -> None:
    """The record of a run says what became of it."""
    state, message, revision = city.database.run(
        "SELECT state, message, revision FROM quartier.runs WHERE id = :run", run=run
    )[0]
    made = city.database.value(
        "SELECT revision FROM quartier.revisions WHERE layer_id = :id AND run_id = :run",
        id=name, run=run,
    )  # fmt: skip
    if made is None:
        assert state in ("refused", "unchanged"), (state, message)
        assert message
        return
    assert state == "published", (
        f"run {run} made revision {made}, and its record says {state}: {message}"
    )
    assert revision == made


def _let_the_server_notice(database: Database) -> None:
    """Wait until no backend works for the struck ingest any more."""
    deadline = time.monotonic() + faults.PATIENCE_S
    others = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'quartier_ingest'"
    while True:
        with suppress(DBAPIError, psycopg.Error):
            if not database.value(others, role="owner"):
                return
        assert time.monotonic() < deadline, "a backend still works for a process that is gone"
        time.sleep(0.02)


def plan() -> list[Trial]:
    """Every fault at every step, then at random; loads take turns."""
    chosen = [
        (step, fault, LOADS[(s + f + 3 * turn) % len(LOADS)])
        for turn in range(TURNS)
        for (s, step), (f, fault) in itertools.product(enumerate(STEPS), enumerate(FAULTS))
    ]
    chance = random.Random(SEED)
    for number in range(RANDOM):
        fault = chance.choice([*FAULTS[:5], "backend killed"])
        chosen.append(("at random", fault, LOADS[number % len(LOADS)]))
    return [
        Trial(name=name, first=first, fault=fault, step=step, seed=SEED + number)
        for number, (step, fault, (name, first)) in enumerate(chosen)
    ]


class Told:
    """The trials as they come, and how each kind of them ended."""

    def __init__(self, title: str) -> None:
        print(f"\nseed {SEED} (SEED=… for another), rows: {ROWS}")
        self._every = Table(
            "trials", ["step", "fault", "load", "outcome", "next run", "reads meanwhile"]
        )
        self._title = title
        self._outcomes: dict[tuple[str, str], Counter[str]] = {}
        self._started = time.monotonic()

    def add(self, this: Trial, outcome: list[Any]) -> None:
        self._every.add(this.step, this.fault, this.load, *outcome)
        self._outcomes.setdefault((this.step, this.fault), Counter())[outcome[0]] += 1

    def print(self) -> None:
        table = Table(self._title, ["step", "fault", "trials", "old revision", "new revision"])
        for (step, fault), counts in self._outcomes.items():
            table.add(step, fault, counts.total(), counts["old revision"], counts["new revision"])
        table.print()
        print(f"{len(self._every.rows)} trials in {time.monotonic() - self._started:.0f} s")


def test_no_fault_at_any_step_leaves_half_a_revision_or_loses_a_row(city: City) -> None:
    told = Told("faults of ingests")
    for this in plan():
        print(f"  {this}", flush=True)
        told.add(this, trial(city, this))
    told.print()


def _a_byte_of(sent: int, chance: random.Random) -> int:
    """Most bytes are rows on their way to the stage; every other one is of what comes after."""
    return int(sent * chance.random() if chance.random() < 0.5 else sent - 3000 * chance.random())


def test_a_connection_that_breaks_at_any_byte_leaves_all_or_nothing(city: City) -> None:
    """At the commit, where only the server knows what became of it, and after so many bytes."""
    told = Told("connections that break")
    chance = random.Random(SEED)
    sent: dict[tuple[str, bool], int] = {}
    faults_of = ["measured", "unheard", "unanswered", *("at random" for _ in range(CUTS))]
    for fault, (name, first) in itertools.product(faults_of, LOADS):
        this = Trial(name=name, first=first, fault=fault, step="commit", seed=0)
        goal, whole = _prepared(city, this)
        before = seen(city.database, name)
        commit = fault if fault.startswith("un") else ""
        after = _a_byte_of(sent[name, first], chance) if fault == "at random" else None
        with (
            Reader(city.database, seen_sql(name)) as reader,
            faults.Proxy(city.house, commit=commit, after=after) as proxy,
        ):
            command = Command(city.house, "ingest", name, goal, QUARTIER_DATABASE_URL=proxy.url)
            command.end()
        if fault == "measured":
            sent[name, first] = proxy.sent
            continue
        assert proxy.cuts, "it was cut"
        assert "Traceback" not in command.said(), command.said()
        outcome = look(city, this, goal, before, reader, whole)
        told.add(this, outcome)
        assert outcome[0] == {"unheard": "old revision", "unanswered": "new revision"}.get(
            fault, outcome[0]
        )
    told.print()


@pytest.mark.parametrize("name", ROWS)
def test_a_run_waits_for_what_a_killed_one_has_asked_the_server_to_commit(
    city: City, name: str
) -> None:
    """Else it would say of a revision that comes a moment later that there is none."""
    this = Trial(name=name, first=False, fault="killed", step="publish", seed=0)
    goal, whole = _prepared(city, this)
    before, hold = seen(city.database, name), LockHold(city.database, "publish")
    with Reader(city.database, seen_sql(name)) as reader:
        command = Command(city.house, "ingest", name, goal)
        await_held(hold, command, "publish")
        command.kill()
        struck = city.database.value("SELECT max(id) FROM quartier.runs")
        following = Command(city.house, "ingest", name, goal)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'quartier_ingest'"
            " AND wait_event_type = 'Lock' AND wait_event <> 'advisory'"
        )
        deadline = time.monotonic() + faults.PATIENCE_S
        while not city.database.value(waiting, role="owner"):
            assert time.monotonic() < deadline, following.said()
            time.sleep(0.01)
        hold.let_go()
        assert following.end() == 0, following.said()
    check_record(city, name, struck)
    assert look(city, this, goal, before, reader, whole)[0] == "new revision"
