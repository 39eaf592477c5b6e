"""The order of tiles in a PMTiles file: zoom by zoom along a Hilbert curve, arrays at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Columns = NDArray[np.int64]


def first_id(z: int) -> int:
    """The id of the first tile of a zoom: how many there are above it."""
    return ((1 << 2 * z) - 1) // 3


def tile_ids(z: int, xs: Columns, ys: Columns) -> Columns:
    """The ids of tiles of one zoom, as `pmtiles.tile.zxy_to_tileid` gives them one by one."""
    x, y = xs.astype(np.int64), ys.astype(np.int64)
    found = np.full(len(x), first_id(z), np.int64)
    for bit in range(z - 1, -1, -1):
        side = 1 << bit
        right, down = x & side, y & side
        found += ((3 * right) ^ down) << bit
        turned = down == 0
        flipped = turned & (right != 0)
        x = np.where(flipped, side - 1 - x, x)
        y = np.where(flipped, side - 1 - y, y)
        x, y = np.where(turned, y, x), np.where(turned, x, y)
    return found
