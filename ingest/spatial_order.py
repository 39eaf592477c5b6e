"""Rows of a batch in the order in which their points lie in space.

They are written in it, so that the rows of a tile lie side by side on disk.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.locate import POINT_WKB

BITS = 20  # of either coordinate: 40 m
Words = npt.NDArray[np.uint64]
# How far bits are moved apart, and where they may stand then, to leave a gap behind each.
SPREAD = (
    (16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF), (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333), (1, 0x5555555555555555),
)  # fmt: skip


def in_spatial_order(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows along the Morton curve of their `geom`, WKB points in degrees; those without a place
    come first. Rows of the same place keep their order, and so do all if there is another shape.
    """
    geom = rows.column("geom")
    there = np.asarray(geom.is_valid())
    found = _points(geom.drop_null())
    if found is None or not there.any():
        return rows
    codes = np.zeros(len(rows), np.uint64)
    codes[there] = _morton(*found)
    return rows.take(pa.array(np.argsort(codes, kind="stable")))


def _points(wkb: pa.Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """x and y, or None where not all are little-endian points."""
    _, offsets, data = wkb.buffers()
    if data is None:
        return np.zeros(0), np.zeros(0)
    bounds = np.frombuffer(offsets, np.int32)[wkb.offset :][: len(wkb) + 1]
    if (np.diff(bounds) != POINT_WKB.itemsize).any():
        return None
    points = np.frombuffer(data, POINT_WKB, len(wkb), bounds[0])
    return None if (points["order"] != 1).any() else (points["x"], points["y"])


def _morton(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Words:
    cells = 1 << BITS
    east, south = (
        np.clip(part * cells, 0, cells - 1).astype(np.uint64)
        for part in ((x + 180) / 360, (90 - y) / 180)
    )
    return _spread(east) | _spread(south) << np.uint64(1)


def _spread(values: Words) -> Words:
    for by, mask in SPREAD:
        values = (values | values << np.uint64(by)) & np.uint64(mask)
    return values
