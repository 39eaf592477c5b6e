"""Layers of observations that are divided by time: a load writes to the parts of its own rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.report import Report
from ingest.run import Job, run
from layers.errors import ChangeRefused
from layers.history import roll_back
from layers.model import Layer
from layers.overviews import cells
from layers.shapes import shapes_table
from tests.conftest import Copies, Database, copied, copies_of
from tests.examples import layer

pytestmark = pytest.mark.db

COLUMNS = [
    {"name": "site"},
    {"name": "at", "type": "datetime", "required": True},
    {"name": "n", "type": "integer"},
]
TOLD: dict[str, Any] = {
    "id": "counts",
    "geometry": "point",
    "time_zone": "Europe/Paris",
    "key": ["site", "at"],
    "columns": COLUMNS,
    "time": "at",
    "overview": {"bucket": "month"},
    "source": {"geometry": {"longitude": "lon", "latitude": "lat"}},
}
PLAIN = layer(**TOLD)
MONTHLY = layer(**TOLD, partitions={"by": "at", "every": "month"})
YEARLY = layer(**TOLD, partitions={"by": "at", "every": "year"})
KEYLESS = layer(**(TOLD | {"key": []}), partitions={"by": "at", "every": "month"})
SITES = {"a": (2.30, 48.80), "b": (2.31, 48.81), "c": (2.4, 48.9)}


def csv(folder: Path, days: list[date], *, n: int = 1, name: str = "counts.csv") -> Path:
    """A file with a row a site and day, at noon."""
    lines = [
        f"{site},{day}T12:00:00Z,{n + number},{lon},{lat}"
        for day in days
        for number, (site, (lon, lat)) in enumerate(SITES.items())
    ]
    path = folder / name
    path.write_text("\n".join(["site,at,n,lon,lat", *lines]) + "\n", encoding="utf-8")
    return path


def days_of(first: str, count: int) -> list[date]:
    return [date.fromisoformat(first) + timedelta(days=number) for number in range(count)]


def ingest(database: Database, of: Layer, file: Path, *, partial: bool = False) -> Report:
    report = run(database.urls.ingest, Job(layer=of, files=(file,), partial=partial))
    assert report.counts.adds_up, report.counts
    return report


def parts(database: Database) -> dict[str, int]:
    """How many rows lie in each part."""
    names = database.run(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'city.counts'::regclass ORDER BY 1"
    )
    return {
        str(name).removeprefix("counts__"): database.value(
            f'SELECT count(*) FROM city_parts."{name}"'
        )
        for (name,) in names
    }


def content(database: Database) -> list[tuple[Any, ...]]:
    return database.run(
        "SELECT site, at, n, ST_AsText(geom), source_key, since FROM city.counts ORDER BY site, at"
    )


def revision(database: Database) -> int:
    return int(database.value("SELECT revision FROM quartier.layer_state WHERE layer_id='counts'"))


def bytes_of(database: Database, part: str) -> dict[str, str]:
    """A hash of every file of a part: its rows, its indexes."""
    database.run("CHECKPOINT", role="owner")
    files = database.run(
        "SELECT c.relname, pg_relation_filepath(c.oid) FROM pg_class c WHERE c.oid IN"
        f" (SELECT indexrelid FROM pg_index WHERE indrelid = 'city_parts.counts__{part}'::regclass"
        f"  UNION SELECT 'city_parts.counts__{part}'::regclass)",
        role="owner",
    )
    return {
        name: hashlib.sha256(
            database.value("SELECT pg_read_binary_file(:path)", role="owner", path=path)
        ).hexdigest()
        for name, path in files
    }


@pytest.fixture(scope="module")
def loaded(
    server: Any, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Copies]:
    def load(database: Database) -> None:
        database.declare(MONTHLY)
        file = csv(tmp_path_factory.mktemp("counts"), days_of("2026-01-01", 59))
        assert ingest(database, MONTHLY, file).counts.inserted == 59 * 3

    with copies_of(server, template, load) as copies:
        yield copies


@pytest.fixture
def counts(loaded: Copies) -> Iterator[Database]:
    """Two months of three sites, divided by month, at revision 1."""
    with loaded() as database:
        yield database


def test_a_first_load_makes_a_part_for_each_month_and_one_for_the_rest(counts: Database) -> None:
    assert parts(counts) == {"2026_01": 31 * 3, "2026_02": 28 * 3, "other": 0}
    assert revision(counts) == 1


def test_a_daily_load_rewrites_no_old_part(counts: Database, tmp_path: Path) -> None:
    counts.run("VACUUM (FREEZE) city.counts")  # hint bits are set by whoever reads next
    old = bytes_of(counts, "2026_01")
    days = csv(tmp_path, days_of("2026-02-27", 4))
    report = ingest(counts, MONTHLY, days, partial=True)
    assert (report.counts.inserted, report.counts.unchanged) == (6, 6)
    assert parts(counts) == {"2026_01": 93, "2026_02": 84, "2026_03": 6, "other": 0}
    assert bytes_of(counts, "2026_01") == old
    assert bytes_of(counts, "2026_03")


def test_a_load_corrects_a_row_in_its_part(counts: Database, tmp_path: Path) -> None:
    report = ingest(counts, MONTHLY, csv(tmp_path, days_of("2026-01-05", 1), n=7), partial=True)
    assert (report.counts.updated, report.counts.inserted) == (3, 0)
    found = "SELECT site, n FROM city.counts WHERE at::date = '2026-01-05' ORDER BY 1"
    assert counts.run(found) == [("a", 7), ("b", 8), ("c", 9)]
    past = "SELECT count(*) FROM city_history.counts WHERE valid_from = 1 AND valid_to = 2"
    assert counts.value(past) == 3


def test_a_whole_load_deletes_what_is_gone_from_every_part(
    counts: Database, tmp_path: Path
) -> None:
    days = [day for day in days_of("2026-01-01", 59) if day.day != 9]
    report = ingest(counts, MONTHLY, csv(tmp_path, days))
    assert (report.counts.deleted, report.counts.inserted) == (6, 0)
    assert parts(counts) == {"2026_01": 90, "2026_02": 81, "other": 0}


def test_rows_that_only_their_content_names_are_known_again(
    database: Database, tmp_path: Path
) -> None:
    database.declare(KEYLESS)
    ingest(database, KEYLESS, csv(tmp_path, days_of("2026-01-30", 3)))
    report = ingest(database, KEYLESS, csv(tmp_path, days_of("2026-01-31", 3)))
    counts = report.counts
    assert (counts.inserted, counts.unchanged, counts.deleted) == (3, 6, 3)
    assert parts(database) == {"2026_01": 3, "2026_02": 6, "other": 0}


def test_months_are_those_of_the_layers_time_zone(counts: Database) -> None:
    counts.run("INSERT INTO city.counts (site, at) VALUES ('x', '2026-01-31T23:30:00Z')")
    assert parts(counts)["2026_02"] == 28 * 3 + 1


def test_years_make_fewer_parts(database: Database, tmp_path: Path) -> None:
    database.declare(YEARLY)
    ingest(database, YEARLY, csv(tmp_path, days_of("2025-12-30", 4)))
    assert parts(database) == {"2025": 6, "2026": 6, "other": 0}


def test_rows_of_other_times_move_to_their_part_once_a_load_makes_it(
    counts: Database, tmp_path: Path
) -> None:
    counts.run(
        "INSERT INTO city.counts (site, at) VALUES ('x', '2026-05-05T12:00Z'), ('y', NULL),"
        " ('z', '1970-01-01')"
    )
    assert parts(counts)["other"] == 3
    before = content(counts)
    ingest(counts, MONTHLY, csv(tmp_path, days_of("2026-02-01", 1), n=5), partial=True)
    found = parts(counts)
    assert (found["2026_05"], found["1970_01"], found["other"]) == (1, 1, 1)
    changed = [row for row in content(counts) if row not in before]
    assert [row[0] for row in changed] == ["a", "b", "c"]


def test_a_reader_that_stays_does_not_keep_a_load_from_ending(
    counts: Database, tmp_path: Path
) -> None:
    file = csv(tmp_path, days_of("2026-03-01", 1))
    with counts.transaction() as reader:
        reader.execute(sa.text("SELECT count(*) FROM city.counts"))
        assert ingest(counts, MONTHLY, file, partial=True).counts.inserted == 3
        assert parts(counts)["other"] == 3
    ingest(counts, MONTHLY, csv(tmp_path, days_of("2026-03-02", 1)), partial=True)
    assert parts(counts) == {"2026_01": 93, "2026_02": 84, "2026_03": 6, "other": 0}


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO city_parts.counts__2026_01 (fid, site, at, since) VALUES (9999, 'x',"
        " '2026-01-02', 1)",
        "UPDATE city_parts.counts__2026_01 SET n = 5",
        "DELETE FROM city_parts.counts__2026_01",
        "TRUNCATE city_parts.counts__2026_01",
    ],
)
def test_what_is_said_to_a_part_alone_is_refused(counts: Database, statement: str) -> None:
    before = content(counts)
    with pytest.raises(sa.exc.DBAPIError, match=r"change city\.counts instead"):
        counts.run(statement)
    assert content(counts) == before


def test_a_part_cannot_be_truncated_in_the_wake_of_the_layer(counts: Database) -> None:
    with counts.transaction() as connection:
        connection.execute(sa.text("TRUNCATE city.counts"))
        more = "INSERT INTO city.counts (site, at) VALUES ('x', '2026-01-02')"
        connection.execute(sa.text(more))
        with pytest.raises(sa.exc.DBAPIError, match="is a part of layer"):
            connection.execute(sa.text("TRUNCATE city_parts.counts__2026_01"))
        connection.rollback()
    assert len(content(counts)) == 59 * 3


def test_truncate_of_the_layer_keeps_its_past(counts: Database) -> None:
    counts.run("TRUNCATE city.counts")
    assert content(counts) == []
    assert counts.value("SELECT count(*) FROM city_history.counts") == 59 * 3
    assert counts.value(f"SELECT count(*) FROM {cells(MONTHLY).table}") == 0


@pytest.mark.parametrize("at", ["at + interval '40 days'", "at + interval '1 second'", "NULL"])
def test_a_row_keeps_its_time(counts: Database, at: str) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="insert a new row and delete the old one"):
        counts.run(f"UPDATE city.counts SET at = {at} WHERE site = 'a'")


def test_the_web_reads_the_layer_and_no_part(counts: Database) -> None:
    assert counts.value("SELECT count(*) FROM city.counts", role="web") == 59 * 3
    with pytest.raises(sa.exc.DBAPIError, match="permission denied"):
        counts.run("SELECT FROM city_parts.counts__2026_01", role="web")


# Edits of a divided layer are seen as those of any ------------------------------------------------

EDITS = [
    "INSERT INTO city.counts (site, at, n, geom)"
    " SELECT 's' || g, timestamptz '2026-01-20T12:00Z' + g * interval '3 days', :n,"
    " ST_Point(2.3 + :x, 48.8, 4326) FROM generate_series(1, 9) g",
    "UPDATE city.counts SET n = :n WHERE extract(day FROM at) = :n",
    "UPDATE city.counts SET geom = ST_Translate(geom, :x, 0) WHERE site = 'a' AND n <> :n",
    "DELETE FROM city.counts WHERE extract(day FROM at) = :n AND :x < 1",
    "MERGE INTO city.counts c USING (SELECT * FROM city.counts WHERE site = 'b') s"
    " ON s.fid = c.fid AND c.n > :n WHEN MATCHED THEN UPDATE SET geom = ST_Point(:x, 48, 4326)",
    "TRUNCATE city.counts",
]


def told(database: Database) -> tuple[Any, ...]:
    """Everything that the world learns of a layer, but for the numbers of its features."""
    rows = database.run(
        "SELECT site, at, n, geom::text, tile_geom::text, cell, since FROM city.counts"
        " ORDER BY 1, 2, 3, 4, 7"
    )
    past = database.run(
        "SELECT site, at, n, geom::text, valid_from, valid_to FROM city_history.counts"
        " ORDER BY 1, 2, 3, 4, 5, 6"
    )
    changes = database.run(
        "SELECT revision, unnest(z) AS z, unnest(cell) AS cell FROM quartier.changes"
        " ORDER BY 1, 2, 3"
    )
    overview = database.run(f"SELECT t::text FROM {cells(PLAIN).table} t ORDER BY 1")
    made = database.run("SELECT revision, inserted, updated, deleted FROM quartier.revisions")
    return rows, past, changes, overview, made


def numbers(database: Database) -> list[tuple[Any, ...]]:
    return database.run(
        "SELECT site, at, fid FROM city.counts UNION ALL"
        " SELECT site, at, fid FROM city_history.counts ORDER BY 1, 2, 3"
    )


@copied
def undivided(database: Database) -> None:
    database.declare(PLAIN)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    edits=st.lists(
        st.tuples(st.sampled_from(EDITS), st.integers(1, 28), st.integers(-200, 200)),
        min_size=1,
        max_size=8,
    ),
    back=st.booleans(),
)
def test_edits_leave_the_same_behind_in_a_divided_layer_as_in_any(
    undivided: Copies,
    tmp_path_factory: pytest.TempPathFactory,
    edits: list[tuple[str, int, int]],
    back: bool,
) -> None:
    file = csv(tmp_path_factory.mktemp("same"), days_of("2026-01-20", 20))
    seen = []
    for of in (PLAIN, MONTHLY):
        with undivided() as database:
            database.declare(of)
            ingest(database, of, file)
            for edit, n, x in edits:
                both: dict[str, Any] = {"n": n, "x": x / 1000}
                values = {name: value for name, value in both.items() if f":{name}" in edit}
                database.run(edit, **values)
            if back and revision(database) > 1:
                with database.transaction() as connection:
                    roll_back(connection, of, 1, by="clerk", note="as it was")
            seen.append(told(database))
    assert seen[0] == seen[1]


# Declared anew ------------------------------------------------------------------------------------


def test_a_layer_is_divided_otherwise_without_a_change_of_any_row(
    database: Database, tmp_path: Path
) -> None:
    database.declare(PLAIN)
    ingest(database, PLAIN, csv(tmp_path, days_of("2025-12-20", 20)))
    database.run("UPDATE city.counts SET n = 99 WHERE site = 'b'")
    before = told(database), numbers(database)
    for of, labels in (
        (MONTHLY, {"2025_12", "2026_01", "other"}),
        (YEARLY, {"2025", "2026", "other"}),
        (PLAIN, set()),
    ):
        said = [step.says for step in database.declare(of)]
        assert any("divide" in each or "together" in each for each in said), said
        assert set(parts(database)) == labels
        assert (told(database), numbers(database)) == before
        assert database.declare(of) == []
    database.run("INSERT INTO city.counts (site, at) VALUES ('x', '2026-01-02')")
    assert database.value("SELECT max(fid) = count(*) FROM city.counts")


def test_lines_are_drawn_as_before_once_they_are_divided(database: Database) -> None:
    told = {
        "id": "jams",
        "geometry": "line",
        "columns": [{"name": "day", "type": "date", "required": True}, {"name": "road"}],
        "overview": {"merge_by": ["road"]},
    }
    divided = layer(**told, partitions={"by": "day", "every": "month"})
    drawn = f'SELECT fid, "#band", ST_AsText(geom) FROM {shapes_table(divided)} ORDER BY 1, 2'
    database.declare(layer(**told))
    database.run(
        "INSERT INTO city.jams (day, road, geom) SELECT date '2026-01-01' + 20 * g, 'A',"
        " ST_MakeLine(ST_Point(g, 48, 4326), ST_Point(g + 1, 48.2, 4326))"
        " FROM generate_series(1, 6) g"
    )
    database.declare(layer(**told))  # which draws what meets as one
    before = database.run(drawn)
    assert before
    database.declare(divided)
    assert database.run(drawn) == before
    assert database.declare(divided) == []
    database.run("DELETE FROM city.jams WHERE day > '2026-03-01'")
    assert len(database.run(drawn)) < len(before)


def test_what_hangs_on_a_table_keeps_it_from_being_divided(
    database: Database, tmp_path: Path
) -> None:
    database.declare(PLAIN)
    ingest(database, PLAIN, csv(tmp_path, days_of("2026-01-01", 2)))
    database.run("CREATE VIEW city.busy AS SELECT * FROM city.counts WHERE n > 1")
    with pytest.raises(ChangeRefused, match="would be lost"):
        database.declare(MONTHLY)
    assert database.value("SELECT count(*) FROM city.busy") == 4


def test_more_parts_than_can_be_asked_are_refused_and_named(
    database: Database, tmp_path: Path
) -> None:
    database.declare(MONTHLY)
    months = [date(1950 + n // 12, n % 12 + 1, 1) for n in range(601)]
    with pytest.raises(ChangeRefused, match=r"601 periods from 1950-01-01 to 2000-01-01"):
        ingest(database, MONTHLY, csv(tmp_path, months))
    assert content(database) == []


def test_a_column_that_is_declared_later_is_in_every_part(counts: Database) -> None:
    more = layer(
        **(TOLD | {"columns": [*COLUMNS, {"name": "kind"}]}),
        partitions={"by": "at", "every": "month"},
    )
    counts.declare(more)
    counts.run("UPDATE city.counts SET kind = 'bike'")
    assert counts.value("SELECT count(*) FROM city_parts.counts__2026_02 WHERE kind = 'bike'") == 84
