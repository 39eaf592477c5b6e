"""Merge staged rows and publish them in one transaction.

Killed at any instant, the old revision stays: the stage is a table nobody reads, and the merge
is one transaction. A first load builds a new table and puts it in the layer's place; every other
load inserts, updates and deletes by key.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from layers import build, partition_steps, shape_batch
from layers import merge_sql as merge
from layers.engine import sqlstate
from layers.errors import ChangeRefused, StoreUnavailable
from layers.model import Layer
from layers.privacy_steps import require_borders
from layers.retention import trim
from layers.runs import check_published
from layers.sql import ident
from layers.tables import CITY, rows_table

RETRIES = 5
MANY_CHANGES, GREAT_SHARE = 1000, 0.02  # of rows, after which the planner has to look again
IN_THE_WAY = {"55P03", "2BP01"}  # lock_not_available, dependent_objects_still_exist
RETRIED = {"40P01", "40001"}  # deadlock_detected, serialization_failure
T = TypeVar("T")


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


def publish(engine: sa.Engine, layer: Layer, run_id: int, terms: Terms) -> Merged:
    """Merge the stage of a run into the layer; all of it or, on any error, nothing.

    Raises ChangeRefused when a declared key stands on rows that differ, and LayerMoved where terms
    say what is known of the layer and it is so no more.
    """

    def work(connection: sa.Connection, *, may_build: bool) -> Merged:
        begin_publishing(connection, run_id)
        duplicates = _settle_keys(connection, layer, merge.stage_name(run_id), terms.maybe_equal)
        check_published(connection, layer)
        parts: list[str] = []
        if layer.partitions is not None:
            parts = partition_steps.make_room(engine, layer, merge.stage_name(run_id))
        lock(connection, layer)
        check_published(connection, layer)
        if terms.known is not None and revision_of(connection, layer) != terms.known.at:
            raise LayerMoved(layer.id)
        if layer.privacy is not None:
            require_borders(connection, layer)
        load = _Load(connection=connection, layer=layer, run_id=run_id, terms=terms, parts=parts)
        merged = load.bring_in(duplicates, may_build=may_build)
        return finished(connection, layer, merged)

    try:
        return retrying(engine, partial(work, may_build=True))
    except (DBAPIError, psycopg.Error) as exc:
        if sqlstate(exc) not in IN_THE_WAY:
            raise
        return retrying(engine, partial(work, may_build=False))


def begin_publishing(connection: sa.Connection, run_id: int) -> None:
    """What every transaction that publishes begins with."""
    connection.execute(sa.text("SET LOCAL work_mem = '256MB'"))
    connection.execute(sa.text("SET LOCAL maintenance_work_mem = '512MB'"))
    connection.execute(
        sa.text("SELECT set_config('quartier.run', :run, true)"), {"run": str(run_id)}
    )


def finished(connection: sa.Connection, layer: Layer, merged: Merged) -> Merged:
    """What every one ends with: shapes drawn together, the past that is too old let go."""
    note = shape_batch.settle(connection, layer)
    if layer.keep_history_days is not None:
        trim(connection, layer)
    return replace(merged, note=note, revision=revision_of(connection, layer))


def retrying(engine: sa.Engine, work: Callable[[sa.Connection], T]) -> T:
    for attempt in range(RETRIES):
        try:
            with engine.begin() as connection:
                return work(connection)
        except (DBAPIError, psycopg.Error) as exc:
            if sqlstate(exc) not in RETRIED or attempt == RETRIES - 1:
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


def lock(connection: sa.Connection, layer: Layer) -> None:
    """Table before state row, as every writer does; readers go on."""
    table = rows_table(layer)
    connection.execute(sa.text(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"))
    connection.execute(sa.text(merge.next_revision()), {"layer": layer.id})


def revision_of(connection: sa.Connection, layer: Layer) -> int:
    found = sa.text("SELECT revision FROM quartier.layer_state WHERE layer_id = :layer")
    return int(connection.scalar(found, {"layer": layer.id}) or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    """Bring the stage of a run into its layer, by the shortest way that the terms allow. `parts`
    are the tables that its rows can go to, of a layer that is divided by time.
    """

    connection: sa.Connection
    layer: Layer
    run_id: int
    terms: Terms
    parts: list[str]

    def bring_in(self, duplicates: int, *, may_build: bool) -> Merged:
        terms, connection, layer = self.terms, self.connection, self.layer
        if terms.known is not None:
            return self._add_and_remove(terms.known.gone)
        if may_build and build.can_be_replaced(connection, layer):
            inserted = build.load(connection, layer, self.run_id)
            revision = revision_of(connection, layer)
            return Merged(inserted=inserted, duplicates=duplicates, revision=revision)
        if terms.check_known is not None and layer.key and layer.has_geometry:
            found = connection.execute(sa.text(merge.moved(layer, self._stage)), self._span())
            terms.check_known(*found.one())
        return self._merge(duplicates)

    @property
    def _stage(self) -> str:
        return merge.stage_name(self.run_id)

    def _span(self) -> dict[str, Any]:
        """The times that the stage's rows have, where its layer is divided by them."""
        if self.layer.partitions is None:
            return {}
        found = self.connection.execute(sa.text(merge.span(self.layer, self._stage)))
        return dict(found.one()._mapping)

    def _add_and_remove(self, gone: list[str]) -> Merged:
        """Of a source that is known but for its new rows: nothing else is looked at."""
        connection, layer = self.connection, self.layer
        deleted = connection.execute(sa.text(merge.delete_listed(layer)), {"gone": gone}).rowcount
        inserted = self._insert_new(self._span())
        self._analyze(inserted + deleted)
        return Merged(inserted=inserted, deleted=deleted, revision=revision_of(connection, layer))

    def _insert_new(self, span: dict[str, Any]) -> int:
        new = sa.text(merge.insert_new(self.layer, self._stage))
        return self.connection.execute(new, span).rowcount

    def _merge(self, duplicates: int) -> Merged:
        connection, layer, span = self.connection, self.layer, self._span()
        staged = int(connection.scalar(sa.text(f"SELECT count(*) FROM {self._stage}")) or 0)
        changed = sa.text(merge.update_changed(layer, self._stage))
        updated = connection.execute(changed, span).rowcount
        deleted = 0
        if self.terms.may_delete:
            gone = sa.text(merge.delete_gone(layer, self._stage))
            deleted = connection.execute(gone, {"run": self.run_id}).rowcount
        inserted = self._insert_new(span)
        self._analyze(inserted + updated + deleted)
        return Merged(
            inserted=inserted,
            updated=updated,
            unchanged=staged - inserted - updated,
            deleted=deleted,
            duplicates=duplicates,
            revision=revision_of(connection, layer),
        )

    def _analyze(self, changed: int) -> None:
        """Keep what the planner knows true after a great many changes; of a layer that is divided,
        in the parts that they went to.
        """
        tables = self.parts or [f"{CITY}.{ident(self.layer.id)}", rows_table(self.layer)]
        stale = sa.text(
            "SELECT c.oid::regclass::text FROM pg_class c"
            " WHERE c.oid IN (SELECT to_regclass(t) FROM unnest(CAST(:tables AS text[])) t)"
            " AND :changed > greatest(:many, c.reltuples * :share)"
        )
        told = {"tables": tables, "changed": changed, "many": MANY_CHANGES, "share": GREAT_SHARE}
        if found := list(self.connection.scalars(stale, told)):
            self.connection.execute(sa.text(f"ANALYZE {', '.join(found)}"))
