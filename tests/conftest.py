"""What tests are made of. Nothing is autouse; every database is a fresh one.

The cluster is shared by the whole run and lives in a temporary folder, in memory where there is
room; with QUARTIER_TEST_DATABASE_URL the same tests run against a server that is already there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import sqlalchemy as sa

from layers.catalogue_files import CatalogueFiles
from layers.cli import apply_catalogue
from layers.cluster import Cluster
from layers.database_urls import DatabaseUrls, acting_as
from layers.engine import owner_engine
from layers.layer_steps import Step
from layers.map import Map
from layers.model import Layer
from layers.setup import prepare_database

HOME = "QUARTIER_TEST_HOME"
EXISTING = "QUARTIER_TEST_DATABASE_URL"
SHARED = Path(__file__).resolve().parents[2] / "shared"
MEMORY, ROOM = Path("/dev/shm"), 4 << 30  # bytes that must be free there
QUICK = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "256MB",  # all of them are looked through when a database is dropped
    "max_wal_size": "1GB",  # the log lies in memory too
    "shared_preload_libraries": "postgis-3",  # else each of thousands of connections loads it
}

TOGETHER = ("tests/e2e/", "tests/unit/test_sample_")  # they share a city that is loaded, or made


def make_home(prefix: str) -> Path:
    """A temporary folder that the server's user can enter; the caller removes it.

    A database's seven hundred files are copied several times faster in memory than on a disk.
    """
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM
    home = Path(tempfile.mkdtemp(prefix=prefix, dir=MEMORY if roomy else None))
    home.chmod(0o755)
    return home


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ[HOME] = str(make_home("quartier-tests-"))


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(HOME), ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first: what is short evens out the workers' ends."""

    def rank(item: pytest.Item) -> int:
        shares = [number for number, scope in enumerate(TOGETHER) if item.nodeid.startswith(scope)]
        return [*shares, len(TOGETHER) + (item.get_closest_marker("db") is None)][0]

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Workers get whole files in the order they stand in, those that share what is dear as one."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            found = (scope for scope in TOGETHER if nodeid.startswith(scope))
            return next(found, str(super()._split_scope(nodeid)))

    config.option.loadscopereorder = False
    return Scheduling(config, log)


@dataclass(frozen=True, slots=True)
class Database:
    """One database, empty but for the house."""

    name: str
    urls: DatabaseUrls
    _engines: dict[str, sa.Engine] = field(default_factory=dict, repr=False, compare=False)

    def _engine(self, role: str) -> sa.Engine:
        """The role's engine, which keeps no connection: what it asks a server once is kept."""
        if role not in self._engines:
            self._engines[role] = owner_engine(getattr(self.urls, role))
        return self._engines[role]

    @contextmanager
    def connect(self, role: str = "ingest") -> Iterator[sa.Connection]:
        """A new connection in autocommit, as psql is, for the role named."""
        engine = self._engine(role)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection

    @contextmanager
    def transaction(self, role: str = "ingest") -> Iterator[sa.Connection]:
        """A new connection in a transaction, committed when the block ends well."""
        with self._engine(role).begin() as connection:
            yield connection

    def run(self, sql: str, role: str = "ingest", **values: object) -> list[tuple[Any, ...]]:
        """Run one statement; the rows it answers, if any."""
        with self.connect(role) as connection:
            result = connection.execute(sa.text(sql), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def value(self, sql: str, role: str = "ingest", **values: object) -> Any:
        rows = self.run(sql, role, **values)
        return rows[0][0] if rows else None

    def declare(self, *layers: Layer, maps: tuple[Map, ...] = ()) -> list[Step]:
        """Apply a catalogue of just these."""
        files = CatalogueFiles(
            {layer.id: layer for layer in layers}, {map_.id: map_ for map_ in maps}, {}
        )
        return apply_catalogue(self.urls.ingest, files)


def in_database(url: str, name: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))


def _urls(server: DatabaseUrls, name: str) -> DatabaseUrls:
    return DatabaseUrls(
        owner=in_database(server.owner, name),
        ingest=in_database(server.ingest, name),
        officer=in_database(server.officer, name),
        web=in_database(server.web, name),
    )


@pytest.fixture(scope="session")
def server() -> Iterator[DatabaseUrls]:
    """A PostGIS server: its own for the run, or the one that is there."""
    if existing := os.environ.get(EXISTING):
        yield DatabaseUrls(
            owner=existing,
            ingest=acting_as(existing, "quartier_ingest"),
            officer=acting_as(existing, "quartier_officer"),
            web=acting_as(existing, "quartier_web"),
        )
        return
    with Cluster(Path(os.environ[HOME]), options=QUICK).hold() as urls:
        yield urls


@pytest.fixture(scope="session")
def template(server: DatabaseUrls) -> Iterator[str]:
    """A prepared database that every test's database is a copy of."""
    name = f"quartier_template_{uuid.uuid4().hex[:10]}"
    with psycopg.connect(server.owner, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        prepare_database(in_database(server.owner, name))
        yield name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def fresh_database(server: DatabaseUrls, template: str) -> Iterator[Database]:
    """A database that is gone when the block ends."""
    name = f"quartier_test_{uuid.uuid4().hex[:10]}"
    with psycopg.connect(server.owner, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        yield Database(name, _urls(server, name))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


Copies = Callable[[], AbstractContextManager[Database]]


@contextmanager
def copies_of(
    server: DatabaseUrls, template: str, fill: Callable[[Database], object]
) -> Iterator[Copies]:
    """Fresh databases that are filled: a copy takes a fraction of the time of filling."""
    with fresh_database(server, template) as filled:
        fill(filled)
        yield lambda: fresh_database(server, filled.name)


def copied(fill: Callable[[Database], object]) -> Any:
    """A module's fixture that gives copies of a database which `fill` fills once."""

    @pytest.fixture(scope="module")
    def copies(server: DatabaseUrls, template: str) -> Iterator[Copies]:
        with copies_of(server, template, fill) as made:
            yield made

    return copies


@pytest.fixture(scope="module")
def unwritten(cities: Copies) -> Iterator[Database]:
    """One copy of a module's `cities` for all of its tests that read only."""
    with cities() as database:
        yield database


@pytest.fixture
def database(server: DatabaseUrls, template: str) -> Iterator[Database]:
    """A fresh database for one test."""
    with fresh_database(server, template) as fresh:
        yield fresh


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real city data beside the checkout; tests that read it are skipped where there is none."""
    if not (SHARED / "data").is_dir():
        pytest.skip("no ../shared beside the checkout")
    return SHARED
