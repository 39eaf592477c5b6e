"""From cells of the change log to tiles of every zoom, by arithmetic."""

from __future__ import annotations

import math

import mercantile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layers.changes import REACH_FRACTION, WHOLE, ChangeLog, unmorton

LONGITUDES = st.floats(-179.99, 179.99)
LATITUDES = st.floats(-85.0, 85.0)
ZOOMS = st.integers(0, 22)
CELL_ZOOM = 20


def morton(x: int, y: int) -> int:
    return sum(((x >> bit & 1) << 2 * bit) | ((y >> bit & 1) << 2 * bit + 1) for bit in range(21))


def fraction(longitude: float, latitude: float) -> tuple[float, float]:
    """Where a place lies on the square world: 0..1 east, 0..1 south."""
    north = math.asinh(math.tan(math.radians(latitude)))
    return longitude / 360 + 0.5, 0.5 - north / (2 * math.pi)


def log_with(longitude: float, latitude: float, revision: int = 7) -> ChangeLog:
    across, down = fraction(longitude, latitude)
    cell = morton(int(across * 2**CELL_ZOOM), int(down * 2**CELL_ZOOM))
    log = ChangeLog(revision=revision, base=1)
    log.touch([(CELL_ZOOM, cell, revision, WHOLE)])
    return log


@given(st.integers(0, 2**20 - 1), st.integers(0, 2**20 - 1))
def test_unmorton_undoes_morton(x: int, y: int) -> None:
    columns, rows = unmorton(np.array([morton(x, y)], dtype=np.int64))
    assert (columns[0], rows[0]) == (x, y)


@given(LONGITUDES, LATITUDES, ZOOMS)
def test_the_tile_of_a_changed_place_has_changed(longitude: float, latitude: float, z: int) -> None:
    at = mercantile.tile(longitude, latitude, z)
    assert log_with(longitude, latitude).last_changed(at.z, at.x, at.y) == 7


@given(LONGITUDES, LATITUDES, ZOOMS, st.integers(-3, 3), st.integers(-3, 3))
def test_a_tile_has_changed_if_the_place_lies_in_its_buffer_and_not_if_it_lies_a_cell_away(
    longitude: float, latitude: float, z: int, right: int, down: int
) -> None:
    home = mercantile.tile(longitude, latitude, z)
    x, y = home.x + right, home.y + down
    if not (0 <= x < 2**z and 0 <= y < 2**z):
        return
    across, south = fraction(longitude, latitude)
    distance = max(
        x - across * 2**z, across * 2**z - (x + 1), y - south * 2**z, south * 2**z - (y + 1)
    )
    changed = log_with(longitude, latitude).last_changed(z, x, y) == 7
    cell = 2.0 ** (z - CELL_ZOOM)
    if distance <= REACH_FRACTION - 1e-9:
        assert changed
    if distance > REACH_FRACTION + cell + 1e-5 * max(cell, 1):
        assert not changed


def test_a_tile_nobody_touched_has_the_base_revision() -> None:
    assert log_with(4.85, 45.2).last_changed(14, 0, 0) == 1


def test_a_later_change_of_the_same_cell_counts() -> None:
    log = log_with(4.85, 45.2)
    at = mercantile.tile(4.85, 45.2, 12)
    assert log.last_changed(12, at.x, at.y) == 7
    cell = morton(*(int(part * 2**20) for part in fraction(4.85, 45.2)))
    log.touch([(20, cell, 9, WHOLE), (20, cell, 8, WHOLE)])
    assert log.last_changed(12, at.x, at.y) == 9


def test_a_raised_base_touches_every_tile() -> None:
    log = log_with(4.85, 45.2)
    log.advance(12, 12)
    assert log.last_changed(3, 0, 0) == 12


@pytest.mark.parametrize("z", [0, 5, 12])
def test_a_coarse_cell_touches_every_tile_inside_it(z: int) -> None:
    log = ChangeLog(revision=5)
    log.touch([(5, morton(16, 11), 5, WHOLE)])
    at = mercantile.tile(4.85, 45.2, z)
    inside = mercantile.parent(at, zoom=5) if z > 5 else mercantile.tile(4.85, 45.2, 5)
    assert (log.last_changed(z, at.x, at.y) == 5) == ((inside.x, inside.y) == (16, 11))


@given(
    parts=st.integers(-(2**63), -2) | st.integers(1, 2**63 - 1),
    cell=st.tuples(st.integers(0, 63), st.integers(0, 63)),
    z=st.integers(0, 12),
    within=st.tuples(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2)),
)
def test_parts_of_a_cell_are_the_cells_three_zooms_deeper(
    parts: int, cell: tuple[int, int], z: int, within: tuple[float, float]
) -> None:
    code = morton(*cell)
    apart, told = ChangeLog(), ChangeLog()
    apart.touch((9, code * 64 + n, 5, WHOLE) for n in range(64) if parts >> n & 1)
    told.touch([(6, code, 5, parts)])
    for log in (apart, told):
        log.advance(5, 0)
    x, y = (
        min(2**z - 1, max(0, int((at + part) / 64 * 2**z)))
        for at, part in zip(cell, within, strict=True)
    )
    assert told.last_changed(z, x, y) == apart.last_changed(z, x, y)
    assert told.cells_since(4) == apart.cells_since(4)


def test_parts_touched_one_after_the_other_add_up() -> None:
    log = ChangeLog()
    log.touch([(6, 9, 5, 1), (6, 9, 6, -(2**63))])
    log.advance(6, 0)
    assert len(log.cells_since(5) or ()) == 2, "the first may look touched again, and is not lost"
