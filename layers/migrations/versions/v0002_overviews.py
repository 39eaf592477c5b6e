"""Overviews: their state, and what counts a layer anew.

Revision ID: 0002
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

from layers.engine import postgis_schema, run_ddl

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for overviews; `quartier apply` makes those of each layer."""
    connection = op.get_bind()
    statements = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    run_ddl(connection, statements.replace("@postgis@", postgis_schema(connection)))


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
