"""Layers that publish less than they hold.

Revision ID: 0013
"""

from __future__ import annotations

from layers.migrations import run_sql_beside

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make what the privacy of all layers has in common."""
    run_sql_beside(__file__)


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
