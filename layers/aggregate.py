"""Groups of features as they are asked for, and the cells of a grid as shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from layers.feature_query import FeatureQuery
from layers.filters.nodes import Kind
from layers.filters.values import EARTH_M
from layers.grouping import Grid, GridShape, GroupQuery, Measure
from layers.grouping_sql import COUNTED, group_statement
from layers.plan_cost import advice, meant_by_filter, refuse_dear
from layers.store import Store

DIGITS = 7  # of a cell's degrees: a centimetre
CORNERS = [math.radians(60 * n) for n in range(6)]

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Group:
    """`values`: of the keys, in their order; `cell` its column and row, None where it has no
    place or no grid was asked for; `measures` in their order.
    """

    values: tuple[Any, ...]
    cell: tuple[int, int] | None
    count: int
    measures: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The first groups of a question, in order, all of one snapshot at `revision`. `total`: how
    many there are with those behind the limit; `matched`: the features in all of them.
    """

    groups: Sequence[Group]
    total: int
    matched: int
    revision: int


async def read_groups(store: Store, query: GroupQuery) -> Groups:
    """Raises QueryTooCostly, QueryRefused, StoreBusy, StoreUnavailable."""
    statement = group_statement(query)
    with meant_by_filter():
        await refuse_dear(store, [statement], advice(query.of))
        return _groups(query, await store.fetch(statement.sql, *statement.args))


def _groups(query: GroupQuery, rows: Sequence[Any]) -> Groups:
    first = rows[0]
    return Groups(
        groups=[_group(query, row) for row in rows if row[COUNTED] is not None],
        total=first["groups"] or 0,
        matched=first["matched"] or 0,
        revision=revision_in(query.of, first),
    )


def revision_in(query: FeatureQuery, row: Any) -> int:
    """The revision that a row of an answer is of."""
    return query.as_of if query.as_of is not None else int(row["revision"] or 0)


def _group(query: GroupQuery, row: Any) -> Group:
    has_cell = query.grid is not None and row["cx"] is not None
    return Group(
        tuple(row[f"k{n}"] for n in range(1, len(query.keys) + 1)),
        (row["cx"], row["cy"]) if has_cell else None,
        row[COUNTED],
        tuple(_plain(each, row[f"m{n}"]) for n, each in enumerate(query.measures, 1)),
    )


def _plain(measure: Measure, value: Any) -> Any:
    """A number as JSON has it: a sum of whole numbers is whole for as long as 64 bits hold it, and
    nothing is endless.
    """
    if isinstance(value, Decimal):
        is_whole = measure.op == "sum" and measure.column.kind is Kind.INTEGER
        value = int(value) if is_whole and -(2**63) <= value < 2**63 else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# Cells -------------------------------------------------------------------------------------------


def centre(grid: Grid, cell: tuple[int, int]) -> Place:
    """The middle of a cell in degrees, longitude first."""
    return _degrees(*_middle(grid, cell))


def outline(grid: Grid, cell: tuple[int, int]) -> list[Place]:
    """The ring of a cell in degrees, counter-clockwise and closed."""
    x, y = _middle(grid, cell)
    if grid.shape is GridShape.SQUARE:
        half = grid.edge / 2
        corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    else:
        corners = [(grid.edge * math.cos(a), grid.edge * math.sin(a)) for a in CORNERS]
    ring = [_degrees(x + dx, y + dy) for dx, dy in corners]
    return [*ring, ring[0]]


def _middle(grid: Grid, cell: tuple[int, int]) -> Place:
    column, row = cell
    if grid.shape is GridShape.SQUARE:
        return (column + 0.5) * grid.edge, (row + 0.5) * grid.edge
    return grid.edge * 1.5 * column, grid.edge * math.sqrt(3) * (row + column / 2)


def _degrees(x: float, y: float) -> Place:
    latitude = math.degrees(math.atan(math.sinh(y / EARTH_M)))
    return round(math.degrees(x / EARTH_M), DIGITS), round(latitude, DIGITS)
