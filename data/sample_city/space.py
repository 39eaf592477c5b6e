"""The ground the city stands on: metres east and north of its centre, and chance from one seed."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Geometry
from shapely.geometry import LineString, Polygon
from shapely.ops import substring

SEED = 1887
CENTRE = (4.85, 45.2)  # degrees east and north of the point 0, 0
METRES_PER_DEGREE = (78_571.0, 111_136.0)  # on WGS 84, at the latitude of the centre
DECIMALS = 7  # of a degree: one centimetre

Coords = NDArray[np.float64]  # shape (n, 2), metres
Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
Lines = NDArray[np.object_]  # of shapely geometries


def chance(name: str) -> np.random.Generator:
    """A stream of chance of its own for each part of the city, so that parts change alone."""
    seed = np.random.SeedSequence([SEED, crc32(name.encode())])
    return np.random.Generator(np.random.PCG64(seed))


def degrees(metres: Coords) -> Coords:
    """Longitudes and latitudes of points given in metres."""
    return np.round(metres / METRES_PER_DEGREE + CENTRE, DECIMALS)


@dataclass(frozen=True, slots=True)
class Ripple:
    """A smooth displacement of the plane: what bends a straight street."""

    waves: Coords
    phases: Coords
    amplitude: float

    @classmethod
    def of(cls, name: str, amplitude: float, wavelength: float) -> Ripple:
        """A ripple of about `amplitude` metres that turns about every `wavelength` metres."""
        draw = chance(name)
        turn = draw.random(8) * 2 * np.pi
        pace = 2 * np.pi / (wavelength * (0.7 + 0.8 * draw.random(8)))
        waves = np.column_stack([np.cos(turn) * pace, np.sin(turn) * pace])
        return cls(waves, draw.random((2, 8)) * 2 * np.pi, amplitude)

    def bend(self, at: Coords) -> Coords:
        """The points where these points end up, to the millimetre."""
        angle = at @ self.waves.T
        scale = self.amplitude * (2 / len(self.waves)) ** 0.5
        shift = [np.sin(angle + phase).sum(axis=1) for phase in self.phases]
        bent: Coords = np.round(at + scale * np.column_stack(shift), 3)
        return bent


def curve(through: Coords, step: float = 20.0) -> LineString:
    """A smooth line through the points, with a vertex about every `step` metres."""
    before, after = 2 * through[0] - through[1], 2 * through[-1] - through[-2]
    knots = np.vstack([before, through, after])
    t = np.linspace(0, 1, 40, endpoint=False)[:, None]
    pieces = [
        0.5
        * (
            2 * b
            + (c - a) * t
            + (2 * a - 5 * b + 4 * c - d) * t**2
            + (3 * b - a - 3 * c + d) * t**3
        )
        for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:], strict=False)
    ]
    fine = LineString(np.vstack([*pieces, through[-1:]]))
    marks = np.linspace(0, fine.length, max(2, round(fine.length / step)))
    return LineString(np.round(coords_of(shapely.line_interpolate_point(fine, marks)), 3))


def coords_of(geometry: Geometry | Lines | list[LineString]) -> Coords:
    """All vertices of a geometry, or of an array of them."""
    found: Coords = shapely.get_coordinates(geometry)
    return found


def stretch(line: LineString, start: float, end: float) -> LineString:
    """The part of a line between two distances from its start."""
    return LineString(coords_of(substring(line, start, end)))


def blob(name: str, centre: tuple[float, float], size: tuple[float, float], turn: float) -> Polygon:
    """A rounded, uneven shape, `size` metres long and wide, turned by `turn` degrees."""
    draw = chance(f"blob {name}")
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    waves = sum(
        0.16 / order * draw.random() * np.sin(order * angle + draw.random() * 6.3)
        for order in (2, 3, 4, 5)
    )
    reach = (1 + waves) / (np.abs(np.cos(angle)) ** 2.6 + np.abs(np.sin(angle)) ** 2.6) ** (1 / 2.6)
    flat = np.column_stack([np.cos(angle) * size[0] / 2, np.sin(angle) * size[1] / 2])
    return Polygon(np.round(rotated(flat * reach[:, None], turn) + centre, 3))


def rotated(at: Coords, turn: float) -> Coords:
    """Points turned about 0, 0 by `turn` degrees against the clock."""
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    turned: Coords = at @ np.array([[cos, sin], [-sin, cos]])
    return turned


def normals(at: Coords) -> Coords:
    """Unit vectors to the left of a line's course, at each of its vertices."""
    ahead = np.gradient(at, axis=0)
    ahead /= np.hypot(ahead[:, 0], ahead[:, 1])[:, None]
    return np.column_stack([-ahead[:, 1], ahead[:, 0]])


def parts(geometries: Geometry | Lines) -> Lines:
    """The single geometries of collections, empty ones left out."""
    found: Lines = shapely.get_parts(geometries)
    return found[~shapely.is_empty(found)]
