"""Bring the parts of a layer that is divided by time to what its rows and declaration want."""

from __future__ import annotations

import psycopg
import sqlalchemy as sa

from layers import build
from layers.engine import run_ddl
from layers.errors import ChangeRefused
from layers.layer_steps import Step
from layers.model import Layer
from layers.partition_sql import MAX_PARTS, OTHER, attach_statements, label, part
from layers.sql import ident
from layers.tables import CITY


def bring_up(was: Layer, declared: Layer) -> list[Step]:
    """The step of a layer that is known and is divided in another way by now."""
    if _division(was) == _division(declared):
        return []
    how = "put the parts of layer {} together"
    if declared.partitions is not None:
        how = f"divide layer {{}} by {declared.partitions.every} of {declared.partitions.by}"
    return [
        Step(
            says=how.format(declared.id),
            work=lambda connection: build.arrange_anew(connection, declared),
        )
    ]


def _division(layer: Layer) -> object:
    return layer.partitions and (layer.partitions, layer.time_zone)


def make_room(engine: sa.Engine, layer: Layer, rows: str) -> list[str]:
    """Make the parts that `rows` (a table, quoted) and those without one of their own need, in a
    transaction of their own; their names, quoted.

    Where readers do not make way in time the rows go to the part for all other times, and the
    next load tries again.
    """
    other = part(layer.id, OTHER)
    with engine.begin() as connection:
        starts = build.needed_parts(connection, layer, rows)
        wanted = {*starts, *build.needed_parts(connection, layer, other)}
        there = set(_parts(connection, layer))
        new = [start for start in sorted(wanted) if label(layer, start) not in there]
        if len(there) + len(new) > MAX_PARTS:
            raise ChangeRefused(
                f"layer {layer.id}: partitions: {len(there)} parts are there and {len(new)} more"
                f" would be too many ({MAX_PARTS}); write every: year, or look for wrong dates"
            )
    for start in new:
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT quartier.lock(:layer)"), {"layer": layer.id})
            run_ddl(connection, f"SET LOCAL lock_timeout = '{build.LOCK_TIMEOUT}'")
            try:
                for statement in attach_statements(layer, start):
                    run_ddl(connection, statement)
            except psycopg.errors.LockNotAvailable:
                connection.rollback()
    return [other, *(part(layer.id, label(layer, start)) for start in starts)]


def _parts(connection: sa.Connection, layer: Layer) -> list[str]:
    """The labels of the parts there are."""
    found = sa.text(
        "SELECT split_part(c.relname, '__', 2) FROM pg_inherits i"
        " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = CAST(:table AS regclass)"
    )
    return list(connection.scalars(found, {"table": f"{CITY}.{ident(layer.id)}"}))
