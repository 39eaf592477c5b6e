"""Construction sites: footprints on streets and in blocks, with operators, impact and dates."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import shapely
from shapely.geometry import LineString
from shapely.geometry.base import BaseGeometry

from data.sample_city.city import TODAY, City, codes, pick
from data.sample_city.plan import OLD_TOWN
from data.sample_city.space import Coords, Indices, Lines, chance, coords_of, parts, stretch
from data.sample_city.write import Table, blanked, geo_points, geojson

COUNT = 600
IN_BLOCKS = 110  # of them, building sites beside the street
CATEGORIES = (  # value, weight, operators
    ("water", 17, ("Eaux de la Vernelle",)),
    ("heating", 9, ("Chaleur Urbaine de Quartier",)),
    ("gas", 9, ("Gaz Vernelle Réseau",)),
    ("electricity", 13, ("Réseau Électrique du Furon",)),
    ("telecom", 14, ("Fibre Quartier", "TéléVernelle")),
    ("road", 19, ("Ville de Quartier – Voirie",)),
    ("cycling", 7, ("Ville de Quartier – Mobilités",)),
    ("tram", 5, ("Régie des Transports de Quartier",)),
    ("trees", 4, ("Ville de Quartier – Espaces verts",)),
)
BUILDERS = (
    "Habitat Vernelle",
    "Promotion Belleroche",
    "Ville de Quartier – Bâtiments",
    "Foncière du Port",
)
IMPACTS = (("closed", 14), ("narrowed", 48), ("one_way", 17), ("dead_end", 6), ("none", 15))
OBJECTS = {
    "water": "Renouvellement de conduite d’eau", "heating": "Extension du réseau de chaleur",
    "gas": "Remplacement de branchements", "electricity": "Enfouissement de lignes",
    "telecom": "Déploiement de la fibre", "road": "Réfection de chaussée",
    "cycling": "Aménagement d’une piste cyclable", "tram": "Pose de la plateforme du tramway",
    "trees": "Plantation d’un alignement", "building": "Construction d’un immeuble",
}  # fmt: skip
HEADER = (
    "Identifiant", "Code quartier", "Catégorie", "Maître d’ouvrage", "Objet", "Voie",
    "Impact sur la circulation", "Statut", "Date de début", "Date de fin", "geo_point_2d",
    "geo_shape",
)  # fmt: skip


def construction_sites(city: City) -> Table:
    """600 sites; some overlap, some should have ended long ago, some lack an operator or an end."""
    draw = chance("sites")
    strips, edges = _strips(city, COUNT - IN_BLOCKS, draw)
    lots = _lots(city, IN_BLOCKS, draw)
    shapes: Lines = np.concatenate([strips, lots])
    label = coords_of(shapely.point_on_surface(shapes))
    kinds = pick(draw, np.array([weight for _, weight, _ in CATEGORIES], dtype=float), len(strips))
    category = [CATEGORIES[kind][0] for kind in kinds.tolist()] + ["building"] * len(lots)
    start, end = _dates(category, draw)
    gap = draw.random((3, COUNT)) < np.array([[0.025], [0.04], [0.015]])
    columns = [
        [f"CH-{number:04}" for number in range(1, COUNT + 1)], codes(city, label), category,
        blanked(_operators(kinds, len(lots), draw), gap[0]), [OBJECTS[what] for what in category],
        _street_names(city, edges, label), blanked(_impacts(len(strips), len(lots), draw), gap[2]),
        _status(start, end, draw), [f"{day:%d/%m/%Y}" for day in start],
        blanked([f"{day:%d/%m/%Y}" for day in end], gap[1]), geo_points(label), geojson(shapes),
    ]  # fmt: skip
    return Table(
        file="construction_sites.csv", header=HEADER, rows=list(zip(*columns, strict=True))
    )


def _strips(city: City, count: int, draw: np.random.Generator) -> tuple[Lines, Indices]:
    """Works in the street: a strip along part of an edge; one in twelve shares another's edge."""
    network = city.network
    middles = coords_of(shapely.line_interpolate_point(network.lines, 0.5, normalized=True))
    away = np.hypot(*(middles - OLD_TOWN).T)
    big = np.array(
        [{"main": 3.0, "secondary": 1.8, "residential": 1.0}.get(k, 0.0) for k in network.kind]
    )
    weight = big * network.length**0.5 * np.exp(-away / 2600) * ~network.bridge
    edges = pick(draw, weight, count)
    again = np.flatnonzero(draw.random(count) < 0.08)
    edges[again[again > 0]] = edges[again[again > 0] - 1]
    widths = {"main": (7.5, 11.0), "secondary": (5.0, 7.5), "residential": (3.5, 5.5)}
    found = []
    for edge in edges.tolist():
        line = network.lines[edge]
        length = min(line.length, 30 + 190 * draw.random() ** 2)
        start = draw.random() * (line.length - length)
        side = draw.choice([-1.0, 0.0, 1.0]) * draw.uniform(1.0, 3.5)
        low, high = widths[str(network.kind[edge])]
        found.append(_strip(stretch(line, start, start + length), side, draw.uniform(low, high)))
    return np.array(found, dtype=object), edges


def _strip(line: LineString, side: float, half_width: float) -> BaseGeometry:
    moved = line.offset_curve(side) if side and line.length > 8 else line
    strip = (moved if moved.length > 4 else line).buffer(half_width, cap_style="flat")
    largest: BaseGeometry = max(shapely.get_parts(strip), key=shapely.area)
    return largest


def _lots(city: City, count: int, draw: np.random.Generator) -> Lines:
    """Building sites: a few houses of a row and the yard behind them."""
    houses = city.buildings.shapes
    away = np.hypot(*(coords_of(shapely.centroid(houses)) - OLD_TOWN).T)
    chosen = pick(draw, np.exp(-away / 2000), count)
    yard = shapely.buffer(houses[chosen], draw.uniform(3, 9, count), join_style="mitre")
    tree, lines = shapely.STRtree(houses), city.network.lines
    streets = shapely.STRtree(lines)
    found = []
    for lot, reach in zip(yard, draw.uniform(0, 14, count).tolist(), strict=True):
        near = houses[np.sort(tree.query(lot.buffer(reach), predicate="intersects"))]
        hull = shapely.union_all([lot, *near]).convex_hull
        crossed = lines[streets.query(hull, predicate="dwithin", distance=6)]
        pieces = parts(hull.difference(shapely.union_all(crossed).buffer(6)))
        found.append(max(pieces, key=shapely.area))
    return np.array(found, dtype=object)


def _dates(category: list[str], draw: np.random.Generator) -> tuple[list[date], list[date]]:
    """First and last days: weeks for pipes, a year or two for houses and tramways."""
    long = np.isin(category, ("building", "tram"))
    days = np.where(
        long, draw.uniform(200, 800, len(category)), 8 + 160 * draw.random(len(category)) ** 2
    )
    begun = draw.uniform(-0.93, 0.35, len(category)) * np.maximum(days, 70)
    late = draw.random(len(category)) < 0.12
    begun = np.where(late, begun - 260, begun)
    start = [TODAY + timedelta(round(offset)) for offset in begun.tolist()]
    return start, [
        day + timedelta(round(span)) for day, span in zip(start, days.tolist(), strict=True)
    ]


def _status(start: list[date], end: list[date], draw: np.random.Generator) -> list[str]:
    """What the register says; for a third of the ended sites it was never changed."""
    luck = draw.random(len(start)).tolist()
    found = []
    for first, last, forgotten in zip(start, end, luck, strict=True):
        if first > TODAY:
            found.append("à venir")
        else:
            found.append("terminé" if last < TODAY and forgotten > 0.34 else "en cours")
    return found


def _operators(kinds: Indices, lots: int, draw: np.random.Generator) -> list[str]:
    found = []
    for kind in kinds.tolist():
        names = CATEGORIES[kind][2]
        found.append(names[int(draw.random() * len(names))])
    return found + [BUILDERS[int(draw.random() * len(BUILDERS))] for _ in range(lots)]


def _impacts(strips: int, lots: int, draw: np.random.Generator) -> list[str]:
    chosen = pick(draw, np.array([weight for _, weight in IMPACTS], dtype=float), strips + lots)
    chosen[strips:] = np.where(chosen[strips:] == 0, 4, chosen[strips:])
    return [IMPACTS[index][0] for index in chosen.tolist()]


def _street_names(city: City, edges: Indices, label: Coords) -> list[str]:
    tree = shapely.STRtree(city.network.lines)
    _, nearest = tree.query_nearest(shapely.points(label[len(edges) :]), all_matches=False)
    return [str(name) for name in city.network.name[np.concatenate([edges, nearest])]]
