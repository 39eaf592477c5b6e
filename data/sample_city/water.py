"""The river with its bends and its island, a tributary, a canal and the lakes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from data.sample_city.space import Coords, Numbers, blob, chance, coords_of, curve, normals

RIVER = np.array(
    [
        (5300, 7000), (4300, 5300), (3000, 4150), (1500, 3250), (150, 2500), (-950, 1600),
        (-1330, 500), (-1000, -620), (60, -1430), (1050, -2350), (1120, -3450), (280, -4400),
        (-250, -5500), (100, -7000),
    ],
    dtype=np.float64,
)  # fmt: skip
TRIBUTARY = np.array(
    [
        (-7200, -950), (-5900, -650), (-4900, -1150), (-3800, -820), (-2900, -1160),
        (-2050, -700), (-1150, -420),
    ],
    dtype=np.float64,
)  # fmt: skip
CANAL = np.array(
    [(1000, -2250), (1700, -2080), (3000, -2140), (4400, -1890), (5600, -1900), (7200, -2200)],
    dtype=np.float64,
)
ISLAND_AT = 0.528  # of the river's length
ISLAND_REACH = 0.026  # half of the island's length, of the river's
LAKES = (
    ("Lac des Aulnes", (3280.0, 1440.0), (620.0, 330.0), 18.0),
    ("Étang du Héron", (2730.0, 1640.0), (270.0, 190.0), -30.0),
    ("Étang Neuf", (3700.0, 1790.0), (180.0, 110.0), 60.0),
    ("Gravière du Sud", (-1050.0, -3700.0), (430.0, 260.0), 75.0),
    ("Petite Gravière", (-780.0, -3260.0), (180.0, 130.0), 20.0),
    ("Étang de la Garenne", (4050.0, -3250.0), (210.0, 120.0), 10.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Water:
    """What is wet. `middle` runs along the river and keeps the island on its left bank."""

    bodies: tuple[tuple[str, str, BaseGeometry], ...]  # name, kind, shape
    all: BaseGeometry
    island: Polygon
    banks: tuple[LineString, LineString]  # where quays run, left and right
    middle: LineString


def make_water() -> Water:
    """The waters of the city; none overlaps another."""
    at, left = _course(RIVER)
    lens = _lens(len(at))[:, None]
    half = _half_width(len(at)) + 48 * _swell(len(at))
    island = _ribbon(at, left, 68 * lens).buffer(1)
    river = _ribbon(at, left, half).difference(island)
    dry = river.union(island)
    basin = blob("basin", (2300.0, -2105.0), (460.0, 100.0), -2.0)
    canal = shapely.union_all([_ribbon(*_course(CANAL), 15.0), basin])
    bodies = [
        ("La Vernelle", "river", river),
        ("Le Furon", "stream", _ribbon(*_course(TRIBUTARY), 17.0).difference(dry)),
        ("Canal de la Jonction", "canal", canal.difference(dry)),
    ]
    bodies += [(name, "lake", blob(name, at, size, turn)) for name, at, size, turn in LAKES]
    return Water(
        bodies=tuple(bodies),
        all=shapely.union_all([shape for _, _, shape in bodies]),
        island=island,
        banks=(LineString(at + left * (half + 17)), LineString(at - left * (half + 17))),
        middle=LineString(at - left * lens * 92),
    )


def _course(through: Coords) -> tuple[Coords, Coords]:
    at = coords_of(curve(through))
    return at, normals(at)


def _lens(count: int) -> Numbers:
    share = np.linspace(0, 1, count)
    return np.clip(1 - ((share - ISLAND_AT) / ISLAND_REACH) ** 2, 0, None) ** 0.62


def _swell(count: int) -> Coords:
    """How far the river gives way to its island, from 0 to 1, without a kink."""
    away = np.abs(np.linspace(0, 1, count) - ISLAND_AT) / (2.1 * ISLAND_REACH)
    return np.asarray(np.cos(np.clip(away, 0, 1) * np.pi / 2) ** 2)[:, None]


def _half_width(count: int) -> Coords:
    draw = chance("river width")
    share = np.linspace(0, 1, count)
    swell = sum(7 * np.sin(2 * np.pi * (pace * share + draw.random())) for pace in (3.0, 7.0, 12.0))
    return np.asarray(74 + swell)[:, None]


def _ribbon(at: Coords, left: Coords, half: Coords | float) -> Polygon:
    bank, other = at + left * half, at - left * half
    return Polygon(np.round(np.vstack([bank, other[::-1]]), 3)).buffer(0)
