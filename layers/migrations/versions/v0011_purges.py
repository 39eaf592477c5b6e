"""What was erased for good, and may not come back.

Revision ID: 0011
"""

from __future__ import annotations

from layers.migrations import run_sql_beside

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the register of what was erased."""
    run_sql_beside(__file__)


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
