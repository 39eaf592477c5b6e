"""Dates, instants and intervals against each other.

A date stands for a whole day of the layer's time zone. Against a column of dates, instants are
looked at by their day; against a column of instants, a date is from its first moment to its last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Self
from zoneinfo import ZoneInfo

from layers.filters import values
from layers.filters.canonical import compare, conjunction, disjunction, negation
from layers.filters.errors import FilterRefused
from layers.filters.nodes import Endless, Expression, Function, IsNull, Kind, Literal, Scalar
from layers.filters.words import INSTANTS_ALLOWED

DAY_OF = "day_of"


def compared(op: str, left: Scalar, right: Scalar, zone: ZoneInfo) -> Expression:
    """A date and an instant: whether the day of the instant is before, the same or after."""
    if isinstance(right, Literal) and isinstance(right.value, date) and right.kind is Kind.DATE:
        return _of_day(op, left, right.value, zone)
    return compare(op, _as_day(left, zone), _as_day(right, zone))


def _of_day(op: str, instant: Scalar, day: date, zone: ZoneInfo) -> Expression:
    first, last = values.first_moment(day, zone), values.last_moment(day, zone)
    match op:
        case "=":
            return conjunction((compare(">=", instant, first), compare("<=", instant, last)))
        case "<>":
            return negation(_of_day("=", instant, day, zone))
        case "<" | ">=":
            return compare(op, instant, first)
    return compare(op, instant, last)


def _as_day(value: Scalar, zone: ZoneInfo) -> Scalar:
    if value.kind is Kind.DATE:
        return value
    if isinstance(value, Endless):
        return Endless(value.sign, Kind.DATE)
    if isinstance(value, Literal) and isinstance(value.value, datetime):
        return values.day_of(value.value, zone)
    return Function(DAY_OF, (value,), Kind.DATE)


@dataclass(frozen=True, slots=True)
class Span:
    """An interval, its ends included, or an instant, whose ends are the same."""

    start: Scalar
    end: Scalar
    is_interval: bool

    @classmethod
    def of(cls, instant: Scalar) -> Self:
        return cls(instant, instant, is_interval=False)

    @classmethod
    def between(cls, first: Scalar | None, last: Scalar | None) -> Self:
        """From `first` to `last`; None for an open end. Raises FilterRefused."""
        kind = next((end.kind for end in (first, last) if end is not None), Kind.DATE)
        start, end = first or Endless(-1, kind), last or Endless(1, kind)
        if isinstance(start, Literal) and isinstance(end, Literal) and start.kind is end.kind:
            assert isinstance(start.value, date)
            assert isinstance(end.value, date)
            if start.value > end.value:
                raise FilterRefused(f"an interval ends before it starts: {start.value}")
        return cls(start, end, is_interval=True)

    @property
    def ends(self) -> tuple[Scalar, Scalar]:
        return self.start, self.end

    def by_day(self, zone: ZoneInfo) -> Span:
        return Span(_as_day(self.start, zone), _as_day(self.end, zone), self.is_interval)

    def by_moment(self, zone: ZoneInfo) -> Span:
        start = _as_moment(self.start, zone, values.first_moment)
        return Span(start, _as_moment(self.end, zone, values.last_moment), self.is_interval)


def _as_moment(
    value: Scalar, zone: ZoneInfo, moment: Callable[[date, ZoneInfo], Literal]
) -> Scalar:
    if isinstance(value, Endless):
        return Endless(value.sign, Kind.INSTANT)
    if value.kind is Kind.DATE and isinstance(value, Literal) and isinstance(value.value, date):
        return moment(value.value, zone)
    return value


Test = tuple[str, str, str]  # an end of the first (s or e), an operator, an end of the second
BOTH: dict[str, tuple[Test, ...]] = {
    "t_equals": (("s", "=", "s"), ("e", "=", "e")),
    "t_intersects": (("s", "<=", "e"), ("e", ">=", "s")),
    "t_after": (("s", ">", "e"),),
    "t_before": (("e", "<", "s"),),
    "t_contains": (("s", "<", "s"), ("e", ">", "e")),
    "t_during": (("s", ">", "s"), ("e", "<", "e")),
    "t_finishedBy": (("s", "<", "s"), ("e", "=", "e")),
    "t_finishes": (("s", ">", "s"), ("e", "=", "e")),
    "t_meets": (("e", "=", "s"),),
    "t_metBy": (("s", "=", "e"),),
    "t_overlaps": (("s", "<", "s"), ("e", ">", "s"), ("e", "<", "e")),
    "t_overlappedBy": (("s", ">", "s"), ("s", "<", "e"), ("e", ">", "e")),
    "t_startedBy": (("s", "=", "s"), ("e", ">", "e")),
    "t_starts": (("s", "=", "s"), ("e", "<", "e")),
}


def relation(name: str, one: Span, other: Span, zone: ZoneInfo) -> Expression:
    """One of the standard's relations between two intervals or instants. Raises FilterRefused."""
    if name not in INSTANTS_ALLOWED and not (one.is_interval or other.is_interval):
        raise FilterRefused(f"{name.upper()} is for intervals; write INTERVAL(…, …)")
    one, other = _alike(one, other, zone)
    if name == "t_disjoint":
        return negation(relation("t_intersects", one, other, zone))
    return conjunction(
        compare(op, one.start if this == "s" else one.end, other.start if at == "s" else other.end)
        for this, op, at in BOTH[name]
    )


def _alike(one: Span, other: Span, zone: ZoneInfo) -> tuple[Span, Span]:
    """Both by days, where a column of dates is among them, or where nothing is finer."""
    ends = [end for end in (*one.ends, *other.ends) if not isinstance(end, Endless)]
    if any(end.kind is Kind.DATE and not isinstance(end, Literal) for end in ends):
        return one.by_day(zone), other.by_day(zone)
    if any(end.kind is Kind.INSTANT for end in ends):
        if not one.is_interval and not other.is_interval:  # two instants are of one size
            finest = {one.start.kind, other.start.kind}
            if finest == {Kind.DATE, Kind.INSTANT}:
                return one.by_day(zone), other.by_day(zone)
        return one.by_moment(zone), other.by_moment(zone)
    return one, other


def within(start: Scalar, end: Scalar | None, wanted: Span, zone: ZoneInfo) -> Expression:
    """Whether what lasts from `start` to `end` has a moment in common with an interval. Without
    an end in the row it goes on, without a start it always was, without both it never is.
    """
    if end is None:
        return relation("t_intersects", Span.of(start), wanted, zone)
    lasting = Span(start, end, is_interval=True)
    one, other = _alike(lasting, wanted, zone)
    return conjunction(
        (
            disjunction((compare("<=", one.start, other.end), IsNull(start))),
            disjunction((compare(">=", one.end, other.start), IsNull(end))),
            disjunction((negation(IsNull(start)), negation(IsNull(end)))),
        )
    )
