"""The log of changes as one row a statement.

Revision ID: 0007
"""

from __future__ import annotations

from layers.migrations import run_sql_beside

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move the log over; `apply` remakes the triggers that write it."""
    run_sql_beside(__file__)


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
