"""Places at even steps along streets: where trees, houses and addresses stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from data.sample_city.space import Coords, Indices, Lines, Mask, Numbers, coords_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Points on lines: `ahead` is a unit vector along the line, `side` is 1 left, -1 right."""

    line: Indices
    at: Coords
    ahead: Coords
    side: Numbers
    step: Numbers  # metres from one place to the next

    @property
    def left(self) -> Coords:
        """Unit vectors away from the street, on the place's own side."""
        left: Coords = np.column_stack([-self.ahead[:, 1], self.ahead[:, 0]])
        return left * self.side[:, None]

    def aside(self, metres: Numbers | float) -> Coords:
        """The points that lie so far from the middle of the street."""
        moved: Coords = (
            self.at + self.left * np.broadcast_to(np.asarray(metres), len(self.at))[:, None]
        )
        return moved

    def only(self, keep: Mask | Indices) -> Places:
        return Places(
            line=self.line[keep], at=self.at[keep], ahead=self.ahead[keep],
            side=self.side[keep], step=self.step[keep],
        )  # fmt: skip


def places_along(lines: Lines, step: Numbers, setback: float) -> Places:
    """Places on both sides of each line, `step` apart, `setback` away from its ends."""
    usable = shapely.length(lines) - 2 * setback
    count = np.clip(np.floor(usable / step + 0.5), 0, None).astype(np.int64)
    line = np.repeat(np.arange(len(lines)), count)
    number = np.arange(len(line)) - np.repeat(np.cumsum(count) - count, count)
    pace = (usable / np.maximum(count, 1))[line]
    measure = setback + (number + 0.5) * pace
    at = coords_of(shapely.line_interpolate_point(lines[line], measure))
    further = coords_of(shapely.line_interpolate_point(lines[line], measure + 1.0))
    ahead = further - at
    ahead /= np.maximum(np.hypot(ahead[:, 0], ahead[:, 1]), 1e-9)[:, None]
    return Places(
        line=np.concatenate([line, line]),
        at=np.vstack([at, at]),
        ahead=np.vstack([ahead, ahead]),
        side=np.repeat([1.0, -1.0], len(line)),
        step=np.concatenate([pace, pace]),
    )


def inside(shape: shapely.Geometry, at: Coords) -> Mask:
    """Which points lie in a shape."""
    shapely.prepare(shape)
    found: Mask = shapely.contains_xy(shape, at[:, 0], at[:, 1])
    return found
