"""Stage rows, then merge and publish them in one transaction.

Killed at any instant, the old revision stays: the stage is a table nobody reads, and the merge
is one transaction. A first load builds a new table, with its indexes, and puts it in the
layer's place; every other load inserts, updates and deletes by key.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from layers import merge_sql as merge
from layers import privacy_sql, shape_batch, shape_sql
from layers.engine import postgis_schema, run_ddl
from layers.errors import ChangeRefused, StoreUnavailable
from layers.model import ColumnType, Layer
from layers.overview_rebuild import count_anew
from layers.privacy_steps import require_borders
from layers.retention import trim
from layers.runs import check_published
from layers.sql import ident, literal
from layers.tables import CITY, READERS, rows_table, type_name
from layers.triggers import attach_statements

ROW, LINE = "#row", "#line"  # of a stage; no declared column can have such a name
RETRIES = 5
LOCK_TIMEOUT = "1s"  # readers of an empty layer wait no longer than this
IN_THE_WAY = {"55P03", "2BP01"}  # lock_not_available, dependent_objects_still_exist
RETRIED = {"40P01", "40001"}  # deadlock_detected, serialization_failure
T = TypeVar("T")


class ArrowConnection(Protocol):
    """What ADBC's DBAPI connection can do for us."""

    def cursor(self) -> Any: ...
    def commit(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge did. `revision` is the layer's after it, `note` what to know besides."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    duplicates: int = 0
    revision: int
    note: str = ""

    @property
    def changed(self) -> bool:
        return bool(self.inserted or self.updated or self.deleted)


class LayerMoved(Exception):
    """The layer is no longer what a load took it for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """That the stage holds nothing but new rows: the layer, at revision `at`, holds all others of
    the source, and besides them the rows of the keys that are `gone`.
    """

    at: int
    gone: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a stage is merged.

    `may_delete` says that the source was read whole, so that what it lacks is gone. `maybe_equal`
    are the numbers of the rows that alone can be equal to another. `check_known` is told, of the
    rows whose declared key is known, how many there are and how many of them moved; what it raises
    stops the load.
    """

    may_delete: bool
    maybe_equal: list[int] | None = None
    check_known: Callable[[int, int], None] | None = None
    known: Known | None = None


class Stage:
    """The rows of one run, waiting in `city_stage`."""

    def __init__(self, arrow: ArrowConnection, layer: Layer, run_id: int) -> None:
        self._arrow = arrow
        self._table = f"run_{run_id}"
        self._cursor = arrow.cursor()
        self._cursor.execute(_stage_ddl(layer, run_id))
        arrow.commit()

    def append(self, rows: Any) -> None:
        """Add a pyarrow RecordBatch: `#row`, `#line`, `source_key`, the columns, `geom`."""
        self._cursor.adbc_ingest(self._table, rows, mode="append", db_schema_name="city_stage")

    def close(self) -> None:
        self._arrow.commit()
        self._cursor.close()


def _stage_ddl(layer: Layer, run_id: int) -> str:
    columns = [f"{ident(ROW)} bigint", f"{ident(LINE)} bigint", 'source_key text COLLATE "C"']
    for column in layer.columns:
        kind = "text" if column.type is ColumnType.JSON else type_name(column.type)
        columns.append(f"{ident(column.name)} {kind}")
    if layer.has_geometry:
        columns.append("geom geometry(Geometry, 4326)")
    return f"CREATE UNLOGGED TABLE {merge.stage_name(run_id)} ({', '.join(columns)})"


@contextmanager
def stage(arrow: ArrowConnection, layer: Layer, run_id: int) -> Iterator[Stage]:
    """A stage that is ready to be published when the block ends."""
    staged = Stage(arrow, layer, run_id)
    yield staged
    staged.close()


def publish(engine: sa.Engine, layer: Layer, run_id: int, terms: Terms) -> Merged:
    """Merge the stage of a run into the layer; all of it or, on any error, nothing.

    Raises ChangeRefused when a declared key stands on rows that differ, and LayerMoved where terms
    say what is known of the layer and it is so no more.
    """

    def work(connection: sa.Connection, *, may_build: bool) -> Merged:
        connection.execute(sa.text("SET LOCAL work_mem = '256MB'"))
        connection.execute(sa.text("SET LOCAL maintenance_work_mem = '512MB'"))
        connection.execute(
            sa.text("SELECT set_config('quartier.run', :run, true)"), {"run": str(run_id)}
        )
        duplicates = _settle_keys(connection, layer, merge.stage_name(run_id), terms.maybe_equal)
        _lock(connection, layer)
        check_published(connection, layer)
        if terms.known is not None and _revision(connection, layer) != terms.known.at:
            raise LayerMoved(layer.id)
        if layer.privacy is not None:
            require_borders(connection, layer)
        merged = _brought_in(connection, layer, run_id, terms, duplicates, may_build=may_build)
        note = shape_batch.settle(connection, layer)
        if layer.keep_history_days is not None:
            trim(connection, layer)
        return replace(merged, note=note, revision=_revision(connection, layer))

    try:
        return _retrying(engine, partial(work, may_build=True))
    except (DBAPIError, psycopg.Error) as exc:
        if _sqlstate(exc) not in IN_THE_WAY:
            raise
        return _retrying(engine, partial(work, may_build=False))


def _sqlstate(exc: DBAPIError | psycopg.Error) -> str | None:
    return exc.sqlstate if isinstance(exc, psycopg.Error) else getattr(exc.orig, "sqlstate", None)


def _retrying(engine: sa.Engine, work: Callable[[sa.Connection], T]) -> T:
    for attempt in range(RETRIES):
        try:
            with engine.begin() as connection:
                return work(connection)
        except (DBAPIError, psycopg.Error) as exc:
            if _sqlstate(exc) not in RETRIED or attempt == RETRIES - 1:
                raise
            time.sleep(0.1 * 2**attempt)
    raise StoreUnavailable("the transaction could not be finished")


def _settle_keys(
    connection: sa.Connection, layer: Layer, stage_table: str, maybe_equal: list[int] | None
) -> int:
    """Make every `source_key` of the stage unique; returns how many repeated rows were left out."""
    connection.execute(sa.text(f"ANALYZE {stage_table}"))
    if not layer.key:
        if maybe_equal != []:
            among = maybe_equal is not None
            numbered = merge.number_equal_rows(stage_table, among_rows=among)
            connection.execute(sa.text(numbered), {"rows": maybe_equal} if among else {})
        return 0
    conflicts = connection.execute(sa.text(merge.conflicting_keys(stage_table))).all()
    if not conflicts:
        return 0
    dropped = connection.execute(sa.text(merge.drop_repeated_rows(layer, stage_table))).rowcount
    conflicts = connection.execute(sa.text(merge.conflicting_keys(stage_table))).all()
    if conflicts:
        said = "; ".join(f"{key!r} on lines {_listed(lines)}" for key, lines in conflicts)
        raise ChangeRefused(
            f"layer {layer.id}: key {'+'.join(layer.key)} stands on rows that differ: {said}."
            " Correct the rows, or declare a key that names one row"
        )
    return dropped


def _listed(lines: list[int]) -> str:
    shown = ", ".join(str(line) for line in lines[:4])
    return shown if len(lines) <= 4 else f"{shown} and {len(lines) - 4} more"


def _lock(connection: sa.Connection, layer: Layer) -> None:
    """Table before state row, as every writer does; readers go on."""
    table = rows_table(layer)
    connection.execute(sa.text(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"))
    connection.execute(sa.text(merge.next_revision()), {"layer": layer.id})


def _is_ours_and_empty(connection: sa.Connection, layer: Layer) -> bool:
    """Whether another table may take the layer's place: no row and nothing of others is lost."""
    if layer.privacy is not None and connection.scalar(sa.text(privacy_sql.other_triggers(layer))):
        return False
    for table in {f"{CITY}.{ident(layer.id)}", rows_table(layer)}:
        if connection.scalar(sa.text(f"SELECT EXISTS (SELECT FROM {table})")):
            return False
    return not connection.scalar(sa.text(merge.additions(layer)))


def _revision(connection: sa.Connection, layer: Layer) -> int:
    found = sa.text("SELECT revision FROM quartier.layer_state WHERE layer_id = :layer")
    return int(connection.scalar(found, {"layer": layer.id}) or 0)


def _merge(
    connection: sa.Connection, layer: Layer, run_id: int, duplicates: int, may_delete: bool
) -> Merged:
    stage_table = merge.stage_name(run_id)
    staged = int(connection.scalar(sa.text(f"SELECT count(*) FROM {stage_table}")) or 0)
    updated = connection.execute(sa.text(merge.update_changed(layer, stage_table))).rowcount
    deleted = 0
    if may_delete:
        gone = sa.text(merge.delete_gone(layer, stage_table))
        deleted = connection.execute(gone, {"run": run_id}).rowcount
    inserted = connection.execute(sa.text(merge.insert_new(layer, stage_table))).rowcount
    if inserted + updated + deleted > 1000:
        connection.execute(sa.text(f"ANALYZE {CITY}.{ident(layer.id)}, {rows_table(layer)}"))
    return Merged(
        inserted=inserted,
        updated=updated,
        unchanged=staged - inserted - updated,
        deleted=deleted,
        duplicates=duplicates,
        revision=_revision(connection, layer),
    )


def _brought_in(  # noqa: PLR0913
    connection: sa.Connection,
    layer: Layer,
    run_id: int,
    terms: Terms,
    duplicates: int,
    *,
    may_build: bool,
) -> Merged:
    """Bring the stage into the layer, by the shortest way that its terms allow."""
    if terms.known is not None:
        return _add_and_remove(connection, layer, run_id, terms.known.gone)
    if may_build and _is_ours_and_empty(connection, layer):
        return _build(connection, layer, run_id, duplicates)
    if terms.check_known is not None and layer.key and layer.has_geometry:
        found = connection.execute(sa.text(merge.moved(layer, merge.stage_name(run_id))))
        terms.check_known(*found.one())
    return _merge(connection, layer, run_id, duplicates, terms.may_delete)


def _add_and_remove(
    connection: sa.Connection, layer: Layer, run_id: int, gone: list[str]
) -> Merged:
    """Of a source that is known but for its new rows: nothing else is looked at."""
    stage_table = merge.stage_name(run_id)
    deleted = connection.execute(sa.text(merge.delete_listed(layer)), {"gone": gone}).rowcount
    inserted = connection.execute(sa.text(merge.insert_new(layer, stage_table))).rowcount
    return Merged(inserted=inserted, deleted=deleted, revision=_revision(connection, layer))


def _build(connection: sa.Connection, layer: Layer, run_id: int, duplicates: int) -> Merged:
    """Load an empty layer: a new table, filled in spatial order, takes the old one's place."""
    since = connection.scalar(sa.text(merge.next_revision()), {"layer": layer.id})
    build = merge.build_name(run_id)
    connection.execute(
        sa.text(
            f"CREATE TABLE {build} (LIKE {CITY}.{ident(layer.id)} INCLUDING ALL EXCLUDING INDEXES)"
        )
    )
    _continue_fids(connection, layer, build)
    inserted, published = _fill(connection, layer, run_id, int(since or 0))
    if inserted:
        shown = layer.as_published()
        _swap(connection, shown, run_id)
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
    else:
        connection.execute(sa.text(f"DROP TABLE {build}"))
    return Merged(inserted=inserted, duplicates=duplicates, revision=_revision(connection, layer))


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


def _continue_fids(connection: sa.Connection, layer: Layer, build: str) -> None:
    """A fid is never given twice, so the new table counts on from the old one."""
    old = literal(f"{CITY}.{ident(layer.id)}")
    connection.execute(
        sa.text(
            f"SELECT setval(pg_get_serial_sequence({literal(build)}, 'fid'), s.last, s.called)"
            f" FROM (SELECT coalesce(pg_sequence_last_value("
            f"pg_get_serial_sequence({old}, 'fid')::regclass), 1) AS last,"
            f" pg_sequence_last_value("
            f"pg_get_serial_sequence({old}, 'fid')::regclass) IS NOT NULL AS called) s"
        )
    )


def _swap(connection: sa.Connection, layer: Layer, run_id: int) -> None:
    """Index the built table and give it the layer's name, keys and triggers.

    Readers wait for the drop at most LOCK_TIMEOUT; where one of them holds the old table for
    longer, PostgreSQL raises and the rows are merged instead.
    """
    build, table = merge.build_name(run_id), f"{CITY}.{ident(layer.id)}"
    name, temporary = layer.id, f"build_{run_id}"
    moved = f"{CITY}.{ident(temporary)}"
    ddl = [
        f"ALTER TABLE {build} SET SCHEMA {CITY}",
        f"CREATE UNIQUE INDEX {ident(f'{temporary}_fid')} ON {moved} (fid)",
        f"CREATE UNIQUE INDEX {ident(f'{temporary}_key')} ON {moved} (source_key)",
    ]
    if layer.has_geometry:
        index = ident(f"{temporary}_geom")
        ddl.append(f"CREATE INDEX {index} ON {moved} USING gist (tile_geom)")
    ddl += [
        *shape_sql.fill_statements(layer, moved),
        f"ANALYZE {moved}",
        f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; DROP TABLE {table}",
        f"ALTER TABLE {moved} RENAME TO {ident(name)}",
        f"ALTER SEQUENCE {CITY}.{ident(f'{temporary}_fid_seq')}"
        f" RENAME TO {ident(f'{name}_fid_seq')}",
        f"ALTER TABLE {table} ADD CONSTRAINT {ident(f'{name}_pkey')}"
        f" PRIMARY KEY USING INDEX {ident(f'{temporary}_fid')}",
        f"ALTER TABLE {table} ADD CONSTRAINT {ident(f'{name}_source_key_key')}"
        f" UNIQUE USING INDEX {ident(f'{temporary}_key')}",
        f"GRANT SELECT ON {table} TO {READERS}",
    ]
    if layer.has_geometry:
        index = f"{CITY}.{ident(f'{temporary}_geom')}"
        ddl.append(f"ALTER INDEX {index} RENAME TO {ident(f'{name}_tile_geom_idx')}")
    ddl += [*shape_sql.place_statements(layer), *shape_sql.remember_statements(layer)]
    schema = postgis_schema(connection)
    guard = [privacy_sql.guard_statement(layer)] if layer.privacy else []
    for statement in [*ddl, *attach_statements(layer, name), *guard]:
        run_ddl(connection, statement.replace("@postgis@", schema))
