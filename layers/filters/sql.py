"""A filter as a condition of SQL: every value bound, every name quoted."""

from __future__ import annotations

import math
from datetime import date, datetime
from functools import singledispatchmethod
from zoneinfo import ZoneInfo

import orjson

from layers.columns import WEB_MERCATOR_LATITUDE
from layers.filters.functions import FUNCTIONS
from layers.filters.nodes import (
    And,
    Arithmetic,
    Compare,
    Constant,
    Endless,
    Function,
    In,
    IsNull,
    Items,
    Kind,
    Like,
    Listed,
    Literal,
    Not,
    Or,
    Property,
    Scalar,
    Shape,
    Spatial,
    Truth,
)
from layers.filters.requests import TEXTS
from layers.filters.temporal import DAY_OF
from layers.filters.values import EARTH_M
from layers.sql import ident
from layers.values import Values

SAFE_LATITUDE = 85.0  # beyond it not every row has a cell, nor is in the index on tile_geom
DEGREE_M = 110_000.0  # at least so long everywhere, of latitude; of longitude at the equator
TYPES = {
    Kind.BOOLEAN: "boolean", Kind.INTEGER: "bigint", Kind.NUMBER: "float8", Kind.TEXT: "text",
    Kind.DATE: "date", Kind.INSTANT: "timestamptz", Kind.TIME: "time",
}  # fmt: skip
SPATIAL = {
    "s_intersects": "ST_Intersects", "s_equals": "ST_Equals", "s_disjoint": "ST_Disjoint",
    "s_touches": "ST_Touches", "s_within": "ST_Within", "s_overlaps": "ST_Overlaps",
    "s_crosses": "ST_Crosses", "s_contains": "ST_Contains",
}  # fmt: skip
FOLDED = {"casei": "quartier.fold_case", "accenti": "quartier.fold_accents"}
ARITHMETIC = {
    "/": "{0} / nullif({1}, 0)",
    "div": "trunc({0} / nullif({1}, 0))",
    "%": "({0} - {1} * trunc({0} / nullif({1}, 0)))",
    "^": "CASE WHEN {0} < 0 AND {1} <> trunc({1}) OR {0} = 0 AND {1} < 0 THEN NULL"
    " ELSE power({0}, {1}) END",
}  # what cannot be worked out, such as a division by nothing, gives nothing


class Condition:
    """Writes conditions on the rows of one table, whose alias is `row`, into `values`."""

    def __init__(
        self,
        values: Values,
        zone: ZoneInfo,
        *,
        row: str = "t",
        tiled: bool = True,
        points: bool = False,
    ) -> None:
        """`tiled`: the table has `tile_geom` with its index beside `geom`. `points`: no row has
        another shape than a point.
        """
        self._values = values
        self._zone = zone
        self._row = row
        self._tiled = tiled
        self._points = points

    @singledispatchmethod
    def of(self, node: object) -> str:
        """The condition, fit to be joined by AND."""
        raise TypeError(f"{type(node).__name__} is no condition")

    @of.register
    def _(self, node: Constant) -> str:
        return str(node.value).lower()

    @of.register
    def _(self, node: And) -> str:
        return f"({' AND '.join(map(self.of, node.parts))})"

    @of.register
    def _(self, node: Or) -> str:
        return f"({' OR '.join(map(self.of, node.parts))})"

    @of.register
    def _(self, node: Not) -> str:
        return f"(NOT {self.of(node.part)})"

    @of.register
    def _(self, node: Truth) -> str:
        truth = self.value(node.operand)
        if isinstance(node.operand, Function) and node.operand.name == "within_distance":
            return f"({self._near(node.operand)}{truth})"
        return truth

    @of.register
    def _(self, node: IsNull) -> str:
        return f"({self.value(node.operand)} IS NULL)"

    @of.register
    def _(self, node: Compare) -> str:
        return f"({self.value(node.left)} {node.op} {self.value(node.right)})"

    @of.register
    def _(self, node: Like) -> str:
        return f"({self.value(node.value)} LIKE {self.value(node.pattern)})"

    @of.register
    def _(self, node: In) -> str:
        kind = node.items[0].kind
        items = self._values.bind([item.value for item in node.items], f"{TYPES[kind]}[]")
        return f"({self.value(node.value)} = ANY ({items}))"

    @of.register
    def _(self, node: Spatial) -> str:
        shape = node.right if isinstance(node.right, Shape) else node.left
        place = node.left if isinstance(node.right, Shape) else node.right
        if not (isinstance(shape, Shape) and isinstance(place, Property)):
            return f"({self._spatial(node)})"
        if node.op == "s_disjoint":
            return f"({self._spatial(node)})"
        if self._points and shape.is_box and node.op == "s_intersects":
            inside = self._within_bounds(self.value(place), *shape.bounds)
            return f"({self._reach(*shape.bounds)}{inside})"
        return f"({self._reach(*shape.bounds)}{self._spatial(node)})"

    def _spatial(self, node: Spatial) -> str:
        return f"{SPATIAL[node.op]}({self.value(node.left)}, {self.value(node.right)})"

    def _within_bounds(
        self, point: str, west: float, south: float, east: float, north: float
    ) -> str:
        """Whether a point lies in a box: a hundredth of what ST_Intersects would cost."""
        edges = [self._values.bind(edge, "float8") for edge in (west, east, south, north)]
        x, y = f"ST_X({point})", f"ST_Y({point})"
        return f"{x} BETWEEN {edges[0]} AND {edges[1]} AND {y} BETWEEN {edges[2]} AND {edges[3]}"

    @of.register
    def _(self, node: Listed) -> str:
        one, other = (f"quartier.items({self.value(each)})" for each in (node.left, node.right))
        contains = f"quartier.holds_all({one}, {other})"
        contained = f"quartier.holds_all({other}, {one})"
        match node.op:
            case "a_contains":
                return contains
            case "a_containedBy":
                return contained
            case "a_equals":
                return f"({contains} AND {contained})"
        return f"quartier.holds_any({one}, {other})"

    # Values -------------------------------------------------------------------------------------

    @singledispatchmethod
    def value(self, node: object) -> str:
        raise TypeError(f"{type(node).__name__} is no value")

    @value.register
    def _(self, node: Property) -> str:
        return f"{self._row}.{ident(node.name)}"

    @value.register
    def _(self, node: Literal) -> str:
        return self._values.bind(node.value, TYPES[node.kind])

    @value.register
    def _(self, node: Endless) -> str:
        return f"'{'-' if node.sign < 0 else ''}infinity'::{TYPES[node.kind]}"

    @value.register
    def _(self, node: Shape) -> str:
        return f"ST_GeomFromWKB({self._values.bind(node.wkb, 'bytea')}, 4326)"

    @value.register
    def _(self, node: Arithmetic) -> str:
        left, right = (f"{self.value(each)}::float8" for each in (node.left, node.right))
        form = ARITHMETIC.get(node.op, f"{{0}} {node.op} {{1}}")
        return f"({form.format(left, right)})"

    @value.register
    def _(self, node: Items) -> str:
        if all(isinstance(item, Literal) for item in node.items):
            plain = [_in_json(item) for item in node.items if isinstance(item, Literal)]
            return self._values.bind(orjson.dumps(plain).decode(), "jsonb")
        return f"jsonb_build_array({', '.join(self._item(item) for item in node.items)})"

    def _item(self, node: Scalar) -> str:
        if isinstance(node, Literal):
            return self._values.bind(orjson.dumps(_in_json(node)).decode(), "jsonb")
        return f"to_jsonb({self.value(node)})"

    @value.register
    def _(self, node: Function) -> str:
        if node.name in FOLDED:
            return f"{FOLDED[node.name]}({self.value(node.args[0])})"
        if node.name == TEXTS:
            return f"concat_ws(chr(10), {', '.join(map(self.value, node.args))})"
        if node.name == DAY_OF:
            return f"({self._local(node.args[0])})::date"
        return f"({FUNCTIONS[node.name].sql.format(*map(self._local, node.args))})"

    def _local(self, node: Scalar) -> str:
        """A value, of an instant as the layer's own clock shows it."""
        if node.kind is not Kind.INSTANT:
            return self.value(node)
        return f"({self.value(node)} AT TIME ZONE {self._values.bind(self._zone.key, 'text')})"

    # What leads to the index on tile_geom -------------------------------------------------------

    def _reach(self, west: float, south: float, east: float, north: float) -> str:
        """What is true of every row that meets the box, and what the index answers; or nothing."""
        if not self._tiled or max(-south, north) > SAFE_LATITUDE:
            return ""
        left, right = (math.radians(each) * EARTH_M for each in (west, east))
        bottom, top = (_mercator_y(each) for each in (south, north))
        edges = (left - 1.0, bottom - 1.0, right + 1.0, top + 1.0)  # a metre more, for rounding
        bound = ", ".join(self._values.bind(edge, "float8") for edge in edges)
        return f"{self._row}.tile_geom && ST_MakeEnvelope({bound}, 3857) AND "

    def _near(self, node: Function) -> str:
        """The same of what is so many metres from a shape."""
        shape = next((each for each in node.args[:2] if isinstance(each, Shape)), None)
        place = next((each for each in node.args[:2] if isinstance(each, Property)), None)
        metres = node.args[2]
        if shape is None or place is None or not isinstance(metres, Literal):
            return ""
        assert isinstance(metres.value, int | float)
        west, south, east, north = shape.bounds
        tall = max(0.0, float(metres.value)) / DEGREE_M
        highest = max(abs(south), abs(north)) + tall
        if highest >= SAFE_LATITUDE:
            return ""
        wide = tall / math.cos(math.radians(highest))
        if west - wide < -180 or east + wide > 180:
            return ""
        return self._reach(west - wide, south - tall, east + wide, north + tall)


def _mercator_y(latitude: float) -> float:
    held = max(-WEB_MERCATOR_LATITUDE, min(WEB_MERCATOR_LATITUDE, latitude))
    return math.log(math.tan(math.pi / 4 + math.radians(held) / 2)) * EARTH_M


def _in_json(node: Literal) -> object:
    value = node.value
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value
