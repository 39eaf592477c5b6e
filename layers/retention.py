"""How long the past of a layer is kept: what a layer's `keep_history_days` lets go of."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from layers.model import Layer
from layers.sql import ident
from layers.tables import HISTORY, past_table

# The revision that was the newest one `days` ago: as the layer was then, it can still be asked for.
FLOOR = """
    SELECT max(revision) FROM quartier.revisions
    WHERE layer_id = :layer AND made_at <= now() - make_interval(days => :days)"""
KEPT = """
    UPDATE quartier.layer_state
    SET history_from = greatest(history_from, :floor), rollback_from = :floor
    WHERE layer_id = :layer AND rollback_from < :floor"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trimmed:
    """How many past states of rows were let go, and the first revision that is still known."""

    layer: str
    states: int
    kept_from: int


def trim(connection: sa.Connection, layer: Layer, days: int | None = None) -> Trimmed:
    """Let go of what was no longer so `days` ago (without: as the layer declares, or nothing).

    Takes the layer's lock; the caller commits.
    """
    kept = days if days is not None else layer.keep_history_days
    connection.execute(sa.text("SELECT quartier.lock(:layer)"), {"layer": layer.id})
    states = 0
    if kept is not None:
        floor = int(connection.scalar(sa.text(FLOOR), {"layer": layer.id, "days": kept}) or 0)
        for table in sorted({f"{HISTORY}.{ident(layer.id)}", past_table(layer)}):
            gone = sa.text(f"DELETE FROM {table} WHERE valid_to <= :floor")
            states += connection.execute(gone, {"floor": floor}).rowcount
        connection.execute(sa.text(KEPT), {"layer": layer.id, "floor": floor})
    found = sa.text("SELECT history_from FROM quartier.layer_state WHERE layer_id = :layer")
    first = int(connection.scalar(found, {"layer": layer.id}) or 0)
    return Trimmed(layer=layer.id, states=states, kept_from=first)
