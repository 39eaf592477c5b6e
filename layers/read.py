"""Features as they are asked for: pages with their count and revision, single ones, all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from layers.errors import QueryRefused
from layers.feature_query import Cursor, FeatureQuery
from layers.feature_sql import (
    Statement,
    count_statement,
    is_counted_at_once,
    page_statement,
    revision_of,
)
from layers.filters.canonical import conjunction
from layers.filters.nodes import EVERYTHING, Compare, Kind, Literal, Property
from layers.filters.queryables import FID
from layers.plan_cost import meant_by_filter, refuse_what_costs_too_much
from layers.revisions import resolve
from layers.row_text import GEOJSON, Form
from layers.store import Store

COUNT_MS = 2_000  # after which a page says nothing of how many there are
BATCH = 2_000  # rows of a stream at once
UNKNOWN = -1  # a count that took too long
NOT_KEPT = 0  # in the place of a revision that the past is not kept from


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePage:
    """The features of a page as lines of UTF-8, all of one snapshot at `revision`.

    `matched` None: counting took longer than a page is worth.
    """

    body: bytes
    returned: int
    following: Cursor | None
    matched: int | None
    revision: int


class Counts:
    """How many features matched, while the layer stays at the revision they were counted at.

    Counting takes a hundred times as long as a page, and every page of a walk has the same count.
    """

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._known: dict[tuple[str, int], int] = {}

    def get(self, query: FeatureQuery, revision: int) -> int | None:
        """The count, UNKNOWN where it is known to take too long, None where nobody has tried."""
        return self._known.get((query.matches, revision))

    def put(self, query: FeatureQuery, revision: int, matched: int) -> None:
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[query.matches, revision] = matched


async def read_page(
    store: Store,
    query: FeatureQuery,
    counts: Counts,
    form: Form = GEOJSON,
    *,
    expected: int | None = None,
) -> FeaturePage:
    """A page, its count and the revision, all of one snapshot. `expected`: the revision that the
    layer is likely at.

    A page behind a cursor is of the revision that the walk began at, so that nothing is met twice
    and nothing is missed however much is written meanwhile; where the past is not kept so long, it
    is of the newest. Raises QueryRefused, QueryTooCostly, StoreBusy, StoreUnavailable.
    """
    query = await _as_the_walk_began(store, query, expected)
    is_known = expected is not None and counts.get(query, expected) is not None
    at_once = is_counted_at_once(query) and not is_known
    page = page_statement(query, form.line(query), form.separator, counted=at_once)
    with meant_by_filter():
        await refuse_what_costs_too_much(store, query, page)
        if at_once:
            row = await store.fetchrow(page.sql, *page.args)
            counts.put(query, _revision(query, row), row["matched"])
        else:
            row = await _with_known_count(store, query, counts, page, expected)
            row = row or await _with_count(store, query, counts, page)
    if _has_moved_on(query, row):
        return await read_page(store, query, counts, form, expected=row["revision"])
    return _page_of(query, row, counts.get(query, _revision(query, row)))


async def _as_the_walk_began(
    store: Store, query: FeatureQuery, expected: int | None
) -> FeatureQuery:
    after = query.after
    if after is None or query.as_of is not None or after.revision in (expected, NOT_KEPT):
        return query
    try:
        began = await resolve(store, query.layer.id, "cursor", str(after.revision))
    except QueryRefused:
        return replace(query, after=replace(after, revision=NOT_KEPT))
    return replace(query, as_of=began)


def _has_moved_on(query: FeatureQuery, row: Any) -> bool:
    """Whether a page behind a cursor turns out to be of a later revision than its walk."""
    if query.after is None or query.as_of is not None or query.after.revision == NOT_KEPT:
        return False
    return bool(query.after.revision != row["revision"])


async def _with_known_count(
    store: Store, query: FeatureQuery, counts: Counts, page: Statement, expected: int | None
) -> Any:
    """The page alone, where its count is known already; else nothing."""
    revision = query.as_of if query.as_of is not None else expected
    if revision is None or counts.get(query, revision) is None:
        return None
    row = await store.fetchrow(page.sql, *page.args)
    return row if counts.get(query, _revision(query, row)) is not None else None


async def _with_count(store: Store, query: FeatureQuery, counts: Counts, page: Statement) -> Any:
    """The page of a snapshot in which its features are counted, too."""
    async with snapshot(store) as connection:
        row = await connection.fetchrow(page.sql, *page.args)
        revision = _revision(query, row)
        if _has_moved_on(query, row) or counts.get(query, revision) is not None:
            return row
        is_all = query.after is None and not _is_cut(query, row)
        counts.put(query, revision, row["found"] if is_all else await _counted(connection, query))
    return row


async def _counted(connection: Any, query: FeatureQuery) -> int:
    statement = count_statement(query)
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL statement_timeout = {COUNT_MS}")
            return int((await connection.fetchrow(statement.sql, *statement.args))["matched"])
    except asyncpg.QueryCanceledError:
        return UNKNOWN


@asynccontextmanager
async def snapshot(store: Store) -> AsyncIterator[Any]:
    """A connection whose statements all read the same state of the database."""
    async with (
        store.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        yield connection


def _revision(query: FeatureQuery, row: Any) -> int:
    return int(row["revision"] or 0) if query.as_of is None else query.as_of


def _is_cut(query: FeatureQuery, row: Any) -> bool:
    return query.limit is not None and row["found"] > query.limit


def _page_of(query: FeatureQuery, row: Any, matched: int | None) -> FeaturePage:
    revision, following = _revision(query, row), None
    if _is_cut(query, row):
        keys = tuple(row[f"k{number}"] for number in range(1, len(query.keys) + 1))
        following = Cursor(revision, row["last"], keys, query.order)
    return FeaturePage(
        body=row["body"] or b"",
        returned=min(row["found"], query.limit or row["found"]),
        following=following,
        matched=None if matched == UNKNOWN else matched,
        revision=revision,
    )


async def read_feature(
    store: Store, query: FeatureQuery, fid: int, form: Form = GEOJSON
) -> tuple[int, bytes | None]:
    """The revision, and one feature of those that the query asks for as a line, or None."""
    this = Compare("=", Property(FID, Kind.INTEGER), Literal(fid, Kind.INTEGER))
    where = this if query.where == EVERYTHING else conjunction((this, query.where))
    one = replace(query, where=where, limit=1)
    statement = page_statement(one, form.line(one), "")
    with meant_by_filter():
        row = await store.fetchrow(statement.sql, *statement.args)
    return _revision(query, row), row["body"]


@asynccontextmanager
async def reading_rows(
    store: Store, query: FeatureQuery, statement: Statement
) -> AsyncIterator[tuple[int, AsyncIterator[Sequence[Any]]]]:
    """The revision of a snapshot, and the rows of a statement in it, some at a time."""
    with meant_by_filter():
        await refuse_what_costs_too_much(store, query, statement)
        async with snapshot(store) as connection:
            found = await connection.fetchval(f"SELECT {revision_of(query.layer)}")
            cursor = await connection.cursor(statement.sql, *statement.args)
            revision = query.as_of if query.as_of is not None else int(found or 0)
            yield revision, _batches(cursor)


async def _batches(cursor: Any) -> AsyncIterator[Sequence[Any]]:
    while rows := await cursor.fetch(BATCH):
        yield rows
