"""What a question would cost, as PostgreSQL estimates it, before it is asked.

The unit is that of the planner: about a page of 8 kB read in order. A question that is dearer than
its ceiling is refused with advice, because it would keep others waiting for nothing.
"""

from __future__ import annotations

from typing import Any

import orjson

from layers.errors import QueryTooCostly
from layers.feature_query import FeatureQuery
from layers.feature_sql import Statement
from layers.filters.nodes import EVERYTHING
from layers.store import Store


def is_plain(query: FeatureQuery) -> bool:
    """Whether a question follows an index, whatever it asks for."""
    return query.where == EVERYTHING and not query.sort and query.as_of is None


async def refuse_what_costs_too_much(
    store: Store, query: FeatureQuery, statement: Statement, ceiling: float | None = None
) -> None:
    """Raises QueryTooCostly for a statement that is dearer than the ceiling."""
    if is_plain(query):
        return
    most = store.cost_ceiling if ceiling is None else ceiling
    cost = await estimate(store, statement)
    if cost > most:
        raise QueryTooCostly(cost, most, advice(query))


async def estimate(store: Store, statement: Statement) -> float:
    """The planner's estimate of the whole statement."""
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
