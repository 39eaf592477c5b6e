"""What filters compare by: texts without case and accents, lists as sets.

Revision ID: 0016
"""

from __future__ import annotations

from layers.migrations import run_sql_beside

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the functions that conditions call."""
    run_sql_beside(__file__)


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
