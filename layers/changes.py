"""A layer's change log in memory: which revision last touched a tile.

The log names cells (tiles of the world at some zoom, as Morton codes), and which of the 64 parts of
each were touched; the tiles of every zoom, buffer included, follow by arithmetic. Readers keep one
`ChangeLog` a layer and feed it from `quartier.public_changes`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from layers.change_cells import MOST_CELLS, Cell, Cells, bounded

BUFFER_FRACTION = 64 / 4096  # how far past its edge a tile draws, in tile widths
REACH_FRACTION = 72 / 4096  # the buffer, and a pixel that a simplified shape may stray
PART_ZOOMS = 3  # deeper than a cell are its 64 parts
PART_TOUCH = 1e-6  # parts; what lies on the buffer's edge is in the tile
WHOLE = -1  # all parts of a cell, as bits in the order of their Morton codes
REMEMBERED = 50_000  # tiles whose version is kept at hand, for each layer
REMEMBERED_ANSWERS = 64  # of what changed since a revision: most who ask know the same one


def unmorton(codes: Cells) -> tuple[Cells, Cells]:
    """Columns and rows of Morton codes, x in the even bits."""
    return _even_bits(codes), _even_bits(codes >> 1)


def _even_bits(codes: Cells) -> Cells:
    bits = codes & 0x5555555555555555
    for shift, mask in (
        (1, 0x3333333333333333),
        (2, 0x0F0F0F0F0F0F0F0F),
        (4, 0x00FF00FF00FF00FF),
        (8, 0x0000FFFF0000FFFF),
        (16, 0x00000000FFFFFFFF),
    ):
        bits = (bits | (bits >> shift)) & mask
    return bits


def _parts_between() -> tuple[Cells, Cells]:
    """The parts of a cell in columns first to last, and those in rows first to last (8 × 8)."""
    part = np.arange(64)
    shape = (np.arange(8)[:, None, None], np.arange(8)[None, :, None])
    bits = np.int64(1) << part.astype(np.int64)
    between = [(shape[0] <= at) & (at <= shape[1]) for at in unmorton(part.astype(np.int64))]
    columns, rows = (np.bitwise_or.reduce(np.where(held, bits, 0), axis=2) for held in between)
    return columns, rows


_COLUMNS, _ROWS = _parts_between()


class ChangeLog:
    """What one layer's log says up to `revision`. Not shared between threads."""

    def __init__(self, *, revision: int = 0, base: int = 0, epoch: int = 0) -> None:
        self.revision = revision
        self.base = base
        self.epoch = epoch
        self._cells: dict[int, dict[int, tuple[int, int]]] = {}
        self._arrays: dict[int, tuple[Cells, Cells, Cells, Cells]] = {}
        self._known: dict[tuple[int, int, int], int] = {}
        self._since: dict[int, tuple[Cell, ...]] = {}

    def touch(self, changes: Iterable[tuple[int, int, int, int]]) -> None:
        """Add (zoom, cell, revision, parts) rows of the log."""
        for z, cell, revision, parts in changes:
            at = self._cells.setdefault(z, {})
            last, known = at.get(cell, (0, 0))
            at[cell] = max(revision, last), parts | known
            self._arrays.pop(z, None)
        self._forget()

    def advance(self, revision: int, base: int) -> None:
        """Say that everything up to `revision` has been added; `base` touched every tile."""
        self.revision, self.base = revision, base
        self._forget()

    def _forget(self) -> None:
        self._known.clear()
        self._since.clear()

    def last_changed(self, z: int, x: int, y: int) -> int:
        """The last revision that touched the tile or its buffer, at least the base revision."""
        key = (z, x, y)
        if (known := self._known.get(key)) is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[key] = max(
                [self.base, *(self._last_at(depth, *key) for depth in self._cells)]
            )
        return known

    def cells_since(self, revision: int) -> tuple[Cell, ...] | None:
        """Cells that hold all that was touched after `revision`, few enough to be told.

        None where that is every tile: the base was raised since, or `revision` is of another
        history than this log's.
        """
        if not self.base <= revision <= self.revision:
            return None
        if (known := self._since.get(revision)) is None:
            if len(self._since) >= REMEMBERED_ANSWERS:
                self._since.clear()
            known = self._since[revision] = self._cells_since(revision)
        return known

    def _cells_since(self, revision: int) -> tuple[Cell, ...]:
        touched: dict[int, tuple[Cells, Cells]] = {}
        for depth in self._cells:
            columns, rows, revisions, parts = self._array(depth)
            newer = revisions > revision
            some = newer & (parts != WHOLE)
            if some.sum() > MOST_CELLS:  # they will be merged at least to these
                some[:] = False
            whole = newer & ~some
            _add(touched, depth, columns[whole], rows[whole])
            _add(touched, depth + PART_ZOOMS, *_told_apart(columns[some], rows[some], parts[some]))
        return bounded(touched, MOST_CELLS)

    def _last_at(self, depth: int, z: int, x: int, y: int) -> int:
        columns, rows, revisions, parts = self._array(depth)
        scale = 2.0 ** (depth + PART_ZOOMS - z)
        west, east = _reach(x, scale)
        north, south = _reach(y, scale)
        inside = (columns >= west >> PART_ZOOMS) & (columns <= east >> PART_ZOOMS)
        inside &= (rows >= north >> PART_ZOOMS) & (rows <= south >> PART_ZOOMS)
        held = _COLUMNS[_within(columns[inside], west, east)]
        held = held & _ROWS[_within(rows[inside], north, south)] & parts[inside]
        return int(revisions[inside][held != 0].max(initial=0))

    def _array(self, depth: int) -> tuple[Cells, Cells, Cells, Cells]:
        if depth not in self._arrays:
            cells = self._cells[depth]
            codes = np.fromiter(cells.keys(), np.int64, len(cells))
            told = np.array(list(cells.values()), np.int64).reshape(-1, 2)
            self._arrays[depth] = (*unmorton(codes), told[:, 0], told[:, 1])
        return self._arrays[depth]


def _add(touched: dict[int, tuple[Cells, Cells]], z: int, columns: Cells, rows: Cells) -> None:
    if len(columns):
        known_columns, known_rows = touched.get(z, (columns[:0], rows[:0]))
        touched[z] = (np.append(known_columns, columns), np.append(known_rows, rows))


def _told_apart(columns: Cells, rows: Cells, parts: Cells) -> tuple[Cells, Cells]:
    """Columns and rows of the parts themselves, `PART_ZOOMS` deeper."""
    cell, part = np.nonzero(parts[:, None] >> np.arange(64) & 1)
    east, south = unmorton(part)
    return (columns[cell] << PART_ZOOMS) + east, (rows[cell] << PART_ZOOMS) + south


def _within(cells: Cells, first: int, last: int) -> tuple[Cells, Cells]:
    """Of each cell, the first and last column (or row) of parts that a reach of parts holds."""
    start = cells << PART_ZOOMS
    return np.clip(first - start, 0, 7), np.clip(last - start, 0, 7)


def _reach(index: int, scale: float) -> tuple[int, int]:
    """First and last part that a tile's column (or row) and its buffer reach."""
    first = np.floor((index - REACH_FRACTION) * scale - PART_TOUCH)
    last = np.floor((index + 1 + REACH_FRACTION) * scale + PART_TOUCH)
    return int(first), int(last)


def morton(x: int, y: int) -> int:
    """The Morton code of column x and row y, x in the even bits."""
    return _spread(x) | _spread(y) << 1


def _spread(bits: int) -> int:
    for shift, mask in (
        (16, 0x0000FFFF0000FFFF),
        (8, 0x00FF00FF00FF00FF),
        (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333),
        (1, 0x5555555555555555),
    ):
        bits = (bits | bits << shift) & mask
    return bits
