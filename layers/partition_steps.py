"""Make the parts that the rows of a load need, of a layer that is divided by time."""

from __future__ import annotations

from datetime import date

import psycopg
import sqlalchemy as sa

from layers import build
from layers.engine import run_ddl, sqlstate
from layers.errors import ChangeRefused
from layers.model import Layer
from layers.partition_sql import OTHER, attach_statements, label, part, part_names

PATIENCE = "300ms"  # long before PostgreSQL looks for a deadlock: it is the load that gives way
YIELDS = {"55P03", "40P01"}  # lock_not_available, deadlock_detected
OVERLAPS = "42P17"  # a neighbour was made when the rules of the time zone were others


def make_room(engine: sa.Engine, layer: Layer, rows: str) -> list[str]:
    """Make the parts that `rows` (a table, quoted) and those without one of their own need, each in
    a transaction of its own; the names, quoted, of those that the rows can go to.

    Where readers do not make way at once the rows go to the part for all other times, and the next
    load tries again.
    """
    other = part(layer.id, OTHER)
    with engine.begin() as connection:
        starts = build.needed_parts(connection, layer, rows)
        if build.can_be_replaced(connection, layer):
            return []  # by a table that has them
        wanted = {*starts, *build.needed_parts(connection, layer, other)}
        there = {name.partition("__")[2] for name in part_names(connection, layer)}
        new = [start for start in sorted(wanted) if label(layer, start) not in there]
        most = build.most_parts(connection)
    if len(there) + len(new) > most:
        raise ChangeRefused(
            f"layer {layer.id}: partitions: {len(there)} parts are there, {len(new)} more would be"
            f" needed, from {new[0]} to {new[-1]}, and {most} can be opened at a time; look for"
            " wrong dates, write every: year, or raise max_locks_per_transaction of PostgreSQL"
        )
    for start in new:
        if not _attached(engine, layer, start):
            break
    return [other, *(part(layer.id, label(layer, start)) for start in starts)]


def _attached(engine: sa.Engine, layer: Layer, start: date) -> bool:
    """Whether others made way, so that it is worth while to go on."""
    try:
        with engine.begin() as connection:
            run_ddl(connection, f"SET LOCAL lock_timeout = '{PATIENCE}'")
            connection.execute(sa.text("SELECT quartier.lock(:layer)"), {"layer": layer.id})
            for statement in attach_statements(layer, start):
                run_ddl(connection, statement)
    except (sa.exc.DBAPIError, psycopg.Error) as exc:
        if sqlstate(exc) not in {*YIELDS, OVERLAPS}:
            raise
        return sqlstate(exc) == OVERLAPS
    return True
