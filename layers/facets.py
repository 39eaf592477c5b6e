"""How often each value of some columns occurs: facets of the same features share one scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from layers.aggregate import Group, Groups, revision_in
from layers.feature_query import FeatureQuery
from layers.feature_sql import Statement, all_rows, count_statement, revision_of
from layers.grouping import Key
from layers.grouping_sql import COUNTED, key_sql, output_sql
from layers.plan_cost import advice, meant_by_filter, refuse_dear
from layers.read import snapshot
from layers.store import Store
from layers.values import Values


@dataclass(frozen=True, slots=True)
class FacetQuery:
    """The values of `key` among the features of `of`, the most frequent first, `limit` of them."""

    of: FeatureQuery
    key: Key
    limit: int


@dataclass(frozen=True, slots=True)
class Facets:
    """Of one snapshot. `matched`: the features that all conditions leave."""

    matched: int
    revision: int
    facets: Sequence[Groups]


async def read_facets(store: Store, of: FeatureQuery, queries: Sequence[FacetQuery]) -> Facets:
    """Raises QueryTooCostly, QueryRefused, StoreBusy, StoreUnavailable."""
    together = _together(queries)
    statements = [facet_statement([queries[n] for n in scan]) for scan in together]
    counting = count_statement(of)
    found: dict[int, Groups] = {}
    with meant_by_filter():
        await refuse_dear(store, [counting, *statements], advice(of))
        async with snapshot(store) as connection:
            whole = await connection.fetchrow(counting.sql, *counting.args)
            for scan, statement in zip(together, statements, strict=True):
                rows = await connection.fetch(statement.sql, *statement.args)
                mine = [queries[n] for n in scan]
                found |= zip(scan, _groups(mine, rows), strict=True)
    facets = [found[number] for number in range(len(queries))]
    return Facets(whole["matched"], revision_in(of, whole), facets)


def _together(queries: Sequence[FacetQuery]) -> list[list[int]]:
    """The numbers of facets that count the same features."""
    scans: list[list[int]] = []
    for number, query in enumerate(queries):
        shared = (scan for scan in scans if queries[scan[0]].of == query.of)
        if (scan := next(shared, None)) is None:
            scans.append([number])
        else:
            scan.append(number)
    return scans


def facet_statement(queries: Sequence[FacetQuery]) -> Statement:
    """Of facets of the same features: a row for each value, with `which` facet it is of, its value
    in `k1`, `k2` …, its count `n`; each with the `revision`, how many `groups` the facet has in
    all, and how many features they `matched`.
    """
    of, limit = queries[0].of, queries[0].limit
    values, zone = Values(), ZoneInfo(of.layer.time_zone)
    names = [f"k{n}" for n in range(1, len(queries) + 1)]
    keys = [f"{key_sql(q.key, zone, values)} AS {k}" for q, k in zip(queries, names, strict=True)]
    outputs = ", ".join(output_sql(q.key, k) for q, k in zip(queries, names, strict=True))
    sets = ", ".join(f"({name})" for name in names)
    order = ", ".join(f"{name} ASC NULLS LAST" for name in names)
    sql = f"""
        SELECT {revision_of(of.layer)} AS revision, g.* FROM (SELECT) AS always LEFT JOIN (
            SELECT * FROM (
                SELECT which,
                       row_number() OVER (of_one ORDER BY {COUNTED} DESC, {order}) AS pos,
                       count(*) OVER of_one AS groups,
                       sum({COUNTED}) OVER of_one::bigint AS matched,
                       {COUNTED}, {outputs}
                FROM (SELECT {", ".join(names)}, GROUPING({", ".join(names)}) AS which,
                             count(*) AS {COUNTED}
                      FROM (SELECT {", ".join(keys)} FROM {all_rows(of, values)}) r
                      GROUP BY GROUPING SETS ({sets})) f
                WINDOW of_one AS (PARTITION BY which)
            ) p WHERE pos <= {limit}
        ) g ON true ORDER BY g.which, g.pos"""
    return Statement(sql, tuple(values.args))


def _groups(queries: Sequence[FacetQuery], rows: Sequence[Any]) -> list[Groups]:
    """A bit of `which` is 0 for the key that a row is grouped by, the first key's the highest."""
    revision, every = revision_in(queries[0].of, rows[0]), (1 << len(queries)) - 1
    found = []
    for number in range(1, len(queries) + 1):
        mask = every - (1 << len(queries) - number)
        mine = [row for row in rows if row["which"] == mask]
        found.append(Groups(
            groups=[Group((row[f"k{number}"],), None, row[COUNTED], ()) for row in mine],
            total=mine[0]["groups"] if mine else 0,
            matched=mine[0]["matched"] if mine else 0,
            revision=revision,
        ))  # fmt: skip
    return found
