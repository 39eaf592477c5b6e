"""The main streets, laid out before anything else: rings, avenues and quays; and the city limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from shapely.geometry import LineString, Polygon

from data.sample_city.space import Coords, Lines, Ripple, chance, parts, stretch
from data.sample_city.water import Water

Kind = Literal["main", "secondary", "residential", "path"]

OLD_TOWN = np.array([-330.0, 330.0])
LAND = (6600.0, 5500.0)  # half of the land that is drawn, east and north
CORNER = 900.0  # the radius of its corners
SWAY = Ripple.of("main streets", 70, 2300)
RINGS = (  # radius in metres, stretch from west to east, names of its quarters
    (560.0, 1.0, ("Cours des Remparts", "Cours du Levant", "Cours Saint-Aubin", "Cours du Midi")),
    (
        1330.0,
        1.05,
        ("Boulevard des Arts", "Boulevard Adèle Morvan", "Boulevard du Port", "Boulevard Ouest"),
    ),
    (
        2500.0,
        1.1,
        ("Boulevard du Nord", "Boulevard du Lac", "Boulevard du Canal", "Boulevard des Coteaux"),
    ),
    (3850.0, 1.18, ("Rocade Nord", "Rocade Est", "Rocade Sud", "Rocade Ouest")),
)  # fmt: skip
AVENUES = (  # degrees against the clock from east, radius where it begins, name
    (4.0, 560.0, "Avenue de Valserre"),
    (27.0, 1330.0, "Avenue des Lacs"),
    (47.0, 560.0, "Avenue de Montgris"),
    (77.0, 560.0, "Avenue de Chantelune"),
    (106.0, 560.0, "Avenue du Plateau"),
    (128.0, 2500.0, "Avenue des Vignes"),
    (153.0, 560.0, "Avenue de Roquebelle"),
    (180.0, 560.0, "Avenue de la République"),
    (203.0, 1330.0, "Avenue du Furon"),
    (226.0, 1330.0, "Avenue de Saint-Loup"),
    (249.0, 560.0, "Avenue des Tuileries"),
    (288.0, 560.0, "Avenue du Pont-Neuf"),
    (311.0, 560.0, "Avenue de la Garenne"),
    (336.0, 1330.0, "Avenue des Forges"),
)
MINOR_AVENUES = (  # the same, between the second ring and the outer one
    (15.5, 2500.0, "Chemin des Étangs"),
    (60.0, 1330.0, "Rue du Vieux-Moulin"),
    (92.0, 2500.0, "Rue de la Croix-Haute"),
    (117.0, 2500.0, "Rue des Carrières"),
    (166.0, 1330.0, "Rue du Panorama"),
    (191.0, 1330.0, "Rue de l’Abattoir"),
    (238.0, 2500.0, "Rue des Gravières"),
    (299.0, 1330.0, "Rue de l’Écluse"),
    (323.0, 1330.0, "Rue des Entrepôts"),
    (349.0, 1330.0, "Rue de la Filature"),
)


@dataclass(frozen=True, slots=True)
class Street:
    """A street as it was laid out, before others crossed it."""

    name: str
    kind: Kind
    line: LineString
    zone: str = ""  # the sort of neighbourhood that a lesser street was laid out in


@dataclass(frozen=True, slots=True)
class Plan:
    """What the rest of the city grows between."""

    land: Polygon  # all that is drawn
    limit: Polygon  # of the city
    avenues: tuple[Street, ...]  # rings and avenues: they bound districts and cross the river
    quays: tuple[Street, ...]
    roads: tuple[Street, ...]  # how the avenues go on beyond the limit

    @property
    def streets(self) -> tuple[Street, ...]:
        return self.avenues + self.quays + self.roads


def make_plan(water: Water) -> Plan:
    """Rings, avenues and quays inside the city limit."""
    limit = Polygon(_ring(1.0, 1.0, limit=True))
    east, north = LAND[0] - CORNER, LAND[1] - CORNER
    land = shapely.box(-east, -north, east, north).buffer(CORNER)
    streets = [street for ring in RINGS for street in _ring_streets(*ring)]
    ways = [_avenue(*avenue, land=land, kind="main") for avenue in AVENUES]
    streets += [_within(way, limit) for way in ways]
    streets += [_avenue(*avenue, land=land, kind="secondary") for avenue in MINOR_AVENUES]
    roads = [road for way in ways for road in _beyond(way, limit)]
    return Plan(
        land, limit, tuple(streets), (*_quays(water), *_island_streets(water)), tuple(roads)
    )


def _ring(radius: float, stretch: float, *, limit: bool = False) -> Coords:
    """The vertices of a ring about the old town, its first one repeated at the end."""
    draw = chance(f"ring {radius}")
    angle = np.linspace(0, 2 * np.pi, 241)
    uneven = 1 + sum(
        0.035 / order * np.sin(order * angle + draw.random() * 6.3) for order in (2, 3, 5)
    )
    reach = radius * np.asarray(uneven)[:, None]
    if limit:
        reach = (
            reach
            / ((np.abs(np.cos(angle)) ** 2.7 + np.abs(np.sin(angle)) ** 2.7) ** (1 / 2.7))[:, None]
        )
        at = np.column_stack([np.cos(angle) * 5650, np.sin(angle) * 4650]) * reach
    else:
        at = OLD_TOWN + np.column_stack([np.cos(angle) * stretch, np.sin(angle)]) * reach
    at[-1] = at[0]
    return SWAY.bend(at)


def _ring_streets(radius: float, stretch: float, names: tuple[str, ...]) -> list[Street]:
    at = _ring(radius, stretch)
    cuts = np.linspace(0, len(at) - 1, len(names) + 1).astype(int)
    return [
        Street(name, "main", LineString(at[start : end + 1]))
        for name, start, end in zip(names, cuts, cuts[1:], strict=False)
    ]


def _within(way: Street, limit: Polygon) -> Street:
    inside = parts(way.line.intersection(limit))
    return Street(way.name, way.kind, max(inside, key=shapely.length))


def _beyond(way: Street, limit: Polygon) -> list[Street]:
    """The country road that an avenue turns into."""
    name = way.name.replace("Avenue", "Route")
    outside = parts(way.line.difference(limit))
    return [Street(name, "secondary", line, "country") for line in outside if line.length > 80]


def _avenue(angle: float, start: float, name: str, *, land: Polygon, kind: Kind) -> Street:
    """A way out of town: from its ring to the edge of the land, or to the outer ring if minor."""
    reach = np.arange(start * 0.75, 9500.0 if kind == "main" else RINGS[-1][0] * 1.25, 60.0)
    turn = np.radians(angle + 1.8 * np.sin(reach / 900 + chance(name).random() * 6.3))
    widen = np.interp(reach, [ring[0] for ring in RINGS], [ring[1] for ring in RINGS])
    at = OLD_TOWN + np.column_stack([np.cos(turn) * widen, np.sin(turn)]) * reach[:, None]
    wide = next(wide for radius, wide, _ in RINGS if radius == start)
    inside = LineString(SWAY.bend(at)).intersection(land).difference(Polygon(_ring(start, wide)))
    if kind == "secondary":
        inside = inside.intersection(Polygon(_ring(*RINGS[-1][:2])))
    return Street(name, kind, max(parts(inside), key=shapely.length))


def _island_streets(water: Water) -> list[Street]:
    """A quay around the island; the avenues that cross the island cross it too."""
    edge = LineString(water.island.buffer(-15).buffer(3).exterior.coords)
    return [Street("Quai de l’Île", "secondary", edge)]


def _quays(water: Water) -> list[Street]:
    """Streets on both banks of the river, as far as the third ring."""
    town = Polygon(_ring(*RINGS[2][:2]))
    names = (("Quai des Tanneurs", "Quai du Levant"), ("Quai de la Batellerie", "Quai du Couchant"))
    found: list[Street] = []
    for bank, named in zip(water.banks, names, strict=True):
        inside: Lines = parts(shapely.intersection(bank, town))
        line = max(inside, key=shapely.length)
        half = line.length / 2
        found += [
            Street(name, "secondary", stretch(line, start, start + half))
            for name, start in zip(named, (0.0, half), strict=True)
        ]
    return found
