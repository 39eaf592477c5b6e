"""The officer's door: keys, what they open, and a record of what was done with them.

Revision ID: 0014
"""

from __future__ import annotations

from layers.migrations import run_sql_beside

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of keys and acceptances, and the functions that quartier_officer may call."""
    run_sql_beside(__file__)


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
