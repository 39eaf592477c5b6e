"""Where rows come from, and what is known of those withheld.

Revision ID: 0009
"""

from __future__ import annotations

from layers.migrations import run_sql_beside

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tell each layer's provenance, and let withheld rows be accepted."""
    run_sql_beside(__file__)


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
