"""Rows of a batch are put in the order in which they lie in space, and none is lost."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import shapely
from hypothesis import given
from hypothesis import strategies as st

from ingest.spatial_order import in_spatial_order

PLACES = st.none() | st.tuples(
    st.floats(-180, 180, allow_nan=False), st.floats(-90, 90, allow_nan=False)
)


def batch(places: list[tuple[float, float] | None]) -> pa.RecordBatch:
    wkb = [
        shapely.to_wkb(shapely.Point(place), byte_order=1) if place else None for place in places
    ]
    return pa.record_batch(
        {"number": pa.array(range(len(places)), pa.int64()), "geom": pa.array(wkb, pa.binary())}
    )


@given(st.lists(PLACES, max_size=40), st.integers(0, 5))
def test_every_row_keeps_its_place_and_none_is_lost(
    places: list[tuple[float, float] | None], first: int
) -> None:
    given_ = batch(places).slice(first)
    found = in_spatial_order(given_)
    by_number = {row["number"]: row["geom"] for row in given_.to_pylist()}
    assert {row["number"]: row["geom"] for row in found.to_pylist()} == by_number
    assert len(found) == len(given_)


def test_neighbours_in_space_become_neighbours() -> None:
    rng = np.random.default_rng(3)
    places = [(float(x), float(y)) for x, y in rng.uniform((2.2, 48.8), (2.4, 48.9), (500, 2))]
    rows = batch([*places, None])
    ordered = in_spatial_order(rows)
    assert ordered.column("geom")[0].as_py() is None, "rows without a place come first"

    def walked(batch_: pa.RecordBatch) -> float:
        points = shapely.from_wkb([wkb for wkb in batch_.column("geom").to_pylist() if wkb])
        return sum(math.dist(a.coords[0], b.coords[0]) for a, b in pairwise(points))

    assert walked(ordered) < walked(rows) / 5


def test_rows_of_one_place_keep_their_order() -> None:
    ordered = in_spatial_order(batch([(2.0, 48.0)] * 9))
    assert ordered.column("number").to_pylist() == list(range(9))


def test_other_shapes_stay_as_they_are() -> None:
    line = shapely.to_wkb(shapely.LineString([(9, 9), (1, 1)]), byte_order=1)
    point = shapely.to_wkb(shapely.Point(1, 1), byte_order=1)
    big_endian = shapely.to_wkb(shapely.Point(0, 0), byte_order=0)
    for odd in (line, big_endian):
        rows = pa.record_batch({"geom": pa.array([point, odd], pa.binary())})
        assert in_spatial_order(rows).equals(rows)
