from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.geometry import Checked, check_shapes
from layers.columns import GeometryType


def check(wanted: str, *wkt: str | None) -> Checked:
    shapes = np.array(
        [None if text is None else shapely.from_wkt(text) for text in wkt], dtype=object
    )
    return check_shapes(shapes, GeometryType(wanted))


def kept(wanted: str, wkt: str) -> str | None:
    checked = check(wanted, wkt)
    assert not checked.reasons
    return None if checked.shapes[0] is None else str(checked.shapes[0].wkt)


def reason(wanted: str, wkt: str) -> str:
    checked = check(wanted, wkt)
    assert checked.shapes[0] is None
    return checked.reasons[0]


@pytest.mark.parametrize(
    ("wanted", "wkt"),
    [
        ("point", "POINT (1 2)"),
        ("line", "LINESTRING (0 0, 1 1)"),
        ("line", "MULTILINESTRING ((0 0, 1 1), (2 2, 3 3))"),
        ("polygon", "POLYGON ((0 0, 1 0, 1 1, 0 0))"),
        ("polygon", "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)), ((5 5, 6 5, 6 6, 5 5)))"),
        ("mixed", "MULTIPOINT ((1 2), (3 4))"),
        ("mixed", "GEOMETRYCOLLECTION (POINT (1 2), LINESTRING (0 0, 1 1))"),
    ],
)
def test_what_the_layer_draws_is_kept_as_it_is(wanted: str, wkt: str) -> None:
    assert kept(wanted, wkt) == wkt


@pytest.mark.parametrize("wkt", ["POINT EMPTY", "POLYGON EMPTY", "GEOMETRYCOLLECTION EMPTY"])
def test_an_empty_shape_is_no_place(wkt: str) -> None:
    assert kept("polygon", wkt) is None


def test_a_multipoint_of_one_is_a_point_and_of_several_is_refused() -> None:
    assert kept("point", "MULTIPOINT ((1 2))") == "POINT (1 2)"
    assert reason("point", "MULTIPOINT ((1 2), (3 4))").startswith("geometry has 2 points")


@pytest.mark.parametrize(
    ("wanted", "wkt", "said"),
    [
        ("point", "LINESTRING (0 0, 1 1)", "geometry is a LineString; the layer draws points"),
        ("polygon", "POINT (1 1)", "geometry is a Point; the layer draws polygons"),
        ("line", "GEOMETRYCOLLECTION (POINT (1 2), LINESTRING (0 0, 1 1))", "different kinds"),
    ],
)
def test_what_the_layer_does_not_draw_is_refused(wanted: str, wkt: str, said: str) -> None:
    assert said in reason(wanted, wkt)


def test_collections_of_one_family_become_one_shape() -> None:
    nested = (
        "GEOMETRYCOLLECTION (GEOMETRYCOLLECTION (LINESTRING (0 0, 1 1)), LINESTRING (2 2, 3 3))"
    )
    assert kept("line", nested) == "MULTILINESTRING ((0 0, 1 1), (2 2, 3 3))"
    assert kept("point", "GEOMETRYCOLLECTION (POINT (1 2))") == "POINT (1 2)"
    assert kept("mixed", "GEOMETRYCOLLECTION (POINT (1 2))") == "POINT (1 2)"


STUMPS = ["LINESTRING (1 1, 1 1)", "MULTILINESTRING ((1 1, 1 1), (2 2, 2 2))"]


@pytest.mark.parametrize("wkt", STUMPS)
def test_a_line_without_length_is_refused(wkt: str) -> None:
    for wanted in ("line", "mixed"):
        assert reason(wanted, wkt) == "geometry is a line without length"


def test_parts_without_length_are_dropped_and_counted() -> None:
    checked = check("line", "MULTILINESTRING ((0 0, 1 1), (2 2, 2 2), (3 3, 4 4))")
    assert checked.shapes[0].wkt == "MULTILINESTRING ((0 0, 1 1), (3 3, 4 4))"
    assert checked.notes["parts_without_length_dropped"] == 1


def test_heights_and_measures_are_dropped_and_counted() -> None:
    checked = check("line", "LINESTRING Z (0 0 5, 1 1 6)", "LINESTRING M (0 0 5, 1 1 6)", None)
    flat = "LINESTRING (0 0, 1 1)"
    assert [shape and shape.wkt for shape in checked.shapes] == [flat, flat, None]
    assert checked.notes["heights_dropped"] == 2


def test_a_bow_tie_is_repaired_and_its_area_told() -> None:
    checked = check(
        "polygon", "POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))", "POLYGON ((0 0, 1 0, 1 1, 0 0))"
    )
    assert checked.shapes[0].is_valid
    assert checked.shapes[0].area == pytest.approx(2)
    assert checked.notes["polygons_repaired"] == 1
    assert checked.notes["polygons_repaired_area_changed"] == 1


def test_a_repair_keeps_areas_only() -> None:
    spike = "POLYGON ((0 0, 4 0, 4 4, 2 4, 2 8, 2 4, 0 4, 0 0))"
    checked = check("polygon", spike)
    assert checked.shapes[0].geom_type == "Polygon"
    assert checked.shapes[0].area == pytest.approx(16)
    assert not checked.notes["polygons_repaired_area_changed"]


def test_a_polygon_without_area_is_refused() -> None:
    assert reason("polygon", "POLYGON ((0 0, 1 1, 0 0, 0 0))").startswith("geometry is no area")


def test_outer_rings_run_counterclockwise() -> None:
    turned = "POLYGON ((0 0, 0 3, 3 3, 3 0, 0 0), (1 1, 2 1, 2 2, 1 2, 1 1))"
    ring = check("polygon", turned).shapes[0]
    assert ring.exterior.is_ccw
    assert not ring.interiors[0].is_ccw


def test_a_repair_that_leaves_areas_side_by_side_joins_them() -> None:
    checked = check("polygon", "POLYGON ((0 0, 1 1, 1 0, 2 0, 1 1, 1 0, 0 0))")
    assert checked.shapes[0].is_valid
    assert checked.shapes[0].area == pytest.approx(1)


pairs = st.tuples(st.integers(0, 6), st.integers(0, 6))


@settings(max_examples=80, deadline=None)
@given(st.lists(pairs, min_size=3, max_size=9))
def test_every_ring_becomes_a_valid_area_or_a_reason(ring: list[tuple[int, int]]) -> None:
    checked = check_shapes(np.array([shapely.Polygon(ring)], dtype=object), GeometryType.POLYGON)
    shape = checked.shapes[0]
    assert (shape is None) == (0 in checked.reasons)
    if shape is not None:
        assert shape.is_valid
        assert shape.geom_type in ("Polygon", "MultiPolygon")
        assert shape.area > 0
