"""MapLibre expressions, each written in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from styles.symbols import Kind, Symbol, Symbols

Expression = Any  # nested lists of JSON, as the style specification defines them

GEOMETRY_TYPES: dict[Kind, list[str]] = {
    "point": ["Point", "MultiPoint"],
    "line": ["LineString", "MultiLineString"],
    "polygon": ["Polygon", "MultiPolygon"],
}


def by_class(drawn: Symbols, of: Callable[[Symbol], str | float]) -> Expression:
    """A constant where all classes agree, else a `match` on the category column."""
    if drawn.column is None or len({of(symbol) for symbol in drawn.all}) == 1:
        return of(drawn.other)
    branches: list[object] = []
    for symbol in drawn.classes:
        branches += [symbol.value, of(symbol)]
    return ["match", text(drawn.column), *branches, of(drawn.other)]


def text(column: str) -> Expression:
    """An attribute as text; empty where the tile has no value."""
    return ["to-string", ["get", column]]


def grow(size: Expression, *, low: float, high: float) -> Expression:
    """A size given at zoom 14: `low` times as large at zoom 9, `high` times at zoom 18."""
    return [
        "interpolate", ["exponential", 1.4], ["zoom"],
        9, times(size, low),
        14, size,
        18, times(size, high),
    ]  # fmt: skip


def times(size: Expression, factor: float) -> Expression:
    return round(size * factor, 3) if isinstance(size, (int, float)) else ["*", factor, size]


def plus(size: Expression, extra: float) -> Expression:
    return round(size + extra, 3) if isinstance(size, (int, float)) else ["+", extra, size]


def rounded(count: Expression) -> Expression:
    """A number for people: 950, 1.2k, 12k."""
    tenths = ["to-string", ["/", ["round", ["/", count, 100]], 10]]
    whole = ["to-string", ["round", ["/", count, 1000]]]
    return ["step", count, ["to-string", count], 1000, ["concat", tenths, "k"],
            10_000, ["concat", whole, "k"]]  # fmt: skip


def only(kind: Kind) -> Expression:
    """A filter that keeps one kind of geometry."""
    return ["in", ["geometry-type"], ["literal", GEOMETRY_TYPES[kind]]]


def both(*filters: Expression | None) -> Expression | None:
    """All filters that are there; None where there is none."""
    given = [each for each in filters if each is not None]
    return ["all", *given] if len(given) > 1 else next(iter(given), None)


def dashed(drawn: Symbols, dash: str) -> Expression | None:
    """A filter for the classes drawn with this dash; values of no class are drawn solid."""
    if drawn.column is None:
        return None
    value: Expression = text(drawn.column)
    if dash != "solid":
        return ["in", value, ["literal", [s.value for s in drawn.classes if s.dash == dash]]]
    others = [s.value for s in drawn.classes if s.dash != "solid"]
    return ["!", ["in", value, ["literal", others]]] if others else None


def dashes(drawn: Symbols) -> list[str]:
    """The dashes in use. Each is a style layer of its own, which every client can draw."""
    return [
        dash for dash in ("solid", "dashed", "dotted") if any(s.dash == dash for s in drawn.all)
    ]
