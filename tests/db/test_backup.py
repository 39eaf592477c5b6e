"""A backup, the way back, and what is refused on it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy.exc import ProgrammingError

from layers.backup import _run, back_up
from layers.errors import ClusterError
from tests.conftest import Database
from tests.db.commands import City
from tests.examples import COMMON
from tests.privacy import CRIMES, commit_crimes, surround

pytestmark = pytest.mark.db

TREES: dict[str, Any] = COMMON | {
    "id": "trees",
    "geometry": "point",
    "key": "number",
    "columns": [{"name": "number"}, {"name": "planted", "type": "datetime"}],
}
ROWS = "number,planted,lon,lat\n" + "".join(
    f"{n},2026-01-{n % 28 + 1:02}T10:00:00+02:00,{4 + n * 1e-3},45.2\n" for n in range(1, 60)
)


@pytest.fixture
def city(database: Database, tmp_path: Path) -> City:
    """Trees with a past: two loads, an edit by SQL, a row withheld."""
    made = City(database, tmp_path / "catalogue", tmp_path)
    made.declare(TREES)
    made.declare(COMMON | {"id": "paths", "geometry": "line", "columns": [{"name": "name"}]})
    assert made.quartier("apply").exit_code == 0
    for text in (ROWS, ROWS.replace("\n7,", "\n,").replace("T10", "T11")):
        loaded = made.quartier("ingest", "trees", made.file("trees.csv", text))
        assert loaded.exit_code == 0, loaded.output
    key = ("--name", "desk", "--scope", "runs:read", "--by", "Ana")
    assert made.quartier("keys", "create", *key).exit_code == 0
    database.run("DELETE FROM city.trees WHERE number = '3'")
    database.run(
        "INSERT INTO city.paths (name, geom) VALUES ('x', 'SRID=4326;LINESTRING(4 45, 5 46)')"
    )
    return made


@contextmanager
def empty_database(city: City) -> Iterator[City]:
    """An empty database beside the city's, with a home of its own."""
    name = f"{city.database.name}_restored"
    city.database.run(f"CREATE DATABASE {name}", role="owner")
    urls = city.database.urls
    at = {
        role: urlsplit(getattr(urls, role))._replace(path=f"/{name}").geturl()
        for role in ("owner", "ingest", "officer", "web")
    }
    folder = city.folder / "restored"
    folder.mkdir()
    try:
        yield City(Database(name, replace(urls, **at)), city.catalogue, folder)
    finally:
        city.database.run(f"DROP DATABASE {name} WITH (FORCE)", role="owner")


def backed_up(city: City) -> Path:
    path = city.folder / "city.tar"
    done = city.quartier("backup", path)
    assert done.exit_code == 0, done.output
    return path


def everything(database: Database) -> dict[str, Any]:
    return {
        table: database.run(f"SELECT t::text FROM {table} t ORDER BY 1")
        for table in (
            "city.trees", "city.paths", "city_history.trees", "quartier.revisions",
            "quartier.runs", "quartier.quarantine", "quartier.layers", "city_overview.trees",
            "quartier.keys", "quartier.key_audit",
        )
    }  # fmt: skip


def test_what_is_restored_is_what_was_backed_up(city: City) -> None:
    path = backed_up(city)
    assert path.stat().st_mode & 0o077 == 0
    with empty_database(city) as other:
        done = other.quartier("restore", path)
        assert done.exit_code == 0, done.output
        assert "2 layers, 59 rows, 2 kept files: every row is as it was" in done.stdout
        assert everything(other.database) == everything(city.database)
        kept = {each.name for each in (other.home / "raw").rglob("*") if each.is_file()}
        assert kept == {each.name for each in (city.home / "raw").rglob("*") if each.is_file()}
        assert other.quartier("apply").stdout.startswith("Nothing to do")


def test_a_restored_city_goes_on(city: City) -> None:
    """New rows get new numbers, history goes on, the kept file is read again."""
    path = backed_up(city)
    with empty_database(city) as other:
        other.quartier("restore", path)
        most = other.database.value("SELECT max(fid) FROM city.trees")
        other.database.run("INSERT INTO city.trees (number) VALUES ('new')")
        assert other.database.value("SELECT fid FROM city.trees WHERE number = 'new'") > most
        assert other.database.value("SELECT max(revision) FROM quartier.revisions") == 4
        again = other.quartier("quarantine", "retry", "trees", "--json")
        assert json.loads(again.stdout)["counts"]["quarantined"] == 1
        salts = [
            each.value("SELECT salt::text FROM quartier.layer_state WHERE layer_id = 'trees'")
            for each in (city.database, other.database)
        ]
        assert salts[0] != salts[1], "browsers may have seen later revisions of the same numbers"


def test_a_private_layer_comes_back_with_its_exact_rows_and_goes_on_being_private(
    database: Database, tmp_path: Path
) -> None:
    surround(database, CRIMES)
    commit_crimes(database, 60)
    city = City(database, tmp_path / "catalogue", tmp_path)
    path = backed_up(city)
    tables = ("city.crimes", "city_raw.crimes", "city_raw.crimes__cells")
    with empty_database(city) as other:
        assert other.quartier("restore", path).exit_code == 0
        for table in tables:
            rows = f"SELECT t::text FROM {table} t ORDER BY 1"
            assert other.database.run(rows) == database.run(rows)
        for each in (database, other.database):
            commit_crimes(each, 5, first=61)
        seen = "SELECT number, location_method, geom FROM city.crimes ORDER BY 1"
        assert other.database.run(seen) == database.run(seen)
        with pytest.raises(ProgrammingError, match="permission denied"):
            other.database.run("SELECT FROM city_raw.crimes", role="web")


def test_a_database_that_holds_layers_is_not_written_over(city: City) -> None:
    refused = city.quartier("restore", backed_up(city))
    assert (refused.exit_code, "there are layers in this database" in refused.output) == (1, True)


def rewritten(path: Path, change: Any) -> Path:
    """The backup with another manifest."""
    other = path.with_name("other.tar")
    with tarfile.open(path) as old, tarfile.open(other, "w") as new:
        for member in old.getmembers():
            data = old.extractfile(member)
            assert data is not None
            text = data.read()
            if member.name == "manifest.json":
                said = json.loads(text)
                change(said)
                text = json.dumps(said).encode()
                member.size = len(text)
            new.addfile(member, io.BytesIO(text))
    return other


def test_a_row_that_is_not_what_it_was_is_told(city: City) -> None:
    def change(said: dict[str, Any]) -> None:
        said["tables"]["city.trees"] = [58, "1"]

    path = rewritten(backed_up(city), change)
    with empty_database(city) as other:
        refused = other.quartier("restore", path)
        assert refused.exit_code == 1
        assert "is not what was backed up: city.trees (58 rows)" in refused.output


def test_a_backup_of_a_newer_version_is_refused(city: City) -> None:
    path = rewritten(backed_up(city), lambda said: said.update(schema="9999"))
    with empty_database(city) as other:
        refused = other.quartier("restore", path)
        assert (refused.exit_code, "a newer version than this" in refused.output) == (1, True)
        assert other.database.value("SELECT to_regclass('quartier.layers')", role="owner") is None


@pytest.mark.parametrize("size", [0, 100, 5_000])
def test_what_is_no_whole_backup_is_refused(city: City, size: int) -> None:
    path = backed_up(city)
    cut = city.folder / "cut.tar"
    cut.write_bytes(path.read_bytes()[:size])
    with empty_database(city) as other:
        for given in (cut, city.folder / "none.tar"):
            refused = other.quartier("restore", given)
            assert refused.exit_code == 1
            assert given.name in refused.output


def test_a_backup_that_fails_leaves_the_last_one(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = backed_up(city)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise ClusterError("pg_dump failed: no space left on device")

    monkeypatch.setattr("layers.backup._run", fail)
    with pytest.raises(ClusterError):
        back_up(city.database.urls, city.home / "raw", path, lambda _: None)
    assert path.read_bytes() == before
    left = {each.name for each in path.parent.iterdir()}
    assert not any(name.endswith(".part") or name.startswith(".quartier") for name in left)


def test_a_file_that_is_kept_no_longer_is_left_out(city: City) -> None:
    shutil.rmtree(city.home / "raw")
    with tarfile.open(backed_up(city)) as tar:
        assert tar.getnames() == ["manifest.json", "database.dump"]


def test_no_password_stands_where_others_may_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def run(command: list[str], **how: Any) -> Any:
        seen.update(command=command, env=how["env"])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("layers.backup.subprocess.run", run)
    _run("pg_dump", "postgresql://me:s3cret@db.example.org:5433/city?sslmode=require", "-Fc")
    assert "s3cret" not in " ".join(map(str, seen["command"]))
    assert "sslmode=require" in seen["command"][-1]
    assert seen["env"]["PGPASSWORD"] == "s3cret"
