"""Districts: cells between the main streets and the middle of the river, grown together."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from data.sample_city.along import inside
from data.sample_city.plan import Plan
from data.sample_city.space import Coords, Indices, Lines, Numbers, coords_of, parts
from data.sample_city.streets import Network
from data.sample_city.water import Water

SEEDS = (  # name, where it begins
    ("Vieille Ville", (-330.0, 330.0)),
    ("L’Île", (-1330.0, 350.0)),
    ("Les Remparts", (500.0, 300.0)),
    ("Le Port", (-250.0, -700.0)),
    ("La Halle", (-300.0, 1250.0)),
    ("La Boucle", (-2100.0, 900.0)),
    ("Rive Gauche", (-2250.0, -100.0)),
    ("Le Furon", (-1500.0, -1100.0)),
    ("Les Tuileries", (-700.0, -1750.0)),
    ("La Gare", (900.0, -900.0)),
    ("Botanique", (600.0, 1900.0)),
    ("Saint-Loup", (1800.0, 300.0)),
    ("Les Forges", (2300.0, -1300.0)),
    ("Les Lacs", (3200.0, 1300.0)),
    ("Le Vieux-Moulin", (1700.0, 2700.0)),
    ("Montgris", (4700.0, 2200.0)),
    ("La Filature", (3700.0, -500.0)),
    ("La Garenne", (3500.0, -3000.0)),
    ("Les Gravières", (-1200.0, -3500.0)),
    ("Bellecombe", (-3600.0, -2300.0)),
    ("Le Coteau", (-3700.0, 700.0)),
    ("Saint-Aubin", (-3900.0, 2600.0)),
    ("Le Plateau", (-1400.0, 3000.0)),
    ("Chantelune", (-200.0, 3900.0)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Districts:
    """A coverage: together the shapes fill the city limit, and none overlaps another."""

    codes: tuple[str, ...]
    names: tuple[str, ...]
    shapes: tuple[BaseGeometry, ...]

    def of(self, at: Coords) -> Indices:
        """The index of the district that each point lies in; -1 outside the limit."""
        found: Indices = np.full(len(at), -1, dtype=np.int64)
        for number, shape in enumerate(self.shapes):
            found[(found < 0) & inside(shape, at)] = number
        return found


def make_districts(plan: Plan, water: Water) -> Districts:
    """Districts of whole cells, in the order of their seeds."""
    lines: list[BaseGeometry] = [street.line for street in plan.avenues]
    lines += [plan.limit.exterior, water.middle.intersection(plan.limit.buffer(50))]
    cells: Lines = parts(shapely.polygonize(parts(shapely.union_all(lines, grid_size=0.1))))
    cells = cells[np.lexsort(coords_of(shapely.centroid(cells)).T)]
    owner = _grown(cells, water)
    shapes = [shapely.coverage_union_all(cells[owner == seed]) for seed in range(len(SEEDS))]
    found = [
        (name, shape) for (name, _), shape in zip(SEEDS, shapes, strict=True) if not shape.is_empty
    ]
    return Districts(
        codes=tuple(f"Q{number:02}" for number in range(1, len(found) + 1)),
        names=tuple(name for name, _ in found),
        shapes=tuple(shape for _, shape in found),
    )


def _grown(cells: Lines, water: Water) -> Indices:
    """The seed that reaches each cell first; to cross the river takes long."""
    neighbours = _neighbours(cells, water)
    queue: list[tuple[float, int, int]] = []
    for seed, (_, at) in enumerate(SEEDS):
        start = int(np.argmin(shapely.distance(cells, shapely.Point(at))))
        heappush(queue, (0.0, seed, start))
    owner = np.full(len(cells), -1)
    while queue:
        spent, seed, cell = heappop(queue)
        if owner[cell] >= 0:
            continue
        owner[cell] = seed
        for other, cost in neighbours[cell]:
            if owner[other] < 0:
                heappush(queue, (spent + cost, seed, other))
    return owner


def _neighbours(cells: Lines, water: Water) -> list[list[tuple[int, float]]]:
    """For each cell those beside it, and how hard it is to grow into them."""
    middles = coords_of(shapely.point_on_surface(cells))
    first, second = shapely.STRtree(cells).query(cells, predicate="touches")
    border = shapely.intersection(cells[first], cells[second])
    wet = shapely.length(shapely.intersection(border, water.middle.buffer(1)))
    found: list[list[tuple[int, float]]] = [[] for _ in cells]
    for a, b, shared, across in zip(first, second, shapely.length(border), wet, strict=True):
        if shared > 1:
            away = float(np.hypot(*(middles[a] - middles[b])))
            found[a].append((int(b), round(away * (12 if across > shared / 2 else 1), 3)))
    return found


def populations(districts: Districts, network: Network) -> NDArray[np.int64]:
    """Residents of each district, from the streets people live in and how dense those are."""
    density: Numbers = np.array(
        [
            {"core": 390, "inner": 450, "grid": 330, "suburb": 150}.get(zone, 40)
            for zone in network.zone
        ]
    )
    people = np.where(network.kind == "residential", density, density * 0.6) * network.length / 1000
    where = districts.of(
        coords_of(shapely.line_interpolate_point(network.lines, 0.5, normalized=True))
    )
    total = np.bincount(
        where[where >= 0], weights=people[where >= 0], minlength=len(districts.codes)
    )
    return np.asarray(np.round(total * 1.05 + 180), dtype=np.int64)
