"""Can the web be served: its pages, its letters, its port, its connections, its settings."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from api.door import CONNECTIONS as OFFICERS
from api.settings import ApiSettings
from layers.checks.finding import Finding, listed, ok, plural, problem, warning

PREFIX = "QUARTIER_"
FOR_TESTS = {"QUARTIER_TEST_DATABASE_URL", "QUARTIER_TEST_HOME"}
PASSWORD = re.compile(r"(?<=//)([^:@/?#]*):(.*)@")  # up to the last @, for what is not escaped
SECRET_PARAMETER = re.compile(r"([?&][^=&]*password=)[^&]*", re.I)
BUILD = "scripts/prepare, or npm ci && npm run build in api/web"
ANSWER_TIMEOUT_S = 3
SPARE_CONNECTIONS = 5  # for commands beside the server


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One setting, as the report lists it."""

    name: str
    value: str
    is_set: bool
    description: str


def pages(dist: Path) -> Finding:
    """Every file that the build's manifest names is there."""
    about = "pages"
    try:
        manifest = json.loads((dist / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return problem(about, f"the web pages are not built: no manifest in {dist}", BUILD)
    named = {file for entry in manifest.values() for file in _files_of(entry)}
    if missing := sorted(file for file in named if not (dist / file).is_file()):
        return problem(about, f"the build lacks {listed(missing)}", BUILD)
    return ok(about, f"{plural(len(named), 'file')} in {dist}")


def _files_of(entry: Mapping[str, Any]) -> list[str]:
    return [entry["file"], *entry.get("css", ()), *entry.get("assets", ())]


def letters(dist: Path) -> Finding:
    """The glyphs of every font that the build says it has; maps have no text without them."""
    about = "fonts"
    try:
        ranges = json.loads((dist / "glyphs" / "ranges.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return problem(about, f"no glyphs in {dist / 'glyphs'}: maps have no text", BUILD)
    missing = [
        f"{stack} {each}"
        for stack, has in ranges.items()
        for each in has
        if not (dist / "glyphs" / stack / f"{each}.pbf").is_file()
    ]
    if missing:
        return problem(about, f"glyphs are missing: {listed(missing)}", BUILD)
    return ok(about, f"glyphs of {', '.join(ranges)}")


def port(settings: ApiSettings) -> Finding:
    """Free, or ours, or another program's, which is named."""
    about, where = "port", f"{settings.host}:{settings.port}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except PermissionError:
            return problem(
                about, f"{where} needs more rights than this user has",
                "a QUARTIER_PORT of 1024 or more",
            )  # fmt: skip
        except socket.gaierror:
            said = f"{settings.host} is no address of this machine"
            return problem(about, said, "QUARTIER_HOST=127.0.0.1, or 0.0.0.0 for everywhere")
        except OSError as exc:
            return _taken(settings, exc)
    return ok(about, f"{where} is free")


def _taken(settings: ApiSettings, exc: OSError) -> Finding:
    about, where = "port", f"{settings.host}:{settings.port}"
    if exc.errno != errno.EADDRINUSE:
        said = f"{where} cannot be listened at: {exc.strerror}"
        return problem(about, said, "QUARTIER_HOST=127.0.0.1, or 0.0.0.0 for everywhere")
    if _is_quartier(settings):
        return ok(about, f"Quartier answers at {where}")
    said = f"{where} is used by {holder_of(settings.port) or 'another program'}"
    return problem(about, said, "stop that, or choose another QUARTIER_PORT")


def _is_quartier(settings: ApiSettings) -> bool:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    try:
        with urllib.request.urlopen(
            f"http://{host}:{settings.port}/health/live", timeout=ANSWER_TIMEOUT_S
        ) as answer:
            return bool(json.load(answer) == {"status": "ok"})
    except (OSError, ValueError, urllib.error.URLError):
        return False


def holder_of(port: int, proc: Path = Path("/proc")) -> str | None:
    """Who listens at the port: a program's name and its process id, as far as /proc tells us."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for process in proc.glob("[0-9]*"):
        with suppress(OSError):
            if any(os.readlink(fd) in inodes for fd in (process / "fd").iterdir()):  # noqa: PTH115
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return None


def connections(connection: sa.Connection, settings: ApiSettings, role: str) -> Finding:
    """The server takes as many connections as the workers' pools may open, and a few more."""
    about = "connections"
    pools = (settings.tile_connections, settings.query_connections, settings.filter_connections)
    each = sum(pools) + 1 + OFFICERS
    wanted = settings.workers * each
    row = connection.execute(
        sa.text(
            "SELECT current_setting('max_connections')::int"
            " - current_setting('superuser_reserved_connections')::int AS server,"
            " (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS db,"
            " (SELECT rolconnlimit FROM pg_roles WHERE rolname = :role) AS login"
        ),
        {"role": role},
    ).one()
    most = min(
        limit for limit in (row.server, row.db, row.login) if limit is not None and limit >= 0
    )
    said = f"{settings.workers} workers × {each} = {wanted}, of {most} that there may be"
    mend = (
        f"ALTER SYSTEM SET max_connections = {wanted * 2 + 20} and a restart of PostgreSQL, or"
        " fewer QUARTIER_WORKERS, QUARTIER_TILE_CONNECTIONS or QUARTIER_QUERY_CONNECTIONS"
    )
    if wanted > most:
        return problem(about, f"too many: {said}", mend)
    if wanted + SPARE_CONNECTIONS > most:
        return warning(about, f"none is left for commands: {said}", mend)
    return ok(about, said)


def read_settings(kind: type[Any]) -> tuple[Any, list[Finding]]:
    """The settings as they are; what is wrong is told, and its default taken for the rest."""
    try:
        return kind(), []
    except ValidationError as exc:
        errors = exc.errors()
    wrong = {str(error["loc"][0]): error["msg"] for error in errors if error["loc"]}
    found = [
        problem(
            PREFIX + name.upper(), f"{shown(PREFIX + name.upper(), given(name))}: {said}",
            kind.model_fields[name].description or "see docs/settings.md",
        )
        for name, said in wrong.items()
    ]  # fmt: skip
    defaults = {
        name: kind.model_fields[name].get_default(call_default_factory=True) for name in wrong
    }
    return kind(**defaults), found


def given(name: str) -> str:
    wanted = PREFIX + name.upper()
    return next((value for key, value in os.environ.items() if key.upper() == wanted), "")


def every_setting(*kinds: BaseSettings) -> list[Listed]:
    """Each setting once, with its value, whether it was set, and what it is for."""
    found: dict[str, Listed] = {}
    for settings in kinds:
        for name, field in type(settings).model_fields.items():
            variable = PREFIX + name.upper()
            value = getattr(settings, name)
            found.setdefault(
                variable,
                Listed(
                    name=variable,
                    value=shown(variable, value),
                    is_set=bool(given(name)) and name in settings.model_fields_set,
                    description=field.description or "",
                ),
            )
    return list(found.values())


def shown(name: str, value: object) -> str:
    """A setting's value without passwords."""
    if value is None:
        return "none"
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if name.endswith("_URL"):
        return without_secrets(text)
    return "***" if isinstance(value, SecretStr) else text


def without_secrets(url: str) -> str:
    """A URL whose password is masked, wherever it stands. What has no form of a URL is masked
    whole: nobody knows where its password is.
    """
    if url in ("", "memory:"):
        return url
    if not re.match(r"[a-z][a-z0-9+.-]*://", url, re.I) or url.count("@") > 1:
        return "***"
    masked = PASSWORD.sub(lambda found: f"{found[1]}:***@", url)
    return SECRET_PARAMETER.sub(r"\1***", masked)


def unknown_variables(names: Iterable[str], *kinds: type[BaseSettings]) -> Finding:
    """Variables of our prefix that nothing reads: a typo, or a setting of another version."""
    about = "variables"
    known = {PREFIX + name.upper() for kind in kinds for name in kind.model_fields} | FOR_TESTS
    strange = sorted(n for n in names if n.upper().startswith(PREFIX) and n.upper() not in known)
    if not strange:
        return ok(about, f"no {PREFIX}… variable that nothing reads")
    guesses = []
    for name in strange:
        near = get_close_matches(name.upper(), known - FOR_TESTS, n=1, cutoff=0.7)
        guesses.append(f"{name} (did you mean {near[0]}?)" if near else name)
    return warning(
        about, f"not read by anything: {listed(guesses)}", "correct or unset them: docs/settings.md"
    )
