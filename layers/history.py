"""Layers as they were: a page of a past revision, what differs between two, and the way back.

A row of revision R is the live one if it was written by then, else the one that history holds for
it. History is read through a view; only a rollback writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from layers.errors import LayerNotFound, QueryRefused
from layers.model import Layer
from layers.read import (
    FeaturePage,
    FeatureQuery,
    Statement,
    compiled,
    feature_columns,
    in_bbox,
    page_of,
)
from layers.sqlstates import meant_errors
from layers.store import Store
from layers.tables import HISTORY_VIEWS, content_names, history_table, layer_table

REVISION = """
    SELECT max(revision) FILTER (WHERE $2::timestamptz IS NULL OR made_at <= $2) AS revision,
           min(revision) AS first, min(made_at) AS since
    FROM quartier.public_revisions WHERE layer_id = $1"""
KINDS = ("added", "changed", "removed")
MAX_CHANGES = 1_000  # on a page of differences


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffQuery:
    """Which differences: of the rows after `since` up to `until`, a page of them."""

    layer: Layer
    since: int
    until: int
    after: int = 0
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """How many rows differ, and some of them. `changes` are fit for JSON."""

    counts: dict[str, int]
    changes: list[dict[str, Any]]
    next_after: int | None


async def resolve(store: Store, layer_id: str, parameter: str, asked: str) -> int:
    """The revision that a number or an instant means; raises QueryRefused for none."""
    moment: datetime | None = None
    if not (asked.isascii() and asked.isdigit()):
        try:
            moment = datetime.fromisoformat(asked)
        except ValueError:
            fix = "write a revision such as 12, or an instant such as 2026-10-05T14:30:00Z"
            raise QueryRefused(parameter, asked, fix) from None
        if moment.tzinfo is None:
            raise QueryRefused(parameter, asked, "say its time zone, such as Z or +02:00")
    row = await store.fetchrow(REVISION, layer_id, moment)
    newest, first = row["revision"], row["first"] or 0
    kept = f"the past is kept from revision {first} on"
    kept += f", which is of {row['since']:%Y-%m-%dT%H:%M:%SZ}" if row["since"] else ""
    if moment is not None:
        if newest is None:
            raise QueryRefused(parameter, asked, kept if first > 1 else "the layer had no rows yet")
        return int(newest)
    if len(asked) > 18 or int(asked) > (newest or 0):
        raise QueryRefused(parameter, asked, f"the newest revision is {newest or 0}")
    if first > 1 and int(asked) < first:
        raise QueryRefused(parameter, asked, kept)
    return int(asked)


def as_of(
    layer: Layer,
    revision: int,
    narrow: Callable[[sa.Select[Any], Any], sa.Select[Any]] | None = None,
) -> sa.Select[Any]:
    """The rows of a revision: `fid`, the declared columns and `geom`. `narrow` is given the SELECT
    of each of the two tables, and the table, to say what it needs of them.
    """
    live, past = layer_table(layer), history_table(layer, schema=HISTORY_VIEWS)
    names = ["fid", *content_names(layer)]
    was = sa.and_(past.c.valid_from <= revision, past.c.valid_to > revision)
    parts = [
        (sa.select(*(live.c[name] for name in names)).where(live.c.since <= revision), live),
        (sa.select(*(past.c[name] for name in names)).where(was), past),
    ]
    selects = [narrow(*part) if narrow else part[0] for part in parts]
    return sa.select(sa.union_all(*(each.subquery().select() for each in selects)).subquery("t"))


def page_statement(query: FeatureQuery, revision: int) -> Statement:
    """As `layers.read.page_statement`, of a past revision: each table is walked in order of fid no
    further than a page.
    """

    def narrow(chosen: sa.Select[Any], table: Any) -> sa.Select[Any]:
        there = chosen.where(table.c.fid > query.after, *in_bbox(query, table))
        return there.order_by(table.c.fid).limit(query.limit + 1)

    rows = as_of(query.layer, revision, narrow).subquery("t")
    chosen = sa.select(*feature_columns(query.layer, rows))
    return compiled(chosen.order_by(rows.c.fid).limit(query.limit + 1))


def count_statement(query: FeatureQuery, revision: int) -> Statement:
    def narrow(chosen: sa.Select[Any], table: Any) -> sa.Select[Any]:
        return chosen.where(*in_bbox(query, table))

    rows = as_of(query.layer, revision, narrow).subquery("t")
    return compiled(sa.select(sa.func.count()).select_from(rows))


async def read_past_page(store: Store, query: FeatureQuery, revision: int) -> FeaturePage:
    """A page of the layer as it was at a revision, all of one snapshot."""
    page, count = page_statement(query, revision), count_statement(query, revision)
    async with (
        store.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        rows = await connection.fetch(page.sql, *page.args)
        matched = await connection.fetchval(count.sql, *count.args)
    return page_of(query, rows, matched, revision)


def _differences(query: DiffQuery) -> tuple[sa.Select[Any], dict[str, Any]]:
    """The rows that differ, each with what it was and is; and its parts by their names."""
    layer = query.layer
    live, past = layer_table(layer), history_table(layer, schema=HISTORY_VIEWS)
    touched = sa.union(
        sa.select(live.c.fid).where(live.c.since > query.since, live.c.since <= query.until),
        sa.select(past.c.fid).where(
            past.c.valid_from <= query.until,
            past.c.valid_to > query.since,
            sa.or_(past.c.valid_from > query.since, past.c.valid_to <= query.until),
        ),
    ).subquery("touched")

    def of_the_same(chosen: sa.Select[Any], table: Any) -> sa.Select[Any]:
        return chosen.where(table.c.fid == touched.c.fid).correlate(touched)

    before, after = (
        as_of(layer, revision, of_the_same).lateral(name)
        for revision, name in ((query.since, "before"), (query.until, "after"))
    )
    names = content_names(layer)
    differs = sa.or_(
        before.c.fid.is_distinct_from(after.c.fid),
        *(_bytes(before, name).is_distinct_from(_bytes(after, name)) for name in names),
    )
    kind = sa.case(
        (before.c.fid.is_(None), "added"), (after.c.fid.is_(None), "removed"), else_="changed"
    )
    chosen = (
        sa.select(touched.c.fid, kind.label("kind"))
        .select_from(touched.outerjoin(before, sa.true()).outerjoin(after, sa.true()))
        .where(differs)
    )
    return chosen, {"touched": touched, "before": before, "after": after}


def _bytes(table: Any, name: str) -> Any:
    """A column as it is compared: a geometry byte by byte."""
    column = table.c[name]
    return sa.cast(column, sa.LargeBinary) if name == "geom" else column


def diff_statements(query: DiffQuery) -> tuple[Statement, Statement]:
    """A page of the differences, and how many of each kind there are."""
    chosen, parts = _differences(query)
    fid = parts["touched"].c.fid
    page = chosen.where(fid > query.after).order_by(fid).limit(query.limit + 1)
    for name in ("before", "after"):
        whole = feature_columns(query.layer, parts[name])[1]
        there = sa.case((parts[name].c.fid.is_not(None), whole))
        page = page.add_columns(there.label(f"{name}_feature"))
    if query.layer.has_geometry:
        middles = (sa.func.ST_Centroid(parts[name].c.geom) for name in ("before", "after"))
        page = page.add_columns(sa.func.ST_DistanceSphere(*middles).label("moved"))
    whole_ = chosen.subquery("d")
    counted = sa.select(whole_.c.kind, sa.func.count().label("n")).group_by(whole_.c.kind)
    return compiled(page), compiled(counted)


async def read_diff(store: Store, query: DiffQuery) -> Diff:
    """What differs between two revisions, all of one snapshot."""
    page, counted = diff_statements(query)
    async with (
        store.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        rows = await connection.fetch(page.sql, *page.args)
        counts = {
            row["kind"]: row["n"] for row in await connection.fetch(counted.sql, *counted.args)
        }
    shown = rows[: query.limit]
    return Diff(
        counts={kind: counts.get(kind, 0) for kind in KINDS},
        changes=[_change(row) for row in shown],
        next_after=shown[-1]["fid"] if len(rows) > query.limit else None,
    )


def _change(row: Any) -> dict[str, Any]:
    before, after = (
        orjson.loads(text) if (text := row[f"{name}_feature"]) else None
        for name in ("before", "after")
    )
    change = {"fid": row["fid"], "change": row["kind"], "before": before, "after": after}
    if before and after:
        was, is_ = before["properties"], after["properties"]
        fields = [name for name in is_ if was.get(name) != is_[name]]
        if before["geometry"] != after["geometry"]:
            fields.append("geometry")
            change["moved_m"] = None if row["moved"] is None else round(row["moved"], 2)
        change["fields"] = fields
    return change


# The way back ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """What a rollback did, and the revision it made; the same as before where nothing differed."""

    revision: int
    inserted: int
    updated: int
    deleted: int


def declared_layer(connection: sa.Connection, layer_id: str) -> Layer:
    """The layer as it was last applied, with exact columns; raises LayerNotFound."""
    found = sa.text("SELECT declaration FROM quartier.layers WHERE id = :layer")
    declaration = connection.scalar(found, {"layer": layer_id})
    if declaration is None:
        raise LayerNotFound(layer_id)
    return Layer.model_validate(declaration)


def roll_back(
    connection: sa.Connection, layer: Layer, revision: int, *, by: str, note: str
) -> RolledBack:
    """Make the layer's rows what they were at a revision, as a revision of its own.

    Only rows that have changed since are touched. Raises ChangeRefused for a revision that never
    was. Takes the layer's lock; the caller commits.
    """
    with meant_errors():
        done = connection.execute(
            sa.text("SELECT * FROM quartier.roll_back(:layer, :revision, NULL, :by, :note)"),
            {"layer": layer.id, "revision": revision, "by": by, "note": note},
        ).one()
    return RolledBack(**done._mapping)
