"""What was erased for good, and may not come back.

Revision ID: 0011
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

from layers.engine import postgis_schema, run_ddl

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the register of what was erased."""
    connection = op.get_bind()
    statements = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    run_ddl(connection, statements.replace("@postgis@", postgis_schema(connection)))


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
