"""Parks, gardens, woods and cemeteries drawn by hand, and squares cut from the blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import LineString, MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from data.sample_city.names import listed
from data.sample_city.plan import OLD_TOWN, Plan
from data.sample_city.space import Lines, blob, chance, parts
from data.sample_city.water import Water

GREENS = (  # name, kind, centre, size, turn
    ("Parc de la Boucle", "park", (-2080.0, 1050.0), (760.0, 520.0), 70.0),
    ("Parc des Lacs", "park", (3180.0, 1480.0), (1500.0, 1080.0), 22.0),
    ("Bois de Saint-Aubin", "wood", (-3900.0, 2750.0), (2300.0, 1350.0), 28.0),
    ("Bois de la Garenne", "wood", (4080.0, -3200.0), (1900.0, 1200.0), 160.0),
    ("Cimetière de l’Est", "cemetery", (1790.0, -420.0), (330.0, 240.0), 12.0),
    ("Cimetière du Coteau", "cemetery", (-2950.0, 1500.0), (260.0, 210.0), 40.0),
    ("Jardin botanique", "garden", (560.0, 1420.0), (360.0, 270.0), 20.0),
    ("Parc du Confluent", "park", (-1560.0, -860.0), (560.0, 260.0), 150.0),
    ("Prairie des Castors", "meadow", (1560.0, -3330.0), (420.0, 1250.0), 4.0),
    ("Parc des Gravières", "park", (-930.0, -3500.0), (760.0, 980.0), 20.0),
    ("Parc du Plateau", "park", (-1350.0, 3250.0), (700.0, 420.0), 35.0),
    ("Stade de la Filature", "sports", (2480.0, -950.0), (330.0, 260.0), -14.0),
    ("Plaine des sports", "sports", (-2850.0, -2150.0), (520.0, 330.0), 45.0),
    ("Parc du Vieux-Moulin", "park", (1450.0, 2300.0), (420.0, 300.0), 60.0),
    ("Parc Adèle Morvan", "park", (1500.0, 640.0), (380.0, 300.0), 10.0),
    ("Jardin de la Gare", "garden", (-120.0, -870.0), (240.0, 150.0), -20.0),
    ("Bois du Levant", "wood", (5000.0, 3100.0), (1300.0, 1700.0), 15.0),
    ("Bois des Charbonniers", "wood", (-4700.0, -3350.0), (1500.0, 1300.0), 70.0),
    ("Marais de la Vernelle", "meadow", (2450.0, 3050.0), (520.0, 950.0), -58.0),
    ("Forêt de Roquebelle", "wood", (-5900.0, 3900.0), (2300.0, 2600.0), 30.0),
    ("Forêt de Montgris", "wood", (3000.0, 5000.0), (1700.0, 1300.0), 40.0),
    ("Bois du Péage", "wood", (-2300.0, -4850.0), (2600.0, 900.0), -6.0),
    ("Bois de l’Aulnaie", "wood", (6200.0, -2000.0), (1100.0, 1500.0), 80.0),
    ("Parc des Tuileries", "park", (-820.0, -1930.0), (430.0, 300.0), 30.0),
)
SQUARES = listed(
    "Square du Levant|Square des Écoles|Square Zoé Larrieu|Place aux Herbes|Square des Luthiers|"
    "Jardin des Cinq-Sens|Square du Tilleul|Square Honoré Vidal|Jardin de la Paix|"
    "Square du Marché|Square des Lavandières|Jardin partagé des Carrières|Square Irène Martel|"
    "Square de l’Octroi|Jardin des Remises|Square Samir Delorme|Square des Cheminots|"
    "Jardin du Presbytère|Square Noémie Fabre|Square de la Fonderie|Jardin des Simples|"
    "Square du Lavoir|Square Jeanne Chabert|Jardin Suspendu|Square de la Passerelle|"
    "Square des Marronniers|Jardin de l’Ancien Hospice|Square Berthe Clavel|Square des Fontaines|"
    "Jardin des Poètes|Square Mathilde Lagarde|Square des Mésanges|Square Victor Montel|"
    "Jardin du Puits|Square de la Verrerie|Square Colette Garnier|Square des Oliviers|"
    "Jardin des Abeilles",
    "|",
)


@dataclass(frozen=True, slots=True)
class Park:
    """One green place with a name."""

    name: str
    kind: str
    shape: BaseGeometry


def make_parks(plan: Plan, water: Water) -> tuple[Park, ...]:
    """The large parks, with the main streets and the waters cut out."""
    roads = shapely.union_all([street.line.simplify(0.5) for street in plan.streets])
    roads = roads.buffer(13, quad_segs=4)
    dry = shapely.union_all([water.all.buffer(5), roads, water.island])
    shapes: list[tuple[str, str, BaseGeometry]] = [
        (name, kind, blob(name, at, size, turn)) for name, kind, at, size, turn in GREENS
    ]
    shapes += [("Jardin des Remparts", "garden", _rampart_garden(plan))]
    shapes += [("Pointe de l’Île", "garden", water.island.intersection(_north_of(990.0)))]
    found: list[Park] = []
    for name, kind, shape in shapes:
        rest = shape.difference(dry if name != "Pointe de l’Île" else roads)
        rest = rest.intersection(plan.land).buffer(-8).buffer(8)
        pieces = [piece for piece in parts(rest) if piece.area > 1500]
        if pieces:
            whole = MultiPolygon(pieces) if len(pieces) > 1 else pieces[0]
            found.append(Park(name, kind, whole))
    return tuple(found)


def make_squares(blocks: Lines) -> tuple[Park, ...]:
    """Small gardens: whole blocks of the inner city, of a fit size and shape."""
    middle = shapely.distance(shapely.centroid(blocks), shapely.points(OLD_TOWN))
    area = shapely.area(blocks)
    round_enough = area / shapely.length(blocks) ** 2 > 0.045
    fit = np.flatnonzero((area > 2600) & (area < 14_000) & (middle < 3300) & round_enough)
    near = fit[np.argsort(middle[fit] * chance("squares").uniform(0.4, 1.6, len(fit)))]
    chosen: list[int] = []
    for at in near:
        apart = 330 + 0.1 * middle[at]
        if all(shapely.distance(blocks[at], blocks[other]) > apart for other in chosen):
            chosen.append(int(at))
    shapes = [blocks[at].buffer(-8).buffer(1) for at in chosen]
    named = [(name, shape) for name, shape in zip(SQUARES, shapes, strict=False)]
    return tuple(Park(name, "square", shape) for name, shape in named if shape.area > 900)


def _rampart_garden(plan: Plan) -> BaseGeometry:
    """A belt outside the innermost ring, on the side away from the river."""
    ring = LineString(shapely.get_coordinates([s.line for s in plan.avenues[:4]]))
    belt = Polygon(ring).buffer(95).difference(Polygon(ring))
    angle = np.radians(np.linspace(-62, 66, 40))
    fan = np.column_stack([np.cos(angle), np.sin(angle)]) * 2000 + OLD_TOWN
    return belt.intersection(Polygon(np.vstack([OLD_TOWN, fan])))


def _north_of(y: float) -> Polygon:
    return shapely.box(-9000, y, 9000, 9000)
