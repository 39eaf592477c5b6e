"""Layers of observations that are divided by time, a table each.

Revision ID: 0015
"""

from __future__ import annotations

from layers.migrations import run_sql_beside

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make what guards the parts of such a layer."""
    run_sql_beside(__file__)


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
