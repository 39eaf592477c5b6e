"""A backup of all that cannot be made again, in one file, and the way back, proved row by row.

The file is a tar: `manifest.json` with a digest of every table as it was, `database.dump` of
pg_dump (custom format) of the same snapshot, and the kept source files under `raw/`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from layers.database_urls import DatabaseUrls
from layers.engine import owner_engine
from layers.errors import ChangeRefused, ClusterError
from layers.kept_files import kept_file
from layers.postgres_tools import client_program
from layers.schema_version import check_schema, newest_schema
from layers.setup import prepare_database, prepare_for_restore

FORMAT = 1
MANIFEST, DUMP, RAW = "manifest.json", "database.dump", "raw"
SCHEMAS = ("quartier", "city", "city_history", "city_overview", "city_raw", "city_parts")
# What a stage holds is read again; the version of the schema is told beside.
DIGEST = "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text FROM {table} t"
TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY (:schemas)
      AND c.relname <> 'alembic_version' ORDER BY 1"""
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds: of each table the number of its rows and a digest of them; of each
    layer its revision; the SHA-256 of each kept file.
    """

    format: int
    made_at: str
    software: str
    schema: str
    tables: dict[str, tuple[int, str]]
    revisions: dict[str, int]
    raw: list[str]


def back_up(urls: DatabaseUrls, raw: Path, target: Path, tell: Tell) -> Manifest:
    """Write a backup to `target`, whole or not at all, while others go on reading and writing.

    Raises ChangeRefused where there is nothing to back up, ClusterError where pg_dump fails.
    """
    engine = owner_engine(urls.owner)
    part = target.with_name(f"{target.name}.part")
    try:
        with (
            TemporaryDirectory(prefix=".quartier-backup-", dir=target.parent) as folder,
            engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
        ):
            check_schema(connection)
            snapshot = connection.scalar(sa.text("SELECT pg_export_snapshot()"))
            tell("Reading every row")
            manifest = _manifest(connection, raw)
            tell("Writing the database")
            dump = Path(folder) / DUMP
            _run("pg_dump", urls.owner, "-Fc", f"--snapshot={snapshot}", "-f", dump)
            (Path(folder) / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1))
            tell(f"Writing {len(manifest.raw):,} kept files")
            with _for_us_alone(part) as out, tarfile.open(fileobj=out, mode="w") as tar:
                tar.add(Path(folder) / MANIFEST, MANIFEST)
                tar.add(dump, DUMP)
                for sha256 in manifest.raw:
                    tar.add(kept_file(raw, sha256), f"{RAW}/{sha256}")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
        engine.dispose()
    return manifest


def restore(urls: DatabaseUrls, raw: Path, source: Path, tell: Tell) -> Manifest:
    """Put a backup into an empty database, prove that it is the same, and bring it up to date.

    Raises ChangeRefused for a database that holds anything, for a file that is no backup or of a
    newer version, and where a row is not what it was.
    """
    with _opened(source) as (tar, manifest):
        engine = owner_engine(urls.owner)
        try:
            with engine.begin() as connection:
                if connection.scalar(sa.text("SELECT to_regclass('quartier.layers')")) is not None:
                    raise ChangeRefused(
                        "there are layers in this database already; restore into an empty"
                        " QUARTIER_HOME or an empty database"
                    )
                prepare_for_restore(connection)
            with TemporaryDirectory(prefix="quartier-restore-") as folder:
                tell("Restoring the database")
                tar.extract(DUMP, folder, filter="data")
                _run("pg_restore", urls.owner, "--exit-on-error", "--single-transaction",
                     Path(folder) / DUMP)  # fmt: skip
            tell("Restoring the kept files")
            for sha256 in manifest.raw:
                _restore_raw(tar, raw, sha256)
            tell("Comparing every row")
            with engine.begin() as connection:
                _compare(manifest, connection)
                # Browsers may have seen later revisions of the same numbers.
                connection.execute(
                    sa.text("UPDATE quartier.layer_state SET salt = gen_random_uuid()")
                )
        finally:
            engine.dispose()
    if manifest.schema < newest_schema():
        tell(f"Bringing the database from schema {manifest.schema} to {newest_schema()}")
    prepare_database(urls.owner)
    return manifest


def _manifest(connection: sa.Connection, raw: Path) -> Manifest:
    connection.execute(sa.text("SET LOCAL TimeZone = 'UTC'"))
    revisions = connection.execute(sa.text("SELECT layer_id, revision FROM quartier.layer_state"))
    kept = connection.scalars(
        sa.text(
            "SELECT DISTINCT s ->> 'sha256' AS sha FROM quartier.runs,"
            " jsonb_array_elements(sources) s ORDER BY 1"
        )
    )
    number = "SELECT version_num FROM quartier.alembic_version"
    return Manifest(
        format=FORMAT,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        software=f"quartier {version('quartier')}",
        schema=str(connection.scalar(sa.text(number))),
        tables=_digests(connection),
        revisions={row.layer_id: row.revision for row in revisions},
        raw=[sha for sha in kept if sha and kept_file(raw, sha).is_file()],
    )


def _digests(connection: sa.Connection) -> dict[str, tuple[int, str]]:
    names = connection.scalars(sa.text(TABLES), {"schemas": list(SCHEMAS)}).all()
    found = {}
    for name in names:
        rows, digest = connection.execute(sa.text(DIGEST.format(table=name))).one()
        found[name] = (int(rows), str(digest))
    return found


def _compare(manifest: Manifest, connection: sa.Connection) -> None:
    connection.execute(sa.text("SET LOCAL TimeZone = 'UTC'"))
    found = _digests(connection)
    odd = [name for name in manifest.tables if found.get(name) != tuple(manifest.tables[name])]
    if odd:
        told = ", ".join(f"{name} ({found.get(name, (0,))[0]:,} rows)" for name in odd[:5])
        raise ChangeRefused(
            f"what was restored is not what was backed up: {told}; do not use this database"
        )


@contextmanager
def _opened(source: Path) -> Iterator[tuple[tarfile.TarFile, Manifest]]:
    try:
        with tarfile.open(source, "r:") as tar:
            told = tar.extractfile(MANIFEST)
            assert told is not None
            said = json.load(told)
            if said.get("format") != FORMAT or said["schema"] > newest_schema():
                raise ChangeRefused(
                    f"{source.name} was made by {said.get('software')}, a newer version than this"
                )
            tables = {name: (rows, digest) for name, (rows, digest) in said["tables"].items()}
            yield tar, Manifest(**said | {"tables": tables})
    except (tarfile.TarError, KeyError, ValueError, TypeError) as exc:
        raise ChangeRefused(f"{source.name} is no backup of Quartier, or was cut short") from exc
    except OSError as exc:
        raise ChangeRefused(f"{source.name} cannot be read: {exc.strerror or exc}") from exc


def _restore_raw(tar: tarfile.TarFile, raw: Path, sha256: str) -> None:
    if not sha256.isalnum():
        raise ChangeRefused(f"{sha256!r} is no name of a kept file")
    packed = tar.extractfile(f"{RAW}/{sha256}")
    assert packed is not None
    target = kept_file(raw, sha256)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with target.open("wb") as out:
        shutil.copyfileobj(packed, out, 1 << 22)
    target.chmod(0o600)


def _for_us_alone(path: Path) -> BinaryIO:
    """The file, made so that no other user may read it from its first byte on."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _run(program: str, url: str, *arguments: str | Path) -> None:
    """Run a program of PostgreSQL's. Its newest version reads what any older one wrote. The
    password goes by the environment, where no other user sees it.
    """
    found = client_program(program)
    if found is None:
        raise ClusterError(f"{program} is not installed; install postgresql-client")
    told = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    password = told.pop("password", "")
    environment = {**os.environ, **({"PGPASSWORD": password} if password else {})}
    done = subprocess.run(
        [found, *arguments, "-d", make_conninfo(**told)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ClusterError(f"{program} failed: {said[-1]}")
