"""Questions about groups of features, as values that are checked when they are made.

A group is told by columns, by parts or units of a time, and by the cell of a grid; what has no
value is a group of its own, so that the groups of a question hold each feature once.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from layers.errors import QueryRefused
from layers.feature_query import FeatureQuery
from layers.filters.functions import FUNCTIONS, WHEN
from layers.filters.nodes import Kind, Property
from layers.filters.queryables import FID, Queryables

MAX_KEYS, MAX_MEASURES = 6, 16
MAX_GROUPS, USUAL_GROUPS = 10_000, 1_000
MAX_VALUES, USUAL_VALUES = 1_000, 20  # of a facet
LEAST_M, MOST_M = 1, 1_000_000  # a cell's side
CELL = "cell"  # no declared column can have this name
COUNT = "count"
PLACE = ("longitude", "latitude")  # of a cell's middle
UNITS = ("year", "quarter", "month", "week", "day", "hour")
PARTS = tuple(  # what functions of a filter tell of a time
    name for name, offered in FUNCTIONS.items() if {*offered.takes[0]} <= {*WHEN}
)
OF_NUMBERS = ("sum", "mean", "median")
PERCENTILE = re.compile(r"p([1-9]\d?)")
CALL = re.compile(r"([a-z_0-9]+)\((.*)\)", re.DOTALL)
GRID = re.compile(r"(square|hex):([0-9]{1,15}(?:\.[0-9]{1,15})?)(?:@(-?[0-9]{1,2}))?")
MOST_LATITUDE = 80  # that a cell's side is told at
SHOWN = 60  # letters of what was asked, in an error


@dataclass(frozen=True, slots=True)
class Key:
    """What tells a group: a column, `unit` of it (its time cut down to that) or `part` of it (one
    of the functions of a filter). `said` names it in answers.
    """

    said: str
    column: Property
    unit: str | None = None
    part: str | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """What is told of a group: `op` of a column's values, those left out that are missing."""

    said: str
    op: str
    column: Property

    @property
    def fraction(self) -> float | None:
        """The share of values that lie below a percentile."""
        if self.op == "median":
            return 0.5
        found = PERCENTILE.fullmatch(self.op)
        return int(found[1]) / 100 if found else None


class GridShape(StrEnum):
    SQUARE = "square"
    HEX = "hex"


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells whose sides are so many metres long on the ground at `latitude`. They are anchored
    to the world, and drawn in EPSG:3857, where they are all of one size.
    """

    shape: GridShape
    side_m: float
    latitude: int

    def __str__(self) -> str:
        """As `parse_grid` reads it, whatever latitude a layer lies at by then."""
        return f"{self.shape}:{self.side_m:.15g}@{self.latitude}"

    @property
    def edge(self) -> float:
        """A cell's side in units of EPSG:3857, which stretches as latitudes grow."""
        return self.side_m / math.cos(math.radians(self.latitude))


@dataclass(frozen=True, slots=True)
class GroupOrder:
    """An output that groups are ordered by; what has no value comes last either way."""

    position: int
    is_descending: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupQuery:
    """Groups of the features that `of` asks for. Raises QueryRefused for what makes no sense."""

    of: FeatureQuery
    keys: tuple[Key, ...] = ()
    grid: Grid | None = None
    measures: tuple[Measure, ...] = ()
    order: tuple[GroupOrder, ...] = ()
    limit: int = USUAL_GROUPS

    def __post_init__(self) -> None:
        if self.grid is not None and not self.of.layer.has_geometry:
            raise QueryRefused("grid", str(self.grid.shape), "rows of this layer have no place")
        if not 1 <= self.limit <= MAX_GROUPS:
            raise QueryRefused("limit", self.limit, f"write a number from 1 to {MAX_GROUPS}")

    @property
    def outputs(self) -> tuple[str, ...]:
        """What an answer's columns are called, in their order."""
        return output_names(self.keys, self.measures, has_grid=self.grid is not None)


def output_names(
    keys: tuple[Key, ...], measures: tuple[Measure, ...], *, has_grid: bool
) -> tuple[str, ...]:
    """A column that is called as something else that is told is told with what it is."""
    taken = (COUNT, *PLACE) if has_grid else (COUNT,)
    told = (f"column:{key.said}" if key.said in taken else key.said for key in keys)
    return (*told, *((CELL,) if has_grid else ()), COUNT, *(each.said for each in measures))


def parse_keys(text: str, known: Queryables, field: str = "group_by") -> tuple[Key, ...]:
    """`kind,at:month,weekday(at)`, as the parameter `field` says. Raises QueryRefused."""
    try:
        keys = tuple(_key(said, known) for said in _listed(text))
    except QueryRefused as exc:
        raise QueryRefused(field, exc.value, exc.fix) from None
    if len(keys) > MAX_KEYS:
        raise QueryRefused(field, text[:SHOWN], f"names more than {MAX_KEYS} things")
    return keys


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _key(said: str, known: Queryables) -> Key:
    if (call := CALL.fullmatch(said)) is not None:
        return _part(said, call[1], call[2].strip(), known)
    name, _, unit = said.partition(":")
    column = _column("group_by", said, name, known)
    if not unit:
        return Key(said, column)
    if column.kind not in WHEN:
        raise _refused("group_by", said, f"{name} is of type {column.kind}, which has no {unit}")
    if unit not in UNITS or (unit == "hour" and column.kind is Kind.DATE):
        units = UNITS[:-1] if column.kind is Kind.DATE else UNITS
        raise _refused("group_by", said, f"write {name}: and one of {', '.join(units)}")
    return Key(said, column, unit=unit)


def _part(said: str, part: str, name: str, known: Queryables) -> Key:
    if part not in PARTS:
        fix = f"write a column, or one of {', '.join(PARTS)} of a column: {PARTS[0]}({name})"
        raise _refused("group_by", said, fix)
    column = _column("group_by", said, name, known)
    if column.kind not in FUNCTIONS[part].takes[0]:
        raise _refused("group_by", said, f"{name} is of type {column.kind}, which has no {part}")
    return Key(said, column, part=part)


def _column(field: str, said: str, name: str, known: Queryables) -> Property:
    found = known.properties.get(name)
    names = [each for each, column in known.properties.items() if column.kind is not Kind.GEOMETRY]
    if found is not None and found.kind not in (Kind.GEOMETRY, Kind.ARRAY):
        return found
    if found is not None:
        raise _refused(field, said, f"{name} is of type {found.kind}, which makes no groups")
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise _refused(field, said, f"{hint}columns are {', '.join(names)}")


def _refused(field: str, said: str, fix: str) -> QueryRefused:
    return QueryRefused(field, said[:SHOWN], fix)


def parse_measures(text: str, known: Queryables) -> tuple[Measure, ...]:
    """`count,mean(height),p90(height),distinct(genus)`; the count is told in any case. Raises
    QueryRefused.
    """
    found = tuple(_measure(said, known) for said in _listed(text) if said != COUNT)
    if len(found) > MAX_MEASURES:
        raise QueryRefused("measures", text[:SHOWN], f"names more than {MAX_MEASURES} measures")
    return found


def _measure(said: str, known: Queryables) -> Measure:
    call = CALL.fullmatch(said)
    ops = ("sum", "mean", "min", "max", "median", "p1 to p99", "distinct")
    if call is None or not _is_op(call[1]):
        fix = f"write count, or one of {', '.join(ops)} of a column, such as mean({FID})"
        raise _refused("measures", said, fix)
    op, name = call[1], call[2].strip()
    column = _column("measures", said, name, known)
    is_ordered = column.kind.is_numeric or column.kind.is_temporal
    if op in ("min", "max") and not is_ordered:
        raise _refused("measures", said, f"{name} is of type {column.kind}; {op} is of numbers"
                       " and times")  # fmt: skip
    if op not in ("min", "max", "distinct") and not column.kind.is_numeric:
        raise _refused("measures", said, f"{name} is of type {column.kind}; {op} is of numbers")
    return Measure(said, op, column)


def _is_op(op: str) -> bool:
    return op in (*OF_NUMBERS, "min", "max", "distinct") or bool(PERCENTILE.fullmatch(op))


def parse_grid(text: str, latitude: float) -> Grid:
    """`square:500` or `hex:500`: a cell's side in metres at the latitude given, to the whole
    degree, or at that of `hex:500@48`. Raises QueryRefused.
    """
    found = GRID.fullmatch(text)
    fix = (
        f"write square:500 or hex:500, a cell's side in metres from {LEAST_M} to {MOST_M}, or"
        f" hex:500@48, which is so long at a latitude from -{MOST_LATITUDE} to {MOST_LATITUDE}"
    )
    if found is None or not LEAST_M <= float(found[2]) <= MOST_M:
        raise QueryRefused("grid", text[:SHOWN], fix)
    if found[3] is not None and abs(int(found[3])) > MOST_LATITUDE:
        raise QueryRefused("grid", text[:SHOWN], fix)
    at = latitude if found[3] is None else int(found[3])
    held = max(-MOST_LATITUDE, min(MOST_LATITUDE, round(at)))
    return Grid(GridShape(found[1]), float(found[2]), held)


def parse_order(text: str, outputs: tuple[str, ...]) -> tuple[GroupOrder, ...]:
    """`-count,kind`: a minus for descending. Raises QueryRefused."""
    found = []
    for part in _listed(text):
        name = part.lstrip("+-").strip()
        if name not in outputs:
            raise QueryRefused("sortby", text[:SHOWN], f"groups have {', '.join(outputs)}")
        found.append(GroupOrder(outputs.index(name), part.startswith("-")))
    return tuple(found)
