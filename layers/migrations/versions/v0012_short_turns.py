"""Turns of a few units of the grid are kept.

Revision ID: 0012
"""

from __future__ import annotations

from layers.migrations import run_sql_beside

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace what marks turns, and mark the lines that are stored."""
    run_sql_beside(__file__)


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
