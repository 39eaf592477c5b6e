"""The steps of the image, of compose.yaml and of the systemd units, run without an engine: the
wheel built, a server made by the database's script, prepared, loaded, served, asked and stopped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mercantile
import psycopg
import pytest
import yaml

from layers.postgres_tools import Account, programs_for
from tests.conftest import make_home
from tests.dockerfile import DOCKER, ROOT, compose, environment, instructions
from tests.nginx import edge, free_port
from tests.rasters import write_plain
from tests.systemd import command_line

pytestmark = pytest.mark.db

PATIENCE_S = 60
POLITE = {0, -signal.SIGTERM, 128 + signal.SIGTERM}  # what systemd is told is no failure
COMMON = {"publisher": "City", "licence": "CC0-1.0", "attribution": "City"}
TREES = COMMON | {
    "id": "trees", "title": "Trees", "geometry": "point", "key": "id",
    "source": {"files": ["../../trees.csv"], "geometry": {"longitude": "lon", "latitude": "lat"}},
    "columns": [{"name": "id"}, {"name": "kind"}],
}  # fmt: skip
PHOTO = COMMON | {"id": "photo", "title": "Photo", "file": "../../photo.tif"}
AT = mercantile.tile(4.85, 45.2, 14)


@dataclass(frozen=True, slots=True)
class Installed:
    """What the image has: Quartier in a folder of its own, run from nowhere near the checkout."""

    site: Path
    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("QUARTIER_", "PG"))}
        path = f"{self.site / 'bin'}:{os.environ['PATH']}"
        return kept | {"PYTHONPATH": str(self.site), "PATH": path} | more

    def run(self, *command: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment(**more), cwd=self.folder, capture_output=True, text=True,
            check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The Dockerfile's own lines build and install the wheel; the environment is this one."""
    if not (ROOT / "api/web/dist/manifest.json").exists():
        pytest.skip("the web pages are not built")
    folder = tmp_path_factory.mktemp("image")
    for each in instructions("COPY", "wheel"):
        *sources, target = [word for word in each.words if not word.startswith("--from")]
        for source in sources:
            _copy(ROOT / source.removeprefix("/build/"), folder / "build", source, target)
    (build,) = (each.text for each in instructions("RUN", "wheel") if "pip wheel" in each.text)
    pip = f"{sys.executable} -m pip"
    steps = build.replace("/opt/tools/bin/pip", pip).replace("/wheel", str(folder / "wheel"))
    steps = steps.replace("/opt/quartier/bin/pip install", f"{pip} install --target {folder}/site")
    done = subprocess.run(
        ["sh", "-ec", steps], cwd=folder / "build", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (folder / "run").mkdir()
    made = Installed(folder / "site", folder / "run")
    where = made.run(sys.executable, "-c", "import layers, api; print(layers.__file__)")
    assert where.stdout.startswith(str(folder / "site")), where
    return made


def _copy(path: Path, build: Path, source: str, target: str) -> None:
    place = build if target == "./" else build / target
    if path.is_dir():
        ignored = shutil.ignore_patterns("node_modules", "__pycache__")
        shutil.copytree(path, place, ignore=ignored, dirs_exist_ok=True)
    else:
        place = place / Path(source).name if target == "./" else place
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)


@dataclass(frozen=True, slots=True)
class Existing:
    """A server that others run, and the secrets of its logins."""

    port: int
    secrets: Path
    admin: str


@pytest.fixture(scope="module")
def existing() -> Iterator[Existing]:
    """What the database's image does at its first start, with the committed script."""
    home, port = make_home("quartier-existing-"), free_port()
    account, programs = Account.for_directory(home), programs_for(home)
    for name in ("data", "run"):
        account.make_directory(home / name)
    made = account.run(
        programs / "initdb", "-D", home / "data", "-U", "postgres", "-E", "UTF8", "--no-sync",
        "--auth-local=trust", "--auth-host=scram-sha-256",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    options = f"-p {port} -h 127.0.0.1 -k {home}/run -c fsync=off"
    control = (programs / "pg_ctl", "-D", home / "data", "-w")
    started = account.run(*control, "-l", home / "run/log", "-o", options, "start")
    assert started.returncode == 0, (home / "run/log").read_text()
    try:
        secrets = home / "secrets"
        subprocess.run(["sh", DOCKER / "make-secrets", secrets], check=True)
        for name in ("database_url", "web_database_url", "officer_database_url"):
            url = (secrets / name).read_text()
            (secrets / name).write_text(url.replace("@db/", f"@127.0.0.1:{port}/"))
        prepared = subprocess.run(
            ["sh", DOCKER / "initdb/20-quartier.sh"],
            env=os.environ
            | {"PGHOST": f"{home}/run", "PGPORT": str(port), "SECRETS": str(secrets)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert prepared.returncode == 0, prepared.stderr
        yield Existing(port, secrets, f"postgresql://postgres@/city?host={home}/run&port={port}")
    finally:
        account.run(*control, "-m", "immediate", "stop")
        shutil.rmtree(home)


def city(folder: Path) -> Path:
    """A folder with a catalogue, a file for its layer and a plain raster for its tileset."""
    for kind, declared in (("layers", TREES), ("tilesets", PHOTO)):
        (folder / "catalogue" / kind).mkdir(parents=True)
        (folder / "catalogue" / kind / f"{declared['id']}.yaml").write_text(
            yaml.safe_dump(declared)
        )
    (folder / "trees.csv").write_text("id,kind,lon,lat\n1,lime,4.85,45.2\n2,oak,4.86,45.21\n")
    write_plain(folder / "photo.tif")
    return folder / "catalogue"


def settings_of(service: str, existing: Existing, home: Path, catalogue: Path) -> dict[str, str]:
    """What image and compose give the service, with this machine's places for the container's."""
    told = environment() | compose()["services"][service]["environment"]
    given = {name: str(value) for name, value in told.items() if name.startswith("QUARTIER_")}
    ours = {"/run/secrets": str(existing.secrets), told["QUARTIER_HOME"]: str(home)}
    for name, value in given.items():
        for theirs, place in ours.items():
            value = value.replace(theirs, place)
        given[name] = value
    return given | {
        "QUARTIER_CATALOGUE": str(catalogue),
        "QUARTIER_HOST": "127.0.0.1",
        "QUARTIER_PORT": str(free_port()),
    }


def as_in_the_container(service: str) -> list[str | Path]:
    """Entrypoint and command, as an engine would run them."""
    assert instructions("ENTRYPOINT")[0].words == ["quartier-entrypoint"]
    return ["sh", DOCKER / "entrypoint", *compose()["services"][service]["command"]]


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read()


@contextmanager
def serving(
    installed: Installed, command: list[str | Path], given: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """The command at work, once its image's own health check is content; ended by SIGTERM."""
    log = installed.folder / "serve.log"
    with log.open("a") as out:
        process = subprocess.Popen(
            command, env=installed.environment(**given), cwd=installed.folder, stdout=out,
            stderr=out, text=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE_S
        while installed.run(*health_check(given["QUARTIER_PORT"])).returncode != 0:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE_S)
    assert code in POLITE, log.read_text()


def health_check(port: str) -> list[str]:
    """The command of the image's HEALTHCHECK, for our port."""
    _, _, command = instructions("HEALTHCHECK", "final")[0].text.partition(" CMD ")
    words = [str(word) for word in json.loads(command)]
    return [word.replace(":8000/", f":{port}/") for word in words]


def test_the_steps_of_the_image_bring_up_a_city(
    installed: Installed, existing: Existing, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    catalogue = city(tmp_path / "city")
    given = settings_of("init", existing, home, catalogue)
    assert installed.run(*health_check(given["QUARTIER_PORT"])).returncode != 0
    done = installed.run(*as_in_the_container("init"), **given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trees: 2 rows" in done.stdout
    assert "photo.tif was made a COG" in done.stdout.replace("\n", " ")
    again = installed.run(*as_in_the_container("init"), **given)
    assert again.returncode == 0
    assert "rows in" not in again.stdout, "what is there is not loaded again"
    assert "photo" not in again.stdout, "nor made again"

    given = settings_of("quartier", existing, home, catalogue)
    base = f"http://127.0.0.1:{given['QUARTIER_PORT']}"
    with serving(installed, as_in_the_container("quartier"), given):
        status, tile = get(f"{base}/tiles/trees/{AT.z}/{AT.x}/{AT.y}.mvt")
        assert status == 200
        assert b"trees" in tile
        assert get(f"{base}/tiles/photo/{AT.z}/{AT.x}/{AT.y}.png")[0] == 200
        status, page = get(f"{base}/layers/trees")
        assert status == 200
        assert b"<html" in page
        for asset in set(re.findall(rb'"(/assets/[^"]+)"', page)):
            assert get(base + asset.decode())[0] == 200, asset
        with psycopg.connect(existing.admin) as connection:
            logins = connection.execute(
                "SELECT DISTINCT usename FROM pg_stat_activity"
                " WHERE application_name LIKE 'quartier-web%'"
            ).fetchall()
        assert logins == [("city_reader",)]
        doctor = installed.run(
            "sh", DOCKER / "entrypoint", "quartier", "doctor", "--json", "--deep", **given
        )
        found = json.loads(doctor.stdout)["findings"]
        assert [each for each in found if each["state"] == "problem"] == []
        for about, says in (("web's login", "city_reader"), ("officers' login", "city_officer")):
            assert {"about": about, "state": "ok", "says": says, "mend": None} in found
        assert existing.secrets.joinpath("owner_password").read_text() not in doctor.stdout
        with edge(tmp_path / "edge", base.removeprefix("http://")) as outside:
            assert get(f"{outside}/tiles/trees/{AT.z}/{AT.x}/{AT.y}.mvt") == (200, tile)
            assert get(f"{outside}/health/ready")[0] == 404


def test_the_units_commands_start_serve_back_up_and_end(
    installed: Installed, existing: Existing
) -> None:
    """On an embedded PostGIS of its own, as the unit has it."""
    home = make_home("quartier-units-")
    backups = home / "backups"
    backups.mkdir()
    try:
        given = {
            "QUARTIER_HOME": str(home), "QUARTIER_CATALOGUE": str(city(home / "city")),
            "QUARTIER_PORT": str(free_port()), "QUARTIER_WORKERS": "1", "BACKUPS": str(backups),
        }  # fmt: skip
        program = str(installed.site / "bin" / "quartier")
        server = command_line("quartier.service").replace(
            "/opt/quartier/.venv/bin/quartier", program
        )
        with serving(installed, ["sh", "-c", f"exec {server}"], given):
            base = f"http://127.0.0.1:{given['QUARTIER_PORT']}"
            assert get(f"{base}/tiles/trees/{AT.z}/{AT.x}/{AT.y}.mvt")[0] == 200
            for directive in ("ExecStart", "ExecStartPost"):
                line = command_line("quartier-backup.service", directive)
                line = line.replace("/opt/quartier/.venv/bin/quartier", program)
                done = installed.run("sh", "-c", line, **given)
                assert done.returncode == 0, done.stderr
            (archive,) = backups.iterdir()
            assert re.fullmatch(r"city-\d{4}-\d\d-\d\d\.tar", archive.name)
            doctor = installed.run(program, "doctor", "--json", **given)
            findings = {each["about"]: each for each in json.loads(doctor.stdout)["findings"]}
            assert findings["backup"]["state"] == findings["cluster"]["state"] == "ok"
            assert [f for f in findings.values() if f["state"] == "problem"] == []
        assert not (home / "postgres/data/postmaster.pid").exists(), "it took its PostGIS with it"
    finally:
        shutil.rmtree(home)
