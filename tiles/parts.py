"""One layer's share of a tile, and how a tile is kept to its budget.

What must go goes by steps that depend on the data alone: first the attributes that the style does
not need, of the largest share; then its least important features. Counted cells never go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from layers.overviews import has_cells
from tiles.address import Show, TileAddress
from tiles.cell_query import cell_query, heat_query
from tiles.drawn import Drawn
from tiles.fullness import Fullness
from tiles.label_query import label_query
from tiles.narrowed_query import narrowed_query
from tiles.packed_cells import must_be_packed, packed_cells
from tiles.packed_points import packed_points
from tiles.packing import compress
from tiles.query import (
    MAX_FEATURES,
    Cut,
    Made,
    TileQuery,
    columns_in,
    cut_query,
    tile_query,
)  # fmt: skip
from tiles.shape_query import shape_query

INLINE_BYTES = 64_000  # compressed at once; more than that would hold up the other requests
RUNG = 0.8  # each step of a cut keeps this share of the features of the one before


class Row(Protocol):
    """What a tile statement answers."""

    def __getitem__(self, name: str) -> object: ...
    def values(self) -> Iterable[object]: ...


class Database(Protocol):
    """Runs a statement that answers one row."""

    async def fetchrow(self, sql: str, *args: object) -> Row: ...


@dataclass(frozen=True, slots=True)
class Budget:
    """What a tile may hold: features of each layer, and bytes of all of them, compressed."""

    features: int = MAX_FEATURES
    bytes: int = 500_000


@dataclass(frozen=True, slots=True)
class Part:
    """One layer's share of a tile, as some snapshot saw it: `kept` of `matched` features."""

    drawn: Drawn
    revision: int
    tile: bytes
    kept: int
    matched: int
    cut: Cut

    @property
    def told(self) -> str | None:
        """What a budget left out, as the header `Quartier-Truncated` says it."""
        thinned = self.cut.style_only
        if not thinned and self.kept >= self.matched:
            return None
        said = f"{self.drawn.name};kept={self.kept};of={self.matched}"
        return f"{said};attributes=style" if thinned else said


async def make_parts(
    database: Database,
    drawn: Sequence[Drawn],
    at: TileAddress,
    budget: Budget,
    fullness: Fullness,
) -> tuple[list[Part], bytes]:
    """The shares of a tile in the order asked, and the whole tile as gzip, within its budget."""
    makers = [_part(database, each, at, budget.features, fullness) for each in drawn]
    parts = [await makers[0]] if len(makers) == 1 else list(await asyncio.gather(*makers))
    while True:
        packed = await _packed(parts)
        over = len(packed) - budget.bytes
        largest = _largest(parts, at)
        if over <= 0 or largest is None:
            return parts, packed
        part = parts[largest]
        share = len(packed) * len(part.tile) / sum(len(each.tile) for each in parts)
        smaller = next_cut(part, max(0.0, 1 - over / share))
        parts[largest] = await _cut(database, part.drawn, at, smaller)


async def _packed(parts: Sequence[Part]) -> bytes:
    """A composite is its parts one after the other: an MVT is a sequence of layers."""
    raw = b"".join(part.tile for part in parts)
    if len(raw) <= INLINE_BYTES:
        return compress(raw) if raw else b""
    return await asyncio.to_thread(compress, raw)


def _largest(parts: Sequence[Part], at: TileAddress) -> int | None:
    """The place of the largest share that can still be cut."""
    able = [n for n, part in enumerate(parts) if part.drawn.shows_features(at.z) and _can_go(part)]
    return max(able, key=lambda n: (len(parts[n].tile), -n), default=None)


def _can_go(part: Part) -> bool:
    """Whether anything of a share can still go: a feature always stays."""
    return part.kept > 1 or (part.kept == 1 and _can_slim(part))


def _can_slim(part: Part) -> bool:
    """Whether features carry attributes that the style does not need."""
    layer, slim = part.drawn.layer, Cut(part.cut.features, style_only=True)
    return len(columns_in(layer, slim)) < len(columns_in(layer, part.cut))


def next_cut(part: Part, fits: float) -> Cut:
    """The next step down for a share of which about `fits` may stay (0 to 1)."""
    if _can_slim(part):
        return Cut(part.cut.features, style_only=True)
    return Cut(_rung(min(part.kept - 1, int(part.kept * fits))), part.cut.style_only)


def _rung(features: int) -> int:
    """The largest step that is no more than so many features: few texts of statements."""
    rung = MAX_FEATURES
    while rung > max(1, features):
        rung = int(rung * RUNG)
    return max(1, rung)


async def _part(
    database: Database, drawn: Drawn, at: TileAddress, most: int, fullness: Fullness
) -> Part:
    query = first_query(drawn, at, most, fullness)
    row = await database.fetchrow(query.sql, *query.args)
    if _can_be_packed(drawn):
        fullness.tell(drawn.name, at, _whole(row["seen"]))
    if drawn.shows_features(at.z) and _whole(row["seen"]) > most:
        return await _cut(database, drawn, at, Cut(most))
    made = await _made(query, row)
    return Part(drawn, _whole(row["revision"]), made.tile, made.features, made.features, Cut(most))


async def _made(query: TileQuery, row: Row) -> Made:
    """The tile, made beside the other requests where much is to be done."""
    if query.make is not None:
        sent = sum(len(value) for value in row.values() if isinstance(value, bytes))
        if sent > INLINE_BYTES:
            return await asyncio.to_thread(query.made, row)
    return query.made(row)


def first_query(drawn: Drawn, at: TileAddress, most: int, fullness: Fullness) -> TileQuery:
    """What a tile is asked for by, before it is known whether it is too large."""
    if drawn.is_narrowed:
        return narrowed_query(drawn, at, Cut(most + 1))
    if (packed := _packed_query(drawn, at, most, fullness)) is not None:
        return packed
    if drawn.wanted.show is Show.HEAT:
        return heat_query(drawn.published, drawn.name, at)
    if drawn.shows_cells(at.z):
        return cell_query(drawn.published, drawn.name, at)
    return _features_query(drawn, at, Cut(most + 1))


def _packed_query(drawn: Drawn, at: TileAddress, most: int, fullness: Fullness) -> TileQuery | None:
    """The query of which a tile is made here, where that is sooner done."""
    if not _can_be_packed(drawn):
        return None
    large = fullness.is_large(drawn.name, at)
    if drawn.shows_cells(at.z):
        must = must_be_packed(drawn.layer)
        return packed_cells(drawn.published, drawn.name, at) if large or must else None
    return packed_points(drawn.layer, drawn.name, at, most) if large else None


def _can_be_packed(drawn: Drawn) -> bool:
    is_plain = drawn.wanted.show is Show.FEATURES and not drawn.is_narrowed
    return is_plain and has_cells(drawn.layer)


def _features_query(drawn: Drawn, at: TileAddress, cut: Cut, *, counts: bool = False) -> TileQuery:
    """`counts`: the tile may hold less than there is, so say how much that is."""
    if drawn.is_narrowed:
        return narrowed_query(drawn, at, cut, counts=counts)
    layer, name = drawn.layer, drawn.name
    if drawn.wanted.show is Show.LABELS:
        return label_query(layer, name, at, cut, counts=counts)
    if (query := shape_query(layer, name, at, cut, counts=counts)) is not None:
        return query
    return (
        cut_query(layer, name, at, cut) if counts else tile_query(layer, name, at, cut.features - 1)
    )


async def _cut(database: Database, drawn: Drawn, at: TileAddress, cut: Cut) -> Part:
    query = _features_query(drawn, at, cut, counts=True)
    row = await database.fetchrow(query.sql, *query.args)
    made = query.made(row)
    matched = _whole(row["matched"]) - (_whole(row["seen"]) - made.features)
    return Part(drawn, _whole(row["revision"]), made.tile, made.features, matched, cut)


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value
