"""What others may do to a layer's table, and what they may not."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, IntegrityError

from ingest.run import Job, run
from layers.errors import ChangeRefused
from tests.conftest import Database
from tests.db.test_revisions import revision
from tests.examples import ANYTHING, PARKS, PATHS, TREES, layer

pytestmark = pytest.mark.db
TREE = "INSERT INTO city.trees (number, geom) VALUES ('1', ST_Point(4.85, 45.2, 4326))"


def trees_file(folder: Path, *rows: str) -> Path:
    path = folder / "trees.csv"
    lines = ["number,genus,height,planted,longitude,latitude", *rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_reader_cannot_hang_our_functions_on_a_table_of_its_own(database: Database) -> None:
    database.declare(TREES)
    database.run(TREE)
    for event in ("inserted", "updated", "deleted", "truncated"):
        with pytest.raises(DatabaseError, match="permission denied for function"):
            database.run(
                "CREATE TEMP TABLE mine (fid bigint); CREATE TRIGGER t AFTER INSERT ON mine"
                f" FOR EACH STATEMENT EXECUTE FUNCTION quartier.trees__{event}()",
                role="web",
            )


def test_a_layers_function_serves_that_layer_alone(database: Database) -> None:
    database.declare(TREES, PARKS)
    database.run(
        "CREATE TRIGGER wrong AFTER INSERT ON city.parks REFERENCING NEW TABLE AS new_rows"
        " FOR EACH STATEMENT EXECUTE FUNCTION quartier.trees__inserted()"
    )
    with pytest.raises(DatabaseError, match=r"serves city\.trees alone"):
        database.run("INSERT INTO city.parks (name) VALUES ('Park')")


def test_a_change_by_a_citys_own_trigger_is_a_change(database: Database) -> None:
    database.declare(TREES)
    database.run(TREE)
    database.run(
        "CREATE FUNCTION city.touch() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.genus := 'touched'; RETURN NEW; END $$"
    )
    database.run(
        "CREATE TRIGGER zz_touch BEFORE UPDATE ON city.trees"
        " FOR EACH ROW EXECUTE FUNCTION city.touch()"
    )
    database.run("UPDATE city.trees SET number = number")
    assert revision(database) == 2


NAMES = [
    "current", "touched", "cells", "r", "n", "m", "p", "z", "l", "layer", "row", "line", "select",
    "new_rows", "old_rows", "x", "y", "next", "size", "c", "s", "t", "g", "feature", "revision",
]  # fmt: skip


def test_a_column_may_have_any_name(database: Database) -> None:
    odd = layer(id="odd", geometry="point", columns=[{"name": name} for name in NAMES])
    database.declare(odd)
    database.run("INSERT INTO city.odd (current, geom) VALUES ('a', ST_Point(4.85, 45.2, 4326))")
    database.run("UPDATE city.odd SET current = 'b', p = 'c'")
    database.run("DELETE FROM city.odd")
    database.run("TRUNCATE city.odd")
    assert database.value("SELECT current FROM city_history.odd WHERE valid_to = 2") == "a"


def test_a_fid_out_of_bounds_is_refused(database: Database) -> None:
    database.declare(TREES)
    for fid in (-5, 0, 1 << 60):
        with pytest.raises(IntegrityError, match="fid lies within"):
            database.run(f"INSERT INTO city.trees (fid) OVERRIDING SYSTEM VALUE VALUES ({fid})")


@pytest.mark.parametrize("shape", ["POLYGON((0 0,1 0,NaN 1,0 0))", "LINESTRING(0 0,NaN NaN,1 1)"])
def test_a_coordinate_that_is_no_number_is_refused(database: Database, shape: str) -> None:
    database.declare(ANYTHING)
    with pytest.raises(IntegrityError, match="every coordinate of geom is a number"):
        database.run(f"INSERT INTO city.anything (geom) VALUES ('SRID=4326;{shape}')")


def test_transactions_that_lock_the_layer_first_never_deadlock(database: Database) -> None:
    """Without quartier.lock, rows locked FOR UPDATE before the layer's lock deadlock."""
    database.declare(TREES)
    database.run(TREE)
    failures: list[Exception] = []

    def work(*statements: str) -> None:
        try:
            for _ in range(25):
                with database.transaction() as connection:
                    for statement in statements:
                        connection.execute(sa.text(statement))
        except Exception as exc:
            failures.append(exc)

    lock = "SELECT quartier.lock('trees')"
    update = "UPDATE city.trees SET height = random()"
    threads = [
        threading.Thread(target=work, args=(lock, "SELECT FROM city.trees FOR UPDATE", update)),
        threading.Thread(target=work, args=(lock, update, "TRUNCATE city.trees", TREE)),
        threading.Thread(target=work, args=(update,)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_an_ingest_under_a_declaration_that_was_not_applied_is_refused(
    database: Database, tmp_path: Path
) -> None:
    database.declare(TREES)
    fewer = TREES.model_copy(update={"columns": TREES.columns[:-1], "tile": None})
    path = trees_file(tmp_path, "1,Tilia,2,2020-01-01,4.85,45.2")
    with pytest.raises(ChangeRefused, match="planted as declared; run quartier apply"):
        run(database.urls.ingest, Job(layer=fewer, files=(path,)))


def test_a_column_that_was_undeclared_comes_back_with_its_history(
    database: Database, tmp_path: Path
) -> None:
    fewer = TREES.model_copy(update={"columns": TREES.columns[:-1], "tile": None})
    database.declare(TREES)
    database.declare(fewer)
    run(
        database.urls.ingest,
        Job(layer=fewer, files=(trees_file(tmp_path, "1,Tilia,2,2020-01-01,4.85,45.2"),)),
    )
    database.declare(TREES)
    database.run("UPDATE city.trees SET planted = '2021-01-01'")
    assert database.value("SELECT count(*) FROM city_history.trees") == 1


@pytest.mark.parametrize(
    "addition",
    [
        "COMMENT ON TABLE city.trees IS 'ours'",
        "ALTER TABLE city.trees ADD CONSTRAINT tall CHECK (height < 200)",
        "ALTER TABLE city.trees ADD COLUMN note text",
        "ALTER TABLE city.trees ALTER COLUMN genus SET NOT NULL",
        "CREATE STATISTICS city.both (dependencies) ON genus, height FROM city.trees",
        "ALTER TABLE city.trees SET (autovacuum_enabled = false)",
        "CREATE FUNCTION city.name(t city.trees) RETURNS text LANGUAGE sql"
        " AS $$ SELECT t.number $$",
        "CREATE RULE watch AS ON INSERT TO city.trees WHERE false DO ALSO NOTHING",
        "GRANT SELECT (genus) ON city.trees TO quartier_officer",
    ],
)
def test_a_first_load_keeps_what_others_added_to_the_table(
    database: Database, tmp_path: Path, addition: str
) -> None:
    shape = """
        SELECT (SELECT count(*) FROM pg_constraint WHERE conrelid = c.oid),
               (SELECT count(*) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0),
               (SELECT count(*) FROM pg_attribute WHERE attrelid = c.oid AND attnotnull),
               (SELECT count(*) FROM pg_attribute WHERE attrelid = c.oid AND attacl IS NOT NULL),
               (SELECT count(*) FROM pg_statistic_ext WHERE stxrelid = c.oid),
               (SELECT count(*) FROM pg_rewrite WHERE ev_class = c.oid),
               (SELECT count(*) FROM pg_proc WHERE pronamespace = 'city'::regnamespace),
               c.reloptions, obj_description(c.oid, 'pg_class')
        FROM pg_class c WHERE c.oid = 'city.trees'::regclass"""
    database.declare(TREES)
    database.run(addition)
    before = database.run(shape)
    path = trees_file(tmp_path, "1,Tilia,2,2020-01-01,4.85,45.2")
    assert run(database.urls.ingest, Job(layer=TREES, files=(path,))).counts.inserted == 1
    assert database.run(shape) == before


def test_a_reader_who_holds_an_empty_layer_keeps_no_one_waiting(
    database: Database, tmp_path: Path
) -> None:
    database.declare(TREES)
    path = trees_file(tmp_path, "1,Tilia,2,2020-01-01,4.85,45.2")
    with database.transaction(role="web") as idle:
        idle.execute(sa.text("SELECT count(*) FROM city.trees"))
        report = run(database.urls.ingest, Job(layer=TREES, files=(path,)))
    assert (report.state, report.counts.inserted) == ("published", 1)
    assert report.seconds < 15


def test_a_key_that_stands_on_very_many_rows_is_refused_at_once(
    database: Database, tmp_path: Path
) -> None:
    database.declare(TREES)
    rows = [f"same,Tilia,{n % 7},2020-01-01,4.85,45.2" for n in range(30_000)]
    with pytest.raises(ChangeRefused, match="'same' on lines"):
        run(database.urls.ingest, Job(layer=TREES, files=(trees_file(tmp_path, *rows),)))
    repeated = trees_file(tmp_path, *["same,Tilia,1,2020-01-01,4.85,45.2"] * 30_000)
    counts = run(database.urls.ingest, Job(layer=TREES, files=(repeated,))).counts
    assert (counts.read, counts.inserted, counts.duplicates) == (30_000, 1, 29_999)
    assert counts.adds_up


def test_a_run_killed_after_it_published_is_recorded_as_published(
    database: Database, tmp_path: Path
) -> None:
    database.declare(TREES)
    path = trees_file(tmp_path, "1,Tilia,2,2020-01-01,4.85,45.2")
    first = run(database.urls.ingest, Job(layer=TREES, files=(path,)))
    database.run(
        "UPDATE quartier.runs SET state = 'running', checksum = NULL, revision = NULL,"
        " finished_at = NULL"
    )
    run(database.urls.ingest, Job(layer=TREES, files=(path,)))
    record = database.run("SELECT state, revision FROM quartier.runs WHERE id = :id", id=first.run)
    assert record == [("published", 1)]


def test_a_nul_in_a_json_cell_is_left_out(database: Database, tmp_path: Path) -> None:
    notes = layer(id="notes", geometry="none", columns=[{"name": "note", "type": "json"}])
    database.declare(notes)
    path = tmp_path / "notes.csv"
    path.write_text('note\n"{""x"": ""a\\u0000b""}"\n')
    run(database.urls.ingest, Job(layer=notes, files=(path,)))
    assert database.value("SELECT note FROM city.notes") == {"x": "ab"}


def test_who_was_granted_a_table_writes_points_lines_and_polygons(database: Database) -> None:
    database.declare(TREES, PATHS, PARKS)
    there_and_back = "LINESTRING(4.8 45.1, 4.9 45.1, 4.8 45.1)"
    with database.transaction("owner") as connection:
        for sql in (
            "CREATE ROLE clerk",
            "GRANT USAGE ON SCHEMA city TO clerk",
            "GRANT SELECT, INSERT ON city.trees, city.paths, city.parks TO clerk",
            "SET LOCAL ROLE clerk",
            "INSERT INTO city.trees (geom) VALUES (ST_Point(4.8, 45.1, 4326))",
            f"INSERT INTO city.paths (geom) VALUES (ST_GeomFromText('{there_and_back}', 4326))",
            "INSERT INTO city.parks (geom) VALUES (ST_MakeEnvelope(4.8, 45.1, 4.9, 45.2, 4326))",
        ):
            connection.execute(sa.text(sql))
        connection.rollback()
