"""What requests ask beside a filter, as expressions: a box, a time, ids, words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from layers.catalog import Bounds
from layers.crs import CRS84, Crs
from layers.errors import QueryRefused
from layers.filters import temporal, values
from layers.filters.canonical import conjunction, disjunction, one_of
from layers.filters.errors import FilterRefused
from layers.filters.nodes import (
    Constant,
    Expression,
    Function,
    Kind,
    Like,
    Literal,
    Property,
    Scalar,
    Spatial,
)
from layers.filters.queryables import FID, GEOM, Queryables

MAX_IDS = 10_000
MAX_WORDS = 10
MAX_LETTERS = 200
OPEN = ("", "..")
TEXTS = "texts"  # a function of the translation: all texts of a row as one
NOWHERE = Constant(value=False)


@dataclass(frozen=True, slots=True)
class Box:
    """A box in the order of axes of its system."""

    numbers: tuple[float, ...]
    crs: Crs = CRS84

    @classmethod
    def parse(cls, said: str | Sequence[Any], crs: Crs) -> Self:
        """`west,south,east,north`, or six numbers with heights. Raises QueryRefused."""
        parts = said.split(",") if isinstance(said, str) else said
        shown = said if isinstance(said, str) else ",".join(map(str, said))
        fix = "write west,south,east,north in degrees, for example 2.2,48.8,2.4,48.9"
        try:
            numbers = tuple(float(part) for part in parts)
        except (TypeError, ValueError):
            raise QueryRefused("bbox", shown[:200], fix) from None
        if not all(map(math.isfinite, numbers)):
            raise QueryRefused("bbox", shown[:200], f"holds what is no number; {fix}")
        if len(numbers) not in (4, 6):
            raise QueryRefused("bbox", shown[:200], f"has {len(numbers)} numbers; {fix}")
        if crs == CRS84:
            _refuse_beyond_the_world(numbers, shown[:200], fix)
        return cls(numbers, crs)


def _refuse_beyond_the_world(numbers: tuple[float, ...], shown: str, fix: str) -> None:
    half = len(numbers) // 2
    (west, south), (east, north) = numbers[:2], numbers[half : half + 2]
    if not (-180 <= west <= 180 and -180 <= east <= 180):
        raise QueryRefused("bbox", shown, f"longitudes lie within -180 and 180; {fix}")
    if not (-90 <= south <= north <= 90):
        raise QueryRefused("bbox", shown, f"latitudes lie within -90 and 90, south first; {fix}")


def parse_bbox(text: str) -> Bounds:
    """A box of degrees, longitude first; raises QueryRefused."""
    numbers = Box.parse(text, CRS84).numbers
    half = len(numbers) // 2
    return Bounds(*numbers[:2], *numbers[half : half + 2])


def in_box(box: Box, known: Queryables) -> Expression:
    """Whether a feature meets the box. One that lies beyond its system's world meets nothing, and
    rows of a plain table lie in none.
    """
    if GEOM not in known.properties:
        return NOWHERE
    try:
        shape = values.box(box.numbers, box.crs)
    except FilterRefused as exc:
        if box.crs == CRS84:
            raise QueryRefused("bbox", ",".join(map(str, box.numbers)), str(exc)) from None
        return NOWHERE
    return Spatial("s_intersects", known.properties[GEOM], shape)


def in_time(said: str, known: Queryables) -> Expression:
    """Whether a feature has a moment in common with a date, an instant or an interval."""
    if known.start is None or not known.named(known.start).kind.is_temporal:
        raise QueryRefused("datetime", said[:60], "features of this layer have no time")
    start, end = known.named(known.start), known.named(known.end) if known.end else None
    try:
        return temporal.within(start, end, _span(said), known.zone)
    except FilterRefused as exc:
        raise QueryRefused("datetime", said[:60], str(exc)) from None


def _span(said: str) -> temporal.Span:
    parts = said.split("/")
    if len(parts) == 1:
        return temporal.Span.of(values.moment(said))
    if len(parts) != 2:
        raise FilterRefused("an interval has two ends, such as 2026-01-01/2026-03-31")
    ends = [None if part in OPEN else values.moment(part) for part in parts]
    if ends == [None, None]:
        raise FilterRefused("an interval has at least one end, such as 2026-01-01/..")
    return temporal.Span.between(*ends)


def of_ids(said: str) -> Expression:
    """Whether a feature is one of these."""
    fids = said.split(",")
    if not all(fid.isascii() and fid.isdigit() and len(fid) < 17 for fid in fids):
        raise QueryRefused("ids", said[:200], "write ids of features, such as 3,7,12")
    if len(fids) > MAX_IDS:
        raise QueryRefused("ids", said[:60], f"names {len(fids)} features; ask for {MAX_IDS}")
    return one_of(Property(FID, Kind.INTEGER), (Literal(int(fid), Kind.INTEGER) for fid in fids))


def with_words(said: str, known: Queryables) -> Expression:
    """Whether the texts of a feature hold all words, or those of another alternative behind a
    comma; whatever their case and accents.
    """
    texts: list[Scalar] = [
        each for name, each in known.properties.items()
        if each.kind is Kind.TEXT and name == each.name
    ]  # fmt: skip
    if not texts:
        raise QueryRefused("q", said[:60], "this layer has no texts to look in")
    if len(said) > MAX_LETTERS or len(said.replace(",", " ").split()) > MAX_WORDS:
        raise QueryRefused("q", said[:60], f"write {MAX_WORDS} words at most")
    where = _folded(Function(TEXTS, tuple(texts), Kind.TEXT))
    try:
        return disjunction(
            conjunction(Like(where, _folded(values.text(_anywhere(word)))) for word in part.split())
            for part in said.split(",")
            if part.strip()
        )
    except FilterRefused as exc:
        raise QueryRefused("q", said[:60], str(exc)) from None


def _folded(value: Scalar) -> Function:
    return Function("accenti", (Function("casei", (value,), Kind.TEXT),), Kind.TEXT)


def _anywhere(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
