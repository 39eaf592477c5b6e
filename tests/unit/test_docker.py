"""The image and the compose file agree with the code, the locks, nginx and each other."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from api.settings import ApiSettings
from layers.settings import StoreSettings
from layers.setup import MINIMUM_POSTGIS, MINIMUM_POSTGRES
from quartier import COMMANDS
from tests.dockerfile import DOCKER, ROOT, compose, dockerfile, environment, instructions

SETTINGS = {
    f"QUARTIER_{name.upper()}" for k in (StoreSettings, ApiSettings) for name in k.model_fields
}
NGINX = (DOCKER / "nginx.conf").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return listed.stdout.splitlines()


def copied() -> list[str]:
    """Paths of the checkout that the image copies."""
    own = [each.words for each in instructions("COPY") if not each.text.startswith("--from")]
    return [source for words in own for source in words[:-1]]


def sees(path: str) -> bool:
    """Whether .dockerignore lets the builder see the path; its last matching line decides."""
    seen = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        names = parts if line.startswith("**/") else above
        if any(fnmatch.fnmatch(name, pattern) for name in names):
            seen = line.startswith("!")
    return seen


def test_everything_that_is_copied_is_in_the_checkout_and_let_in() -> None:
    files = tracked()
    for source in copied():
        inside = [file for file in files if file == source or file.startswith(f"{source}/")]
        assert inside, source
        assert all(sees(file) for file in inside), source


def test_nothing_is_let_in_that_is_large_private_or_made_elsewhere() -> None:
    for path in (
        ".git/HEAD", ".venv/bin/python", "api/web/node_modules/vite/x.js", "api/web/dist/a.js",
        "data/sample/trees.csv", "docker/secrets/owner_password", "tests/web.py",
        "layers/__pycache__/sql.pyc",
    ):  # fmt: skip
        assert not sees(path), path


def test_the_wheel_is_made_of_all_that_it_packs() -> None:
    packs = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packs) <= set(copied())


def test_every_setting_that_is_given_exists() -> None:
    given = {name for name in environment() if name.startswith("QUARTIER_")}
    for service in compose()["services"].values():
        for name in service.get("environment", ()):
            if name.startswith("QUARTIER_"):
                given.add(name.removesuffix("_FILE"))
    assert given <= SETTINGS
    read = re.search(r"^for name in (.*); do$", (DOCKER / "entrypoint").read_text(), re.M)
    assert read is not None
    assert set(read[1].split()) <= SETTINGS


def test_every_secret_setting_may_be_given_as_a_file() -> None:
    secret = {
        f"QUARTIER_{name.upper()}"
        for kind in (StoreSettings, ApiSettings)
        for name, field in kind.model_fields.items()
        if "SecretStr" in str(field.annotation)
    }
    assert all(name in (DOCKER / "entrypoint").read_text() for name in secret)


@pytest.mark.parametrize("service", ["init", "quartier", "image"])
def test_every_command_that_is_run_exists(service: str) -> None:
    if service == "image":
        words = instructions("CMD", "final")[-1].words
    else:
        words = compose()["services"][service]["command"]
    assert words[0] == "quartier"
    assert words[1] in COMMANDS


def test_addresses_and_ports_agree_with_nginx() -> None:
    upstream = re.search(r"server (\w+):(\d+);", NGINX)
    listens = re.search(r"listen (\d+);", NGINX)
    assert upstream is not None
    assert listens is not None
    assert upstream[1] in compose()["services"]
    port = environment()["QUARTIER_PORT"]
    assert upstream[2] == port == instructions("EXPOSE")[0].text
    assert environment()["QUARTIER_HOST"] == "0.0.0.0"
    edge = compose()["services"]["edge"]
    assert edge["ports"] == [f"8080:{listens[1]}"]
    assert "./nginx.conf:/etc/nginx/nginx.conf:ro" in edge["volumes"]
    check = instructions("HEALTHCHECK")[0].text
    assert f"http://127.0.0.1:{port}/health/ready" in check
    published = [name for name, each in compose()["services"].items() if "ports" in each]
    assert published == ["edge"], "the rest is for the house only"


def version(image: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", image.partition(":")[2]))


def test_versions_agree_with_what_the_code_asks_for() -> None:
    bases = {each.words[0] for each in instructions("FROM") if ":" in each.words[0]}
    assert bases == {"python:3.11-slim-bookworm"}
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    services = compose()["services"]
    major, *postgis = version(services["db"]["image"])
    assert major * 10_000 >= MINIMUM_POSTGRES
    assert tuple(postgis) >= MINIMUM_POSTGIS
    clients = re.findall(r"postgresql-client-(\d+)", (DOCKER / "Dockerfile").read_text())
    assert clients == [str(major)], "pg_dump refuses a newer server"
    assert version(services["edge"]["image"]) >= (1, 22)


def test_images_go_by_plain_names_and_no_address_is_named() -> None:
    stages = {each.stage for each in dockerfile()}
    images = [each.words[0] for each in instructions("FROM")]
    images += [each["image"] for each in compose()["services"].values()]
    for image in images:
        assert image in stages or re.fullmatch(r"[a-z]+(/[a-z]+)?(:[\w.-]+)?", image), image
    for name in ("Dockerfile", "compose.yaml"):
        named = re.findall(r"\w+://([^/\s]+)", (DOCKER / name).read_text())
        assert set(named) <= {"127.0.0.1:8000", "localhost:8080", "redis:6379"}, name


def test_the_image_installs_what_is_locked_with_hashes_and_does_what_make_up_does() -> None:
    runs = " ".join(each.text for each in instructions("RUN"))
    for lock in ("requirements.lock", "scripts/tools.lock"):
        assert f"--require-hashes -r {lock}" in runs
    assert "npm ci" in (ROOT / "scripts/web-pages").read_text()
    for step in ("npm ci", "npm run build", "data.sample_city data/sample"):
        assert step in runs
    assert "data.sample_city data/sample" in (ROOT / "scripts/up").read_text()
    assert compose()["services"]["init"]["command"][1] == "up"


def test_the_server_is_nobody_special() -> None:
    user = instructions("USER", "final")[-1].text
    assert int(user) >= 1000
    assert dockerfile().index(instructions("USER", "final")[-1]) < dockerfile().index(
        instructions("ENTRYPOINT")[0]
    )
    for name in ("init", "quartier"):
        service = compose()["services"][name]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_services_wait_for_what_they_need() -> None:
    services: dict[str, Any] = compose()["services"]
    needs = {name: each.get("depends_on", {}) for name, each in services.items()}
    assert needs["init"]["db"]["condition"] == "service_healthy"
    assert needs["quartier"]["init"]["condition"] == "service_completed_successfully"
    assert needs["edge"]["quartier"]["condition"] == "service_healthy"
    assert services["redis"]["profiles"] == ["redis"]
    assert {name for each in needs.values() for name in each} <= services.keys()


def test_every_secret_and_volume_that_is_used_is_declared_and_made(tmp_path: Path) -> None:
    subprocess.run(["sh", DOCKER / "make-secrets", tmp_path / "secrets"], check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    told = compose()
    assert {Path(each["file"]).name for each in told["secrets"].values()} == made.keys()
    for service in told["services"].values():
        assert set(service.get("secrets", ())) <= told["secrets"].keys()
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in told["volumes"] or (DOCKER / source).exists(), volume
    assert made["owner_password"].strip() in made["database_url"]
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    subprocess.run(["sh", DOCKER / "make-secrets", tmp_path / "secrets"], check=True)
    again = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert again == made, "passwords that a database has are not made anew"


def test_the_entrypoint_reads_settings_from_files_and_says_what_it_cannot_read(
    tmp_path: Path,
) -> None:
    (tmp_path / "url").write_text("postgresql://ada:it's $HOME@db/city\n")
    shows = ["sh", "-c", 'echo "$QUARTIER_DATABASE_URL|${QUARTIER_DATABASE_URL_FILE-gone}"']
    ran = subprocess.run(
        ["sh", DOCKER / "entrypoint", *shows],
        env={"PATH": "/usr/bin:/bin", "QUARTIER_DATABASE_URL_FILE": str(tmp_path / "url")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout == "postgresql://ada:it's $HOME@db/city|gone\n"
    gone = subprocess.run(
        ["sh", DOCKER / "entrypoint", "true"],
        env={"PATH": "/usr/bin:/bin", "QUARTIER_CACHE_URL_FILE": str(tmp_path / "none")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert gone.returncode == 1
    assert "docker/make-secrets" in gone.stderr
