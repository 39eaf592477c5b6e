"""History that may be read, and revisions that undo others.

Revision ID: 0010
"""

from __future__ import annotations

from layers.migrations import run_sql_beside

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make a view of each layer's history, and remember who undid what."""
    run_sql_beside(__file__)


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
