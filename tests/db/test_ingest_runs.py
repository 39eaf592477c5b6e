"""Runs, from a file to published rows: what they count, merge, delete, refuse and leave."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DatabaseError

from ingest.errors import SourceRefused
from ingest.read import read
from ingest.report import Report
from ingest.run import Job, run
from layers.database_urls import DatabaseUrls
from layers.errors import ChangeRefused, StoreUnavailable
from layers.gates import Gates
from layers.locks import RUN_LOCK
from layers.model import Layer
from layers.write import publish
from tests.conftest import Copies, Database, copies_of
from tests.examples import CALLS, PATHS, TREES, layer

pytestmark = pytest.mark.db

CRIMES = layer(
    id="crimes",
    geometry="point",
    columns=[{"name": "kind"}, {"name": "day", "type": "date"}],
)
HEADER = "number,genus,height,planted,lon,lat"
THREE = (
    "1,Tilia,12.5,2020-02-29,4.85,45.2",
    "2,Acer,,2019-01-01,4.86,45.2",
    "3,Ulmus,3,,,",
)


def csv(folder: Path, *rows: str, header: str = HEADER, name: str = "trees.csv") -> Path:
    path = folder / name
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def ingest(database: Database, of: Layer, *files: Path, partial: bool = False) -> Report:
    report = run(database.urls.ingest, Job(layer=of, files=files, partial=partial))
    assert report.counts.adds_up, report.counts
    return report


def rows(
    database: Database, columns: str = "number, genus", of: Layer = TREES
) -> list[tuple[Any, ...]]:
    return ask(database, f"SELECT {columns} FROM city.{of.id} ORDER BY 1")


def ask(database: Database, sql: str, **values: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in database.run(sql, **values)]


def revision(database: Database, of: Layer = TREES) -> object:
    return database.value(
        "SELECT revision FROM quartier.layer_state WHERE layer_id = :id", id=of.id
    )


def stages(database: Database) -> list[str]:
    found = ask(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'city_stage'")
    return [str(row[0]) for row in found]


def counted(report: Report, *names: str) -> tuple[int, ...]:
    return tuple(getattr(report.counts, name) for name in names)


@pytest.fixture(scope="module")
def planted(
    server: DatabaseUrls, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Copies]:
    def plant(database: Database) -> None:
        database.declare(TREES)
        ingest(database, TREES, csv(tmp_path_factory.mktemp("planted"), *THREE))

    with copies_of(server, template, plant) as copies:
        yield copies


@pytest.fixture
def trees(planted: Copies) -> Iterator[Database]:
    """Three trees of a file, at revision 1; the third has no place."""
    with planted() as database:
        yield database


def test_a_first_load_publishes_typed_rows_at_revision_1(trees: Database) -> None:
    assert revision(trees) == 1
    assert rows(trees, "number, height, planted::text, ST_AsText(geom), since") == [
        ("1", 12.5, "2020-02-29", "POINT(4.85 45.2)", 1),
        ("2", None, "2019-01-01", "POINT(4.86 45.2)", 1),
        ("3", 3.0, None, None, 1),
    ]


def test_every_row_read_is_accounted_for(database: Database, tmp_path: Path) -> None:
    database.declare(TREES)
    ingest(database, TREES, csv(tmp_path, *THREE))
    report = ingest(
        database,
        TREES,
        csv(
            tmp_path,
            THREE[0],
            "2,Fagus,,2019-01-01,4.86,45.2",
            "4,Salix,1,,4.87,45.2",
            "4,Salix,1,,4.87,45.2",
            ",Quercus,1,,4.87,45.2",
            "6,Alnus,high,,4.87,45.2",
            "7,Betula,1,,4.87,91",
        ),
    )
    assert report.state == "published"
    names = ("read", "unchanged", "updated", "inserted", "duplicates", "quarantined", "cells")
    assert counted(report, *names) == (7, 1, 1, 2, 1, 2, 1)
    assert report.as_json()["counts"]["accounted"] == 7


def test_a_merge_by_key_updates_only_changed_rows_and_keeps_every_fid(
    trees: Database, tmp_path: Path
) -> None:
    before = dict(rows(trees, "number, fid"))
    report = ingest(
        trees, TREES, csv(tmp_path, THREE[2], "1,Tilia,13,2020-02-29,4.85,45.2", THREE[1])
    )
    assert counted(report, "inserted", "updated", "unchanged", "deleted") == (0, 1, 2, 0)
    assert dict(rows(trees, "number, fid")) == before
    assert dict(rows(trees, "number, since")) == {"1": 2, "2": 1, "3": 1}


@pytest.mark.parametrize(
    "row",
    [
        pytest.param("1,Tilia,12.5,2020-02-29,4.85000001,45.2", id="the place by a millimetre"),
        pytest.param("1,Tilia,,2020-02-29,4.85,45.2", id="a value becomes null"),
        pytest.param("1,Tilia,12.5,2020-02-29,,", id="the place becomes null"),
    ],
)
def test_any_difference_is_an_update(trees: Database, tmp_path: Path, row: str) -> None:
    report = ingest(trees, TREES, csv(tmp_path, row, *THREE[1:]))
    assert counted(report, "updated", "unchanged") == (1, 2)
    assert revision(trees) == 2


def test_one_run_is_one_revision_whatever_it_did(trees: Database, tmp_path: Path) -> None:
    report = ingest(
        trees, TREES, csv(tmp_path, "1,Acer,,,4.9,45.2", THREE[1], "9,Salix,,,4.9,45.2")
    )
    assert counted(report, "inserted", "updated", "unchanged", "deleted") == (1, 1, 1, 1)
    assert report.revision == revision(trees) == 2
    found = ask(
        trees, "SELECT inserted, updated, deleted FROM quartier.revisions WHERE revision = 2"
    )
    assert found == [(1, 1, 1)]


def test_a_run_names_itself_in_its_revision(trees: Database) -> None:
    named = ask(trees, "SELECT r.run_id, u.state FROM quartier.revisions r"
                      " JOIN quartier.runs u ON u.id = r.run_id")  # fmt: skip
    assert [row[1] for row in named] == ["published"]


def test_history_keeps_what_a_run_changed_and_deleted(trees: Database, tmp_path: Path) -> None:
    ingest(trees, TREES, csv(tmp_path, "1,Acer,12.5,2020-02-29,4.85,45.2", THREE[1]))
    kept = ask(
        trees, "SELECT number, genus, valid_from, valid_to FROM city_history.trees ORDER BY number"
    )
    assert kept == [("1", "Tilia", 1, 2), ("3", "Ulmus", 1, 2)]


def test_rows_gone_from_a_complete_source_are_deleted(trees: Database, tmp_path: Path) -> None:
    report = ingest(trees, TREES, csv(tmp_path, THREE[1]))
    assert counted(report, "unchanged", "deleted") == (1, 2)
    assert rows(trees) == [("2", "Acer")]


def test_a_partial_file_deletes_nothing(trees: Database, tmp_path: Path) -> None:
    report = ingest(trees, TREES, csv(tmp_path, "1,Acer,,,4.85,45.2"), partial=True)
    assert counted(report, "updated", "deleted") == (1, 0)
    assert len(rows(trees)) == 3


def test_a_source_declared_incomplete_deletes_nothing(trees: Database, tmp_path: Path) -> None:
    source = TREES.source.model_copy(update={"complete": False})
    report = ingest(trees, TREES.model_copy(update={"source": source}), csv(tmp_path, THREE[1]))
    assert counted(report, "unchanged", "deleted") == (1, 0)
    assert len(rows(trees)) == 3


def test_a_withheld_row_keeps_its_old_version(trees: Database, tmp_path: Path) -> None:
    report = ingest(trees, TREES, csv(tmp_path, THREE[0], "2,Fagus,1,,4.86,91"))
    assert counted(report, "unchanged", "quarantined", "deleted") == (1, 1, 1)
    assert rows(trees) == [("1", "Tilia"), ("2", "Acer")]


def test_nothing_is_deleted_while_a_withheld_row_cannot_be_named(
    trees: Database, tmp_path: Path
) -> None:
    report = ingest(trees, TREES, csv(tmp_path, THREE[0], ",Fagus,1,,4.86,45.2"))
    assert counted(report, "unchanged", "quarantined", "deleted") == (1, 1, 0)
    assert len(rows(trees)) == 3
    assert "nothing was deleted" in report.message


def test_a_cell_that_cannot_be_read_is_null_and_told(trees: Database, tmp_path: Path) -> None:
    report = ingest(trees, TREES, csv(tmp_path, "1,Tilia,high,31/12/2020,4.85,45.2"), partial=True)
    assert counted(report, "cells", "quarantined", "updated") == (2, 0, 1)
    told = ask(
        trees,
        "SELECT line, column_name, source_key, reason, content->>'height' FROM quartier.quarantine"
        " WHERE run_id = :run ORDER BY column_name",
        run=report.run,
    )
    assert [row[:3] for row in told] == [(2, "height", "1"), (2, "planted", "1")]
    assert "'high' is not a number" in str(told[0][3])
    assert told[0][4] == "high", "the row is kept whole"


def test_equal_rows_of_a_layer_without_key_are_features_of_their_own(
    database: Database, tmp_path: Path
) -> None:
    database.declare(CRIMES)
    file = csv(tmp_path, *["theft,2026-01-01,4.85,45.2"] * 3, "arson,2026-01-01,4.85,45.2",
               header="kind,day,lon,lat")  # fmt: skip
    report = ingest(database, CRIMES, file)
    assert counted(report, "inserted", "duplicates") == (4, 0)
    assert len({row[0] for row in rows(database, "source_key", CRIMES)}) == 4


def test_rows_without_key_are_known_again_in_any_order(database: Database, tmp_path: Path) -> None:
    database.declare(CRIMES)
    lines = [*["theft,2026-01-01,4.85,45.2"] * 3, "arson,2026-01-01,4.85,45.2", "fraud,,,"]
    ingest(database, CRIMES, csv(tmp_path, *lines, header="kind,day,lon,lat"))
    before = rows(database, "fid, kind", CRIMES)
    shuffled = [lines[i] for i in (4, 0, 3, 2, 1)]
    report = ingest(database, CRIMES, csv(tmp_path, *shuffled, header="kind,day,lon,lat"))
    assert (report.state, *counted(report, "unchanged", "read")) == ("unchanged", 5, 5)
    assert rows(database, "fid, kind", CRIMES) == before
    assert revision(database, CRIMES) == 1


def test_one_of_several_equal_rows_can_go(database: Database, tmp_path: Path) -> None:
    database.declare(CRIMES)
    lines = ["theft,2026-01-01,4.85,45.2"] * 3
    ingest(database, CRIMES, csv(tmp_path, *lines, header="kind,day,lon,lat"))
    report = ingest(database, CRIMES, csv(tmp_path, *lines[1:], header="kind,day,lon,lat"))
    assert counted(report, "unchanged", "deleted") == (2, 1)


@settings(
    max_examples=12, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    files=st.lists(
        st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=12),
        min_size=2, max_size=4,
    )
)  # fmt: skip
def test_file_after_file_leaves_the_layer_as_its_last_one(
    database: Database, tmp_path: Path, files: list[list[str]]
) -> None:
    """Rows that the layer holds are not staged; it is as if all had been."""
    generous = CRIMES.model_copy(update={"gates": Gates.model_validate(OFF)})
    database.declare(generous)
    for number, kinds in enumerate(files):
        lines = [f"{kind},2026-01-01,4.85,45.2" for kind in kinds]
        path = csv(tmp_path, *lines, header="kind,day,lon,lat", name=f"{number}.csv")
        report = ingest(database, generous, path)
        assert report.counts.read in (0, len(kinds))  # 0: the same bytes again
        found = [row[0] for row in rows(database, "kind", generous)]
        assert found == sorted(kinds)


OFF = {"shrink": "off", "growth": "off", "columns": "off", "vocabulary": "off"}


def test_an_edit_while_a_file_is_read_is_not_built_on(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was known of the layer is known no more: every row is staged then."""
    database.declare(CRIMES)
    lines = [f"kind{n},2026-01-01,4.85,45.2" for n in range(40)]
    ingest(database, CRIMES, csv(tmp_path, *lines, header="kind,day,lon,lat"))
    reads: list[int] = []

    def reading(*asked: Any) -> Any:
        reads.append(1)
        if len(reads) == 1:
            database.run("UPDATE city.crimes SET kind = 'edited' WHERE kind = 'kind3'")
        return read(*asked)

    monkeypatch.setattr("ingest.load.read", reading)
    more = csv(
        tmp_path, *lines, "new,2026-01-01,4.85,45.2", header="kind,day,lon,lat", name="2.csv"
    )
    report = ingest(database, CRIMES, more)
    assert len(reads) == 2
    assert counted(report, "read", "inserted", "updated", "unchanged") == (41, 1, 1, 39)
    assert ask(database, "SELECT FROM city.crimes WHERE kind = 'edited'") == []
    assert stages(database) == []


def test_a_key_on_rows_that_differ_is_refused_naming_the_key_and_the_lines(
    trees: Database, tmp_path: Path
) -> None:
    file = csv(tmp_path, *THREE, "1,Acer,,,4.85,45.2", "2,Tilia,,,4.85,45.2")
    with pytest.raises(ChangeRefused, match=r"key number .*'1' on lines 2, 5; '2' on lines 3, 6"):
        ingest(trees, TREES, file)
    assert (revision(trees), len(rows(trees))) == (1, 3)


def test_identical_rows_under_one_key_are_left_out_and_counted(
    database: Database, tmp_path: Path
) -> None:
    database.declare(TREES)
    report = ingest(database, TREES, csv(tmp_path, *THREE, *THREE, THREE[0]))
    assert counted(report, "read", "inserted", "duplicates") == (7, 3, 4)


def test_the_same_bytes_are_unchanged_without_being_read(trees: Database, tmp_path: Path) -> None:
    report = ingest(trees, TREES, csv(tmp_path, *THREE))
    assert (report.state, report.counts.read) == ("unchanged", 0)
    assert revision(trees) == 1


def test_the_same_bytes_under_another_name_are_unchanged(trees: Database, tmp_path: Path) -> None:
    report = ingest(trees, TREES, csv(tmp_path, *THREE, name="trees-2026.csv"))
    assert (report.state, report.counts.read) == ("unchanged", 0)


def test_the_same_bytes_are_merged_again_after_an_edit(trees: Database, tmp_path: Path) -> None:
    trees.run("UPDATE city.trees SET genus = 'Wrong' WHERE number = '1'")
    report = ingest(trees, TREES, csv(tmp_path, *THREE))
    assert (report.state, *counted(report, "updated", "unchanged")) == ("published", 1, 2)
    assert rows(trees)[0] == ("1", "Tilia")


def test_the_same_bytes_are_read_again_when_the_reading_changes(
    trees: Database, tmp_path: Path
) -> None:
    source = TREES.source.model_copy(update={"null_values": ("", "Ulmus")})
    changed = TREES.model_copy(update={"source": source})
    report = ingest(trees, changed, csv(tmp_path, *THREE))
    assert (report.state, *counted(report, "updated")) == ("published", 1)


def test_a_partial_run_does_not_make_the_whole_file_known(trees: Database, tmp_path: Path) -> None:
    """What a partial run leaves in place, the same bytes given as the whole layer delete."""
    file = csv(tmp_path, THREE[0], name="one.csv")
    ingest(trees, TREES, file, partial=True)
    report = ingest(trees, TREES, file)
    assert counted(report, "deleted") == (2,)


def test_other_bytes_with_the_same_rows_are_unchanged(trees: Database, tmp_path: Path) -> None:
    report = ingest(trees, TREES, csv(tmp_path, *reversed(THREE)))
    assert (report.state, *counted(report, "unchanged")) == ("unchanged", 3)
    assert (revision(trees), report.message) == (1, "every row is as it was")


def test_many_files_are_one_layer(database: Database, tmp_path: Path) -> None:
    database.declare(TREES)
    one, two = csv(tmp_path, *THREE[:2]), csv(tmp_path, THREE[2], name="more.csv")
    assert counted(ingest(database, TREES, one, two), "inserted") == (3,)
    assert ingest(database, TREES, two, one).state == "unchanged"


def test_a_fid_is_never_given_twice(trees: Database, tmp_path: Path) -> None:
    used = {row[0] for row in rows(trees, "fid")}
    trees.run("TRUNCATE city.trees")
    ingest(trees, TREES, csv(tmp_path, *THREE))
    again = {row[0] for row in rows(trees, "fid")}
    assert not used & again
    trees.run("INSERT INTO city.trees (number) VALUES ('9')")
    assert trees.value("SELECT max(fid) FROM city.trees") not in used | again


def test_a_deleted_key_that_comes_back_is_a_new_feature(trees: Database, tmp_path: Path) -> None:
    old = dict(rows(trees, "number, fid"))["3"]
    ingest(trees, TREES, csv(tmp_path, *THREE[:2]))
    ingest(trees, TREES, csv(tmp_path, *THREE))
    assert dict(rows(trees, "number, fid"))["3"] != old


STRUCTURE = {
    "constraints": "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE conrelid = 'city.trees'::regclass",
    "indexes": "SELECT regexp_replace(indexdef, 'INDEX \\S+ ', 'INDEX ') FROM pg_indexes"
    " WHERE schemaname = 'city' AND tablename = 'trees'",
    "triggers": "SELECT tgname, pg_get_triggerdef(oid), tgenabled FROM pg_trigger"
    " WHERE tgrelid = 'city.trees'::regclass",
    "columns": "SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity,"
    " attgenerated, pg_get_expr(adbin, adrelid) FROM pg_attribute LEFT JOIN pg_attrdef"
    " ON adrelid = attrelid AND adnum = attnum"
    " WHERE attrelid = 'city.trees'::regclass AND attnum > 0",
    "grants": "SELECT grantee, privilege_type FROM information_schema.role_table_grants"
    " WHERE table_schema = 'city' AND table_name = 'trees'",
    "owner and storage": "SELECT relowner::regrole::text, relpersistence, relkind"
    " FROM pg_class WHERE oid = 'city.trees'::regclass",
    "sequence": "SELECT seqmax, seqcycle, seqincrement FROM pg_sequence"
    " WHERE seqrelid = pg_get_serial_sequence('city.trees', 'fid')::regclass",
}


def structure(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    return {
        name: sorted(map(tuple, database.run(sql)), key=repr) for name, sql in STRUCTURE.items()
    }


def test_a_first_load_leaves_the_table_as_apply_made_it(database: Database, tmp_path: Path) -> None:
    database.declare(TREES)
    before = structure(database)
    old = database.value("SELECT 'city.trees'::regclass::oid")
    ingest(database, TREES, csv(tmp_path, *THREE))
    after = structure(database)
    assert database.value("SELECT 'city.trees'::regclass::oid") != old, "the table was swapped"
    for part, found in before.items():
        assert after[part] == found, part


def test_a_swapped_table_counts_and_logs_changes_as_before(trees: Database) -> None:
    trees.run("UPDATE city.trees SET genus = 'Acer' WHERE number = '1'")
    trees.run("DELETE FROM city.trees WHERE number = '2'")
    assert revision(trees) == 3
    assert trees.value("SELECT count(*) FROM city_history.trees") == 2
    with pytest.raises(DatabaseError, match="latitude lies within"):
        trees.run("INSERT INTO city.trees (geom) VALUES (ST_Point(4, 91, 4326))")
    with pytest.raises(DatabaseError, match="permission denied"):
        trees.run("DELETE FROM city.trees", role="web")


def test_a_first_load_touches_every_tile(trees: Database) -> None:
    assert (
        trees.value("SELECT base_revision FROM quartier.layer_state WHERE layer_id = 'trees'") == 1
    )


def test_a_view_of_the_table_survives_a_first_load(database: Database, tmp_path: Path) -> None:
    database.declare(TREES)
    database.run("CREATE VIEW city.big_trees AS SELECT number FROM city.trees WHERE height > 5")
    ingest(database, TREES, csv(tmp_path, *THREE))
    assert database.run("SELECT number FROM city.big_trees") == [("1",)]
    assert revision(database) == 1


def test_a_view_that_the_city_made_survives_a_load_after_truncate(
    trees: Database, tmp_path: Path
) -> None:
    trees.run("CREATE VIEW city.numbers AS SELECT number FROM city.trees")
    trees.run("TRUNCATE city.trees")
    ingest(trees, TREES, csv(tmp_path, *THREE))
    assert trees.value("SELECT count(*) FROM city.numbers") == 3


def test_readers_go_on_while_a_first_load_takes_the_tables_place(
    database: Database, tmp_path: Path
) -> None:
    """A reader's prepared statement answers from the old table, then from the new one."""
    database.declare(TREES)
    with database.connect("web") as reader:
        count = sa.text("SELECT count(*) FROM city.trees")
        assert reader.scalar(count) == 0
        ingest(database, TREES, csv(tmp_path, *THREE))
        assert reader.scalar(count) == 3


def test_a_refused_run_leaves_its_record_and_quarantine_and_the_old_revision(
    trees: Database, tmp_path: Path
) -> None:
    file = csv(tmp_path, "4,Salix,,,4.85,91", *THREE, "1,Acer,,,4.85,45.2")
    with pytest.raises(ChangeRefused):
        ingest(trees, TREES, file)
    record = ask(
        trees, "SELECT id, state, message, finished_at FROM quartier.runs ORDER BY id DESC"
    )[0]
    assert record[1] == "refused"
    assert "stands on rows that differ" in str(record[2])
    assert record[3] is not None
    kept = ask(
        trees, "SELECT line, source_key FROM quartier.quarantine WHERE run_id = :r", r=record[0]
    )
    assert kept == [(2, "4")]
    assert (revision(trees), len(rows(trees)), stages(trees)) == (1, 3, [])


def test_a_failure_nobody_foresaw_is_a_refused_run_too(trees: Database, tmp_path: Path) -> None:
    trees.run("ALTER TABLE city.trees ADD CONSTRAINT no_willows CHECK (genus <> 'Salix')")
    with pytest.raises(Exception, match="no_willows"):
        ingest(trees, TREES, csv(tmp_path, *THREE, "4,Salix,,,4.85,45.2"))
    assert trees.value("SELECT state FROM quartier.runs ORDER BY id DESC LIMIT 1") == "refused"
    assert (revision(trees), len(rows(trees)), stages(trees)) == (1, 3, [])
    assert ingest(trees, TREES, csv(tmp_path, *reversed(THREE))).state == "unchanged"


def test_a_layer_takes_one_ingest_at_a_time(trees: Database, tmp_path: Path) -> None:
    with trees.connect() as other:
        held = sa.text("SELECT pg_advisory_lock(:space, hashtext('trees'))")
        other.execute(held, {"space": RUN_LOCK})
        with pytest.raises(ChangeRefused, match="another ingest is running; wait for its end"):
            ingest(trees, TREES, csv(tmp_path, *THREE[:1]))
        assert trees.value("SELECT count(*) FROM quartier.runs") == 1
    assert len(rows(trees)) == 3


def test_two_ingests_at_once_publish_one_whole_file_each_or_are_refused(
    trees: Database, tmp_path: Path
) -> None:
    files = [
        csv(tmp_path, *(f"{n},{genus},,,4.85,45.2" for n in range(400)), name=f"{genus}.csv")
        for genus in ("Acer", "Tilia")
    ]
    ended: list[str] = []

    def load(file: Path) -> None:
        try:
            ended.append(ingest(trees, TREES, file).state)
        except ChangeRefused as exc:
            ended.append("refused" if "another ingest" in str(exc) else str(exc))

    threads = [threading.Thread(target=load, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(ended) <= {"published", "refused"}
    assert "published" in ended
    assert trees.value("SELECT count(DISTINCT genus) FROM city.trees") == 1
    assert len(rows(trees)) == 400


def test_the_next_run_buries_an_interrupted_one(trees: Database, tmp_path: Path) -> None:
    killed = trees.value(
        "INSERT INTO quartier.runs (layer_id, sources, tool_version) VALUES ('trees', '[]', '0')"
        " RETURNING id"
    )
    trees.run(f'CREATE UNLOGGED TABLE city_stage."run_{killed}" (n int)')
    trees.run(f'CREATE TABLE city_stage."build_{killed}" (n int)')
    ingest(trees, TREES, csv(tmp_path, *THREE[:2]))
    assert stages(trees) == []
    record = ask(trees, "SELECT state, message FROM quartier.runs WHERE id = :id", id=killed)[0]
    assert record[0] == "refused"
    assert "interrupted" in str(record[1])


@pytest.mark.parametrize("made", ["CREATE INDEX", "CREATE TABLE"])
def test_a_first_load_that_finds_the_disk_full_says_so_in_a_sentence(
    trees: Database, tmp_path: Path, made: str
) -> None:
    trees.run("TRUNCATE city.trees")
    for statement in (
        "CREATE FUNCTION public.fill() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands()"
        " WHERE object_identity LIKE '%build_%') THEN"
        " RAISE 'could not extend file: No space left' USING ERRCODE = 'disk_full'; END IF; END $$",
        f"CREATE EVENT TRIGGER fill ON ddl_command_end WHEN TAG IN ('{made}')"
        " EXECUTE FUNCTION public.fill()",
    ):
        trees.run(statement, role="owner")
    with pytest.raises(StoreUnavailable, match="No space left"):
        ingest(trees, TREES, csv(tmp_path, *THREE))
    record = trees.run("SELECT state, message FROM quartier.runs ORDER BY id DESC LIMIT 1")
    assert record == [("refused", "could not extend file: No space left")]
    assert (rows(trees), stages(trees)) == ([], [])


def test_a_stage_goes_whose_run_was_killed_after_its_end_was_told(
    trees: Database, tmp_path: Path
) -> None:
    told = trees.value("SELECT max(id) FROM quartier.runs WHERE state <> 'running'")
    trees.run(f'CREATE UNLOGGED TABLE city_stage."run_{told}" (n int)')
    trees.run('CREATE TABLE city_stage."run_0" (n int)')
    ingest(trees, TREES, csv(tmp_path, *THREE[:2]))
    assert stages(trees) == ["run_0"], "what is of no run of the layer stays"


@pytest.mark.parametrize("certain", [True, False], ids=["at once", "by the next run"])
def test_a_run_whose_connection_breaks_in_the_commit_is_told_as_what_it_became(
    trees: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certain: bool
) -> None:
    record = "SELECT state, revision, message FROM quartier.runs ORDER BY id DESC LIMIT 1"
    with ExitStack() as others:

        def published_unheard(*told: Any) -> None:
            publish(*told)
            if not certain:  # the server may still be at the commit
                another = others.enter_context(trees.transaction())
                another.execute(sa.text("SELECT FROM quartier.layer_state FOR UPDATE"))
            raise StoreUnavailable("server closed the connection unexpectedly")

        monkeypatch.setattr("ingest.load.publish", published_unheard)
        with pytest.raises(StoreUnavailable):
            ingest(trees, TREES, csv(tmp_path, *THREE[:2]))
    monkeypatch.undo()
    told = [("published", 2, "interrupted after it had published")]
    assert trees.run(record) == (told if certain else [("running", None, None)])
    ingest(trees, TREES, csv(tmp_path, *THREE[:2]))
    before_last = record.replace("LIMIT 1", "OFFSET 1 LIMIT 1")
    assert trees.run(before_last) == told


def test_the_record_of_a_run_says_what_it_read_and_did(trees: Database) -> None:
    record = ask(
        trees,
        "SELECT state, revision, counts, sources, facts, finished_at >= started_at"
        " FROM quartier.runs",
    )[0]
    state, at, counts, sources, facts, in_order = record
    assert (state, at, in_order) == ("published", 1, True)
    assert counts["read"] == counts["inserted"] == 3
    assert counts["without_place"] == 1
    assert sources[0]["name"] == "trees.csv"
    assert len(sources[0]["sha256"]) == 64
    assert facts[0]["delimiter"] == ","


def test_the_report_as_json_adds_up(trees: Database, tmp_path: Path) -> None:
    report = ingest(trees, TREES, csv(tmp_path, *THREE[:2], "4,Salix,,,,"))
    told = json.loads(json.dumps(report.as_json()))
    assert told["layer"] == "trees"
    assert told["state"] == "published"
    assert told["revision"] == 2
    counts = told["counts"]
    parts = ("inserted", "updated", "unchanged", "quarantined", "duplicates")
    assert counts["read"] == counts["accounted"] == sum(counts[part] for part in parts) == 3
    assert counts["deleted"] == 1


def test_a_layer_without_geometry_is_loaded_merged_and_counted(
    database: Database, tmp_path: Path
) -> None:
    database.declare(CALLS)
    first = csv(tmp_path, "2026-01-01,4", "2026-01-02,5", header="day,calls")
    report = ingest(database, CALLS, first)
    assert counted(report, "inserted", "without_place") == (2, 0)
    second = csv(tmp_path, "2026-01-02,5", "2026-01-03,6", "2026-01-03,6", header="day,calls")
    report = ingest(database, CALLS, second)
    assert counted(report, "unchanged", "inserted", "deleted") == (1, 2, 1)
    assert rows(database, "day::text, calls", CALLS) == [
        ("2026-01-02", 5), ("2026-01-03", 6), ("2026-01-03", 6),
    ]  # fmt: skip


def test_a_column_that_holds_json_is_merged_by_its_value(
    database: Database, tmp_path: Path
) -> None:
    sites = layer(
        id="sites", geometry="point", key="id",
        columns=[{"name": "id"}, {"name": "hours", "type": "json"}],
    )  # fmt: skip
    database.declare(sites)
    feature = {
        "type": "Feature",
        "properties": {"id": "a", "hours": {"mo": [8, 12], "tu": None}},
        "geometry": {"type": "Point", "coordinates": [4.85, 45.2]},
    }
    file = tmp_path / "sites.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    ingest(database, sites, file)
    file.write_text(json.dumps({"features": [feature], "type": "FeatureCollection"}, indent=1))
    assert ingest(database, sites, file).state == "unchanged"
    assert rows(database, "hours->'mo'->>1", sites) == [("12",)]


@pytest.mark.parametrize(
    ("lon", "lat"),
    [("4.850000000000001", "45.2"), ("-99.2119", "19.4008492340381"), ("180", "-90")],
)
def test_a_place_is_stored_exactly_as_it_is_written(
    database: Database, tmp_path: Path, lon: str, lat: str
) -> None:
    database.declare(TREES)
    ingest(database, TREES, csv(tmp_path, f"1,Tilia,,,{lon},{lat}"))
    assert rows(database, "ST_X(geom), ST_Y(geom)") == [(float(lon), float(lat))]


def test_a_hostile_value_stays_a_value(database: Database, tmp_path: Path) -> None:
    database.declare(TREES)
    evil = "'; DROP TABLE city.trees; --"
    file = csv(tmp_path, f'"{evil}","say ""x"" \\N %s {{}} :a",,,4.85,45.2')
    ingest(database, TREES, file)
    assert rows(database, "number, source_key, genus") == [(evil, evil, 'say "x" \\N %s {} :a')]
    assert ingest(database, TREES, csv(tmp_path, *THREE)).counts.deleted == 1


def test_columns_may_have_any_names(database: Database, tmp_path: Path) -> None:
    names = ["line", "row", "order", "user", "select", "sfrom", "key", "run", "s", "c", "first"]
    odd = layer(id="odd", geometry="point", key="row", columns=[{"name": name} for name in names])
    header = ",".join((*names, "lon", "lat"))
    database.declare(odd)

    def values(row: str, other: str) -> str:
        return ",".join([row if name == "row" else other for name in names] + ["4.85", "45.2"])

    ingest(database, odd, csv(tmp_path, values("1", "a"), header=header))
    report = ingest(database, odd, csv(tmp_path, values("1", "b"), values("2", "c"), header=header))
    assert counted(report, "updated", "inserted") == (1, 1)
    assert database.value('SELECT "select" || s FROM city_history.odd WHERE "row" = \'1\'') == "aa"


def test_a_layer_with_the_longest_id_is_loaded_twice(database: Database, tmp_path: Path) -> None:
    long = layer(id="a" * 48, geometry="point", key="n", columns=[{"name": "n"}])
    database.declare(long)
    ingest(database, long, csv(tmp_path, "1,4.85,45.2", header="n,lon,lat"))
    report = ingest(database, long, csv(tmp_path, "2,4.85,45.2", header="n,lon,lat"))
    assert counted(report, "inserted", "deleted") == (1, 1)


def test_a_source_without_rows_changes_nothing(trees: Database, tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="holds no rows"):
        ingest(trees, TREES, csv(tmp_path))
    assert (revision(trees), len(rows(trees))) == (1, 3)


def test_a_file_most_of_whose_rows_are_withheld_is_refused(trees: Database, tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match=r"2 of 3 rows would be withheld.*number is empty"):
        ingest(trees, TREES, csv(tmp_path, ",Tilia,,,4.85,45.2", ",Acer,,,,", THREE[0]))
    assert (revision(trees), len(rows(trees))) == (1, 3)


def test_a_load_that_brings_no_row_leaves_an_empty_layer_as_it_was(
    database: Database, tmp_path: Path
) -> None:
    database.declare(TREES)
    before = structure(database)
    report = ingest(database, TREES, csv(tmp_path, ",Tilia,,,4.85,45.2"))
    assert counted(report, "read", "quarantined", "inserted") == (1, 1, 0)
    assert (report.state, revision(database)) == ("unchanged", 0)
    assert structure(database) == before


def test_a_layer_that_was_never_applied_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(ChangeRefused, match="trees is not in the database; run quartier apply"):
        ingest(database, TREES, csv(tmp_path, *THREE))


def test_a_withdrawn_layer_is_refused(trees: Database, tmp_path: Path) -> None:
    trees.declare()
    with pytest.raises(ChangeRefused, match="withdrawn"):
        ingest(trees, TREES, csv(tmp_path, *THREE[:1]))
    assert len(rows(trees)) == 3


def test_a_layer_whose_new_column_was_not_applied_is_refused(
    trees: Database, tmp_path: Path
) -> None:
    wider = layer(**TREES.model_dump(exclude={"columns"}, exclude_defaults=True),
                  columns=[*_plain(TREES), {"name": "girth"}])  # fmt: skip
    file = csv(tmp_path, "1,Tilia,,,4.85,45.2,9", header=f"{HEADER},girth")
    with pytest.raises(ChangeRefused, match="does not hold girth as declared; run quartier apply"):
        ingest(trees, wider, file)
    assert (revision(trees), len(rows(trees))) == (1, 3)


def _plain(of: Layer) -> Iterable[dict[str, Any]]:
    return [column.model_dump(by_alias=True, exclude_defaults=True) for column in of.columns]


def test_lines_in_any_number_of_parts_are_loaded(database: Database, tmp_path: Path) -> None:
    database.declare(PATHS)
    file = csv(
        tmp_path,
        'a,lane,"LINESTRING(4 45, 5 45)"',
        'b,lane,"MULTILINESTRING((4 45, 5 45), (6 45, 7 45))"',
        header="name,kind,wkt",
    )
    ingest(database, PATHS, file)
    assert rows(database, "name, GeometryType(geom)", PATHS) == [
        ("a", "LINESTRING"), ("b", "MULTILINESTRING"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("version", "said"),
    [("0001", "of an older version, .* run quartier apply"), ("9999", "use the newer version")],
)
def test_a_database_of_another_version_is_refused(
    database: Database, tmp_path: Path, version: str, said: str
) -> None:
    database.declare(TREES)
    database.run("UPDATE quartier.alembic_version SET version_num = :v", v=version, role="owner")
    with pytest.raises(ChangeRefused, match=said):
        ingest(database, TREES, csv(tmp_path, *THREE))
