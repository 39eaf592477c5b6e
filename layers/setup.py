"""Make a database ready: extension, roles, schemas, then every migration.

Idempotent and safe to run from several processes at once.
"""

from __future__ import annotations

import sqlalchemy as sa

from layers.engine import owner_engine
from layers.errors import StoreUnavailable
from layers.schema_version import newest_schema, schema_of
from layers.sql import ident

ROLES = ("quartier_ingest", "quartier_officer", "quartier_web")
SCHEMAS = (
    "quartier", "city", "city_stage", "city_history", "city_overview", "city_raw", "city_parts",
)  # fmt: skip
SETUP_LOCK = 0x51554152  # "QUAR": one process at a time prepares a database
MINIMUM_POSTGRES, MINIMUM_POSTGIS = 150_000, (3, 3)


def prepare_database(owner_url: str) -> None:
    """Bring the database to the newest schema. Raises StoreUnavailable where it cannot be."""
    engine = owner_engine(owner_url)
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": SETUP_LOCK})
            _make_extension(connection)
            _make_roles(connection)
            _make_schemas(connection)
            connection.execute(sa.text("SET LOCAL ROLE quartier_ingest"))
            _bring_up(connection)
    finally:
        engine.dispose()


def prepare_for_restore(connection: sa.Connection) -> None:
    """Make what a dump takes for granted: PostGIS and the roles. Its schemas it brings itself."""
    _make_extension(connection)
    _make_roles(connection)


def _make_extension(connection: sa.Connection) -> None:
    version = int(connection.scalar(sa.text("SHOW server_version_num")) or 0)
    if version < MINIMUM_POSTGRES:
        raise StoreUnavailable(f"PostgreSQL {version // 10_000} is too old; Quartier needs 15")
    encoding = connection.scalar(sa.text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise StoreUnavailable(
            f"the database is encoded in {encoding}; make it with CREATE DATABASE … ENCODING 'UTF8'"
        )
    installed = sa.text("SELECT extversion FROM pg_extension WHERE extname = 'postgis'")
    if connection.scalar(installed) is None:
        connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS postgis"))
    postgis = str(connection.scalar(installed))
    if tuple(int(part) for part in postgis.split(".")[:2]) < MINIMUM_POSTGIS:
        raise StoreUnavailable(f"PostGIS {postgis} is too old; Quartier needs 3.3")


def _make_roles(connection: sa.Connection) -> None:
    """Roles belong to the whole cluster: another database's setup may be making them now."""
    for role in ROLES:
        connection.execute(
            sa.text(
                f"""DO $$ BEGIN
                    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
                        CREATE ROLE {ident(role)} LOGIN;
                    END IF;
                EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
                END $$"""
            )
        )
    # To count a layer anew takes a temporary table; some databases allow it to nobody at first.
    database = ident(str(connection.scalar(sa.text("SELECT current_database()"))))
    has = sa.text(
        "SELECT has_database_privilege('quartier_ingest', current_database(), 'TEMPORARY')"
    )
    if not connection.scalar(has):
        connection.execute(sa.text(f"GRANT TEMPORARY ON DATABASE {database} TO quartier_ingest"))
    member = sa.text("SELECT pg_has_role(current_user, :role, 'MEMBER')")
    for role in ROLES:
        if not connection.scalar(member, {"role": role}):
            connection.execute(sa.text(f"GRANT {ident(role)} TO CURRENT_USER"))


def _make_schemas(connection: sa.Connection) -> None:
    known = set(connection.scalars(sa.text("SELECT nspname FROM pg_namespace")))
    for schema in SCHEMAS:
        if schema not in known:
            connection.execute(
                sa.text(f"CREATE SCHEMA {ident(schema)} AUTHORIZATION quartier_ingest")
            )


def _bring_up(connection: sa.Connection) -> None:
    if schema_of(connection) != newest_schema():
        from layers.migrate import upgrade  # Alembic takes long to import; it is seldom needed

        upgrade(connection)
