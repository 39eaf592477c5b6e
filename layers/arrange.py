"""Put the rows of a layer, as they are, into tables as it is divided by now.

They are written, indexed and committed beside the layer's table, while nobody writes to it. Every
transaction that began before is waited for then: to its snapshot the new rows are not there yet,
and it would read an empty layer. Then names change, and only for that have readers to wait.
"""

from __future__ import annotations

import time
import zlib

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from layers import build, partition_sql
from layers import merge_sql as merge
from layers.engine import run_ddl, sqlstate
from layers.errors import ChangeRefused
from layers.layer_steps import Step
from layers.model import Layer
from layers.sql import ident
from layers.tables import CITY, content_names

WAIT_S, TRIES, PAUSE_S = 60.0, 20, 0.5
LOCK_NOT_AVAILABLE, DEPENDENT_OBJECTS, UNIQUE_VIOLATION = "55P03", "2BP01", "23505"
SAID = {
    LOCK_NOT_AVAILABLE: "readers did not make way; run quartier apply again when less is going on",
    DEPENDENT_OBJECTS: "views or other things hang on its table; drop them, make them again after",
    UNIQUE_VIOLATION: "a source_key stands on rows of different times; delete all but one",
}
OLDER = """
    SELECT l.virtualtransaction FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_backend_pid()
      AND a.datname = current_database() AND a.usesysid IS NOT NULL  -- no vacuum
      AND pg_backend_pid() <> ALL (pg_blocking_pids(l.pid))"""  # nor who waits for us to write


def bring_up(layer: Layer, connection: sa.Connection) -> list[Step]:
    """The step of a layer that is known and divided in another way than it is declared."""
    if partition_sql.known_division(connection, layer.id) == partition_sql.division(layer):
        return []
    told = layer.partitions
    if told is None:
        says = f"put the parts of layer {layer.id} together"
    else:
        says = f"divide layer {layer.id} by {told.every} of {told.by}"
    return [Step(says=says, apart=lambda engine: arrange(engine, layer))]


def arrange(engine: sa.Engine, layer: Layer) -> None:
    """No revision is made: no row changes. Raises ChangeRefused, the layer as it was, where things
    of others hang on its table, and where other transactions do not end in time.
    """
    name = f"__arranged_{zlib.crc32(layer.id.encode()):08x}"  # no layer can be called so
    try:
        with engine.begin() as holder:
            holder.execute(sa.text("SELECT quartier.lock(:layer)"), {"layer": layer.id})
            if partition_sql.known_division(holder, layer.id) == partition_sql.division(layer):
                return
            _refuse_others(holder, layer)
            _drop(engine, name)
            with engine.begin() as filler:
                _fill(filler, layer, name)
            _await_older(holder, layer)
            _swap(holder, layer, name)
    except (DBAPIError, psycopg.Error) as exc:
        if said := SAID.get(sqlstate(exc) or ""):
            raise ChangeRefused(f"layer {layer.id}: partitions: {said}") from exc
        raise
    finally:
        _drop(engine, name)


def _refuse_others(connection: sa.Connection, layer: Layer) -> None:
    added = connection.scalar(sa.text(merge.additions(layer)))
    if added or connection.scalar(sa.text(partition_sql.added_to_parts(layer))):
        raise ChangeRefused(
            f"layer {layer.id}: partitions: views, indexes, grants or other things that are not"
            " Quartier's hang on its table and would be lost; drop them and make them again after"
        )


def _drop(engine: sa.Engine, name: str) -> None:
    """What did not take the layer's place, of this time or an earlier one."""
    with engine.begin() as connection:
        run_ddl(connection, f"DROP TABLE IF EXISTS {build.staged(name)}")


def _fill(connection: sa.Connection, layer: Layer, name: str) -> None:
    table = f"{CITY}.{ident(layer.id)}"
    run_ddl(connection, "SET LOCAL maintenance_work_mem = '512MB'")
    build.make(connection, layer, name, table)
    names = ", ".join(ident(each) for each in ("fid", *content_names(layer), "since"))
    run_ddl(
        connection,
        f"INSERT INTO {build.staged(name)} ({names}) OVERRIDING SYSTEM VALUE"
        f" SELECT {names} FROM {table} ORDER BY fid",
    )
    places, keys = build.index_statements(layer, build.staged(name), name)
    for statement in (*places, *keys):
        run_ddl(connection, statement)


def _await_older(holder: sa.Connection, layer: Layer) -> None:
    """Until every transaction has ended that was there when the rows were committed."""
    older = set(holder.scalars(sa.text(OLDER)))
    until = time.monotonic() + WAIT_S
    while older:
        if time.monotonic() > until:
            raise ChangeRefused(
                f"layer {layer.id}: partitions: {len(older)} older transactions have not ended in"
                f" {WAIT_S:.0f} s, an export or backup perhaps; run quartier apply again after them"
            )
        time.sleep(PAUSE_S / 10)
        older &= set(holder.scalars(sa.text(OLDER)))


def _swap(holder: sa.Connection, layer: Layer, name: str) -> None:
    for attempt in range(TRIES):
        try:
            with holder.begin_nested():
                build.swap(holder, layer, name, shapes=False, is_indexed=True)
                return
        except (DBAPIError, psycopg.Error) as exc:
            if sqlstate(exc) != LOCK_NOT_AVAILABLE or attempt == TRIES - 1:
                raise
            time.sleep(PAUSE_S)
