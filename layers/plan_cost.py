"""What a question would cost, as PostgreSQL estimates it, before it is asked.

The unit is that of the planner: about a page of 8 kB read in order. A question that is dearer than
its ceiling is refused with advice, because it would keep others waiting for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import asyncpg
import orjson

from layers.errors import QueryRefused, QueryTooCostly
from layers.feature_query import FeatureQuery
from layers.feature_sql import Statement
from layers.filters.nodes import EVERYTHING
from layers.store import Store

MOST_VALUES = 32_000  # of a statement; the protocol has room for 32 767
WIDER = (
    "filter by a category that is counted apart and by whole months, which low zooms are counted"
    " by, or ask for tiles of higher zooms"
)


@contextmanager
def meant_by_filter() -> Iterator[None]:
    """What the database cannot work out of a filter is said as the filter's fault."""
    try:
        yield
    except (asyncpg.InvalidTextRepresentationError, asyncpg.InvalidDatetimeFormatError) as exc:
        # Only what a cursor holds is read from texts.
        raise QueryRefused("cursor", "", "use the link `next` of a page as it stands") from exc
    except (asyncpg.DataError, asyncpg.ProgramLimitExceededError) as exc:
        raise QueryRefused("filter", "", f"cannot be worked out: {exc.args[0]}") from exc
    except asyncpg.InternalServerError as exc:
        if "GEOS" not in str(exc) and "Topology" not in str(exc) and "Relate" not in str(exc):
            raise
        raise QueryRefused("filter", "", f"cannot be worked out: {exc.args[0]}") from exc


def is_plain(query: FeatureQuery) -> bool:
    """Whether a question follows an index, whatever it asks for."""
    if query.as_of is not None or query.sort:
        return False
    return query.where == EVERYTHING or query.box is not None


async def refuse_what_costs_too_much(
    store: Store, query: FeatureQuery, statement: Statement
) -> None:
    """Raises QueryTooCostly for a statement that is dearer than the store's ceiling."""
    if not is_plain(query):
        await refuse_dear(store, [statement], advice(query))


async def refuse_dear(store: Store, statements: Sequence[Statement], tips: str) -> None:
    """The same for statements that follow no index, which answer one question together."""
    cost = sum([await estimate(store, statement) for statement in statements])
    if cost > store.cost_ceiling:
        raise QueryTooCostly(cost, store.cost_ceiling, tips)


class Guarded:
    """A store that answers no question that would cost more than it may."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def fetchrow(self, sql: str, *args: object) -> Any:
        """Raises QueryTooCostly, QueryRefused, StoreBusy, StoreUnavailable."""
        with meant_by_filter():
            await refuse_dear(self._store, [Statement(sql, args)], WIDER)
            return await self._store.fetchrow(sql, *args)


async def estimate(store: Store, statement: Statement) -> float:
    """The planner's estimate of the whole statement; raises QueryRefused for too many values."""
    if len(statement.args) > MOST_VALUES:
        fix = f"holds more than {MOST_VALUES} values; ask for less at once"
        raise QueryRefused("filter", "", fix)
    row = await store.fetchrow(f"EXPLAIN (FORMAT JSON) {statement.sql}", *statement.args)
    plan: Any = orjson.loads(row[0])
    return float(plan[0]["Plan"]["Total Cost"])


def advice(query: FeatureQuery) -> str:
    """What would make a question cheaper."""
    layer = query.layer
    tips = ["add a bbox"] if layer.has_geometry else []
    if layer.time is not None:
        tips.append(f"a datetime (by {layer.time.start})")
    if layer.category is not None:
        tips.append(f"one {layer.category}")
    if query.sort:
        tips.append("leave out sortby")
    tips.append("or ask for less of the layer at once")
    return ", ".join(tips)
