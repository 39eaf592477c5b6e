"""The doctor's checks that need no database: what is shown, what is masked, what is missing."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path

import pytest

from api.checks import letters, pages, shown, unknown_variables, without_secrets
from api.settings import ApiSettings
from api.web.assets import DIST
from layers.checks.finding import State, looked
from layers.checks.machine import libraries
from layers.settings import StoreSettings


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://ada:hunter2@db:5432/city", "postgresql://ada:***@db:5432/city"),
        ("postgresql://ada@db/city?password=hunter2&a=b", "postgresql://ada@db/city?password=***&a=b"),
        ("postgresql://ada@db/city?sslpassword=hunter2", "postgresql://ada@db/city?sslpassword=***"),
        ("redis://:hunter2@cache:6379/0", "redis://:***@cache:6379/0"),
        ("postgresql://a:hun@ter2@db/city", "***"),
        ("postgresql://ada:hunter2/cd@db/city", "postgresql://ada:***@db/city"),
        ("postgresql://ada:hunter2?cd@db/city", "postgresql://ada:***@db/city"),
        ("postgresql://ada:hunter2#cd@db/city", "postgresql://ada:***@db/city"),
        ("redis://:hunter2/y@cache:6379/0", "redis://:***@cache:6379/0"),
        ("hunter2", "***"),
        ("redis:hunter2", "***"),
        ("https://maps.example.org", "https://maps.example.org"),
        ("memory:", "memory:"),
    ],
)  # fmt: skip
def test_no_password_of_a_url_is_shown(url: str, masked: str) -> None:
    assert without_secrets(url) == masked
    settings = StoreSettings(database_url=url)
    assert "hunter2" not in shown("QUARTIER_DATABASE_URL", settings.database_url)


def test_variables_that_nothing_reads_are_told_with_the_likely_one() -> None:
    kinds = (StoreSettings, ApiSettings)
    known = [f"QUARTIER_{name.upper()}" for kind in kinds for name in kind.model_fields]
    assert unknown_variables([*known, "PATH", "quartier_home"], *kinds).state is State.OK
    found = unknown_variables(["QUARTIER_DATABSE_URL", "QUARTIER_X"], *kinds)
    assert "QUARTIER_DATABSE_URL (did you mean QUARTIER_DATABASE_URL?), QUARTIER_X" in found.says


def test_pages_and_letters_that_are_missing_are_told(tmp_path: Path) -> None:
    assert pages(tmp_path).state is letters(tmp_path).state is State.PROBLEM
    if not (DIST / "manifest.json").exists():
        pytest.skip("the pages are not built")
    dist = tmp_path / "dist"
    shutil.copytree(DIST, dist)
    assert pages(dist).state is letters(dist).state is State.OK
    script = next(dist.glob("map-*.js"))
    script.unlink()
    assert script.name in pages(dist).says
    ranges = json.loads((dist / "glyphs/ranges.json").read_text())
    stack, has = next(iter(ranges.items()))
    (dist / "glyphs" / stack / f"{has[0]}.pbf").unlink()
    assert f"{stack} {has[0]}" in letters(dist).says


def test_packages_that_are_missing_or_of_another_version_are_told(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    has = metadata.version("typer")
    lock.write_text(f"typer=={has} \\\n    --hash=sha256:00\n")
    assert libraries(lock).state is State.OK
    lock.write_text("typer==0.0.1 \\\n    --hash=sha256:00\n")
    assert f"typer {has} (locked: 0.0.1)" in libraries(lock).says
    lock.write_text("no-such-package==1 \\\n")
    assert libraries(lock).state is State.PROBLEM
    assert libraries(tmp_path / "none").state is State.OK, "an installed wheel has no lock"


def test_a_check_that_fails_itself_is_a_problem_and_no_crash() -> None:
    def broken() -> None:
        raise OSError("the disk\nis gone")

    found = looked("disk", broken)  # type: ignore[arg-type]
    assert (found.state, found.says) == (
        State.PROBLEM,
        "this could not be looked at: the disk is gone",
    )
