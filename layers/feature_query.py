"""Questions about the features of a layer, as values that are checked when they are made."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Self

import orjson

from layers.columns import ColumnType, GeometryType
from layers.crs import CRS84, Crs
from layers.errors import QueryRefused
from layers.filters.canonical import say
from layers.filters.nodes import EVERYTHING, Expression, Property, Shape, Spatial
from layers.filters.queryables import FID
from layers.filters.sql import SAFE_LATITUDE
from layers.model import Layer

MAX_LIMIT = 10_000
MAX_SORT = 8
MAX_DIGITS = 15
DEGREE_DIGITS, METRE_DIGITS = 9, 4  # 0.1 mm; what was stored, without the noise of its last bits
ACCEPTED_LETTERS = 8_000  # of a cursor
AS_IT_STANDS = "use the link `next` of a page as it stands"


@dataclass(frozen=True, slots=True)
class SortKey:
    """A column that features are ordered by; what has no value comes last either way."""

    name: str
    is_descending: bool = False

    def __str__(self) -> str:
        return f"-{self.name}" if self.is_descending else self.name


BoundsLike = tuple[float, float, float, float]
BY_CELL = SortKey("cell")  # no declared column can have this name


def _box(part: Expression) -> BoundsLike | None:
    """The bounds of the shape that a condition asks for, where cells tell all there is in them."""
    if not isinstance(part, Spatial) or part.op != "s_intersects":
        return None
    shape = part.right if isinstance(part.right, Shape) else part.left
    place = part.left if isinstance(part.right, Shape) else part.right
    if not (isinstance(shape, Shape) and isinstance(place, Property)):
        return None
    _, south, _, north = shape.bounds
    return shape.bounds if max(-south, north) <= SAFE_LATITUDE else None


def _is_cell(value: str | None) -> bool:
    return value is not None and value.isascii() and value.isdigit() and len(value) < 19


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place behind a feature in an order: its values of the keys as PostgreSQL writes them,
    its fid, the revision that the walk began at and the order itself.
    """

    revision: int
    fid: int
    values: tuple[str | None, ...] = ()
    order: tuple[str, ...] = ()

    def encode(self) -> str:
        said = [
            self.revision,
            self.fid,
            *([list(self.order), list(self.values)] * bool(self.order)),
        ]
        return base64.urlsafe_b64encode(orjson.dumps(said)).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read what `encode` wrote; raises QueryRefused for anything else."""
        try:
            if len(text) > ACCEPTED_LETTERS or not text.isascii():
                raise ValueError
            said = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", True))
            revision, fid, *rest = said
            order, values = rest or ((), ())
            found = cls(revision, fid, tuple(values), tuple(order))
            if not found._is_plain():
                raise ValueError
        except (ValueError, TypeError, binascii.Error):
            raise QueryRefused("cursor", text[:60], AS_IT_STANDS) from None
        return found

    def _is_plain(self) -> bool:
        whole = all(type(n) is int and 0 <= n < 2**53 for n in (self.revision, self.fid))
        texts = all(isinstance(each, str) for each in self.order)
        values = all(value is None or isinstance(value, str) for value in self.values)
        return whole and texts and values and len(self.order) == len(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureQuery:
    """Which features of a layer, in which order, and what of them.

    `columns` None: all of them. `zoom`: shapes as coarse as half a pixel of it allows. `limit`
    None: all there are. `as_of`: as the layer was at that revision.
    """

    layer: Layer
    where: Expression = EVERYTHING
    sort: tuple[SortKey, ...] = ()
    columns: tuple[str, ...] | None = None
    geometry: bool = True
    crs: Crs = CRS84
    digits: int | None = None
    zoom: int | None = None
    after: Cursor | None = None
    limit: int | None = 100
    as_of: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and not 1 <= self.limit <= MAX_LIMIT:
            raise QueryRefused("limit", self.limit, f"write a number from 1 to {MAX_LIMIT}")
        if self.digits is not None and not 0 <= self.digits <= MAX_DIGITS:
            raise QueryRefused("precision", self.digits, f"write a number from 0 to {MAX_DIGITS}")
        if self.after is not None and self.after.order != self.order:
            sorted_by = ", ".join(self.after.order) or FID
            raise QueryRefused("cursor", "", f"is of features sorted by {sorted_by}")
        if self.after is not None and self.box is not None and not _is_cell(self.after.values[0]):
            raise QueryRefused("cursor", str(self.after.values[0])[:60], AS_IT_STANDS)

    @property
    def box(self) -> BoundsLike | None:
        """The box of degrees that points are walked in, a few ranges of cells each, where they are
        asked for by a shape, by nothing else and in no order of their own.
        """
        if self.layer.geometry is not GeometryType.POINT or self.sort:
            return None
        return _box(self.where)

    @property
    def is_box(self) -> bool:
        """Whether all that lies in the bounds of `box` is asked for."""
        sides = (self.where.left, self.where.right) if isinstance(self.where, Spatial) else ()
        return any(isinstance(side, Shape) and side.is_box for side in sides)

    @property
    def keys(self) -> tuple[SortKey, ...]:
        """What features are ordered by before their fid: in a box, where they are."""
        return self.sort if self.box is None else (BY_CELL,)

    @property
    def order(self) -> tuple[str, ...]:
        return tuple(map(str, self.keys))

    @property
    def has_geometry(self) -> bool:
        return self.geometry and self.layer.has_geometry

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are told, in declared order."""
        every = (column.name for column in self.layer.columns)
        return tuple(name for name in every if self.columns is None or name in self.columns)

    @property
    def decimals(self) -> int:
        """Digits behind the point of a coordinate."""
        if self.digits is not None:
            return self.digits
        return DEGREE_DIGITS if self.crs.srid in (4326, 4258, 4269, 7844) else METRE_DIGITS

    @property
    def matches(self) -> str:
        """The same for queries that match the same features, whatever page and form they want.

        Short, because it is remembered, and a condition may be as long as a body.
        """
        said = hashlib.blake2b(say(self.where).encode(), digest_size=16).hexdigest()
        return f"{self.layer.id}|{said}"


def parse_sort(text: str, layer: Layer) -> tuple[SortKey, ...]:
    """`-height,genus`: a minus for descending. Raises QueryRefused."""
    kinds = {column.name: column.type for column in layer.columns}
    sortable = [FID, *(name for name, kind in kinds.items() if kind is not ColumnType.JSON)]
    keys: list[SortKey] = []
    for part in text.split(","):
        name = part.strip().lstrip("+-")
        if name not in sortable:
            near = get_close_matches(name, sortable, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            fix = f"{hint}features can be sorted by {', '.join(sortable)}"
            raise QueryRefused("sortby", text, fix)
        keys.append(SortKey(name, part.strip().startswith("-")))
    if len(keys) > MAX_SORT or len({key.name for key in keys}) < len(keys):
        raise QueryRefused("sortby", text, f"name {MAX_SORT} columns at most, each once")
    return () if keys == [SortKey(FID)] else tuple(keys)


def parse_columns(text: str, layer: Layer) -> tuple[str, ...]:
    """`genus,height`: the columns to be told; none for an empty text. Raises QueryRefused."""
    known = [column.name for column in layer.columns]
    names = [name.strip() for name in text.split(",")] if text.strip() else []
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise QueryRefused("properties", text, f"{hint}columns are {', '.join(known)}")
    return tuple(dict.fromkeys(names))
