"""What a change touched, in few words: cells merged into coarser ones until they can be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_CELLS = 256  # of one layer in one event, about 5 kB
ROW_BITS = 32  # a cell is packed into one number: its column above, its row below
Cells = NDArray[np.int64]


class Cell(NamedTuple):
    """A tile of the world at some zoom, in which something changed."""

    z: int
    x: int
    y: int


EVERYWHERE = Cell(0, 0, 0)


def bounded(touched: Mapping[int, tuple[Cells, Cells]], most: int) -> tuple[Cell, ...]:
    """At most `most` cells that hold all of these (columns and rows, for each zoom).

    The deepest are merged first, and no further than need be: a little more may look touched,
    never less.
    """
    levels = _uncovered({z: _packed(*cells) for z, cells in touched.items()})
    while sum(len(cells) for cells in levels.values()) > most:
        deepest = max(levels)
        parents = _ancestors(levels.pop(deepest), 1)
        levels[deepest - 1] = np.union1d(levels.get(deepest - 1, parents), parents)
    return tuple(cell for z in sorted(levels) for cell in _unpacked(z, levels[z]))


def _packed(columns: Cells, rows: Cells) -> Cells:
    return np.unique(columns << ROW_BITS | rows)


def _unpacked(z: int, cells: Cells) -> list[Cell]:
    columns, rows = cells >> ROW_BITS, cells & (1 << ROW_BITS) - 1
    return [Cell(z, x, y) for x, y in zip(columns.tolist(), rows.tolist(), strict=True)]


def _ancestors(cells: Cells, steps: int) -> Cells:
    columns, rows = cells >> ROW_BITS, cells & (1 << ROW_BITS) - 1
    return columns >> steps << ROW_BITS | rows >> steps


def _uncovered(levels: Mapping[int, Cells]) -> dict[int, Cells]:
    """Without the cells that lie in a coarser one, which says as much."""
    kept: dict[int, Cells] = {}
    for z in sorted(levels):
        cells = levels[z]
        for coarser, others in kept.items():
            cells = cells[~np.isin(_ancestors(cells, z - coarser), others)]
        if len(cells):
            kept[z] = cells
    return kept
