"""From the tree of a filter to its expression: names resolved, types agreed, bounds kept."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, cast

import shapely
from shapely.geometry.base import BaseGeometry

from layers.crs import CRS84, Crs
from layers.filters import temporal, values
from layers.filters.canonical import TURNED, compare, conjunction, disjunction, negation, one_of
from layers.filters.errors import FilterRefused
from layers.filters.functions import FUNCTIONS, TODAY
from layers.filters.nodes import (
    Arithmetic,
    Constant,
    Expression,
    Function,
    IsNull,
    Items,
    Kind,
    Like,
    Listed,
    Literal,
    Property,
    Scalar,
    Shape,
    Spatial,
    Truth,
)
from layers.filters.queryables import Queryables
from layers.filters.words import (
    ARITHMETIC,
    ARRAY_OPERATORS,
    COMPARISONS,
    FOLDS,
    OPERATORS,
    PREDICATES,
    SPATIAL_OPERATORS,
    TEMPORAL_OPERATORS,
)

Tree = Any
MAX_DEPTH, MAX_NODES = 60, 20_000
GEOJSON_TYPES = {
    "Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon",
    "GeometryCollection",
}  # fmt: skip
NAMES = {
    Kind.BOOLEAN: "true or false", Kind.INTEGER: "a whole number", Kind.NUMBER: "a number",
    Kind.TEXT: "a text", Kind.DATE: "a date", Kind.INSTANT: "an instant",
    Kind.TIME: "a time of day", Kind.ARRAY: "a list", Kind.GEOMETRY: "a geometry",
}  # fmt: skip
TIMES = {"date": values.day, "timestamp": values.instant}
FROM_TEXT = {Kind.DATE: values.day, Kind.INSTANT: values.moment, Kind.TIME: values.clock}


def build(tree: Tree, queryables: Queryables, crs: Crs = CRS84) -> Expression:
    """The expression that a tree means for a layer; shapes in it are in `crs`.

    Raises FilterRefused.
    """
    return _Builder(queryables, crs).expression(tree, 0)


@dataclass(slots=True)
class _Builder:
    known: Queryables
    crs: Crs
    _nodes: int = field(default=0)

    # What is true or false ----------------------------------------------------------------------

    def expression(self, tree: Tree, depth: int) -> Expression:
        self._count(depth)
        if isinstance(tree, bool):
            return Constant(tree)
        name, args = self._operator(tree)
        if name in COMPARISONS:
            left, right = self._scalars(name, args, 2, depth)
            return self._compared(name, left, right)
        if name in PREDICATES:
            method: Callable[[list[Tree], int], Expression] = getattr(self, f"_{name.lower()}")
            return method(args, depth)
        if name in SPATIAL_OPERATORS:
            return self._spatial(name, args, depth)
        if name in TEMPORAL_OPERATORS:
            first, second = (self._span(arg, depth) for arg in _exactly(name, args, 2))
            return temporal.relation(name, first, second, self.known.zone)
        if name in ARRAY_OPERATORS:
            one, other = (self._array(name, arg, depth) for arg in _exactly(name, args, 2))
            return Listed(name, one, other)
        return self._truth(tree, depth)

    def _operator(self, tree: Tree) -> tuple[str, list[Tree]]:
        """Its name as the standard writes it, and its operands; of a value, none of its own."""
        if not isinstance(tree, dict) or "op" not in tree:
            return "", []
        name, args = tree["op"], tree.get("args")
        if not isinstance(name, str) or not isinstance(args, list) or tree.keys() != {"op", "args"}:
            raise FilterRefused('an operator is {"op": name, "args": [...]} and nothing else')
        return OPERATORS.get(name.lower(), name), args

    def _truth(self, tree: Tree, depth: int) -> Expression:
        value = self.scalar(tree, depth)
        if value.kind is not Kind.BOOLEAN:
            raise FilterRefused(f"{_named(value)} is {NAMES[value.kind]}; compare it with a value")
        if isinstance(value, Property):
            return compare("=", value, Literal(value=True, kind=Kind.BOOLEAN))
        return Constant(bool(value.value)) if isinstance(value, Literal) else Truth(value)

    def _and(self, args: list[Tree], depth: int) -> Expression:
        return conjunction(self._several("and", args, depth))

    def _or(self, args: list[Tree], depth: int) -> Expression:
        return disjunction(self._several("or", args, depth))

    def _several(self, name: str, args: list[Tree], depth: int) -> list[Expression]:
        if len(args) < 2:
            raise FilterRefused(f"{name} has {len(args)} operands; it takes two or more")
        return [self.expression(arg, depth + 1) for arg in args]

    def _not(self, args: list[Tree], depth: int) -> Expression:
        return negation(self.expression(_exactly("not", args, 1)[0], depth + 1))

    def _isnull(self, args: list[Tree], depth: int) -> Expression:
        value = self.scalar(_exactly("isNull", args, 1)[0], depth + 1)
        return Constant(value=False) if isinstance(value, Literal | Shape) else IsNull(value)

    def _like(self, args: list[Tree], depth: int) -> Expression:
        value, pattern = self._scalars("like", args, 2, depth)
        for each in (value, pattern):
            if each.kind is not Kind.TEXT:
                raise FilterRefused(
                    f"LIKE is for texts, and {_named(each)} is {NAMES[each.kind]};"
                    f" compare with = instead"
                )
        _refuse_open_escape(pattern)
        return Like(value, pattern)

    def _between(self, args: list[Tree], depth: int) -> Expression:
        value, low, high = self._scalars("between", args, 3, depth)
        return conjunction((self._compared(">=", value, low), self._compared("<=", value, high)))

    def _in(self, args: list[Tree], depth: int) -> Expression:
        wanted, listed = _exactly("in", args, 2)
        if not isinstance(listed, list) or not listed:
            raise FilterRefused("IN takes a list of at least one value")
        value = self.scalar(wanted, depth + 1)
        items = [self._agreed(value, self.scalar(item, depth + 1)) for item in listed]
        literals = [item for item in items if isinstance(item, Literal)]
        same = all(item.kind is value.kind for item in literals)
        if len(literals) == len(items) and same and not isinstance(value, Literal):
            return one_of(value, literals)
        return disjunction(self._compared("=", value, item) for item in items)

    def _compared(self, op: str, left: Scalar, right: Scalar) -> Expression:
        if isinstance(left, Literal) and not isinstance(right, Literal):
            op, left, right = TURNED[op], right, left
        right = self._agreed(left, right)
        left = self._agreed(right, left)
        kinds = {left.kind, right.kind}
        if kinds == {Kind.DATE, Kind.INSTANT}:
            return temporal.compared(op, left, right, self.known.zone)
        if Kind.ARRAY in kinds or Kind.GEOMETRY in kinds:
            other = "A_EQUALS" if Kind.ARRAY in kinds else "S_EQUALS"
            raise FilterRefused(f"{op} does not compare {NAMES[left.kind]}; write {other}(…)")
        if left.kind is not right.kind and not (left.kind.is_numeric and right.kind.is_numeric):
            raise FilterRefused(
                f"{_named(left)} is {NAMES[left.kind]} and {_named(right)} is"
                f" {NAMES[right.kind]}: they cannot be compared{_fix(left, right)}"
            )
        if left.kind is Kind.BOOLEAN and op not in ("=", "<>"):
            raise FilterRefused(f"{op} does not compare true and false; write = or <>")
        return compare(op, left, right)

    def _agreed(self, wanted: Scalar, given: Scalar) -> Scalar:
        """A literal as the kind of what it is compared with has it, where that is plain."""
        if not isinstance(given, Literal) or isinstance(wanted, Literal):
            return given
        value = given.value
        if given.kind is Kind.TEXT and wanted.kind in FROM_TEXT:
            return FROM_TEXT[wanted.kind](str(value))
        if wanted.kind is Kind.NUMBER and given.kind is Kind.INTEGER:
            return Literal(float(value), Kind.NUMBER)  # type: ignore[arg-type]
        if wanted.kind is Kind.INTEGER and isinstance(value, float) and value.is_integer():
            return values.number(int(value))
        return given

    # Values -------------------------------------------------------------------------------------

    def scalar(self, tree: Tree, depth: int) -> Scalar:
        self._count(depth)
        if isinstance(tree, str):
            return values.text(tree)
        if isinstance(tree, bool):
            return Literal(tree, Kind.BOOLEAN)
        if isinstance(tree, int | float):
            return values.number(tree)
        if isinstance(tree, list):
            return Items(tuple(self.scalar(item, depth + 1) for item in tree))
        if isinstance(tree, shapely.Geometry):
            return values.shape(cast("BaseGeometry", tree), self.crs)
        if isinstance(tree, dict):
            return self._object(tree, depth)
        raise FilterRefused("null is no value to compare with; write isNull")

    def _object(self, tree: dict[str, Tree], depth: int) -> Scalar:
        if "op" in tree:
            return self._call(*self._operator(tree), depth)
        kind = tree.get("type")
        if isinstance(kind, str) and kind in GEOJSON_TYPES:
            return values.geojson(tree, self.crs)
        if len(tree) == 1:
            [(name, value)] = tree.items()
            return self._single(name, value, depth)
        raise FilterRefused(f"{reprlib.repr(tree)[:60]} is no value of CQL2")

    def _single(self, name: str, value: Tree, depth: int) -> Scalar:
        """A value that is written as an object of one member."""
        if name == "property" and isinstance(value, str):
            return self.known.named(value)
        if name in TIMES and isinstance(value, str):
            return TIMES[name](value)
        if name == "bbox" and isinstance(value, list):
            return values.box([self._plain(each, depth) for each in value], self.crs)
        if name == "interval":
            raise FilterRefused("an INTERVAL is for T_… functions; write T_INTERSECTS(…)")
        raise FilterRefused(f"{name[:40]} is no value of CQL2")

    def _plain(self, tree: Tree, depth: int) -> object:
        value = self.scalar(tree, depth + 1)
        return value.value if isinstance(value, Literal) else None

    def _call(self, name: str, args: list[Tree], depth: int) -> Scalar:
        if name in ARITHMETIC:
            left, right = self._scalars(name, args, 2, depth)
            return _calculated(name, left, right)
        if name in FOLDS:
            [operand] = self._scalars(name, args, 1, depth)
            if operand.kind is not Kind.TEXT:
                raise FilterRefused(f"{name.upper()} is for texts, and {_named(operand)} is none")
            return Function(name, (operand,), Kind.TEXT)
        if name.lower() == TODAY:
            return self._today(args)
        if name in OPERATORS.values():
            raise FilterRefused(f"{name} is true or false, and cannot be compared with")
        return self._function(name, args, depth)

    def _today(self, args: list[Tree]) -> Literal:
        days = args[0] if len(args) == 1 else 0
        if len(args) > 1 or not isinstance(days, int) or isinstance(days, bool):
            raise FilterRefused("today() takes a whole number of days or nothing: today(-7)")
        try:
            return Literal(self.known.today + timedelta(days=days), Kind.DATE)
        except OverflowError:
            raise FilterRefused(f"today({days}) is no date") from None

    def _function(self, name: str, args: list[Tree], depth: int) -> Scalar:
        offered = FUNCTIONS.get(name.lower())
        if offered is None:
            known = ", ".join([*FUNCTIONS, TODAY])
            raise FilterRefused(f"there is no function {name[:40]!r}; functions are {known}")
        given = self._scalars(name, args, len(offered.takes), depth)
        for number, (value, kinds) in enumerate(zip(given, offered.takes, strict=True), start=1):
            if value.kind not in kinds:
                wanted = " or ".join(NAMES[kind] for kind in kinds)
                raise FilterRefused(f"operand {number} of {name} is {wanted}")
        return Function(name.lower(), tuple(given), offered.gives)

    def _scalars(self, name: str, args: list[Tree], count: int, depth: int) -> list[Scalar]:
        return [self.scalar(arg, depth + 1) for arg in _exactly(name, args, count)]

    def _spatial(self, name: str, args: list[Tree], depth: int) -> Expression:
        left, right = self._scalars(name, args, 2, depth)
        for each in (left, right):
            if each.kind is not Kind.GEOMETRY:
                raise FilterRefused(
                    f"{name.upper()} is for geometries, and {_named(each)} is {NAMES[each.kind]}"
                )
        return Spatial(name, left, right)

    def _array(self, name: str, tree: Tree, depth: int) -> Scalar:
        value = self.scalar(tree, depth + 1)
        if value.kind is not Kind.ARRAY:
            raise FilterRefused(
                f"{name.upper()} is for lists, and {_named(value)} is {NAMES[value.kind]}"
            )
        return value

    def _span(self, tree: Tree, depth: int) -> temporal.Span:
        if not isinstance(tree, dict) or tree.keys() != {"interval"}:
            return temporal.Span.of(self._when(tree, depth))
        ends = tree["interval"]
        if not isinstance(ends, list) or len(ends) != 2:
            raise FilterRefused("INTERVAL has two ends, such as INTERVAL('2026-01-01', '..')")
        first, last = (None if end == ".." else self._when(end, depth) for end in ends)
        return temporal.Span.between(first, last)

    def _when(self, tree: Tree, depth: int) -> Scalar:
        value = values.moment(tree) if isinstance(tree, str) else self.scalar(tree, depth + 1)
        if not value.kind.is_temporal:
            raise FilterRefused(
                f"{_named(value)} is {NAMES[value.kind]}, and no date and no instant"
            )
        return value

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise FilterRefused(f"is nested more than {MAX_DEPTH} deep; write it flatter")
        if self._nodes > MAX_NODES:
            raise FilterRefused(f"has more than {MAX_NODES} parts; ask for less at once")


def _exactly(name: str, args: list[Tree], count: int) -> list[Tree]:
    if len(args) != count:
        raise FilterRefused(f"{name} has {len(args)} operands and takes {count}")
    return args


def _calculated(op: str, left: Scalar, right: Scalar) -> Scalar:
    for each in (left, right):
        if not each.kind.is_numeric:
            raise FilterRefused(f"{op} is for numbers, and {_named(each)} is {NAMES[each.kind]}")
    if isinstance(left, Literal) and isinstance(right, Literal) and op in "+-*":
        one, other = left.value, right.value
        assert isinstance(one, int | float)
        assert isinstance(other, int | float)
        found = {"+": one + other, "-": one - other, "*": one * other}[op]
        return values.number(found)
    return Arithmetic(op, left, right)


def _refuse_open_escape(pattern: Scalar) -> None:
    while isinstance(pattern, Function):
        pattern = pattern.args[0]
    if isinstance(pattern, Literal):
        said = str(pattern.value)
        if (len(said) - len(said.rstrip("\\"))) % 2:
            raise FilterRefused("a pattern of LIKE ends with \\, which escapes nothing; write \\\\")


def _named(value: Scalar) -> str:
    match value:
        case Property(name):
            return name
        case Literal(said):
            if isinstance(said, date | datetime):
                return said.isoformat()
            return repr(said)[:60]
        case Function(name):
            return f"{name}(…)"
        case Arithmetic(op):
            return f"what {op} gives"
    return "what is written"


def _fix(left: Scalar, right: Scalar) -> str:
    if left.kind is Kind.TEXT and isinstance(right, Literal) and right.kind.is_numeric:
        return f"; write '{right.value}' in quotes"
    if left.kind.is_numeric and isinstance(right, Literal) and right.kind is Kind.TEXT:
        try:
            is_number = math.isfinite(float(str(right.value)))
        except ValueError:
            is_number = False
        return f"; write {right.value} without quotes" if is_number else ""
    return ""
