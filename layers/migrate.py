"""Run the migrations that a database has not seen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from layers.schema_version import MIGRATIONS


def upgrade(connection: sa.Connection) -> None:
    """Bring the database to the newest schema."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
