"""`quartier apply`: the database holds what is declared, and no data is ever dropped."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
import yaml
from sqlalchemy.exc import DatabaseError
from typer.testing import CliRunner

from layers.apply import plan
from layers.catalogue_files import CatalogueFiles
from layers.cli import apply_catalogue
from layers.database_urls import DatabaseUrls
from layers.engine import owner_engine
from layers.errors import ChangeRefused
from layers.map import Map
from layers.model import Layer
from quartier import app
from tests.conftest import Database
from tests.examples import ANYTHING, CALLS, COMMON, PARKS, PATHS, TREES, layer

pytestmark = pytest.mark.db

CITY = Map.model_validate({"id": "city", "title": "The city", "layers": ["parks", "trees"]})
TREE = "INSERT INTO city.trees (number, geom) VALUES ('1', ST_Point(4.85, 45.2, 4326))"


TREES_ALONE = CatalogueFiles({"trees": TREES}, {}, {})


def but(of: Layer, **changed: Any) -> Layer:
    """The layer, declared otherwise."""
    told = of.model_dump(by_alias=True, exclude_defaults=True, mode="json")
    return Layer.model_validate(told | changed)


def wider(of: Layer, *columns: dict[str, Any]) -> Layer:
    told = of.model_dump(by_alias=True, exclude_defaults=True, mode="json")
    return Layer.model_validate(told | {"columns": [*told["columns"], *columns]})


def tables(database: Database) -> list[tuple[Any, ...]]:
    """Every table, column, index, trigger, function and grant of ours, and what is declared."""
    sql = (
        "SELECT c.oid::regclass::text, a.attname, a.atttypid::regtype::text FROM pg_class c"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
        " WHERE c.relnamespace::regnamespace::text LIKE ANY (ARRAY['city%', 'quartier'])",
        "SELECT tgrelid::regclass::text, tgname FROM pg_trigger",
        "SELECT oid::regprocedure::text, md5(prosrc) FROM pg_proc"
        " WHERE pronamespace = 'quartier'::regnamespace",
        "SELECT table_schema, table_name, grantee, privilege_type"
        " FROM information_schema.role_table_grants WHERE table_schema LIKE 'city%'",
        "SELECT id, declaration::text, config_hash, withdrawn FROM quartier.layers",
        "SELECT id, declaration::text, withdrawn::text FROM quartier.maps",
        "SELECT layer_id, revision, base_revision FROM quartier.layer_state",
    )
    return sorted((tuple(row) for query in sql for row in database.run(query)), key=repr)


def said(database: Database, *layers: Layer, maps: tuple[Map, ...] = ()) -> list[str]:
    return [step.says for step in database.declare(*layers, maps=maps)]


def test_a_layer_of_every_geometry_is_created(database: Database) -> None:
    assert said(database, TREES, PATHS, PARKS, CALLS, ANYTHING) == [
        "create layer trees (point, 4 columns)",
        "create layer paths (line, 2 columns)",
        "create layer parks (polygon, 1 columns)",
        "create layer calls (none, 2 columns)",
        "create layer anything (mixed, 1 columns)",
    ]
    for of in (TREES, PATHS, PARKS, CALLS, ANYTHING):
        assert database.value(f"SELECT count(*) FROM city.{of.id}", role="web") == 0


def test_a_second_apply_has_nothing_to_do(database: Database) -> None:
    database.declare(TREES, PARKS, CALLS, maps=(CITY,))
    before = tables(database)
    assert said(database, TREES, PARKS, CALLS, maps=(CITY,)) == []
    assert tables(database) == before


def test_a_dry_run_tells_the_steps_and_takes_none(database: Database) -> None:
    database.declare(TREES, PATHS)
    database.run(TREE)
    before = tables(database)
    changed = wider(TREES, {"name": "girth", "type": "number"})
    files = CatalogueFiles({"trees": changed, "parks": PARKS}, {"city": CITY}, {})
    planned = [s.says for s in apply_catalogue(database.urls.ingest, files, dry_run=True)]
    assert tables(database) == before
    assert planned == [step.says for step in apply_catalogue(database.urls.ingest, files)]
    assert len(planned) == 4


def test_a_new_column_is_added_empty_and_kept_in_history(database: Database) -> None:
    database.declare(TREES)
    database.run(TREE)
    steps = said(database, wider(TREES, {"name": "girth", "type": "number"}))
    assert steps == ["change layer trees: columns"]
    assert database.value("SELECT girth FROM city.trees") is None
    database.run("UPDATE city.trees SET girth = 1.5")
    database.run("UPDATE city.trees SET girth = 2")
    kept = database.run("SELECT girth FROM city_history.trees ORDER BY valid_from")
    assert [row[0] for row in kept] == [None, 1.5]


def test_a_new_column_alone_is_no_change_of_rows(database: Database) -> None:
    database.declare(TREES)
    database.run(TREE)
    database.declare(wider(TREES, {"name": "girth", "type": "number"}))
    assert database.value("SELECT revision FROM quartier.layer_state") == 1


def test_a_column_that_is_no_longer_declared_keeps_its_values(database: Database) -> None:
    declared = wider(TREES, {"name": "girth", "type": "number"})
    database.declare(declared)
    database.run(TREE)
    database.run("UPDATE city.trees SET girth = 1.5")
    assert said(database, TREES) == ["change layer trees: columns"]
    assert database.value("SELECT girth FROM city.trees") == 1.5
    assert said(database, declared) == ["change layer trees: columns"]
    database.run("UPDATE city.trees SET girth = 2")
    assert database.value("SELECT max(girth) FROM city_history.trees") == 1.5


def test_words_and_looks_change_without_touching_a_row(database: Database) -> None:
    database.declare(TREES)
    database.run(TREE)
    row = database.run("SELECT ctid::text, xmin::text, since FROM city.trees")
    changes: list[dict[str, Any]] = [
        {"title": "Street trees"}, {"style": {"color": "green"}}, {"minzoom": 12},
        {"licence": "CC0-1.0"}, {"priority": ["-height"]},
    ]  # fmt: skip
    changed = TREES
    for change in changes:
        changed = but(changed, **change)
        assert said(database, changed) == [f"change layer trees: {next(iter(change))}"]
    assert database.run("SELECT ctid::text, xmin::text, since FROM city.trees") == row
    assert database.value("SELECT revision FROM quartier.layer_state") == 1


def test_a_column_of_another_type_is_refused_with_a_way_out(database: Database) -> None:
    database.declare(TREES)
    database.run(TREE)
    before = tables(database)
    columns = but(TREES).model_dump(by_alias=True, exclude_defaults=True, mode="json")["columns"]
    columns[2] = {"name": "height", "type": "integer"}
    message = (
        r"layer trees: column height is double precision, declared integer;"
        r".* declare it under a new name"
    )
    with pytest.raises(ChangeRefused, match=message):
        database.declare(but(TREES, columns=columns))
    assert tables(database) == before


def test_a_column_that_comes_back_with_another_type_is_refused(database: Database) -> None:
    database.declare(wider(TREES, {"name": "girth", "type": "number"}))
    database.declare(TREES)
    with pytest.raises(ChangeRefused, match="column girth is double precision, declared text"):
        database.declare(wider(TREES, {"name": "girth"}))


def test_another_geometry_is_refused_with_a_way_out(database: Database) -> None:
    database.declare(TREES)
    with pytest.raises(
        ChangeRefused, match="geometry is point, declared line; declare it under a new id"
    ):
        database.declare(but(TREES, geometry="line"))


def test_one_refused_change_takes_no_other_step(database: Database) -> None:
    database.declare(TREES)
    before = tables(database)
    with pytest.raises(ChangeRefused):
        database.declare(PARKS, but(TREES, geometry="line"), maps=(CITY,))
    assert tables(database) == before


def test_a_layer_no_longer_declared_is_hidden_and_keeps_its_rows(database: Database) -> None:
    database.declare(TREES)
    database.run(TREE)
    assert said(database) == ["withdraw layer trees (no longer declared; its data stays)"]
    assert said(database) == []
    with pytest.raises(DatabaseError, match="permission denied"):
        database.run("SELECT * FROM city.trees", role="web")
    assert database.value("SELECT count(*) FROM quartier.public_layers", role="web") == 0
    assert database.value("SELECT count(*) FROM city.trees") == 1


def test_a_layer_declared_again_comes_back_as_it_was(database: Database) -> None:
    database.declare(TREES)
    database.run(TREE)
    before = tables(database)
    database.declare()
    assert said(database, TREES) == ["publish layer trees again"]
    assert tables(database) == before
    assert database.value("SELECT count(*) FROM city.trees", role="web") == 1


def test_a_layer_can_come_back_changed(database: Database) -> None:
    database.declare(TREES)
    database.declare()
    steps = said(database, wider(TREES, {"name": "girth", "type": "number"}))
    assert steps == ["change layer trees: columns", "publish layer trees again"]
    assert database.run("SELECT girth FROM city.trees", role="web") == []


def test_a_change_made_while_a_layer_was_withdrawn_counts(database: Database) -> None:
    database.declare(TREES)
    database.declare()
    database.run(TREE)
    database.declare(TREES)
    assert database.value("SELECT revision FROM quartier.public_state", role="web") == 1


def test_maps_are_created_changed_withdrawn_and_brought_back(database: Database) -> None:
    renamed = CITY.model_copy(update={"title": "Our city"})
    database.declare(TREES, PARKS)

    def shown() -> list[str]:
        found = database.run("SELECT declaration->>'title' FROM quartier.public_maps", role="web")
        return [str(row[0]) for row in found]

    assert said(database, TREES, PARKS, maps=(CITY,)) == ["create map city"]
    assert said(database, TREES, PARKS, maps=(renamed,)) == ["change map city"]
    assert shown() == ["Our city"]
    assert said(database, TREES, PARKS) == ["withdraw map city"]
    assert shown() == []
    assert said(database, TREES, PARKS, maps=(CITY,)) == ["create map city"]
    assert shown() == ["The city"]


def test_steps_tell_whoever_listens(database: Database) -> None:
    with database.connect() as listener:
        listener.exec_driver_sql("LISTEN quartier")
        database.declare(TREES)
        database.declare(TREES)
        driver: Any = listener.connection.dbapi_connection
        assert len(list(driver.notifies(timeout=0.5))) == 1, "nothing changed the second time"


def test_columns_may_have_any_names(database: Database) -> None:
    names = ["order", "user", "select", "table", "old_rows", "r", "n", "xmin_", "touched"]
    database.declare(layer(id="odd", geometry="point", columns=[{"name": n} for n in names]))
    quoted = ", ".join(f'"{name}"' for name in names)
    values = ", ".join("'a'" for _ in names)
    database.run(f"INSERT INTO city.odd ({quoted}, geom) VALUES ({values}, ST_Point(4, 45, 4326))")
    for name in names:
        database.run(f"UPDATE city.odd SET \"{name}\" = 'b'")
    database.run("DELETE FROM city.odd")
    kept = database.run(f"SELECT concat({quoted}) FROM city_history.odd ORDER BY valid_from")
    assert [row[0] for row in kept] == ["b" * n + "a" * (9 - n) for n in range(10)]


def test_the_command_says_each_step_and_prints_json(database: Database, tmp_path: Path) -> None:
    (tmp_path / "layers").mkdir()
    declared = COMMON | {"id": "parks", "geometry": "polygon", "columns": [{"name": "name"}]}
    (tmp_path / "layers" / "parks.yaml").write_text(yaml.safe_dump(declared), encoding="utf-8")
    runner = CliRunner(env={
        "QUARTIER_DATABASE_URL": database.urls.owner, "QUARTIER_CATALOGUE": str(tmp_path),
    })  # fmt: skip
    step = "create layer parks (polygon, 1 columns)"
    assert runner.invoke(app, ["apply", "--dry-run"]).stdout == f"would {step}\n"
    told = json.loads(runner.invoke(app, ["apply", "--json"]).stdout)
    assert told == {"dry_run": False, "steps": [step]}
    assert "Nothing to do" in runner.invoke(app, ["apply"]).stdout
    (tmp_path / "layers" / "parks.yaml").write_text(
        yaml.safe_dump(declared | {"geometry": "line"}), encoding="utf-8"
    )
    refused = runner.invoke(app, ["apply"])
    assert refused.exit_code == 1
    assert "geometry is polygon, declared line" in refused.stderr


def test_a_dump_restored_elsewhere_goes_on_counting_revisions(
    database: Database, server: DatabaseUrls, tmp_path: Path
) -> None:
    database.declare(TREES, PATHS)
    database.run("INSERT INTO city.trees (number, geom) VALUES ('1', ST_Point(4.85, 45.2, 4326))")
    dump, name = tmp_path / "city.dump", f"{database.name}_restored"
    subprocess.run(["pg_dump", "-Fc", "-f", dump, database.urls.owner], check=True)
    owner = urlsplit(server.owner)._replace(path=f"/{name}").geturl()
    database.run(f"CREATE DATABASE {name}", role="owner")
    try:
        subprocess.run(["pg_restore", "--exit-on-error", "-d", owner, dump], check=True)
        engine = owner_engine(owner)
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE city.trees SET geom = ST_Point(4.9, 45.2, 4326)"))
            connection.execute(sa.text("UPDATE city.trees SET genus = 'Acer'"))
            revision = sa.text("SELECT revision FROM quartier.layer_state WHERE layer_id = 'trees'")
            assert connection.scalar(revision) == 2
            assert (
                connection.scalar(
                    sa.text("SELECT count(DISTINCT cell) FROM quartier.public_changes")
                )
                == 2
            )
            assert plan(connection, CatalogueFiles({"trees": TREES, "paths": PATHS}, {}, {})) == []
        engine.dispose()
    finally:
        database.run(f"DROP DATABASE {name} WITH (FORCE)", role="owner")


def test_triggers_that_somebody_dropped_are_put_back_and_every_tile_counts_as_touched(
    database: Database,
) -> None:
    database.declare(TREES)
    database.run("DROP TRIGGER quartier_updated ON city.trees")
    [step] = database.declare(TREES)
    assert step.says == "mend layer trees: put back quartier_updated"
    assert database.declare(TREES) == []
    state = "SELECT revision, base_revision FROM quartier.layer_state"
    assert database.run(state) == [(1, 1)]


def test_a_layer_is_counted_again_when_that_is_asked_for(database: Database) -> None:
    database.declare(TREES)
    database.run("INSERT INTO city.trees (geom) VALUES (ST_Point(4.8, 45.2, 4326))")
    with database.transaction("owner") as connection:
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        connection.execute(
            sa.text("INSERT INTO city.trees (geom, since) VALUES (ST_Point(4.9, 45.2, 4326), 1)")
        )
    counted = "SELECT n FROM city_overview.trees WHERE depth = 0"
    assert database.value(counted) == 1, "no trigger saw the second tree"
    before = database.value("SELECT base_revision FROM quartier.layer_state")
    steps = apply_catalogue(database.urls.ingest, TREES_ALONE, recount=["trees"])
    assert [step.says for step in steps] == ["count layer trees again"]
    assert database.value(counted) == 2
    assert database.value("SELECT base_revision FROM quartier.layer_state") > before
    assert apply_catalogue(database.urls.ingest, TREES_ALONE) == []


def test_only_a_declared_layer_is_counted_again(database: Database) -> None:
    with pytest.raises(ChangeRefused, match="shrubs"):
        apply_catalogue(database.urls.ingest, TREES_ALONE, recount=["shrubs"])


def test_triggers_of_another_version_are_brought_up_to_date(database: Database) -> None:
    database.declare(TREES)
    database.run("UPDATE quartier.layers SET triggers = 'of another version'")
    [step] = apply_catalogue(database.urls.ingest, TREES_ALONE)
    assert step.says == "bring the triggers of layer trees up to date"
    assert apply_catalogue(database.urls.ingest, TREES_ALONE) == []
