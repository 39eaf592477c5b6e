"""Connections for the work that is not the web's: setup, catalogue and ingest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import adbc_driver_manager
import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from layers.errors import StoreUnavailable


def owner_engine(url: str) -> sa.Engine:
    """An engine for a libpq URL, through psycopg. Connections are not kept."""
    engine = sa.create_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=NullPool
    )
    sa.event.listen(engine, "connect", _steady_session)
    return engine


def _steady_session(connection: object, _: object) -> None:
    """Text of dates and names of types must not depend on who runs us."""
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("SET TIME ZONE 'UTC'; SET datestyle = 'ISO, YMD'; SET jit = off")
    connection.commit()  # type: ignore[attr-defined]
    cursor.close()


@contextmanager
def store_errors() -> Iterator[None]:
    """Say in our words what the driver said in its own."""
    try:
        yield
    except DBAPIError as exc:
        if isinstance(exc, OperationalError) or exc.connection_invalidated:
            raise StoreUnavailable(str(exc.orig).strip().splitlines()[0]) from exc
        raise
    except psycopg.OperationalError as exc:  # of what goes past SQLAlchemy: DDL, COPY
        raise StoreUnavailable(str(exc).strip().splitlines()[0]) from exc
    except adbc_driver_manager.OperationalError as exc:  # it quotes its query before the reason
        said = str(exc).rsplit("': ", 1)[-1].strip().splitlines()[0]
        raise StoreUnavailable(said.removeprefix("ERROR:").strip()) from exc


def sqlstate(exc: DBAPIError | psycopg.Error) -> str | None:
    """PostgreSQL's code of what went wrong."""
    return exc.sqlstate if isinstance(exc, psycopg.Error) else getattr(exc.orig, "sqlstate", None)


def run_ddl(connection: sa.Connection, statements: str) -> None:
    """Run SQL text as it stands: no placeholders, so `%` means itself."""
    driver = connection.connection.dbapi_connection
    if driver is None:
        raise StoreUnavailable("the connection was closed")
    cursor = driver.cursor()
    cursor.execute(statements)
    cursor.close()


def postgis_schema(connection: sa.Connection) -> str:
    """The schema PostGIS is installed in, quoted."""
    found = connection.scalar(
        sa.text(
            "SELECT quote_ident(n.nspname) FROM pg_extension e"
            " JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'postgis'"
        )
    )
    if found is None:
        raise StoreUnavailable(
            "this database has no PostGIS; run quartier up, or CREATE EXTENSION postgis"
        )
    return str(found)
