"""How a layer comes to be divided, and what its readers and writers see meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from ingest.job import Job
from ingest.run import run
from layers import arrange, partition_steps
from layers.checks.finding import State
from layers.checks.tables import known_layers, tables, triggers
from layers.engine import run_ddl
from layers.errors import ChangeRefused
from layers.history import roll_back
from layers.model import Layer
from tests.conftest import Database
from tests.db.test_partitions import (
    MONTHLY,
    PLAIN,
    TOLD,
    YEARLY,
    content,
    counts,
    csv,
    days_of,
    ingest,
    loaded,
    parts,
    revision,
)
from tests.examples import layer

__all__ = ["counts", "loaded"]  # fixtures
pytestmark = pytest.mark.db

NEW_YORK = layer(
    **(TOLD | {"time_zone": "America/New_York"}), partitions={"by": "at", "every": "month"}
)


@pytest.fixture
def plain(database: Database, tmp_path: Path) -> Database:
    """Twenty days of three sites, undivided."""
    database.declare(PLAIN)
    ingest(database, PLAIN, csv(tmp_path, days_of("2026-01-20", 20)))
    return database


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrange, "WAIT_S", 0.5)
    monkeypatch.setattr(arrange, "TRIES", 2)
    monkeypatch.setattr(arrange, "PAUSE_S", 0.1)


@pytest.mark.parametrize(
    ("held", "read"),
    [(PLAIN, MONTHLY), (YEARLY, MONTHLY), (MONTHLY, PLAIN), (MONTHLY, NEW_YORK)],
    ids=["undivided", "by year", "divided", "in another time zone"],
)
@pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "full"])
def test_a_catalogue_that_was_not_applied_is_told_and_changes_nothing(
    database: Database, tmp_path: Path, held: Layer, read: Layer, is_empty: bool
) -> None:
    database.declare(held)
    if not is_empty:
        ingest(database, held, csv(tmp_path, days_of("2026-01-20", 3)))
    before = content(database), parts(database)
    with pytest.raises(ChangeRefused, match="not hold partitions as declared; run quartier apply"):
        ingest(database, read, csv(tmp_path, days_of("2026-02-20", 3)))
    assert (content(database), parts(database)) == before
    database.declare(read)
    ingest(database, read, csv(tmp_path, days_of("2026-02-20", 3)))
    assert len(content(database)) == 9


def test_a_table_that_is_not_as_declared_is_a_finding_and_apply_mends_it(counts: Database) -> None:
    counts.run("UPDATE quartier.layer_state SET division = NULL")
    with counts.connect() as connection:
        found = tables(connection, known_layers(connection))
    assert (found.state, found.mend) == (State.PROBLEM, "quartier apply")
    assert "divided otherwise than declared: counts" in found.says
    assert [step.says for step in counts.declare(MONTHLY)] == ["divide layer counts by month of at"]
    assert counts.declare(MONTHLY) == []


def test_a_rollback_reaches_back_before_a_row_had_its_time(
    database: Database, tmp_path: Path
) -> None:
    of = layer(**(TOLD | {"key": ["site"]}))
    database.declare(of)
    for day in ("2026-01-01", "2026-02-01"):
        path = tmp_path / "one.csv"
        path.write_text(
            f"site,at,n,lon,lat\na,{day}T12:00:00Z,1,2.3,48.8\nb,2026-01-09T12:00,1,,\n"
        )
        run(database.urls.ingest, Job(layer=of, files=(path,)))
    database.declare(MONTHLY)
    fid = database.value("SELECT fid FROM city.counts WHERE site = 'a'")
    with database.transaction() as connection:
        done = roll_back(connection, MONTHLY, 1, by="clerk", note="as it was")
    assert (done.inserted, done.updated, done.deleted) == (0, 1, 0)
    assert database.run("SELECT fid, at::date::text FROM city.counts WHERE site = 'a'") == [
        (fid, "2026-01-01")
    ]
    assert database.value("SELECT count(*) FROM city_history.counts WHERE fid = :fid", fid=fid) == 2


def test_a_transaction_that_began_before_is_waited_for(plain: Database, impatient: None) -> None:
    """Its snapshot would find no row in the new table."""
    with psycopg.connect(plain.urls.web) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT revision FROM quartier.public_state")
        with pytest.raises(ChangeRefused, match="1 older transactions have not ended"):
            plain.declare(MONTHLY)
        found = connection.execute("SELECT count(*) FROM city.counts").fetchone()
    assert found == (60,)
    assert plain.run("SELECT tablename FROM pg_tables WHERE schemaname = 'city_stage'") == []
    assert plain.run("SELECT tablename FROM pg_tables WHERE schemaname = 'city_parts'") == []
    assert [step.says for step in plain.declare(MONTHLY)] == ["divide layer counts by month of at"]
    assert len(content(plain)) == 60


def test_a_transaction_that_begins_while_others_are_waited_for_sees_every_row(
    plain: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await_older = arrange._await_older
    with psycopg.connect(plain.urls.web) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

        def begin(holder: sa.Connection, of: Layer) -> None:
            await_older(holder, of)
            connection.execute("SELECT revision FROM quartier.public_state")

        monkeypatch.setattr(arrange, "_await_older", begin)
        plain.declare(MONTHLY)
        assert connection.execute("SELECT count(*) FROM city.counts").fetchone() == (60,)


def test_readers_that_come_meanwhile_never_see_less(plain: Database) -> None:
    done, seen, lock = threading.Event(), set[Any](), threading.Lock()

    def poll(prepare: bool) -> None:
        with psycopg.connect(plain.urls.web, autocommit=True) as connection:
            while not done.is_set():
                asked = connection.execute(
                    "SELECT count(*) FROM city.counts WHERE fid > %s", (0,), prepare=prepare
                )
                with lock:
                    seen.add(asked.fetchone())

    readers = [threading.Thread(target=poll, args=(prepare,)) for prepare in (True, False)]
    for reader in readers:
        reader.start()
    for of in (MONTHLY, YEARLY, PLAIN, MONTHLY):
        plain.declare(of)
    done.set()
    for reader in readers:
        reader.join()
    assert seen == {(60,)}


def test_nobody_writes_to_rows_that_are_being_divided(
    plain: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill, wrote = arrange._fill, threading.Event()

    def write() -> None:
        plain.run("INSERT INTO city.counts (site, at) VALUES ('late', '2026-01-25')")
        wrote.set()

    writer = threading.Thread(target=write)

    def slow(*args: Any) -> None:
        fill(*args)
        writer.start()
        assert not wrote.wait(timeout=0.3)

    monkeypatch.setattr(arrange, "_fill", slow)
    plain.declare(MONTHLY)
    writer.join()
    assert len(content(plain)) == 61
    assert parts(plain)["2026_01"] == 37


@pytest.mark.parametrize(
    ("hung", "why"),
    [
        ("CREATE VIEW city.busy AS SELECT * FROM city_parts.counts__2026_01", "would be lost"),
        ("CREATE INDEX ON city_parts.counts__2026_01 (n)", "would be lost"),
        ("ALTER TABLE city.counts ADD FOREIGN KEY (n) REFERENCES city.kinds", "would be lost"),
        (
            "INSERT INTO city.counts (site, at, source_key)"
            " VALUES ('x', '2026-01-01', 'k'), ('y', '2026-02-01', 'k')",
            "source_key stands on rows of different times",
        ),
    ],
    ids=["view of a part", "index of a part", "foreign key", "one key at two times"],
)
def test_what_cannot_be_put_together_stays_divided_and_is_told(
    counts: Database, hung: str, why: str
) -> None:
    counts.run("CREATE TABLE city.kinds (n bigint PRIMARY KEY)")
    counts.run("INSERT INTO city.kinds SELECT DISTINCT n FROM city.counts")
    counts.run(hung)
    before = content(counts), parts(counts)
    with pytest.raises(ChangeRefused, match=why):
        counts.declare(PLAIN)
    assert (content(counts), parts(counts)) == before


@pytest.mark.parametrize(
    "done",
    [
        "ALTER TABLE city_parts.counts__2026_02 DISABLE TRIGGER ALL",
        "DROP TRIGGER quartier_part ON city_parts.counts__2026_02",
    ],
)
def test_triggers_of_a_part_are_put_back(counts: Database, done: str) -> None:
    counts.run(done, role="owner")
    with counts.connect() as connection:
        found = triggers(connection, known_layers(connection))
    assert "counts lacks city_parts.counts__2026_02" in found.says
    assert [step.says for step in counts.declare(MONTHLY)] == [
        "mend layer counts: put back city_parts.counts__2026_02"
    ]
    with pytest.raises(sa.exc.DBAPIError, match=r"change city\.counts instead"):
        counts.run("DELETE FROM city_parts.counts__2026_02")
    before = revision(counts)
    counts.run("UPDATE city.counts SET n = 99 WHERE at >= '2026-02-10'")
    assert revision(counts) == before + 1


# While a load makes room --------------------------------------------------------------------------


def test_one_reader_in_the_way_is_waited_for_once(
    counts: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached, tried = partition_steps._attached, []

    def told(*args: Any) -> bool:
        tried.append(attached(*args))
        return bool(tried[-1])

    monkeypatch.setattr(partition_steps, "_attached", told)
    with counts.transaction(role="web") as reader:
        reader.execute(sa.text("SELECT count(*) FROM city.counts"))
        ingest(counts, MONTHLY, csv(tmp_path, days_of("2026-03-01", 200)), partial=True)
    assert tried == [False]
    assert parts(counts)["other"] == 600


def test_a_writer_that_comes_between_is_not_the_one_that_gives_way(
    counts: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrote: list[str] = []
    writer = psycopg.connect(counts.urls.ingest)
    writer.execute("SELECT count(*) FROM city.counts")

    def write() -> None:
        writer.execute("INSERT INTO city.counts (site, at) VALUES ('w', '2026-01-02')")
        writer.commit()
        wrote.append("it wrote")

    thread = threading.Thread(target=write)

    def between(connection: sa.Connection, statement: str) -> None:
        if statement.startswith("LOCK TABLE") and not thread.ident:
            thread.start()
            thread.join(timeout=0.1)
        run_ddl(connection, statement)

    monkeypatch.setattr("layers.partition_steps.run_ddl", between)
    report = ingest(counts, MONTHLY, csv(tmp_path, days_of("2026-05-01", 2)), partial=True)
    thread.join()
    writer.close()
    assert wrote == ["it wrote"]
    assert report.counts.inserted == 6


def test_a_period_that_a_neighbour_reaches_into_stays_with_the_rest(
    counts: Database, tmp_path: Path
) -> None:
    """As after a change of the rules of the time zone."""
    counts.run("ALTER TABLE city.counts DETACH PARTITION city_parts.counts__2026_02")
    counts.run(
        "ALTER TABLE city.counts ATTACH PARTITION city_parts.counts__2026_02"
        " FOR VALUES FROM ('2026-01-31T23:00Z') TO ('2026-03-01T06:00Z')"
    )
    ingest(counts, MONTHLY, csv(tmp_path, days_of("2026-03-01", 2)), partial=True)
    assert parts(counts) == {"2026_01": 93, "2026_02": 84, "other": 6}


def test_a_load_that_is_refused_leaves_no_part_behind(counts: Database, tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    rows = "".join(f"a,2926-01-01T12:00:00Z,{n},2.3,48.8\n" for n in (1, 2))
    path.write_text(f"site,at,n,lon,lat\n{rows}")
    with pytest.raises(ChangeRefused, match="stands on rows that differ"):
        ingest(counts, MONTHLY, path, partial=True)
    assert parts(counts) == {"2026_01": 93, "2026_02": 84, "other": 0}


def test_more_parts_than_the_server_has_locks_for_are_refused(
    counts: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layers.build.MAX_PARTS", 4)
    with pytest.raises(ChangeRefused, match="3 parts are there, 3 more would be needed, from"):
        ingest(counts, MONTHLY, csv(tmp_path, days_of("2026-03-30", 40)), partial=True)
    assert parts(counts) == {"2026_01": 93, "2026_02": 84, "other": 0}
