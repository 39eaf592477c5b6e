"""A filter as a value: what it asks, with every name resolved and every type known.

Nodes are frozen and compare by content. `say` writes one down in a way that is the same for the
same question, which is what caches are keyed by.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from enum import StrEnum
from typing import TypeAlias


class Kind(StrEnum):
    """What an expression's value is."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"
    DATE = "date"
    INSTANT = "datetime"
    TIME = "time"
    ARRAY = "array"
    GEOMETRY = "geometry"

    @property
    def is_numeric(self) -> bool:
        return self in (Kind.INTEGER, Kind.NUMBER)

    @property
    def is_temporal(self) -> bool:
        return self in (Kind.DATE, Kind.INSTANT)


@dataclass(frozen=True, slots=True)
class Property:
    """A column of the layer, `fid` or `geom`."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Literal:
    """A value; instants are aware and in UTC."""

    value: str | int | float | bool | date | datetime | time
    kind: Kind


@dataclass(frozen=True, slots=True)
class Endless:
    """The open end of an interval: before (-1) or after (1) all dates or instants."""

    sign: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Arithmetic:
    op: str
    left: Scalar
    right: Scalar
    kind: Kind = Kind.NUMBER


@dataclass(frozen=True, slots=True)
class Function:
    """A call of one of `layers.filters.functions`, or of casei, accenti and day_of."""

    name: str
    args: tuple[Scalar, ...]
    kind: Kind


@dataclass(frozen=True, slots=True)
class Shape:
    """A geometry in CRS84 as WKB. `is_box`: it is all that lies within its bounds."""

    wkb: bytes
    bounds: tuple[float, float, float, float]
    is_box: bool = False
    kind: Kind = Kind.GEOMETRY


@dataclass(frozen=True, slots=True)
class Items:
    """An array of values."""

    items: tuple[Scalar, ...]
    kind: Kind = Kind.ARRAY


Scalar: TypeAlias = Property | Literal | Endless | Arithmetic | Function | Shape | Items


@dataclass(frozen=True, slots=True)
class Truth:
    """A value that is true or false by itself."""

    operand: Scalar


@dataclass(frozen=True, slots=True)
class Constant:
    """What is so for every row."""

    value: bool


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Expression


@dataclass(frozen=True, slots=True)
class Compare:
    op: str
    left: Scalar
    right: Scalar


@dataclass(frozen=True, slots=True)
class Like:
    value: Scalar
    pattern: Scalar


@dataclass(frozen=True, slots=True)
class In:
    """Whether a value is one of several literals of its kind."""

    value: Scalar
    items: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class IsNull:
    operand: Scalar


@dataclass(frozen=True, slots=True)
class Spatial:
    op: str
    left: Scalar
    right: Scalar


@dataclass(frozen=True, slots=True)
class Listed:
    """A comparison of two arrays as sets."""

    op: str
    left: Scalar
    right: Scalar


Expression: TypeAlias = (
    Truth | Constant | And | Or | Not | Compare | Like | In | IsNull | Spatial | Listed
)
EVERYTHING = Constant(value=True)
