"""The log of changes as one row a statement.

Revision ID: 0007
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

from layers.engine import postgis_schema, run_ddl

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move the log over; `apply` remakes the triggers that write it."""
    connection = op.get_bind()
    statements = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    run_ddl(connection, statements.replace("@postgis@", postgis_schema(connection)))


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
