"""The catalogue, revisions, changes, runs and quarantine.

Revision ID: 0001
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

from layers.engine import postgis_schema, run_ddl

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the house in the schemas that `layers.setup` has made, owned by quartier_ingest."""
    connection = op.get_bind()
    statements = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    run_ddl(connection, statements.replace("@postgis@", postgis_schema(connection)))


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
