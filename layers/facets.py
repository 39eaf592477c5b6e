"""How often each value of some columns occurs: facets of the same features share one scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from layers.aggregate import revision_in
from layers.feature_query import FeatureQuery
from layers.feature_sql import Statement, all_rows, count_statement, holds
from layers.filters.nodes import Expression
from layers.grouping import Key
from layers.grouping_sql import COUNTED, key_sql, output_sql
from layers.plan_cost import advice, meant_by_filter, refuse_dear
from layers.read import snapshot
from layers.store import Store
from layers.values import Values


@dataclass(frozen=True, slots=True)
class FacetQuery:
    """The values of `key` among the features of `of`, the most frequent first, `limit` of them.

    `chosen`: the condition that tells which of them is chosen. `of` goes without it, so that the
    facet shows what else could be.
    """

    of: FeatureQuery
    key: Key
    limit: int
    chosen: Expression | None = None


@dataclass(frozen=True, slots=True)
class FacetValue:
    value: Any
    count: int
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Facet:
    """`total`: how many values there are with those behind the limit; `matched`: the features that
    have any of them, or none.
    """

    values: Sequence[FacetValue]
    total: int
    matched: int


@dataclass(frozen=True, slots=True)
class Facets:
    """Of one snapshot. `matched`: the features that all conditions leave."""

    facets: Sequence[Facet]
    matched: int
    revision: int


async def read_facets(store: Store, of: FeatureQuery, queries: Sequence[FacetQuery]) -> Facets:
    """Raises QueryTooCostly, QueryRefused, StoreBusy, StoreUnavailable."""
    scans = _scans(queries)
    statements = [facet_statement(scan) for scan in scans.values()]
    counting = count_statement(of)
    found: dict[int, Facet] = {}
    with meant_by_filter():
        await refuse_dear(store, [counting, *statements], advice(of))
        async with snapshot(store) as connection:
            whole = await connection.fetchrow(counting.sql, *counting.args)
            for numbers, statement in zip(scans, statements, strict=True):
                rows = await connection.fetch(statement.sql, *statement.args)
                found |= zip(numbers, _facets(len(numbers), rows), strict=True)
    facets = [found[number] for number in range(len(queries))]
    return Facets(facets, whole["matched"], revision_in(of, whole))


def _scans(queries: Sequence[FacetQuery]) -> dict[tuple[int, ...], list[FacetQuery]]:
    """Facets that count the same features, by their numbers."""
    alike: list[list[int]] = []
    for number, query in enumerate(queries):
        for numbers in alike:
            first = queries[numbers[0]]
            if (first.of, first.chosen) == (query.of, query.chosen):
                numbers.append(number)
                break
        else:
            alike.append([number])
    return {tuple(numbers): [queries[n] for n in numbers] for numbers in alike}


def facet_statement(queries: Sequence[FacetQuery]) -> Statement:
    """Of facets of the same features: a row for each value, with `which` facet it is of, its value
    in `k1`, `k2` …, its count `n`, whether it `is_chosen`; each with how many `groups` the facet
    has in all, and how many features they `matched`.
    """
    of, chosen, limit = queries[0].of, queries[0].chosen, queries[0].limit
    values, zone = Values(), ZoneInfo(of.layer.time_zone)
    keys = [each.key for each in queries]
    names = [f"k{number}" for number in range(1, len(keys) + 1)]
    pairs = list(zip(keys, names, strict=True))
    told = [f"{key_sql(key, zone, values)} AS {name}" for key, name in pairs]
    told.append(f"{holds(of.layer, chosen, values) if chosen else 'false'} AS chosen")
    outputs = [output_sql(key, name) for key, name in pairs]
    order = ", ".join(f"{name} ASC NULLS LAST" for name in names)
    sql = f"""
        SELECT which, {COUNTED}, groups, matched, coalesce(chosen, false) AS is_chosen,
               {", ".join(outputs)}
        FROM (
            SELECT *, row_number() OVER (of_one ORDER BY {COUNTED} DESC, {order}) AS pos,
                   count(*) OVER of_one AS groups,
                   sum({COUNTED}) OVER of_one::bigint AS matched
            FROM (SELECT {", ".join(names)}, GROUPING({", ".join(names)}) AS which,
                         bool_or(chosen) AS chosen, count(*) AS {COUNTED}
                  FROM (SELECT {", ".join(told)} FROM {all_rows(of, values)}) r
                  GROUP BY GROUPING SETS ({", ".join(f"({name})" for name in names)})) f
            WINDOW of_one AS (PARTITION BY which)
        ) p WHERE pos <= {limit} ORDER BY which, pos"""
    return Statement(sql, tuple(values.args))


def _bit(number: int, of: int) -> int:
    """`which` of rows that are grouped by this key: its bit is 0, the first key's is the highest,
    and those of all the others are 1.
    """
    return (1 << of) - 1 - (1 << of - 1 - number)


def _facets(count: int, rows: Sequence[Any]) -> list[Facet]:
    found = []
    for number in range(count):
        mine = [row for row in rows if row["which"] == _bit(number, count)]
        told = [FacetValue(r[f"k{number + 1}"], r[COUNTED], r["is_chosen"]) for r in mine]
        total, matched = (mine[0]["groups"], mine[0]["matched"]) if mine else (0, 0)
        found.append(Facet(told, total, matched))
    return found
