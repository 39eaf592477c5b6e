"""A box of degrees as ranges of cells in Morton order (the column `cell`, `quartier.cell`).

The cells of a quad are one range of codes; a box is some quads within it and others along its
edges, which are parted again for as long as there may be more ranges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from layers.changes import morton
from layers.overviews import ROW_DEPTH

SIDE = 1 << ROW_DEPTH
Bounds = tuple[float, float, float, float]
MOST = 96
MARGIN = 1  # cells, for what another library rounds otherwise


class Range(NamedTuple):
    """Codes from the first to the last; `is_inside`: whatever has them lies in the box."""

    first: int
    last: int
    is_inside: bool
    depth: int = ROW_DEPTH  # of the quad that it is, as cells of the overview have one


class _Span(NamedTuple):
    """Columns and rows, the last ones included."""

    west: int
    north: int
    east: int
    south: int

    def wider(self, by: int) -> _Span:
        return _Span(self.west - by, self.north - by, self.east + by, self.south + by)


Quad = tuple[int, int, int, int]  # depth, column, row, code


@lru_cache(maxsize=512)  # every page of a walk asks for the same
def ranges(bounds: Bounds, most: int = MOST) -> tuple[Range, ...]:
    """The ranges of west, south, east, north in order; about `most` of them, never fewer cells than
    the box has. Latitudes lie within the square world of the tiles.

    The largest quads along an edge are parted, for as long as there may be more of them.
    """
    box = _span(bounds)
    outer, inner = box.wider(MARGIN), box.wider(-MARGIN - 1)
    found: list[Range] = []
    edge = _first_quads(outer)
    while edge and len(found) + len(edge) < most and edge[0][0] < ROW_DEPTH:
        finer: list[Quad] = []
        for number, quad in enumerate(edge):
            if len(found) + len(finer) + len(edge) - number > most:
                finer += edge[number:]
                break
            within, along = _parted(quad, outer, inner)
            found += [_range(each, is_inside=True) for each in within]
            finer += along
        edge = sorted(finer)  # those that are still large come first
    found += [_range(quad, is_inside=False) for quad in edge]
    return tuple(sorted(found))


def _parted(quad: Quad, outer: _Span, inner: _Span) -> tuple[list[Quad], list[Quad]]:
    """The quarters of a quad that lie within the box, and those along its edges."""
    within: list[Quad] = []
    along: list[Quad] = []
    depth, x, y, code = quad
    side = 1 << ROW_DEPTH - depth - 1
    for number, column, row in ((0, 0, 0), (1, 1, 0), (2, 0, 1), (3, 1, 1)):
        west, north = (2 * x + column) * side, (2 * y + row) * side
        east, south = west + side - 1, north + side - 1
        if west > outer[2] or outer[0] > east or north > outer[3] or outer[1] > south:
            continue
        holds = inner[0] <= west and east <= inner[2] and inner[1] <= north <= south
        part = (depth + 1, 2 * x + column, 2 * y + row, code << 2 | number)
        (within if holds and south <= inner[3] else along).append(part)
    return within, along


def _range(quad: Quad, *, is_inside: bool) -> Range:
    bits = 2 * (ROW_DEPTH - quad[0])
    first = quad[3] << bits
    return Range(first, first + (1 << bits) - 1, is_inside, quad[0])


def joined(found: Sequence[Range]) -> list[Range]:
    """Ranges that follow each other as one, which is inside where all of them are."""
    kept: list[Range] = []
    for each in found:
        if kept and kept[-1].last + 1 == each.first:
            last = kept.pop()
            each = Range(last.first, each.last, last.is_inside and each.is_inside)
        kept.append(each)
    return kept


def _span(bounds: Bounds) -> _Span:
    west, south, east, north = bounds
    return _Span(_column(west), _row(north), _column(east), _row(south))


def _column(longitude: float) -> int:
    return min(SIDE - 1, max(0, math.floor((longitude / 360.0 + 0.5) * SIDE)))


def _row(latitude: float) -> int:
    y = 0.5 - math.asinh(math.tan(math.radians(latitude))) / (2 * math.pi)
    return min(SIDE - 1, max(0, math.floor(y * SIDE)))


def _first_quads(outer: _Span) -> list[Quad]:
    """The quads as large as the box that it lies in: four at most."""
    longest = max(outer.east - outer.west, outer.south - outer.north) + 1
    depth = max(0, ROW_DEPTH - (longest - 1).bit_length())
    size = ROW_DEPTH - depth
    last = (1 << depth) - 1
    columns = range(max(0, outer.west >> size), min(last, outer.east >> size) + 1)
    rows = range(max(0, outer.north >> size), min(last, outer.south >> size) + 1)
    return [(depth, x, y, morton(x, y)) for y in rows for x in columns]
