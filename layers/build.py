"""A layer's rows in a table built beside its own, which then takes its place.

So an empty layer is loaded, its indexes last, and so a layer is divided by time, or put together
again. Readers go on meanwhile; they wait for the change of names alone.
"""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa

from layers import merge_sql as merge
from layers import partition_sql, privacy_sql, shape_sql, slice_index
from layers.engine import postgis_schema, run_ddl
from layers.errors import ChangeRefused
from layers.model import Layer
from layers.overview_rebuild import count_anew
from layers.sql import ident, literal
from layers.tables import CITY, PARTS, READERS, STAGE, rows_table
from layers.triggers import attach_statements

LOCK_TIMEOUT = "1s"  # readers wait no longer than this

MAX_PARTS = 240  # 20 years of months
LOCKS_A_PART, READERS_AT_A_TIME = 4, 24


def can_be_replaced(connection: sa.Connection, layer: Layer) -> bool:
    """Whether another table may take the layer's place: no row and nothing of others is lost."""
    if layer.privacy is not None and connection.scalar(sa.text(privacy_sql.other_triggers(layer))):
        return False
    for table in {f"{CITY}.{ident(layer.id)}", rows_table(layer)}:
        if connection.scalar(sa.text(f"SELECT EXISTS (SELECT FROM {table})")):
            return False
    return not connection.scalar(sa.text(merge.additions(layer)))


def load(connection: sa.Connection, layer: Layer, run_id: int) -> int:
    """Load the stage of a run into an empty layer, in spatial order; how many rows that were.

    The caller holds the layer's lock, and knows that its table can be replaced.
    """
    since = int(connection.scalar(sa.text(merge.next_revision()), {"layer": layer.id}) or 0)
    make(connection, layer, merge.build_table(run_id), merge.stage_name(run_id))
    inserted, published = _fill(connection, layer, run_id, since)
    if inserted:
        take_place(connection, layer, run_id, since=since, published=published)
    else:
        connection.execute(sa.text(f"DROP TABLE {merge.build_name(run_id)}"))
    return inserted


def take_place(  # noqa: PLR0913
    connection: sa.Connection,
    layer: Layer,
    run_id: int,
    *,
    since: int,
    published: int,
    is_indexed: bool = False,
) -> None:
    """Put the filled table of a run in the place of its layer's, whose lock the caller holds, and
    count it: that is the revision `since`.
    """
    shown = layer.as_published()
    swap(connection, shown, merge.build_table(run_id), is_indexed=is_indexed)
    for statement, values in count_anew(shown):
        connection.execute(sa.text(statement), values)
    connection.execute(
        sa.text("SELECT quartier.allocate_revision(:layer, :rows, 0, 0)"),
        {"layer": layer.id, "rows": published},
    )
    connection.execute(
        sa.text("SELECT quartier.touch_everything(:layer, :revision)"),
        {"layer": layer.id, "revision": since},
    )


def staged(build: str) -> str:
    """The table while it is made, quoted."""
    return f"{STAGE}.{ident(build)}"


def table_statements(layer: Layer, build: str) -> list[str]:
    """DDL of an empty table of the layer's columns, which counts on from the fids of its own."""
    by = f" PARTITION BY RANGE ({ident(layer.partitions.by)})" if layer.partitions else ""
    like = f"LIKE {CITY}.{ident(layer.id)} INCLUDING ALL EXCLUDING INDEXES"
    return [f"CREATE TABLE {staged(build)} ({like}){by}", _continue_fids(layer, staged(build))]


def make(connection: sa.Connection, layer: Layer, build: str, rows: str) -> None:
    """An empty table of the layer's columns, with the parts that `rows` need."""
    for statement in table_statements(layer, build):
        run_ddl(connection, statement)
    if layer.partitions:
        starts = needed_parts(connection, layer, rows)
        for statement in partition_sql.part_statements(layer, staged(build), build, starts):
            run_ddl(connection, statement)


def needed_parts(connection: sa.Connection, layer: Layer, rows: str) -> list[date]:
    """The first days of the periods that rows (a table, quoted) lie in.

    Raises ChangeRefused where they are more than can be asked at a time.
    """
    starts = list(connection.scalars(sa.text(partition_sql.periods(layer, rows))))
    most = most_parts(connection)
    if len(starts) > most:
        raise ChangeRefused(
            f"layer {layer.id}: partitions: its rows lie in {len(starts)} periods from {starts[0]}"
            f" to {starts[-1]}, and {most} can be opened at a time; look for wrong dates, write"
            " every: year, or raise max_locks_per_transaction of PostgreSQL"
        )
    return starts


def most_parts(connection: sa.Connection) -> int:
    """How many parts a layer can have: a question locks each, and its indexes, and the server
    has room for so many locks, of all who ask at a time.
    """
    room = connection.scalar(
        sa.text(
            "SELECT current_setting('max_locks_per_transaction')::int"
            " * current_setting('max_connections')::int"
        )
    )
    return min(MAX_PARTS, int(room or 0) // (LOCKS_A_PART * READERS_AT_A_TIME))


def _fill(connection: sa.Connection, layer: Layer, run_id: int, since: int) -> tuple[int, int]:
    """Fill the new table; how many rows that were, and how many of them are published."""
    stage_table, build = merge.stage_name(run_id), merge.build_name(run_id)
    if layer.privacy is None:
        filled = sa.text(merge.insert_built(layer, stage_table, build))
        rows = connection.execute(filled, {"since": since}).rowcount
        return rows, rows
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    for statement in privacy_sql.fill_statements(layer, stage_table, since):
        run_ddl(connection, statement)
    rows = int(connection.scalar(sa.text(f"SELECT count(*) FROM {rows_table(layer)}")) or 0)
    derived = sa.text(privacy_sql.insert_published(layer, build))
    return rows, connection.execute(derived, {"since": since}).rowcount


def _continue_fids(layer: Layer, build: str) -> str:
    """A fid is never given twice, so the new table counts on from the old one."""
    old = literal(f"{CITY}.{ident(layer.id)}")
    return (
        f"SELECT setval(pg_get_serial_sequence({literal(build)}, 'fid'), s.last, s.called)"
        f" FROM (SELECT coalesce(pg_sequence_last_value("
        f"pg_get_serial_sequence({old}, 'fid')::regclass), 1) AS last,"
        f" pg_sequence_last_value("
        f"pg_get_serial_sequence({old}, 'fid')::regclass) IS NOT NULL AS called) s"
    )


def index_statements(layer: Layer, table: str, build: str) -> tuple[list[str], list[str]]:
    """DDL of the index of places of a built table (quoted), and of its keys and other indexes."""
    places = [f"CREATE INDEX {ident(f'{build}_geom')} ON {table} USING gist (tile_geom)"]
    keys = [
        f"CREATE UNIQUE INDEX {ident(f'{build}_pkey')} ON {table} (fid)",
        f"CREATE UNIQUE INDEX {ident(f'{build}_source_key_key')} ON {table} (source_key)",
    ]
    if layer.partitions:
        keys = partition_sql.index_statements(layer, table, build)
    keys += slice_index.statements(layer, table, build)
    return places if layer.has_geometry else [], keys


def swap(
    connection: sa.Connection,
    layer: Layer,
    build: str,
    *,
    shapes: bool = True,
    is_indexed: bool = False,
) -> None:
    """Index the built table and give it the layer's name, keys and triggers; with `shapes`, what
    low zooms draw is made of its rows too. The caller holds the layer's lock.

    Readers wait for the drop at most LOCK_TIMEOUT; where one of them holds the old table for
    longer, PostgreSQL raises, and the caller goes another way or tries again.
    """
    name, table, moved = layer.id, f"{CITY}.{ident(layer.id)}", f"{CITY}.{ident(build)}"
    places, keys = ([], []) if is_indexed else index_statements(layer, moved, build)
    ddl = [
        f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'",
        f"ALTER TABLE {staged(build)} SET SCHEMA {CITY}",
        *keys,
        *places,
        *(shape_sql.fill_statements(layer, moved) if shapes else ()),
        f"ANALYZE {moved}",
        f"DROP TABLE {table}",
        f"ALTER TABLE {moved} RENAME TO {ident(name)}",
        f"ALTER SEQUENCE {CITY}.{ident(f'{build}_fid_seq')} RENAME TO {ident(f'{name}_fid_seq')}",
        *_keys(layer, build),
        f"GRANT SELECT ON {table} TO {READERS}",
    ]
    if layer.has_geometry:
        index = f"{CITY}.{ident(f'{build}_geom')}"
        ddl.append(f"ALTER INDEX {index} RENAME TO {ident(f'{name}_tile_geom_idx')}")
    ddl += slice_index.renaming(layer, build)
    if shapes:
        ddl += [*shape_sql.place_statements(layer), *shape_sql.remember_statements(layer)]
    schema = postgis_schema(connection)
    guard = [privacy_sql.guard_statement(layer)] if layer.privacy else []
    for statement in [*ddl, *attach_statements(layer, name), *guard]:
        run_ddl(connection, statement.replace("@postgis@", schema))
    if layer.partitions:
        _rename_parts(connection, layer, build)
    partition_sql.keep_division(connection, layer)


def _keys(layer: Layer, build: str) -> list[str]:
    """DDL that gives the indexes of the keys their names, and makes keys of them where it can."""
    table, ddl = f"{CITY}.{ident(layer.id)}", []
    for suffix, kind in {"pkey": "PRIMARY KEY", "source_key_key": "UNIQUE"}.items():
        was, name = ident(f"{build}_{suffix}"), ident(f"{layer.id}_{suffix}")
        if layer.partitions:
            ddl.append(f"ALTER INDEX {CITY}.{was} RENAME TO {name}")
        else:
            ddl.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {kind} USING INDEX {was}")
    return ddl


def _rename_parts(connection: sa.Connection, layer: Layer, build: str) -> None:
    for name in partition_sql.part_names(connection, layer):
        label = name.removeprefix(f"{build}__")
        new = ident(f"{layer.id}__{label}")
        run_ddl(connection, f"ALTER TABLE {PARTS}.{ident(name)} RENAME TO {new}")
