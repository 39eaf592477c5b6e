"""`quartier doctor`: each trouble really made, told with its mend; looking changes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner

from layers import postgres_tools
from layers.backup_note import leave_note
from layers.cluster import Cluster
from quartier import app
from tests.conftest import Database, make_home
from tests.db.commands import City
from tests.redis import redis_server

pytestmark = pytest.mark.db

ROOT = Path(__file__).resolve().parents[2]
QUICK = {"fsync": "off", "shared_buffers": "16MB"}
TREES = {
    "id": "trees", "title": "Trees", "publisher": "City", "licence": "CC0-1.0",
    "attribution": "City", "geometry": "point", "key": "id",
    "source": {"geometry": {"longitude": "lon", "latitude": "lat"}},
    "columns": [{"name": "id"}, {"name": "kind"}],
}  # fmt: skip
PARKS = TREES | {"id": "parks", "geometry": "polygon", "overview": {"coverage": True}, "source": {}}
EVERYTHING = """
    SELECT l::text, s::text, (SELECT max(id) FROM quartier.runs), (SELECT count(*) FROM pg_class)
    FROM quartier.layers l JOIN quartier.layer_state s ON s.layer_id = l.id ORDER BY l.id"""
CSV = "id,kind,lon,lat\n1,lime,4.85,45.2\n2,oak,4.86,45.21\n"
# Python itself may lie where another user cannot go: all is imported before it becomes one.
AS_USER = """
import os, sys
import pyogrio, pyproj, shapely, redis, quartier, quartier_doctor
user = int(sys.argv.pop(1))
os.setgroups([])
os.setgid(user)
os.setuid(user)
quartier.main()
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make this trouble")


@dataclass(frozen=True, slots=True)
class Told:
    """What the doctor said."""

    exit_code: int
    findings: dict[str, dict[str, Any]]
    settings: dict[str, dict[str, Any]]

    def state(self, about: str) -> str:
        return str(self.findings[about]["state"])

    def says(self, about: str) -> str:
        return f"{self.findings[about]['says']} → {self.findings[about]['mend']}"

    @property
    def problems(self) -> list[str]:
        return [about for about, each in self.findings.items() if each["state"] == "problem"]


def told(exit_code: int, output: str) -> Told:
    said = json.loads(output)
    return Told(
        exit_code,
        {each["about"]: each for each in said["findings"]},
        {each["name"]: each for each in said["settings"]},
    )


def ask(city: City, *arguments: str, **more: str) -> Told:
    free = {"QUARTIER_PORT": "0"} | more
    result = city.quartier("doctor", "--json", *arguments, **free)
    assert result.stdout, result.exception
    return told(result.exit_code, result.stdout)


@pytest.fixture
def city(database: Database, tmp_path: Path) -> City:
    """Two layers, one of them loaded."""
    made = City(database, tmp_path / "catalogue", tmp_path)
    made.declare(TREES)
    made.declare(PARKS)
    for _ in range(2):  # the second draws the borders of a coverage together
        assert made.quartier("apply").exit_code == 0
    loaded = made.quartier("ingest", "trees", made.file("trees.csv", CSV))
    assert loaded.exit_code == 0, loaded.output
    return made


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")
    }


def test_a_city_in_order_has_no_problem_and_looking_changes_nothing(city: City) -> None:
    before, rows = snapshot(city.folder), city.database.run(EVERYTHING)
    found = ask(city, "--deep")
    assert (found.problems, found.exit_code) == ([], 0)
    assert found.state("triggers") == found.state("overviews") == found.state("counts") == "ok"
    assert found.state("kept files") == found.state("schema") == found.state("declared") == "ok"
    assert found.state("web's rights") == "ok"
    assert snapshot(city.folder) == before
    assert city.database.run(EVERYTHING) == rows


def test_the_table_is_for_people(city: City) -> None:
    result = city.quartier("doctor", QUARTIER_PORT="0")
    assert result.exit_code == 0
    assert "problems" in result.stdout
    assert "QUARTIER_WORKERS" in result.stdout
    assert "Server processes." in result.stdout


def test_it_works_where_nothing_is_set_up_yet_and_makes_nothing() -> None:
    home = make_home("quartier-doctor-")
    home.rmdir()
    ran = at_home(home)
    assert ran.state("database") == "warning"
    assert "quartier up" in ran.says("database")
    assert ran.state("cluster") == ran.state("home") == "ok"
    assert ran.exit_code == 0
    assert not home.exists()


def at_home(home: Path, *arguments: str) -> Told:
    """The doctor on an embedded home."""
    environment = {"QUARTIER_HOME": str(home), "QUARTIER_PORT": "0"}
    result = CliRunner(env=environment).invoke(app, ["doctor", "--json", *arguments])
    assert result.stdout, result.exception
    return told(result.exit_code, result.stdout)


def as_user(home: Path, uid: int) -> Told:
    """The doctor in a process of another user's."""
    ran = subprocess.run(
        [sys.executable, "-c", AS_USER, str(uid), "doctor", "--json"],
        env=os.environ | {"QUARTIER_HOME": str(home), "QUARTIER_PORT": "0"},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.stdout, ran.stderr
    return told(ran.returncode, ran.stdout)


@pytest.mark.parametrize("act", ["DROP TRIGGER quartier_updated ON", "ALTER TABLE"])
def test_a_trigger_that_is_gone_or_off_is_a_problem_that_apply_mends(city: City, act: str) -> None:
    off = " DISABLE TRIGGER quartier_updated" if act.startswith("ALTER") else ""
    city.database.run(f"{act} city.trees{off}")
    found = ask(city)
    assert found.exit_code == 1
    assert "trees lacks quartier_updated" in found.says("triggers")
    assert "quartier apply" in found.says("triggers")
    city.quartier("apply")
    assert ask(city).state("triggers") == "ok"


def test_triggers_of_another_version_are_a_warning(city: City) -> None:
    city.database.run("UPDATE quartier.layers SET triggers = 'old' WHERE id = 'parks'")
    assert "of another version: parks" in ask(city).says("triggers")


def test_an_overview_that_is_missing_stale_or_wrong_is_told(city: City) -> None:
    city.database.run("UPDATE quartier.layers SET overview = 'old' WHERE id = 'trees'")
    assert "out of date for trees" in ask(city).says("overviews")
    city.database.run("UPDATE quartier.shape_state SET stale = true WHERE layer_id = 'parks'")
    assert "trees" in ask(city).says("overviews")
    assert "parks" in ask(city).says("overviews")
    city.database.run("DELETE FROM city_overview.trees WHERE depth = 0")
    assert "trees counts 0 of 2 → quartier apply --recount trees" in ask(city, "--deep").says(
        "counts"
    )
    city.database.run("DROP TABLE city_overview.trees CASCADE")
    found = ask(city)
    assert "missing for trees" in found.says("overviews")
    assert found.exit_code == 1


def test_an_older_a_newer_and_no_schema_are_told_apart(city: City) -> None:
    version = city.database.value("SELECT version_num FROM quartier.alembic_version")
    city.database.run("UPDATE quartier.alembic_version SET version_num = '0002'")
    older = ask(city)
    assert "is 0002, of an older version" in older.says("schema")
    assert "quartier apply" in older.says("schema")
    assert "triggers" not in older.findings, "what it would not understand is not looked at"
    city.database.run("UPDATE quartier.alembic_version SET version_num = '9999'")
    assert "of a newer version" in ask(city).says("schema")
    city.database.run("DROP TABLE quartier.alembic_version")
    none = ask(city)
    assert (none.state("schema"), none.exit_code) == ("warning", 0)
    assert version


def test_rights_of_the_web_that_are_too_wide_are_problems(city: City) -> None:
    for grant, says in (
        ("GRANT SELECT ON quartier.quarantine TO quartier_web", "may read quartier.quarantine"),
        ("GRANT SELECT (id) ON quartier.runs TO quartier_web", "may read quartier.runs"),
        ("GRANT UPDATE ON city.trees TO quartier_web", "may write city.trees"),
        ("GRANT CREATE ON SCHEMA city TO quartier_web", "may make tables in city"),
    ):
        city.database.run(grant)
        found = ask(city)
        assert says in found.says("web's rights"), grant
        assert "REVOKE" in found.says("web's rights")
        assert found.exit_code == 1
        city.database.run(
            grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM ").replace("(id)", "(id)")
        )
    city.database.run("CREATE TABLE city_raw.secret (name text)")
    city.database.run("GRANT USAGE ON SCHEMA city_raw TO quartier_web")
    city.database.run("GRANT SELECT ON city_raw.secret TO quartier_web")
    assert "city_raw.secret" in ask(city).says("web's rights")


@contextmanager
def login(database: Database, name: str, more: str) -> Iterator[str]:
    """A login of the server, and its URL to the database."""
    database.run(f"CREATE ROLE {name} LOGIN {more}", "owner")
    try:
        yield database.urls.owner.replace("postgres@", f"{name}@", 1)
    finally:
        database.run(f"DROP OWNED BY {name}", "owner")
        database.run(f"DROP ROLE {name}", "owner")


def test_set_role_is_the_weaker_choice_and_a_login_of_its_own_is_not(city: City) -> None:
    if "postgres@" not in city.database.urls.owner:
        pytest.skip("the server's superuser has another name")
    alone = ask(city)
    assert (alone.state("web's login"), alone.exit_code) == ("warning", 0)
    assert "SET ROLE is the weaker choice" in alone.says("web's login")
    name = f"reader_{os.getpid()}"
    with login(city.database, name, "IN ROLE quartier_web") as url:
        own = ask(city, QUARTIER_WEB_DATABASE_URL=url)
        assert own.state("web's login") == own.state("web's rights") == "ok"
    with login(city.database, name, "CREATEROLE") as url:
        strange = ask(city, QUARTIER_WEB_DATABASE_URL=url)
        assert "no member of quartier_web" in strange.says("web's login")
        assert "is createrole" in strange.says("web's rights")
        assert strange.exit_code == 1


def test_the_officers_login_is_looked_at_like_the_webs(city: City) -> None:
    if "postgres@" not in city.database.urls.owner:
        pytest.skip("the server's superuser has another name")
    about, name = "officers' login", f"officer_{os.getpid()}"
    assert "SET ROLE is the weaker choice" in ask(city).says(about)
    owners = ask(city, QUARTIER_OFFICER_DATABASE_URL=city.database.urls.owner)
    assert owners.state(about) == "warning"
    with login(city.database, name, "IN ROLE quartier_officer") as url:
        assert ask(city, QUARTIER_OFFICER_DATABASE_URL=url).state(about) == "ok"
    with login(city.database, name, "") as url:
        assert "no member of" in ask(city, QUARTIER_OFFICER_DATABASE_URL=url).says(about)


def test_a_database_out_of_reach_is_a_problem_without_its_password(city: City) -> None:
    url = "postgresql://ada:hunter2@127.0.0.1:1/city"
    result = city.quartier("doctor", QUARTIER_DATABASE_URL=url, QUARTIER_PORT="0")
    assert result.exit_code == 1
    assert "127.0.0.1, port 1 cannot be used" in result.stdout
    assert "hunter2" not in result.output
    assert "ada:***@127.0.0.1" in result.stdout


def test_an_index_that_is_not_valid_is_a_problem(city: City) -> None:
    city.database.run("INSERT INTO city.trees (id, kind) VALUES ('3', 'oak'), ('4', 'oak')")
    with pytest.raises(Exception, match="could not create unique"):
        city.database.run("CREATE UNIQUE INDEX CONCURRENTLY twice ON city.trees (kind)")
    found = ask(city)
    assert "city.twice → in psql: REINDEX INDEX CONCURRENTLY city.twice" in found.says("indexes")


def test_runs_that_were_refused_or_killed_and_layers_withdrawn_are_warnings(city: City) -> None:
    city.quartier("ingest", "trees", city.file("trees.csv", "id,kind\n"))
    refused = ask(city)
    assert "refused for trees" in refused.says("last runs")
    assert refused.exit_code == 0
    city.database.run("INSERT INTO quartier.runs (layer_id, state) VALUES ('trees', 'running')")
    assert "killed before the end: trees" in ask(city).says("last runs")
    (city.catalogue / "layers/parks.yaml").unlink()
    assert "withdraw layer parks" in ask(city).says("declared")
    city.quartier("apply")
    assert "1 layer hidden" in ask(city).says("withdrawn")


def test_a_run_that_is_at_work_is_no_trouble(city: City) -> None:
    city.database.run("INSERT INTO quartier.runs (layer_id, state) VALUES ('trees', 'running')")
    with city.database.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({0x52554E}, hashtext('trees'))")
        assert ask(city).state("last runs") == "ok"


def test_a_kept_file_that_is_gone_or_damaged_is_told(city: City) -> None:
    (kept,) = (path for path in (city.home / "raw").glob("??/*") if path.is_file())
    whole = kept.read_bytes()
    kept.chmod(0o600)
    kept.write_bytes(whole.replace(b"oak", b"ash"))
    damaged = ask(city)
    assert "1 kept file damaged" in damaged.says("checksums")
    assert damaged.exit_code == 1
    kept.unlink()
    gone = ask(city)
    assert "the files of trees are no longer in" in gone.says("kept files")
    assert gone.exit_code == 0


def test_a_sample_of_kept_files_is_read_and_deep_reads_all(city: City) -> None:
    raw = city.home / "raw"
    for number in range(40):
        content = str(number).encode()
        name = hashlib.sha256(content).hexdigest()
        (raw / name[:2]).mkdir(exist_ok=True)
        (raw / name[:2] / name).write_bytes(content)
    assert "a sample of 16 of 41 kept files" in ask(city).says("checksums")
    assert "all 41 kept files" in ask(city, "--deep").says("checksums")


def test_the_age_of_the_newest_backup_is_known(city: City) -> None:
    assert "none is known of" in ask(city).says("backup")
    archive = city.folder / "city.tar"
    assert city.quartier("backup", archive).exit_code == 0
    fresh = ask(city)
    assert (fresh.state("backup"), str(archive) in fresh.says("backup")) == ("ok", True)
    old = datetime.now(UTC) - timedelta(days=9)
    leave_note(city.home, archive, old.isoformat())
    assert (ask(city).state("backup"), "9 days old" in ask(city).says("backup")) == (
        "warning",
        True,
    )


def test_pools_larger_than_the_server_allows_are_a_problem(city: City) -> None:
    found = ask(city, QUARTIER_WORKERS="64", QUARTIER_TILE_CONNECTIONS="100")
    assert "64 workers × 107 = 6848" in found.says("connections")
    assert "max_connections" in found.says("connections")
    assert found.exit_code == 1
    most = int(city.database.value("SHOW max_connections")) - 3
    many = ask(city, QUARTIER_WORKERS="1", QUARTIER_TILE_CONNECTIONS=str(most - 7))
    assert many.state("connections") == "warning"


def test_a_taken_port_is_told_with_who_has_it(city: City) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = ask(city, QUARTIER_PORT=str(port))
    assert f"process {os.getpid()}" in found.says("port")
    assert "QUARTIER_PORT" in found.says("port")
    assert found.exit_code == 1
    assert ask(city, QUARTIER_HOST="192.0.2.1", QUARTIER_PORT="8123").state("port") == "problem"


def test_wrong_settings_and_unknown_variables_are_told_and_the_rest_is_looked_at(
    city: City,
) -> None:
    found = ask(
        city, QUARTIER_WORKERS="none", QUARTIER_CACHE_URL="redis:hunter2", QUARTIER_WORKRES="2",
        QUARTIER_SPEED="1",
    )  # fmt: skip
    assert "none: " in found.says("QUARTIER_WORKERS")
    assert "hunter2" not in json.dumps(found.findings)
    assert "QUARTIER_WORKRES (did you mean QUARTIER_WORKERS?)" in found.says("variables")
    assert "QUARTIER_SPEED" in found.says("variables")
    assert found.state("triggers") == "ok"
    assert found.exit_code == 1
    assert found.settings["QUARTIER_WORKERS"]["value"] == "2"
    assert found.settings["QUARTIER_HOME"]["is_set"] is True
    assert found.settings["QUARTIER_QUEUE"]["is_set"] is False


def test_a_catalogue_with_a_mistake_is_told_with_its_place(city: City) -> None:
    (city.catalogue / "layers/trees.yaml").write_text("id: trees\nid: trees\n")
    assert "trees.yaml:2: id: stands there twice" in ask(city).says("catalogue")


def test_a_tileset_without_its_file_is_a_problem(city: City) -> None:
    folder = city.catalogue / "tilesets"
    folder.mkdir()
    (folder / "old.yaml").write_text(
        "id: old\ntitle: Old\npublisher: City\nlicence: CC0-1.0\nattribution: City\nfile: o.pmtiles"
    )
    city.quartier("apply")
    found = ask(city)
    assert "old (" in found.says("tilesets")
    assert found.exit_code == 1


def test_a_cache_over_its_bound_is_told(city: City) -> None:
    cache = city.folder / "cache"
    (cache / "00").mkdir(parents=True)
    (cache / "00" / "tile").write_bytes(bytes(50_000))
    url = cache.as_uri()
    over = ask(city, QUARTIER_CACHE_URL=url, QUARTIER_CACHE_DISK_BYTES="10000")
    assert "over its bound" in over.says("cache")
    assert ask(city, QUARTIER_CACHE_URL=url).state("cache") == "ok"


def test_a_redis_is_asked_whether_it_answers_and_forgets(city: City) -> None:
    with redis_server() as redis:
        assert "has no bound" in ask(city, QUARTIER_CACHE_URL=redis.url).says("cache")
        client = redis.client()
        client.config_set("maxmemory", "64mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.close()
        assert ask(city, QUARTIER_CACHE_URL=redis.url).state("cache") == "ok"
    away = ask(city, QUARTIER_CACHE_URL="redis://:hunter2@127.0.0.1:1/0")
    assert "redis://127.0.0.1:1/0 does not answer" in away.says("cache")
    assert "hunter2" not in json.dumps([away.findings, away.settings])
    assert away.exit_code == 1


def test_postgis_of_which_a_part_is_missing_is_told_the_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real programs, in a place beside which there is no PostGIS."""
    real = next(Path("/usr/lib/postgresql").glob("[0-9]*/bin"))
    bare = tmp_path / "postgresql" / "15" / "bin"
    shutil.copytree(real, bare)
    (bare / "pg_config").write_text(f"#!/bin/sh\necho {tmp_path}/share\n")
    (bare / "pg_config").chmod(0o755)
    monkeypatch.setattr(postgres_tools, "DEBIAN_PROGRAMS", tmp_path / "postgresql")
    monkeypatch.setenv("PATH", str(bare))
    found = at_home(tmp_path / "none")
    assert "apt-get install -y postgresql-" in found.says("PostgreSQL programs")
    assert found.exit_code == 1
    extension = tmp_path / "share" / "extension"
    extension.mkdir(parents=True)
    (extension / "postgis.control").write_text("default_version = '2.5.5'\n")
    assert "PostGIS 2.5.5" in at_home(tmp_path / "none").says("PostgreSQL programs")
    (extension / "postgis.control").write_text("default_version = '3.3.2'\n")
    assert at_home(tmp_path / "none").state("PostgreSQL programs") == "ok"


def test_a_home_that_is_no_folder_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = at_home(tmp_path / "file" / "city")
    assert "is no directory" in found.says("home")
    assert found.exit_code == 1


@needs_root
def test_a_home_of_another_user_is_a_problem_that_names_them() -> None:
    home = make_home("quartier-doctor-")
    try:
        found = as_user(home, pwd.getpwnam("nobody").pw_uid)
        assert "nobody may not write" in found.says("home")
        assert "run as root" in found.says("home")
        assert found.exit_code == 1
    finally:
        home.rmdir()


@needs_root
def test_a_home_whose_cluster_is_another_users_is_a_problem_that_names_them(embedded: Path) -> None:
    found = as_user(embedded, pwd.getpwnam("nobody").pw_uid)
    assert "postgres's, and this is nobody" in found.says("system user")
    assert "sudo -u postgres quartier doctor" in found.says("system user")
    assert found.exit_code == 1


@needs_root
def test_a_home_below_a_private_folder_cannot_be_entered_by_postgresql() -> None:
    home = make_home("quartier-doctor-")
    home.chmod(0o700)
    try:
        found = at_home(home)
        assert "who cannot enter" in found.says("system user")
        assert "outside private directories" in found.says("system user")
    finally:
        home.rmdir()


@contextmanager
def mounted(options: str) -> Iterator[Path]:
    """A small file system of its own."""
    place = make_home("quartier-doctor-")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False
    )
    if done.returncode != 0:
        place.rmdir()
        pytest.skip("nothing can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
        place.rmdir()


@needs_root
def test_a_disk_that_is_full_or_read_only_is_a_problem() -> None:
    with mounted("size=1m,mode=755") as place:
        found = at_home(place)
        assert "only 0.0 GB free" in found.says("disk")
        assert found.exit_code == 1
    with mounted("ro,mode=755") as place:
        found = at_home(place)
        assert "a file system that is read-only" in found.says("home")
    with mounted("nr_inodes=3,mode=755") as place:
        for name in "ab":
            (place / name).touch()
        assert "more files can be made" in at_home(place).says("disk")


@pytest.fixture
def embedded() -> Iterator[Path]:
    """A home with a cluster of its own that is stopped."""
    home = make_home("quartier-doctor-")
    with Cluster(home, options=QUICK).hold():
        pass
    yield home
    shutil.rmtree(home)


def test_a_stopped_cluster_is_left_alone_unless_it_is_to_be_woken(embedded: Path) -> None:
    before = snapshot(embedded)
    found = at_home(embedded)
    assert "is stopped" in found.says("cluster")
    assert "quartier doctor --wake" in found.says("database")
    assert snapshot(embedded) == before
    woken = at_home(embedded, "--wake")
    assert woken.state("PostgreSQL") == woken.state("encoding") == "ok"
    assert woken.state("schema") == "warning", "and nothing was migrated"
    assert not (embedded / "postgres/data/postmaster.pid").exists()


def test_a_running_cluster_is_looked_into(embedded: Path) -> None:
    with Cluster(embedded, options=QUICK).hold():
        found = at_home(embedded)
        assert found.findings["cluster"]["says"] == "runs"
        assert found.state("PostgreSQL") == "ok"
        assert found.state("roles") == "problem", "which the first migration makes"


def test_a_server_that_nobody_holds_and_a_stale_lock_are_told(embedded: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c",
         "import sys; from pathlib import Path; from layers.cluster import Cluster\n"
         "with Cluster(Path(sys.argv[1])).hold(): print('up', flush=True); sys.stdin.read()",
         str(embedded)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert holder.stdout
    holder.stdout.readline()
    holder.kill()
    holder.communicate()
    left = at_home(embedded)
    assert "no command holds it" in left.says("cluster")
    pid = int((embedded / "postgres/data/postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/fd").exists() and time.monotonic() < deadline:
        try:
            if not list(Path(f"/proc/{pid}/fd").iterdir()):
                break
        except OSError:
            break
        time.sleep(0.05)
    (embedded / "postgres/data.new-1").mkdir()
    stale = at_home(embedded)
    assert "is stale" in stale.says("cluster")
    assert "1 cluster half made" in stale.says("leftovers")
    assert stale.exit_code == 0
    time.sleep(0.5)


def test_a_cluster_of_another_major_version_is_a_problem(embedded: Path) -> None:
    (embedded / "postgres/data/PG_VERSION").write_text("12\n")
    found = at_home(embedded)
    assert "made by PostgreSQL 12" in found.says("PostgreSQL programs")
    assert found.exit_code == 1


def test_a_path_too_long_for_a_socket_is_a_warning(tmp_path: Path) -> None:
    found = at_home(tmp_path / ("a" * 120))
    assert (found.state("socket"), found.state("home")) == ("warning", "ok")


def test_a_database_in_another_encoding_is_a_problem(city: City) -> None:
    name = f"latin_{os.getpid()}"
    owner = city.database.urls.owner
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0".encode()
        )
        try:
            database = conninfo_to_dict(owner)["dbname"]
            url = owner.replace(f"/{database}", f"/{name}", 1)
            found = ask(city, QUARTIER_DATABASE_URL=url)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    assert "encoded in LATIN1" in found.says("encoding")
    assert "CREATE EXTENSION postgis" in found.says("PostGIS")


def test_a_clock_that_goes_wrong_is_told(city: City) -> None:
    """The database's own clock, as its sessions read it."""
    city.database.run("CREATE SCHEMA fake", "owner")
    for shift, state in (("90 s", "problem"), ("5 s", "warning")):
        city.database.run(
            "CREATE OR REPLACE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
            f" $$ SELECT pg_catalog.clock_timestamp() + interval '{shift}' $$", "owner",
        )  # fmt: skip
        city.database.run(
            f"ALTER DATABASE {city.database.name} SET search_path = fake, pg_catalog, public",
            "owner",
        )
        found = ask(city)
        assert f"{shift.split()[0]}.0 s ahead" in found.says("clock")
        assert found.state("clock") == state


def test_a_postgis_that_is_too_old_or_not_upgraded_is_told(city: City) -> None:
    for version, state in (("2.5.5", "problem"), ("3.3.0", "warning")):
        city.database.run(
            "UPDATE pg_extension SET extversion = :v WHERE extname = 'postgis'", "owner", v=version
        )
        found = ask(city)
        assert version in found.says("PostGIS")
        assert "postgis_extensions_upgrade" in found.says("PostGIS")
        assert found.state("PostGIS") == state


def test_a_password_in_a_wrong_setting_is_not_printed_by_any_command(city: City) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "quartier", "serve"], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"QUARTIER_CACHE_URL": "redis:hunter2"}, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "QUARTIER_CACHE_URL=***" in ran.stderr
    assert "hunter2" not in ran.stderr


def test_modes_of_the_home_stay_as_they_are(city: City) -> None:
    before = stat.S_IMODE(city.home.stat().st_mode)
    ask(city)
    assert stat.S_IMODE(city.home.stat().st_mode) == before
