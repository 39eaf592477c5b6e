"""Alembic's way in: runs on the connection that `layers.setup` hands over."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    version_table_schema="quartier",
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
