"""Is what Quartier needs on this machine: Python, its packages, PostgreSQL with PostGIS."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from layers.checks.finding import Finding, listed, ok, plural, problem, warning
from layers.errors import ClusterError
from layers.postgres_tools import Programs, client_program, how_to_install, programs_for
from layers.settings import StoreSettings
from layers.setup import MINIMUM_POSTGIS

OLDEST_PYTHON = (3, 11)
LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
LOCKED = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==(?P<version>[^\s\\;]+)", re.M)
REQUIRED = re.compile(r"[A-Za-z0-9][\w.-]*")


def python() -> Finding:
    found = f"Python {platform.python_version()} in {sys.prefix}"
    if sys.version_info < OLDEST_PYTHON:
        return problem("Python", f"{found} is too old; Quartier needs 3.11", "scripts/prepare")
    return ok("Python", found)


def libraries(lock: Path = LOCK) -> Finding:
    """The packages that are installed against those of the lock, where a checkout has it."""
    wanted = _wanted(lock)
    missing, other = [], []
    for name, version in wanted.items():
        try:
            has = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if version and has != version:
            other.append(f"{name} {has} (locked: {version})")
    about, mend = "libraries", "scripts/prepare"
    if missing:
        said = f"{plural(len(missing), 'package')} not installed: {listed(missing)}"
        return problem(about, said, mend)
    if other:
        said = f"{plural(len(other), 'package')} of another version than tested: {listed(other)}"
        return warning(about, said, mend)
    return ok(about, f"all {len(wanted)} packages are there; {_libraries_below()}")


def _wanted(lock: Path) -> dict[str, str]:
    """Names and versions of the lock; without one, the names that Quartier itself asks for."""
    if lock.is_file():
        return {m["name"]: m["version"] for m in LOCKED.finditer(lock.read_text(encoding="utf-8"))}
    asked = [line for line in metadata.requires("quartier") or [] if "extra ==" not in line]
    names = [found[0] for line in asked if (found := REQUIRED.match(line))]
    return dict.fromkeys(names, "")


def _libraries_below() -> str:
    """Versions of the libraries that packages bring along, which mapping depends on."""
    import pyogrio
    import pyproj
    import shapely

    gdal = ".".join(str(part) for part in pyogrio.__gdal_version__)
    return f"GDAL {gdal}, GEOS {shapely.geos_version_string}, PROJ {pyproj.proj_version_str}"


def postgres_programs(settings: StoreSettings) -> Finding:
    """PostgreSQL with PostGIS, of the version that the home's cluster was made by."""
    about = "PostgreSQL programs"
    if settings.database_url is not None:
        return ok(about, "not needed: QUARTIER_DATABASE_URL names a server")
    try:
        found = programs_for(settings.home / "postgres" / "data")
    except ClusterError as exc:
        said, _, command = str(exc).partition(". Install it with: ")
        return problem(
            about,
            said,
            command or "install that version beside it, or choose another QUARTIER_HOME",
        )
    postgis = _postgis_of(found)
    if tuple(int(part) for part in postgis.split(".")[:2]) < MINIMUM_POSTGIS:
        said = f"PostGIS {postgis} in {found.bindir} is too old; Quartier needs 3.3"
        return problem(about, said, how_to_install("").partition("with: ")[2])
    return ok(about, f"PostgreSQL {found.major} with PostGIS {postgis} in {found.bindir}")


def _postgis_of(programs: Programs) -> str:
    share = subprocess.run(
        [programs / "pg_config", "--sharedir"], capture_output=True, text=True, check=True
    )
    control = Path(share.stdout.strip()) / "extension" / "postgis.control"
    found = re.search(r"default_version\s*=\s*'(\d+\.\d+[^']*)'", control.read_text())
    return found[1] if found else "0.0"


def backup_program() -> Finding:
    """`pg_dump`, without which there is no backup."""
    found = client_program("pg_dump")
    if found is None:
        return warning(
            "pg_dump", "is not installed, so quartier backup fails",
            "apt-get install -y postgresql-client",
        )  # fmt: skip
    said = subprocess.run([found, "-V"], capture_output=True, text=True, check=False)
    return ok("pg_dump", said.stdout.strip() or found)
