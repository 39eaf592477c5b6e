"""What an event tells: a client works out every tile that changed, and few others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import mercantile
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from layers.change_cells import EVERYWHERE, MOST_CELLS, Cell, bounded
from layers.changes import WHOLE, ChangeLog
from tests.unit.layers.test_changes import fraction, morton

CELL_ZOOM = 20
REACH = 72 / 4096
Cells = dict[int, set[tuple[int, int]]]


def touches(cell: Cell, z: int, x: int, y: int) -> bool:
    """The arithmetic that docs/map-clients.md gives to clients."""
    return reaches(cell.x, cell.z, x, z) and reaches(cell.y, cell.z, y, z)


def reaches(cell: int, cell_zoom: int, tile: int, zoom: int) -> bool:
    scale = 2.0 ** (cell_zoom - zoom)
    first = math.floor((tile - REACH) * scale - 1e-6)
    last = math.floor((tile + 1 + REACH) * scale + 1e-6)
    return first <= cell <= last


def a_log(before: Cells, after: Cells) -> ChangeLog:
    """A log whose revision 7 is known and whose revision 8 is news."""
    log = ChangeLog()
    for cells, revision in ((before, 7), (after, 8)):
        log.touch(
            (z, morton(x, y), revision, WHOLE) for z, level in cells.items() for x, y in level
        )
        log.advance(revision, 0)
    return log


@st.composite
def cells(draw: st.DrawFn, most: int = 12, zooms: tuple[int, int] = (0, CELL_ZOOM)) -> Cells:
    """Cells of every depth, some side by side, some within others, some on the world's edge."""
    found: Cells = {}
    home = draw(st.integers(0, 2**CELL_ZOOM - 1)), draw(st.integers(0, 2**CELL_ZOOM - 1))
    for _ in range(draw(st.integers(0, most))):
        z = draw(st.integers(*zooms))
        near = draw(st.booleans())
        x, y = (
            min(2**z - 1, max(0, (at >> CELL_ZOOM - z) + draw(st.integers(-2, 2))))
            if near
            else draw(st.integers(0, 2**z - 1))
            for at in home
        )
        found.setdefault(z, set()).add((x, y))
    return found


def tiles_about(cells: Cells) -> set[mercantile.Tile]:
    """Tiles at, beside and near the corners of cells, at every zoom."""
    about = set()
    for z, level in cells.items():
        for x, y in level:
            for zoom in range(19):
                for corner in (0.0, 1.0):
                    column = math.floor((x + corner) * 2.0 ** (zoom - z))
                    row = math.floor((y + corner) * 2.0 ** (zoom - z))
                    about |= {
                        mercantile.Tile(column + dx, row + dy, zoom)
                        for dx in (-1, 0, 1)
                        for dy in (-1, 0, 1)
                        if 0 <= column + dx < 2**zoom and 0 <= row + dy < 2**zoom
                    }
    return about


def computed(cells: Iterable[Cell], at: mercantile.Tile) -> bool:
    return any(touches(cell, at.z, at.x, at.y) for cell in cells)


@settings(deadline=None, max_examples=40)
@given(cells(most=6), cells(most=6))
@example({}, {20: {(0, 0), (2**20 - 1, 2**20 - 1)}})
@example({}, {20: {(2**19, 2**19)}, 3: {(4, 4)}})
def test_what_a_client_computes_are_the_tiles_whose_version_rose(
    before: Cells, after: Cells
) -> None:
    log = a_log(before, after)
    told = log.cells_since(7)
    assert told is not None
    for at in tiles_about(before) | tiles_about(after):
        rose = log.last_changed(at.z, at.x, at.y) > 7
        assert computed(told, at) == rose, at


@settings(deadline=None)
@given(
    st.floats(-179.99, 179.99), st.floats(-85.0, 85.0), st.integers(0, 18),
    st.sampled_from([0.0, 0.0155, 0.015625, 0.0157, -0.0155, -0.015625, -0.0157]),
)  # fmt: skip
def test_a_point_on_the_edge_of_a_buffer_is_computed_as_it_is_logged(
    longitude: float, latitude: float, z: int, nudge: float
) -> None:
    """Places on tile edges, on the edges of buffers, and a hair inside and outside of them."""
    at = mercantile.tile(longitude, latitude, z)
    across, down = (at.x + nudge) / 2**z, (at.y + 1 + nudge) / 2**z
    column, row = (min(2**20 - 1, max(0, math.floor(part * 2**20))) for part in (across, down))
    log = a_log({}, {20: {(column, row)}})
    told = log.cells_since(7)
    assert told is not None
    for x in range(max(0, at.x - 1), min(2**z, at.x + 2)):
        for y in range(max(0, at.y - 1), min(2**z, at.y + 3)):
            neighbour = mercantile.Tile(x, y, z)
            assert computed(told, neighbour) == (log.last_changed(z, x, y) == 8)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(MOST_CELLS + 1, 3000), st.floats(0.0001, 1.0))
def test_a_great_change_is_told_in_few_coarser_cells_that_hold_it_all(
    seed: int, count: int, spread: float
) -> None:
    chance = np.random.default_rng(seed)
    west, north = chance.integers(0, 2**20, 2)
    places = chance.integers(0, max(2, int(2**20 * spread)), (count, 2))
    level = {(int((west + x) % 2**20), int((north + y) % 2**20)) for x, y in places}
    log = a_log({}, {20: level})
    told = log.cells_since(7)
    assert told is not None
    assert len(told) <= MOST_CELLS
    depths = Counter(cell.z for cell in told)
    [depth] = depths
    ancestors = {(x >> 20 - depth, y >> 20 - depth) for x, y in level}
    assert {(cell.x, cell.y) for cell in told} == ancestors, "each cell holds a change"
    if len(level) > MOST_CELLS:
        assert len(told) > MOST_CELLS / 4, "merged no further than need be"


@settings(deadline=None, max_examples=60)
@given(cells(most=60), st.integers(1, 40))
def test_merged_cells_cover_what_they_were_made_of_and_nothing_without_cause(
    touched: Cells, most: int
) -> None:
    arrays = {
        z: (np.array([x for x, _ in level]), np.array([y for _, y in level]))
        for z, level in touched.items()
    }
    told = bounded(arrays, most)
    assert len(told) <= most
    for z, level in touched.items():
        for x, y in level:
            assert any(
                cell.z <= z and (x >> z - cell.z, y >> z - cell.z) == (cell.x, cell.y)
                for cell in told
            )
    for cell in told:
        assert any(
            z >= cell.z and (x >> z - cell.z, y >> z - cell.z) == (cell.x, cell.y)
            for z, level in touched.items()
            for x, y in level
        )


def test_a_raised_base_is_told_as_everything() -> None:
    log = a_log({}, {20: {(5, 5)}})
    log.advance(9, 9)
    assert log.cells_since(8) is None
    assert log.cells_since(9) == ()


def test_a_revision_of_another_history_is_told_as_everything() -> None:
    assert a_log({}, {20: {(5, 5)}}).cells_since(12) is None


def test_an_answer_does_not_outlive_what_it_was_made_of() -> None:
    log = a_log({}, {20: {(5, 5)}})
    assert log.cells_since(7) == (Cell(20, 5, 5),)
    log.touch([(20, morton(6, 5), 9, WHOLE)])
    log.advance(9, 0)
    assert log.cells_since(7) == (Cell(20, 5, 5), Cell(20, 6, 5))
    assert log.cells_since(8) == (Cell(20, 6, 5),)


def test_the_cell_of_everywhere_touches_every_tile() -> None:
    for z in (0, 1, 9, 22):
        for at in (0, 2**z // 2, 2**z - 1):
            assert touches(EVERYWHERE, z, at, at)


def test_a_tree_in_the_middle_of_a_tile_touches_one_tile_a_zoom_down_to_the_streets() -> None:
    across, down = fraction(4.8455, 45.2025)
    cell = Cell(20, int(across * 2**20), int(down * 2**20))
    at = mercantile.tile(4.8455, 45.2025, 14)
    around = [mercantile.Tile(at.x + dx, at.y + dy, 14) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
    assert [tile for tile in around if computed([cell], tile)] == [at]
