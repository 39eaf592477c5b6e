"""Houses along the streets: rows in the old quarters, detached further out, halls in the works."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import rotate, translate
from shapely.geometry.base import BaseGeometry

from data.sample_city.along import Places, places_along
from data.sample_city.plan import OLD_TOWN
from data.sample_city.space import Indices, Lines, Mask, Numbers, chance, coords_of, parts
from data.sample_city.streets import Network

FRONTS = {"core": 15.0, "inner": 25.0, "grid": 27.0, "suburb": 30.0, "works": 90.0}  # metres
DEPTHS = {"core": 12.0, "inner": 13.5, "grid": 13.0, "suburb": 11.0, "works": 42.0}
FLOORS = {"core": 4, "inner": 5, "grid": 4, "suburb": 2, "works": 1}
SETBACKS = {"main": 12.5, "secondary": 9.0, "residential": 6.5}  # from the middle of the street
MOST = 24_900
LANDMARKS = (  # name, where about (metres)
    ("Cathédrale Saint-Aubin", (-330.0, 330.0)),
    ("Hôtel de Ville", (-120.0, 560.0)),
    ("Halle aux Blés", (-560.0, 700.0)),
    ("Gare Centrale", (160.0, -900.0)),
    ("Hôpital du Levant", (1650.0, -180.0)),
    ("Université de la Vernelle", (1150.0, 1950.0)),
    ("Musée des Arts", (-480.0, 1500.0)),
    ("Théâtre du Port", (-560.0, -330.0)),
    ("Bibliothèque Zoé Larrieu", (700.0, 500.0)),
    ("Lycée Adèle Morvan", (-1750.0, 250.0)),
    ("Palais de Justice", (-800.0, 1050.0)),
    ("Caserne des Pompiers", (900.0, -1300.0)),
    ("Lycée du Plateau", (-1500.0, 2500.0)),
    ("Clinique des Tuileries", (-500.0, -1500.0)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Buildings:
    """Footprints; none overlaps another, a street, the water or a park."""

    shapes: Lines
    floors: Indices
    use: NDArray[np.str_]
    names: tuple[str | None, ...]


def make_buildings(network: Network, blocks: Lines, kept_free: BaseGeometry) -> Buildings:
    """Landmarks, and houses along every street that is not a path or a bridge."""
    landmarks = _landmarks(blocks, kept_free)
    kept_free = shapely.union_all([kept_free, *shapely.buffer(landmarks, 4)])
    shapes, zone = _houses(network, kept_free)
    draw = chance("floors")
    base = np.array([3] * len(landmarks) + [FLOORS[z] for z in zone])
    return Buildings(
        shapes=np.concatenate([landmarks, shapes]),
        floors=np.clip(base + draw.integers(-1, 2, len(base)), 1, None),
        use=np.concatenate([["public"] * len(landmarks), _uses(zone)]),
        names=(*(name for name, _ in LANDMARKS), *(None for _ in shapes)),
    )


def _landmarks(blocks: Lines, kept_free: BaseGeometry) -> Lines:
    """A block for each landmark, with a court where it is deep; the cathedral is a cross."""
    free = blocks[~shapely.intersects(shapely.point_on_surface(blocks), kept_free)]
    area = shapely.area(free)
    fit = free[(area > 5000) & (area < 24_000)]
    found = []
    for name, at in LANDMARKS:
        if name.startswith("Cathédrale"):
            nave = shapely.box(-38, -11, 36, 11).union(shapely.box(2, -25, 20, 25))
            found.append(translate(rotate(nave, 8, origin=(0, 0)), *at))
            continue
        block = fit[np.argmin(shapely.distance(fit, shapely.Point(at)))]
        lot = block.buffer(-13)
        walls = lot.difference(lot.buffer(-17))
        found.append(max(parts(walls), key=shapely.area))
    return np.array(found, dtype=object)


def _houses(network: Network, kept_free: BaseGeometry) -> tuple[Lines, NDArray[np.str_]]:
    """Footprints along the streets, and the sort of neighbourhood each stands in."""
    open_country = np.isin(network.zone, ("country",))
    built = np.flatnonzero((network.kind != "path") & ~network.bridge & ~open_country)
    zone = np.array([z if z in FRONTS else "grid" for z in network.zone[built]])
    zone = np.where((zone == "grid") & _far(network, built), "suburb", zone)
    front = np.array([FRONTS[z] for z in zone])
    places = places_along(network.lines[built], front, 7.0)
    draw = chance("buildings")
    share = np.array([{"suburb": 0.33, "works": 0.7, "grid": 0.86}.get(z, 0.97) for z in zone])
    places = places.only(draw.random(len(places.line)) < share[places.line])
    shapes = _footprints(places, zone[places.line], network.kind[built][places.line])
    keep = _free(shapes, network, kept_free)
    chosen = np.sort(draw.permutation(np.flatnonzero(keep))[:MOST])
    return shapes[chosen], zone[places.line][chosen]


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


def _free(shapes: Lines, network: Network, kept_free: BaseGeometry) -> Mask:
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
