"""The place of each row, as it is stored: in degrees, checked, in WKB."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import shapely
from pyproj import CRS

from ingest.crs import Transform, guess, is_degrees, name_of, parse_crs, reproject, to_degrees
from ingest.errors import SourceRefused
from ingest.geometry import beyond, check_shapes
from ingest.places import Places, Where, read_column, read_pair
from ingest.rows import Chunk, Floats, Mask, Shapes
from layers.columns import GeometryType

GATE_ROWS = 1_000  # places that tell whether a file is in degrees, whatever the batches
POINT_WKB = np.dtype([("order", "u1"), ("type", "<u4"), ("x", "<f8"), ("y", "<f8")])
Located = tuple[pa.Array, dict[int, str]]


@dataclass(slots=True)
class Locator:
    """Reads the places of one file. `where` is None where rows bring shapes of their own."""

    file: str
    draws: GeometryType
    where: Where | None
    crs: CRS | None
    swapped: bool = False  # whether the file writes y before x
    located: int = 0
    outside: int = 0
    checked: bool = False
    sample: tuple[float, float] = (0.0, 0.0)
    notes: Counter[str] = field(default_factory=Counter)
    transforms: dict[str, Transform] = field(default_factory=dict)

    def locate(self, chunk: Chunk) -> Located:
        """WKB for each row of the chunk, null without a place; and why some may not be taken."""
        places = self._places(chunk)
        if self.swapped:
            places = _exchanged(places)
        self.notes.update(places.notes)
        if places.x is not None and places.y is not None:
            if self.draws in (GeometryType.POINT, GeometryType.MIXED):
                return self._locate_points(places, places.x, places.y)
            places.shapes = _as_shapes(places.x, places.y)
        return self._locate_shapes(places)

    def _places(self, chunk: Chunk) -> Places:
        if self.where is None:
            assert chunk.shapes is not None
            return Places(shapes=chunk.shapes, reasons=dict(chunk.shapeless))
        columns = chunk.columns
        if self.where.column is not None:
            return read_column(columns[self.where.column], self.where.column)
        return read_pair(columns[self.where.x or ""], columns[self.where.y or ""], self.where)

    def _transform(self, crs: CRS) -> Transform:
        name = name_of(crs)
        if name not in self.transforms:
            self.transforms[name] = to_degrees(self.file, crs)
        return self.transforms[name]

    def _locate_points(self, places: Places, x: Floats, y: Floats) -> Located:
        x, y = x.copy(), y.copy()
        x[list(places.reasons)] = np.nan
        nowhere = ~(np.isfinite(x) & np.isfinite(y)) | ((x == 0) & (y == 0))
        x[nowhere] = y[nowhere] = np.nan
        if self.crs is not None and not is_degrees(self.crs):
            x[~nowhere], y[~nowhere] = self._transform(self.crs)(x[~nowhere], y[~nowhere])
        out = ~nowhere & ~((np.abs(x) <= 180) & (np.abs(y) <= 90))
        reasons = dict(places.reasons)
        for row in np.flatnonzero(out).tolist():
            reasons[row] = self._beyond((x[row], y[row], x[row], y[row]))
        self._gate(x, y, out, ~nowhere)
        self.notes["without_place"] += int(nowhere.sum()) - len(places.reasons)
        return _point_wkb(x, y, nowhere), reasons

    def _locate_shapes(self, places: Places) -> Located:
        assert places.shapes is not None
        shapes = places.shapes.copy()
        shapes[shapely.equals_exact(shapes, shapely.Point(0, 0))] = None
        shapes = self._in_degrees(places, shapes)
        far = _not_finite(shapes)
        bounds = shapely.bounds(shapes)
        there = ~shapely.is_missing(shapes) & ~shapely.is_empty(shapes)
        limits = np.array([-180, -90, 180, 90])
        out = (
            far
            | (bounds[:, :2] < limits[:2]).any(axis=1)
            | (bounds[:, 2:] > limits[2:]).any(axis=1)
        )
        self._gate(bounds[:, 2], bounds[:, 3], out, there)
        reasons = dict(places.reasons)
        for row in np.flatnonzero(out).tolist():
            reasons[row] = self._beyond(tuple(bounds[row].tolist()))
        shapes[out] = None
        checked = check_shapes(shapes, self.draws)
        reasons |= checked.reasons
        self.notes.update(checked.notes)
        nowhere = int(shapely.is_missing(checked.shapes).sum())
        self.notes["without_place"] += nowhere - len(reasons)
        return pa.array(shapely.to_wkb(checked.shapes, byte_order=1), pa.binary()), reasons

    def _in_degrees(self, places: Places, shapes: Shapes) -> Shapes:
        own = np.zeros(len(shapes), np.bool_)
        own[list(places.srids)] = True
        if self.crs is not None and not is_degrees(self.crs):
            shapes[~own] = reproject(shapes[~own], self._transform(self.crs))
        for srid in set(places.srids.values()):
            crs = parse_crs(self.file, f"EPSG:{srid}")
            rows = [row for row, named in places.srids.items() if named == srid]
            self.notes["rows_with_srid"] += len(rows)
            if not is_degrees(crs):
                shapes[rows] = reproject(shapes[rows], self._transform(crs))
        return shapes

    def _beyond(self, bounds: tuple[float, ...]) -> str:
        west, south, east, north = map(float, bounds)
        if self.crs is not None and not is_degrees(self.crs):
            return f"the place cannot be reached from {name_of(self.crs)}: it is no place on Earth"
        reason = beyond({"west": west, "east": east, "south": south, "north": north})
        return reason or "a coordinate is not a finite number"

    def _gate(self, x: Floats, y: Floats, out: Mask, there: Mask) -> None:
        """Look at the first places of the file; refuse it once most of them cannot be degrees."""
        if self.checked:
            return
        first = np.flatnonzero(there)[: GATE_ROWS - self.located]
        far = first[out[first] & np.isfinite(x[first]) & np.isfinite(y[first])]
        if len(far) and not self.outside:
            self.sample = float(x[far[0]]), float(y[far[0]])
        self.located += len(first)
        self.outside += len(far)
        if self.located >= GATE_ROWS:
            self.check_degrees()

    def check_degrees(self) -> None:
        """Refuse a file most of whose first places cannot be degrees."""
        if self.checked:
            return
        self.checked = True
        if self.outside * 2 <= self.located or (self.outside < 2 and self.located > 1):
            return
        x, y = self.sample
        if self.crs is not None and not is_degrees(self.crs):
            problem = (
                f"most places cannot be reached from {name_of(self.crs)}; is it the right one?"
            )
        elif max(abs(x), abs(y)) <= 180:
            problem = (
                f"most places are out of range (x={x:g} y={y:g}); "
                "are latitude and longitude swapped?"
            )
        elif max(abs(x), abs(y)) <= 360:
            problem = f"most longitudes are outside −180…180, such as {x:g}"
        else:
            problem = (
                f"x={x:.0f} y={y:.0f} look like metres or feet of a projected CRS, not degrees; "
                f"declare source.crs, for example {guess(x, y)}"
            )
        raise SourceRefused(self.file, problem)


def _exchanged(places: Places) -> Places:
    """The places with x and y the other way round."""
    shapes = places.shapes
    if shapes is not None:
        shapes = shapely.transform(shapes, lambda coordinates: coordinates[:, ::-1])
    return replace(places, x=places.y, y=places.x, shapes=shapes)


def _as_shapes(x: Floats, y: Floats) -> Shapes:
    shapes = np.full(len(x), None, dtype=object)
    there = np.isfinite(x) & np.isfinite(y)
    shapes[there] = shapely.points(x[there], y[there])
    return shapes


def _not_finite(shapes: Shapes) -> Mask:
    """Which shapes have a coordinate that is no number."""
    coordinates, owner = shapely.get_coordinates(shapes, return_index=True)
    flags = np.zeros(len(shapes), np.bool_)
    flags[owner[~np.isfinite(coordinates).all(axis=1)]] = True
    return flags


def _point_wkb(x: Floats, y: Floats, nowhere: Mask) -> pa.Array:
    """Points in little-endian WKB, made in one go."""
    points = np.zeros(len(x), POINT_WKB)
    points["order"], points["type"], points["x"], points["y"] = 1, 1, x, y
    there = pa.array(~nowhere)
    size = POINT_WKB.itemsize
    offsets = np.arange(0, size * (len(x) + 1), size, dtype=np.int32)
    validity = None if not nowhere.any() else _bitmap(there)
    return pa.Array.from_buffers(
        pa.binary(), len(x), [validity, pa.py_buffer(offsets), pa.py_buffer(points.tobytes())]
    )


def _bitmap(mask: pa.Array) -> pa.Buffer:
    return mask.buffers()[1]
