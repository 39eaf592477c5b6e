"""First loads of points, which go straight into the table that takes the empty layer's place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
import sqlalchemy as sa

from ingest import load as loading
from ingest import read as reader
from ingest.gates import GatesHeld
from ingest.job import Job
from ingest.report import Report
from ingest.run import run
from layers import straight
from layers.database_urls import DatabaseUrls
from layers.errors import ChangeRefused
from layers.gates import Gates
from layers.merge_sql import build_name
from layers.model import Layer
from layers.overviews import cells
from layers.stage import Stage
from tests.conftest import Database, fresh_database
from tests.examples import layer

pytestmark = pytest.mark.db

COUNTS = layer(
    id="counts",
    geometry="point",
    columns=[
        {"name": "kind"},
        {"name": "n", "type": "integer"},
        {"name": "row"},
        {"name": "line"},
        {"name": "day", "type": "date"},
    ],
    source={"geometry": {"longitude": "lon", "latitude": "lat"}},
)
KEYED = layer(id="counts", geometry="point", key="n", columns=[{"name": "n", "type": "integer"}])
COLUMNS = "source_key, kind, n, row, line, day, ST_AsText(geom) AS geom, cell, since"


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a file is several of them."""
    reading = reader.read
    monkeypatch.setattr(loading, "read", lambda *args: reading(*args, batch_rows=7))


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which tables were filled."""
    filled: list[str] = []
    append = Stage.append

    def told(self: Stage, rows: pa.RecordBatch) -> None:
        filled.append("build" if "build" in self._table else "run")
        append(self, rows)

    monkeypatch.setattr(Stage, "append", told)
    return filled


def csv(folder: Path, rows: int = 60) -> Path:
    """Some rows are equal to others, near and far; some have no place."""
    lines = ["kind,n,row,line,day,lon,lat"]
    for n in range(rows):
        place = "," if n % 11 == 5 else f"{2.3 + n % 13 / 100:.2f},{48.8 + n % 5 / 100:.2f}"
        lines.append(f"k{n % 3},{n % 9},r{n % 2},l,2026-01-0{n % 4 + 1},{place}")
    lines += lines[10:16] * 3
    path = folder / "counts.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def ingest(database: Database, of: Layer, file: Path) -> Report:
    report = run(database.urls.ingest, Job(layer=of, files=(file,)))
    assert report.counts.adds_up, report.counts
    return report


def told(database: Database) -> tuple[Any, ...]:
    """Everything that is published, but for the numbers of features."""
    return (
        database.run(f"SELECT {COLUMNS} FROM city.counts ORDER BY source_key"),
        database.run(
            "SELECT regexp_replace(t::text, ',[^,]*$', '')"  # which is the number of a feature
            f" FROM {cells(COUNTS).table} t ORDER BY 1"
        ),
        database.run("SELECT revision, inserted, updated, deleted FROM quartier.revisions"),
        database.run("SELECT revision, base_revision FROM quartier.layer_state"),
        database.run("SELECT count(*), count(DISTINCT fid), min(fid), max(fid) FROM city.counts"),
    )


def left(database: Database) -> list[tuple[Any, ...]]:
    return database.run("SELECT tablename FROM pg_tables WHERE schemaname = 'city_stage'")


def test_either_way_publishes_the_same(
    server: DatabaseUrls,
    template: str,
    tmp_path: Path,
    ways: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    for way in ("build", "run"):
        with fresh_database(server, template) as database:
            database.declare(COUNTS)
            report = ingest(database, COUNTS, csv(tmp_path))
            seen.append((told(database), report.counts, report.state, report.message))
        assert set(ways) == {way}
        ways.clear()
        monkeypatch.setattr(straight, "fits", lambda *_: False)
    assert seen[0] == seen[1]


def test_the_table_is_like_that_of_any_layer(database: Database, tmp_path: Path) -> None:
    asked = (
        "SELECT array_agg(x ORDER BY x) FROM ("
        "  SELECT pg_get_indexdef(indexrelid) AS x FROM pg_index"
        "  WHERE indrelid = 'city.counts'::regclass"
        "  UNION ALL SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint"
        "  WHERE conrelid = 'city.counts'::regclass"
        "  UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger"
        "  WHERE tgrelid = 'city.counts'::regclass"
        "  UNION ALL SELECT attname || format_type(atttypid, atttypmod) || attnotnull::text"
        "    || attidentity::text || attgenerated::text || coalesce(attacl::text, '')"
        "  FROM pg_attribute"
        "  WHERE attrelid = 'city.counts'::regclass AND attnum > 0"
        "  UNION ALL SELECT relacl::text || relpersistence::text || relowner::regrole::text"
        "  FROM pg_class"
        "  WHERE oid = 'city.counts'::regclass"
        "  UNION ALL SELECT pg_get_serial_sequence('city.counts', 'fid')) y"
    )
    database.declare(COUNTS)
    declared = database.value(asked)
    ingest(database, COUNTS, csv(tmp_path))
    assert database.value(asked) == declared


def test_a_row_that_somebody_inserts_meanwhile_is_not_lost(
    database: Database, tmp_path: Path, ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = COUNTS.model_copy(update={"source": COUNTS.source.model_copy(update={"complete": False})})
    database.declare(of)
    publish = straight.publish

    def late(*args: Any, **more: Any) -> Any:
        database.run("INSERT INTO city.counts (kind) VALUES ('by hand')")
        return publish(*args, **more)

    monkeypatch.setattr(straight, "publish", late)
    report = ingest(database, of, csv(tmp_path))
    assert ways[0] == "build"
    assert ways[-1] == "run"
    assert report.counts.inserted == 78
    assert report.revision == 2
    assert database.value("SELECT count(*) FROM city.counts WHERE kind = 'by hand'") == 1
    assert database.value("SELECT count(DISTINCT fid) FROM city.counts") == 79
    assert left(database) == []


def test_a_key_on_two_rows_is_told_with_its_lines(
    database: Database, tmp_path: Path, ways: list[str]
) -> None:
    database.declare(KEYED)
    path = tmp_path / "keyed.csv"
    path.write_text("n,lon,lat\n1,2.3,48.8\n2,2.3,48.8\n1,2.4,48.8\n", encoding="utf-8")
    with pytest.raises(ChangeRefused, match="'1' on lines 2, 4"):
        ingest(database, KEYED, path)
    assert set(ways) == {"build", "run"}
    path.write_text("n,lon,lat\n1,2.3,48.8\n2,2.3,48.8\n1,2.3,48.8\n", encoding="utf-8")
    report = ingest(database, KEYED, path)
    assert (report.counts.inserted, report.counts.duplicates) == (2, 1)
    assert left(database) == []


def test_with_a_reader_in_the_way_rows_go_into_the_table_that_is_there(
    database: Database, tmp_path: Path, ways: list[str]
) -> None:
    database.declare(COUNTS)
    table = database.value("SELECT 'city.counts'::regclass::oid")
    with database.transaction(role="web") as reader:
        reader.execute(sa.text("SELECT count(*) FROM city.counts"))
        report = ingest(database, COUNTS, csv(tmp_path))
    assert (report.counts.inserted, report.revision) == (78, 1)
    assert set(ways) == {"build"}, "nothing was read again"
    assert database.value("SELECT 'city.counts'::regclass::oid") == table
    assert (
        database.value("SELECT count(DISTINCT source_key) FROM city.counts WHERE since = 1") == 78
    )
    assert left(database) == []


def test_a_dump_that_reads_the_new_table_keeps_no_writer_waiting(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.declare(COUNTS)
    index, dump = straight._index, psycopg.connect(database.urls.owner)

    def indexed(engine: sa.Engine, of: Layer, run_id: int) -> None:
        index(engine, of, run_id)
        dump.execute(f"SELECT count(*) FROM {build_name(run_id)}".encode())

    monkeypatch.setattr(straight, "_index", indexed)
    assert ingest(database, COUNTS, csv(tmp_path)).counts.inserted == 78
    database.run("INSERT INTO city.counts (kind) VALUES ('by hand')")
    assert len(left(database)) == 1, "what is being read stays"
    dump.close()
    ingest(database, COUNTS, csv(tmp_path))
    assert left(database) == []


def test_nothing_is_held_of_the_layer_while_a_file_is_read(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.declare(COUNTS)
    append, held = Stage.append, list[Any]()

    def told(self: Stage, rows: pa.RecordBatch) -> None:
        append(self, rows)
        held.extend(
            database.run("SELECT mode FROM pg_locks WHERE relation = 'city.counts'::regclass")
        )

    monkeypatch.setattr(Stage, "append", told)
    ingest(database, COUNTS, csv(tmp_path))
    assert held == []


def test_a_layer_may_be_called_as_a_run_calls_its_tables(
    database: Database, tmp_path: Path
) -> None:
    others = [layer(id=name, geometry="point") for name in ("build_1", "run_1", "build_2")]
    database.declare(COUNTS, *others)
    assert ingest(database, COUNTS, csv(tmp_path)).counts.inserted == 78
    assert database.value("SELECT count(*) FROM city.build_1") == 0


def test_a_gate_that_holds_leaves_nothing_behind(database: Database, tmp_path: Path) -> None:
    of = COUNTS.model_copy(update={"gates": Gates.model_validate({"withheld": 0})})
    database.declare(of)
    path = csv(tmp_path)
    path.write_text(path.read_text() + "k,1,r,l,2026-01-01,2.3,99\n", encoding="utf-8")
    with pytest.raises(GatesHeld):
        ingest(database, of, path)
    assert left(database) == []
    assert database.value("SELECT count(*) FROM city.counts") == 0
    assert database.value("SELECT revision FROM quartier.layer_state") == 0


def test_a_layer_that_was_emptied_goes_on_with_its_numbers(
    database: Database, tmp_path: Path, ways: list[str]
) -> None:
    database.declare(COUNTS)
    ingest(database, COUNTS, csv(tmp_path))
    database.run("TRUNCATE city.counts")
    ingest(database, COUNTS, csv(tmp_path))
    assert set(ways) == {"build"}
    assert database.value("SELECT revision FROM quartier.layer_state") == 3
    assert database.run("SELECT min(fid), max(fid), min(since) FROM city.counts") == [(79, 156, 3)]


def test_plain_tables_go_straight_too_and_nested_values_do_not(
    database: Database, tmp_path: Path, ways: list[str]
) -> None:
    calls = layer(id="calls", geometry="none", columns=[{"name": "n", "type": "integer"}])
    nested = layer(id="nested", geometry="none", columns=[{"name": "n", "type": "json"}])
    database.declare(calls, nested)
    path = tmp_path / "n.csv"
    path.write_text("n\n1\n2\n2\n", encoding="utf-8")
    assert ingest(database, calls, path).counts.inserted == 3
    assert ingest(database, nested, path).counts.inserted == 3
    assert ways == ["build", "run"]
