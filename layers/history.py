"""Layers as they were: what differs between two revisions, and the way back.

A row of revision R is the live one if it was written by then, else the one that history holds for
it. History is read through a view; only a rollback writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect

from layers.errors import LayerNotFound
from layers.feature_query import DEGREE_DIGITS
from layers.feature_sql import Statement
from layers.model import Layer
from layers.row_text import PROPERTIES
from layers.sql import ident
from layers.sqlstates import meant_errors
from layers.store import Store
from layers.tables import HISTORY_VIEWS, content_names, history_table, layer_table

DIALECT: sa.Dialect = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]
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
        whole = feature_column(query.layer, parts[name])
        there = sa.case((parts[name].c.fid.is_not(None), whole))
        page = page.add_columns(there.label(f"{name}_feature"))
    if query.layer.has_geometry:
        middles = (sa.func.ST_Centroid(parts[name].c.geom) for name in ("before", "after"))
        page = page.add_columns(sa.func.ST_DistanceSphere(*middles).label("moved"))
    whole_ = chosen.subquery("d")
    counted = sa.select(whole_.c.kind, sa.func.count().label("n")).group_by(whole_.c.kind)
    return compiled(page), compiled(counted)


def feature_column(layer: Layer, table: sa.FromClause) -> sa.ColumnElement[Any]:
    """A feature of a table as a GeoJSON text."""
    geometry: sa.ColumnElement[Any] = sa.literal("null")
    if layer.has_geometry:
        as_text = sa.func.ST_AsGeoJSON(table.c.geom, sa.literal_column(str(DEGREE_DIGITS)))
        geometry = sa.func.coalesce(as_text, "null")
    named = sa.select(*(table.c[column.name] for column in layer.columns)).correlate(table)
    row = named.subquery(PROPERTIES)
    whole: sa.ColumnClause[Any] = sa.literal_column(ident(PROPERTIES))
    properties = sa.select(sa.func.row_to_json(whole)).select_from(row)
    feature = sa.func.concat(
        '{"type":"Feature","id":', table.c.fid, ',"geometry":', geometry, ',"properties":',
        properties.scalar_subquery(), "}",
    )  # fmt: skip
    return feature.label("feature")


def compiled(statement: sa.Select[Any]) -> Statement:
    """The statement as asyncpg takes it."""
    compiled = statement.compile(dialect=DIALECT)
    values = compiled.params
    return Statement(str(compiled), tuple(values[name] for name in compiled.positiontup or ()))


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
