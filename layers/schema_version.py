"""Which schema a database has, and which this version works on."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from layers.errors import ChangeRefused

MIGRATIONS = Path(__file__).with_name("migrations")


def schema_of(connection: sa.Connection) -> str | None:
    """The number of the last migration that the database has seen; None before the first."""
    if connection.scalar(sa.text("SELECT to_regclass('quartier.alembic_version')")) is None:
        return None
    return str(connection.scalar(sa.text("SELECT version_num FROM quartier.alembic_version")))


def check_schema(connection: sa.Connection) -> None:
    """Raise ChangeRefused unless the database has just the schema that this version works on."""
    has, wants = schema_of(connection), newest_schema()
    if has is None:
        raise ChangeRefused("the database holds no layers yet; run quartier apply")
    if has < wants:
        raise ChangeRefused(
            f"the database has the schema {has} of an older version, and this one works on {wants};"
            " run quartier apply"
        )
    if has > wants:
        raise ChangeRefused(
            f"the database has the schema {has} of a newer version than this, which knows {wants};"
            " use the newer version"
        )


def newest_schema() -> str:
    """The number of the last migration there is."""
    return max(path.stem[1:5] for path in (MIGRATIONS / "versions").glob("v[0-9]*.py"))
