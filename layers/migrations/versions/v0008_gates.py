"""What a load held against its gates.

Revision ID: 0008
"""

from __future__ import annotations

from layers.migrations import run_sql_beside

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Remember of each run its figures, its gates and who let it pass."""
    run_sql_beside(__file__)


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
