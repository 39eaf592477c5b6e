"""Tilesets: archives and rasters that are served beside layers.

Revision ID: 0004
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

from layers.engine import run_ddl

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_ddl(op.get_bind(), Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    raise NotImplementedError("restore a backup made before the upgrade")
