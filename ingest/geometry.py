"""Shapes checked and put right, whole arrays at a time: what a layer stores is what it says.

A shape that cannot be what the layer draws is a reason to withhold its row; an empty one is no
place; an invalid polygon is repaired and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from shapely import GeometryType as Shape

from ingest.rows import Ints, Mask, Shapes
from layers.columns import GeometryType

AREA_NOTED = 0.01  # a repair that changes an area by more is told apart
FAMILIES = {
    GeometryType.POINT: (Shape.POINT, Shape.MULTIPOINT),
    GeometryType.LINE: (Shape.LINESTRING, Shape.MULTILINESTRING, Shape.LINEARRING),
    GeometryType.POLYGON: (Shape.POLYGON, Shape.MULTIPOLYGON),
}
MULTIS: dict[int, Callable[..., Any]] = {
    0: shapely.multipoints,
    1: shapely.multilinestrings,
    2: shapely.multipolygons,
}
POLYGONS = (Shape.POLYGON, Shape.MULTIPOLYGON)
LINES = (Shape.LINESTRING, Shape.MULTILINESTRING)


@dataclass(slots=True)
class Checked:
    """Shapes after checking; `reasons` tells, by row, why a shape was taken away."""

    shapes: Shapes
    reasons: dict[int, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    def withhold(self, rows: Ints, reasons: list[str]) -> None:
        for row, reason in zip(rows.tolist(), reasons, strict=True):
            self.reasons.setdefault(row, reason)
        self.shapes[rows] = None


def check_shapes(shapes: Shapes, wanted: GeometryType) -> Checked:
    """The shapes as a layer of this type stores them, in two dimensions, polygons repaired."""
    checked = Checked(shapes.copy())
    _flatten(checked)
    _drop_empty(checked)
    _unpack_collections(checked, wanted)
    _fit(checked, wanted)
    _check_lines(checked)
    _repair(checked)
    return checked


def _flatten(checked: Checked) -> None:
    deep = shapely.has_z(checked.shapes) | shapely.has_m(checked.shapes)
    if deep.any():
        checked.notes["heights_dropped"] += int(deep.sum())
        checked.shapes = shapely.force_2d(checked.shapes)


def _drop_empty(checked: Checked) -> None:
    checked.shapes[shapely.is_empty(checked.shapes)] = None


def _unpack_collections(checked: Checked, wanted: GeometryType) -> None:
    """Replace collections by the multi-part shape of their one family, where they have one."""
    kinds = shapely.get_type_id(checked.shapes)
    for row in np.flatnonzero(kinds == Shape.GEOMETRYCOLLECTION).tolist():
        parts = _leaves(checked.shapes[row])
        dimensions = {int(shapely.get_dimensions(part)) for part in parts}
        if len(dimensions) == 1:
            checked.shapes[row] = parts[0] if len(parts) == 1 else MULTIS[dimensions.pop()](parts)
        elif wanted is not GeometryType.MIXED:
            reason = f"geometry is a collection of different kinds; the layer draws {wanted}s"
            checked.withhold(np.array([row]), [reason])


def _leaves(shape: Any) -> list[Any]:
    """The single, filled parts of a shape, however deeply it is nested."""
    parts = list(shapely.get_parts(shape))
    while any(hasattr(part, "geoms") for part in parts):
        parts = [leaf for part in parts for leaf in getattr(part, "geoms", [part])]
    return [part for part in parts if not part.is_empty]


def _fit(checked: Checked, wanted: GeometryType) -> None:
    kinds = shapely.get_type_id(checked.shapes)
    if (family := FAMILIES.get(wanted)) is not None:
        rows = np.flatnonzero((kinds >= 0) & ~np.isin(kinds, family))
        names = [checked.shapes[row].geom_type for row in rows]
        checked.withhold(
            rows, [f"geometry is a {name}; the layer draws {wanted}s" for name in names]
        )
    if wanted is GeometryType.POINT:
        _single_points(checked)


def _single_points(checked: Checked) -> None:
    rows = np.flatnonzero(shapely.get_type_id(checked.shapes) == Shape.MULTIPOINT)
    counts = shapely.get_num_geometries(checked.shapes[rows])
    alone = rows[counts == 1]
    checked.shapes[alone] = shapely.get_geometry(checked.shapes[alone], 0)
    checked.withhold(
        rows[counts > 1],
        [
            f"geometry has {count} points; the layer draws one for each row"
            for count in counts
            if count > 1
        ],
    )


def _check_lines(checked: Checked) -> None:
    kinds = shapely.get_type_id(checked.shapes)
    rows = np.flatnonzero(np.isin(kinds, LINES))
    if not len(rows):
        return
    short = rows[shapely.length(checked.shapes[rows]) == 0]
    checked.withhold(short, ["geometry is a line without length"] * len(short))
    several = np.flatnonzero(shapely.get_type_id(checked.shapes) == Shape.MULTILINESTRING)
    parts, owner = shapely.get_parts(checked.shapes[several], return_index=True)
    stumps = shapely.length(parts) == 0
    for index in np.unique(owner[stumps]).tolist():
        kept = parts[(owner == index) & ~stumps]
        checked.shapes[several[index]] = shapely.multilinestrings(kept)
        checked.notes["parts_without_length_dropped"] += 1


def _repair(checked: Checked) -> None:
    rows = np.flatnonzero(np.isin(shapely.get_type_id(checked.shapes), POLYGONS))
    if not len(rows):
        return
    broken = rows[~shapely.is_valid(checked.shapes[rows])]
    if len(broken):
        _mend(checked, broken)
    sound = np.flatnonzero(np.isin(shapely.get_type_id(checked.shapes), POLYGONS))
    checked.shapes[sound] = shapely.orient_polygons(checked.shapes[sound])


def _mend(checked: Checked, rows: Ints) -> None:
    reasons = shapely.is_valid_reason(checked.shapes[rows])
    before = shapely.area(checked.shapes[rows])
    mended = np.array(
        [_polygonal(_made_valid(shape)) for shape in checked.shapes[rows]], dtype=object
    )
    lost: Mask = shapely.is_missing(mended)
    checked.shapes[rows] = mended
    checked.withhold(
        rows[lost],
        [f"geometry is no area: {reason}" for reason in reasons[lost]],
    )
    after = shapely.area(mended[~lost])
    moved = np.abs(after - before[~lost]) > AREA_NOTED * np.maximum(after, before[~lost])
    checked.notes["polygons_repaired"] += int((~lost).sum())
    if moved.any():
        checked.notes["polygons_repaired_area_changed"] += int(moved.sum())


def _made_valid(shape: Any) -> Any:
    try:
        return shapely.make_valid(shape, method="structure", keep_collapsed=False)
    except shapely.errors.GEOSException:  # a repair that GEOS itself gives up
        return None


def _polygonal(shape: Any) -> Any:
    """The areas of a shape, without the lines and points a repair leaves beside them."""
    if shape is None or shape.is_empty:
        return None
    parts = [shape] if shape.geom_type == "Polygon" else _leaves(shape)
    areas = [part for part in parts if part.geom_type == "Polygon"]
    if not areas:
        return None
    whole = areas[0] if len(areas) == 1 else shapely.multipolygons(areas)
    # A repair may leave two areas with a common side, which no valid shape has.
    whole = whole if whole.is_valid else shapely.union_all(areas)
    return whole if whole.is_valid and whole.area > 0 else None


def beyond(bounds: Mapping[str, float]) -> str | None:
    """Why a place with these bounds cannot be in degrees, or None where it can."""
    west, east, south, north = (bounds[side] for side in ("west", "east", "south", "north"))
    if not np.isfinite([west, east, south, north]).all():
        return "a coordinate is not a finite number"
    for value in (south, north):
        if not -90 <= value <= 90:
            swappable = -180 <= value <= 180 and west >= -90 and east <= 90
            hint = "; are latitude and longitude swapped?" if swappable else ""
            return f"latitude {value!r} is outside −90…90{hint}"
    for value in (west, east):
        if not -180 <= value <= 180:
            return f"longitude {value!r} is outside −180…180"
    return None
