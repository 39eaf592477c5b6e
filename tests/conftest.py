"""What tests are made of. Nothing is autouse; every database is a fresh one.

The cluster is shared by the whole run and lives in a temporary folder; with
QUARTIER_TEST_DATABASE_URL the same tests run against a server that is already there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import sqlalchemy as sa

from layers.catalogue_files import CatalogueFiles
from layers.cli import apply_catalogue
from layers.cluster import Cluster
from layers.database_urls import DatabaseUrls, acting_as
from layers.engine import owner_engine
from layers.layer_steps import Step
from layers.model import Layer, Map
from layers.setup import prepare_database

HOME = "QUARTIER_TEST_HOME"
EXISTING = "QUARTIER_TEST_DATABASE_URL"
SHARED = Path(__file__).resolve().parents[2] / "shared"
NO_SYNC = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        home = Path(tempfile.mkdtemp(prefix="quartier-tests-"))
        home.chmod(0o755)
        os.environ[HOME] = str(home)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(HOME), ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Database:
    """One database, empty but for the house."""

    name: str
    urls: DatabaseUrls

    @contextmanager
    def connect(self, role: str = "ingest") -> Iterator[sa.Connection]:
        """A connection in autocommit, as psql is, for the role named."""
        engine = owner_engine(getattr(self.urls, role))
        try:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                yield connection
        finally:
            engine.dispose()

    @contextmanager
    def transaction(self, role: str = "ingest") -> Iterator[sa.Connection]:
        """A connection in a transaction, committed when the block ends well."""
        engine = owner_engine(getattr(self.urls, role))
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

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


def _in_database(url: str, name: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))


def _urls(server: DatabaseUrls, name: str) -> DatabaseUrls:
    return DatabaseUrls(
        owner=_in_database(server.owner, name),
        ingest=_in_database(server.ingest, name),
        officer=_in_database(server.officer, name),
        web=_in_database(server.web, name),
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
    with Cluster(Path(os.environ[HOME]), options=NO_SYNC).hold() as urls:
        yield urls


@contextmanager
def _statement(server: DatabaseUrls) -> Iterator[Callable[[str], None]]:
    engine = owner_engine(server.owner)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:

            def run(sql: str) -> None:
                connection.execute(sa.text(sql))

            yield run
    finally:
        engine.dispose()


@pytest.fixture(scope="session")
def template(server: DatabaseUrls) -> Iterator[str]:
    """A prepared database that every test's database is a copy of."""
    name = f"quartier_template_{uuid.uuid4().hex[:10]}"
    with _statement(server) as run:
        run(f"CREATE DATABASE {name}")
        prepare_database(_in_database(server.owner, name))
        yield name
        run(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def fresh_database(server: DatabaseUrls, template: str) -> Iterator[Database]:
    """A database that is gone when the block ends."""
    name = f"quartier_test_{uuid.uuid4().hex[:10]}"
    with _statement(server) as run:
        run(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield Database(name, _urls(server, name))
        run(f"DROP DATABASE {name} WITH (FORCE)")


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
