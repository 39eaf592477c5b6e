"""What CQL2 means, row by row, in Python: what the translation to SQL is held against.

Rows are dicts with shapely geometries; the tree is CQL2 JSON. Unknown is None, as in SQL.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import shapely
from shapely.geometry import shape

Row = Mapping[str, Any]
Tree = Any
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
SPATIAL: dict[str, Any] = {
    "s_intersects": shapely.intersects,
    "s_equals": shapely.equals,
    "s_disjoint": shapely.disjoint,
    "s_touches": shapely.touches,
    "s_within": shapely.within,
    "s_overlaps": shapely.overlaps,
    "s_crosses": shapely.crosses,
    "s_contains": shapely.contains,
}
ENDLESS = (-math.inf, math.inf)


class Cql2:
    """Evaluates trees for a layer whose clock is that of `zone`."""

    def __init__(self, zone: str = "UTC") -> None:
        self._zone = ZoneInfo(zone)

    def holds(self, tree: Tree, row: Row) -> bool | None:
        if isinstance(tree, bool):
            return tree
        op: str = tree["op"]
        args: list[Tree] = tree["args"]
        if (logical := LOGICAL.get(op)) is not None:
            return logical(self, args, row)
        values = [self.value(arg, row) for arg in args] if op[:2] != "t_" else []
        if op in COMPARISONS:
            return self._compare(op, *values)
        if op in SPATIAL:
            return None if None in values else bool(SPATIAL[op](*values))
        if op.startswith("a_"):
            return _sets(op, *values)
        one, other = (self._span(arg, row) for arg in args)
        return self._temporal(op, one, other)

    def _like_of(self, args: list[Tree], row: Row) -> bool | None:
        return self._like(*(self.value(arg, row) for arg in args))

    def _compare(self, op: str, left: Any, right: Any) -> bool | None:
        if left is None or right is None:
            return None
        kinds = {type(left), type(right)}
        if kinds == {date, datetime}:
            left, right = (self._day(value) for value in (left, right))
        return COMPARISONS[op](left, right)

    def _day(self, value: date) -> date:
        return value.astimezone(self._zone).date() if isinstance(value, datetime) else value

    def _like(self, value: str | None, pattern: str | None) -> bool | None:
        if value is None or pattern is None:
            return None
        pieces = re.findall(r"\\.|%|_|[^\\%_]", pattern, re.S)
        meant = {"%": ".*", "_": "."}
        regex = "".join(meant.get(each, re.escape(each.removeprefix("\\"))) for each in pieces)
        return re.fullmatch(regex, value, re.S) is not None

    def value(self, tree: Tree, row: Row) -> Any:
        if isinstance(tree, str | int | float | shapely.Geometry):
            return tree
        if isinstance(tree, list):
            return [self.value(item, row) for item in tree]
        if "property" in tree:
            return row[tree["property"]]
        if "date" in tree:
            return date.fromisoformat(tree["date"])
        if "timestamp" in tree:
            return datetime.fromisoformat(tree["timestamp"]).astimezone(UTC)
        if "bbox" in tree:
            return shapely.box(*tree["bbox"])
        if "type" in tree:
            return shape(tree)
        return self._called(tree["op"], [self.value(arg, row) for arg in tree["args"]])

    def _called(self, op: str, values: list[Any]) -> Any:
        return None if None in values else CALLS[op](*values)

    # Time ---------------------------------------------------------------------------------------

    def _span(self, tree: Tree, row: Row) -> tuple[Any, Any, bool]:
        if isinstance(tree, dict) and "interval" in tree:
            ends = [
                ENDLESS[number] if end == ".." else self._moment(end, row)
                for number, end in enumerate(tree["interval"])
            ]
            return ends[0], ends[1], True
        value = self.value(tree, row)
        return value, value, False

    def _moment(self, tree: Tree, row: Row) -> Any:
        if isinstance(tree, str):
            return self.value({"date" if len(tree) == 10 else "timestamp": tree}, row)
        return self.value(tree, row)

    def _temporal(
        self, op: str, one: tuple[Any, Any, bool], other: tuple[Any, Any, bool]
    ) -> bool | None:
        """For values of one kind."""
        (s, e, _), (s2, e2, _) = one, other
        now = {
            "t_after": [(s, ">", e2)],
            "t_before": [(e, "<", s2)],
            "t_contains": [(s, "<", s2), (e, ">", e2)],
            "t_during": [(s, ">", s2), (e, "<", e2)],
            "t_equals": [(s, "=", s2), (e, "=", e2)],
            "t_finishedBy": [(s, "<", s2), (e, "=", e2)],
            "t_finishes": [(s, ">", s2), (e, "=", e2)],
            "t_intersects": [(s, "<=", e2), (e, ">=", s2)],
            "t_disjoint": [(s, "<=", e2), (e, ">=", s2)],
            "t_meets": [(e, "=", s2)],
            "t_metBy": [(s, "=", e2)],
            "t_overlaps": [(s, "<", s2), (e, ">", s2), (e, "<", e2)],
            "t_overlappedBy": [(s, ">", s2), (s, "<", e2), (e, ">", e2)],
            "t_startedBy": [(s, "=", s2), (e, ">", e2)],
            "t_starts": [(s, "=", s2), (e, "<", e2)],
        }[op]
        found = _all([_ordered(each, a, b) for a, each, b in now])
        return _not(found) if op == "t_disjoint" else found


def _ordered(op: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    return COMPARISONS[op](_number(left), _number(right))


def _number(value: Any) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC).timestamp()
    return float(value)


def _all(values: list[bool | None]) -> bool | None:
    if False in values:
        return False
    return None if None in values else True


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def _sets(op: str, one: list[Any] | None, other: list[Any] | None) -> bool | None:
    if one is None or other is None:
        return None
    holds, held = (all(x in a for x in b) for a, b in ((one, other), (other, one)))
    return {
        "a_contains": holds,
        "a_containedBy": held,
        "a_equals": holds and held,
        "a_overlaps": any(x in one for x in other),
    }[op]


def _unaccented(said: str) -> str:
    return "".join(each for each in unicodedata.normalize("NFD", said) if each.isascii())


LOGICAL: dict[str, Callable[[Cql2, list[Tree], Row], bool | None]] = {
    "and": lambda of, args, row: _all([of.holds(arg, row) for arg in args]),
    "or": lambda of, args, row: _not(_all([_not(of.holds(arg, row)) for arg in args])),
    "not": lambda of, args, row: _not(of.holds(args[0], row)),
    "isNull": lambda of, args, row: of.value(args[0], row) is None,
    "between": lambda of, args, row: _all(
        [
            of.holds({"op": ">=", "args": [args[0], args[1]]}, row),
            of.holds({"op": "<=", "args": [args[0], args[2]]}, row),
        ]
    ),
    "in": lambda of, args, row: of.holds(
        {"op": "or", "args": [{"op": "=", "args": [args[0], item]} for item in args[1]]}, row
    ),
    "like": Cql2._like_of,
}
CALLS: dict[str, Callable[..., Any]] = {
    "casei": str.casefold,
    "accenti": _unaccented,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: None if b == 0 else a / b,
    "div": lambda a, b: None if b == 0 else math.trunc(a / b),
    "%": lambda a, b: None if b == 0 else a - b * math.trunc(a / b),
    "^": lambda a, b: float(a) ** b,
}
