"""History that may be read, and revisions that undo others.

Revision ID: 0010
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

from layers.engine import postgis_schema, run_ddl

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make a view of each layer's history, and remember who undid what."""
    connection = op.get_bind()
    statements = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    run_ddl(connection, statements.replace("@postgis@", postgis_schema(connection)))


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
