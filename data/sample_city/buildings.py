"""Houses along the streets: rows in the old quarters, detached further out, halls in the works."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from data.sample_city.along import Places, places_along
from data.sample_city.plan import OLD_TOWN
from data.sample_city.space import Indices, Lines, Mask, Numbers, chance, coords_of
from data.sample_city.streets import Network

FRONTS = {"core": 15.0, "inner": 25.0, "grid": 27.0, "suburb": 30.0, "works": 90.0}  # metres
DEPTHS = {"core": 12.0, "inner": 13.5, "grid": 13.0, "suburb": 11.0, "works": 42.0}
FLOORS = {"core": 4, "inner": 5, "grid": 4, "suburb": 2, "works": 1}
SETBACKS = {"main": 12.5, "secondary": 9.0, "residential": 6.5}  # from the middle of the street
MOST = 25_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Buildings:
    """Footprints; none overlaps another, a street, the water or a park."""

    shapes: Lines
    floors: Indices
    use: NDArray[np.str_]


def make_buildings(network: Network, kept_free: shapely.Geometry) -> Buildings:
    """Footprints along every street that is not a path or a bridge."""
    open_country = np.isin(network.zone, ("country",))
    built = np.flatnonzero((network.kind != "path") & ~network.bridge & ~open_country)
    zone = np.array([z if z in FRONTS else "grid" for z in network.zone[built]])
    zone = np.where((zone == "grid") & _far(network, built), "suburb", zone)
    front = np.array([FRONTS[z] for z in zone])
    places = places_along(network.lines[built], front, 7.0)
    draw = chance("buildings")
    share = np.array([{"suburb": 0.34, "works": 0.7, "grid": 0.86}.get(z, 0.97) for z in zone])
    places = places.only(draw.random(len(places.line)) < share[places.line])
    shapes = _footprints(places, zone[places.line], network.kind[built][places.line])
    keep = _free(shapes, network, kept_free)
    shapes, of_zone = shapes[keep], zone[places.line][keep]
    base = np.array([FLOORS[z] for z in of_zone])
    floors = np.clip(base + draw.integers(-1, 2, len(base)), 1, None)
    chosen = np.sort(draw.permutation(len(shapes))[:MOST])
    return Buildings(shapes=shapes[chosen], floors=floors[chosen], use=_uses(of_zone)[chosen])


def _far(network: Network, edges: Indices) -> Mask:
    middles = coords_of(shapely.line_interpolate_point(network.lines[edges], 0.5, normalized=True))
    far: Mask = np.hypot(*(middles - OLD_TOWN).T) > 3300
    return far


def _footprints(places: Places, zone: NDArray[np.str_], kind: NDArray[np.str_]) -> Lines:
    """A rectangle for each place, its front parallel to the street."""
    draw = chance("footprints")
    count = len(places.line)
    detached = np.isin(zone, ("suburb",))
    fill = np.where(detached, draw.uniform(0.34, 0.5, count), draw.uniform(0.93, 1.0, count))
    fill = np.where(zone == "works", draw.uniform(0.5, 0.85, count), fill)
    width = places.step * fill / 2
    depth = np.array([DEPTHS[z] for z in zone]) * draw.uniform(0.75, 1.25, count)
    near = np.array([SETBACKS[k] for k in kind]) + np.where(detached, draw.uniform(2, 7, count), 0)
    near = np.where(zone == "core", near * 0.68, near) + np.where(zone == "works", 8, 0)
    inner, outer = places.aside(near), places.aside(near + depth)
    along = places.ahead * width[:, None]
    ring = np.stack([inner - along, inner + along, outer + along, outer - along, inner - along], 1)
    return np.asarray(shapely.polygons(np.round(ring, 2)))


def _free(shapes: Lines, network: Network, kept_free: shapely.Geometry) -> Mask:
    """Which footprints stand clear of streets, water and parks, and of those before them."""
    shapely.prepare(kept_free)
    free: Mask = ~shapely.intersects(kept_free, shapes)
    crossed, _ = shapely.STRtree(network.lines).query(shapes, predicate="dwithin", distance=3.6)
    free[crossed] = False
    later, earlier = shapely.STRtree(shapes).query(shapes, predicate="dwithin", distance=0.1)
    order = np.lexsort((earlier, later))
    for at, other in zip(later[order].tolist(), earlier[order].tolist(), strict=True):
        if other < at and free[other] and free[at]:
            free[at] = False
    return free


def _uses(zone: NDArray[np.str_]) -> NDArray[np.str_]:
    draw: Numbers = chance("uses").random(len(zone))
    shop = np.array(
        [{"core": 0.3, "inner": 0.2, "grid": 0.1, "suburb": 0.03}.get(z, 0) for z in zone]
    )
    use = np.where(draw < shop, "commercial", "housing")
    use = np.where(draw > 0.985, "public", use)
    return np.where(zone == "works", "industrial", use)
