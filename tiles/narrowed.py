"""A part of a layer that a tile is asked for: the features of a filter, some of their columns."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from layers import overviews
from layers.columns import ColumnType
from layers.filters.canonical import say
from layers.filters.nodes import (
    EVERYTHING,
    And,
    Compare,
    Constant,
    Expression,
    In,
    Literal,
    Property,
)
from layers.model import Layer
from layers.overviews import FIRST_BUCKET, LAST_BUCKET, MONTHS, groups_of, has_cube

DAY, MICROSECOND = timedelta(days=1), timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Which features, and which of their columns (None: those that always travel)."""

    where: Expression = EVERYTHING
    columns: tuple[str, ...] | None = None

    @property
    def is_all(self) -> bool:
        """Whether it is the whole layer as it always travels."""
        return self.where == EVERYTHING and self.columns is None

    @property
    def key(self) -> str:
        """The same for the same part, in however other words it was asked for."""
        said = f"{say(self.where)}|{','.join(self.columns) if self.columns is not None else '*'}"
        return hashlib.blake2b(said.encode(), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class CubePart:
    """A part that a layer's cube counts: the numbers of its groups, the first and the last
    bucket.
    """

    groups: tuple[int, ...]
    first: int
    last: int


def cube_part(layer: Layer, where: Expression) -> CubePart | None:
    """The part of the cube that has just these rows, or None where it does not tell."""
    if not has_cube(layer):
        return None
    groups = tuple(range(len(groups_of(layer)) + 1))
    first, last = overviews.NO_BUCKET, LAST_BUCKET
    for part in where.parts if isinstance(where, And) else (where,):
        if isinstance(part, Constant):
            groups = groups if part.value else ()
        elif (named := _groups(layer, part)) is not None:
            groups = tuple(sorted({*groups} & named))
        elif (span := _buckets(layer, part)) is not None:
            first, last = max(first, span[0]), min(last, span[1])
        else:
            return None
    return CubePart(groups, first, last)


def _groups(layer: Layer, part: Expression) -> set[int] | None:
    """The groups that a condition on the category names, if all its values are counted apart."""
    items: tuple[Literal, ...]
    if isinstance(part, Compare) and part.op == "=" and isinstance(part.right, Literal):
        value, items = part.left, (part.right,)
    elif isinstance(part, In):
        value, items = part.value, part.items
    else:
        return None
    if not isinstance(value, Property) or value.name != layer.category:
        return None
    declared = groups_of(layer)
    texts = [_text(item.value) for item in items]
    if not all(text in declared for text in texts):
        return None
    return {declared.index(text) + 1 for text in texts}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _buckets(layer: Layer, part: Expression) -> tuple[int, int] | None:
    """The buckets that a bound of the time leaves, where it lies between two of them."""
    if not isinstance(part, Compare) or part.op not in (">=", "<="):
        return None
    left, right = part.left, part.right
    if layer.time is None or not isinstance(left, Property) or left.name != layer.time.start:
        return None
    if not isinstance(right, Literal) or not isinstance(right.value, date):
        return None
    if part.op == ">=":
        number = _begun(layer, right.value)
        return None if number is None else (number, LAST_BUCKET)
    number = _begun(layer, right.value, after=True)
    return None if number is None else (FIRST_BUCKET, number - 1)


def _begun(layer: Layer, at: date, *, after: bool = False) -> int | None:
    """The number of the bucket that begins at a day or instant, or just `after` it; None within."""
    assert layer.overview.bucket is not None
    try:
        on = _day_begun(layer, at, after=after)
    except OverflowError:
        return None
    if on is None or on.day != 1:
        return None
    months = on.year * 12 + on.month - 1
    size = MONTHS[layer.overview.bucket]
    return months // size if months % size == 0 else None


def _day_begun(layer: Layer, at: date, *, after: bool) -> date | None:
    """The day that begins then, in the layer's time zone."""
    assert layer.time is not None
    if layer.column(layer.time.start).type is not ColumnType.DATETIME:
        return at + DAY if after else at
    if not isinstance(at, datetime):
        return None
    zone = ZoneInfo(layer.time_zone)
    local = (at + MICROSECOND if after else at).astimezone(zone)
    begins = datetime.combine(local.date(), time(), zone)
    # Where clocks go back at one, midnight comes twice: the day begins the first time.
    return local.date() if begins == local and not local.fold else None
