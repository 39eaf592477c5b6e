"""Cycling: paths by kind on each side of the street, and eight routes that follow them."""

from __future__ import annotations

from datetime import date

import numpy as np
import shapely
from numpy.typing import NDArray

from data.sample_city.city import City, codes, midpoints
from data.sample_city.routing import Router, joined
from data.sample_city.space import Numbers, chance
from data.sample_city.streets import merged
from data.sample_city.write import Table, geo_points, geojson

SHARES = {  # of streets, by class: separated, lane, shared
    "main": (0.56, 0.3, 0.06),
    "secondary": (0.2, 0.22, 0.1),
    "residential": (0.0, 0.012, 0.03),
    "path": (0.0, 0.0, 0.3),
}
SURFACES = {"separated": "asphalt", "lane": "asphalt", "shared": "asphalt", "none": None}
EASE = {"separated": 0.62, "lane": 0.78, "shared": 0.85, "none": 1.3}
ROUTES = (  # name, difficulty, places by way of which it goes: metres east and north
    ("Tour des Boulevards", "easy",
     "-900 1500, 900 1200, 1300 0, 200 -950, -1400 -500, -1650 500, -900 1500"),
    ("Fil de la Vernelle", "easy",
     "600 2650, -700 1750, -1150 500, -800 -650, 300 -1600"),
    ("Traversée Est–Ouest", "moderate",
     "-5500 300, -2800 450, -1500 350, -330 330, 1500 450, 4600 650"),
    ("Route des Lacs", "easy",
     "-330 330, 700 1350, 1900 1700, 2700 1100, 3400 900, 3700 1900"),
    ("Ligne du Plateau", "hard",
     "-330 330, -500 1500, -1000 2700, -1500 3500, -1700 4400"),
    ("Boucle des Gravières", "moderate",
     "-300 -700, -800 -1900, -1400 -3200, -600 -4000, 900 -3200, 350 -1700, -300 -700"),
    ("Voie de la Garenne", "moderate",
     "100 0, 700 -900, 1900 -1900, 3000 -2900, 4000 -3600"),
    ("Coteaux du Furon", "hard",
     "-1700 -400, -2600 -900, -4200 -900, -4600 400, -3600 1300, -2400 1000"),
)  # fmt: skip
HEADER = (
    "id_local", "nom_voie", "type_amenagement", "ame_d", "ame_g", "revetement", "largeur_m",
    "date_mise_en_service", "longueur_m", "code_quartier", "geo_point_2d", "geo_shape",
)  # fmt: skip


def facilities(city: City) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """What cyclists find on the right and on the left of each edge of the network."""
    named = {street.name: street.kind for street in city.network.streets}
    draw = chance("bike paths")
    fate, other = draw.random(len(named)), draw.random(len(named))
    kinds = zip(named.values(), fate, strict=True)
    right = np.array([_facility(kind, luck) for kind, luck in kinds])
    left = np.where(other < 0.78, right, np.where(other < 0.9, "lane", "none"))
    left = np.where(np.isin(right, ("none", "shared")), right, left)
    quay = np.array([name.startswith("Quai") for name in named])
    right, left = np.where(quay, "separated", right), np.where(quay, "none", left)
    number = {name: index for index, name in enumerate(named)}
    edge = np.array([number[name] for name in city.network.name.tolist()])
    return right[edge], left[edge]


def _facility(kind: str, luck: float) -> str:
    separated, lane, shared = SHARES[kind]
    if luck < separated:
        return "separated"
    if luck < separated + lane:
        return "lane"
    return "shared" if luck < separated + lane + shared else "none"


def bike_paths(city: City) -> Table:
    """One row for each stretch of street with something for cyclists."""
    right, left = facilities(city)
    network = city.network
    rows: list[list[object]] = []
    shapes: list[shapely.Geometry] = []
    draw = chance("bike path facts")
    names = network.name
    streets = {street.name: street for street in network.streets}
    for name in np.unique(names[right != "none"]).tolist():
        street = streets[name]
        edges = np.flatnonzero(names == name)
        sides = (str(right[edges[0]]), str(left[edges[0]]))
        loose = street.kind == "path"
        opened = date(1994 + int(32 * draw.random() ** 0.5), 1, 1 + int(28 * draw.random()))
        opened = opened.replace(month=1 + int(12 * draw.random()))
        width = round({"separated": 2.0, "lane": 1.4}.get(sides[0], 2.6) + draw.random(), 1)
        for line in (line for line in merged(network, edges) if line.length > 25):
            surface = "gravel" if loose else SURFACES[sides[0]]
            rows.append([f"QRT-{len(rows) + 1:05}", street.name, sides[0], *sides, surface, width,
                         min(opened, date(2026, 10, 30)), round(line.length)])  # fmt: skip
            shapes.append(line)
    lines = np.array(shapes, dtype=object)
    at = midpoints(lines)
    for row, code, point, shape in zip(
        rows, codes(city, at), geo_points(at), geojson(lines), strict=True
    ):
        row += [code, point, shape]
    return Table(file="bike_paths.csv", header=HEADER, rows=rows)


def bike_routes(city: City) -> Table:
    """Eight signed routes, each one line, which prefer what is made for cyclists."""
    right, _ = facilities(city)
    network = city.network
    ease = np.array([EASE[kind] for kind in right]) * np.where(network.kind == "main", 1.12, 1.0)
    cost: Numbers = np.round(network.length * ease, 3)
    router = Router(network, cost, right != "none")
    rows, shapes = [], []
    for number, (name, difficulty, places) in enumerate(ROUTES, 1):
        way = router.through(places)
        line = joined(network, way)
        edges = np.array([edge for edge, _ in way])
        share = network.length[edges][right[edges] == "separated"].sum() / line.length
        km = round(line.length / 1000, 1)
        closed = line.coords[0] == line.coords[-1]
        rows.append((number, name, difficulty, km, round(km / 14 * 60), closed, round(100 * share)))
        shapes.append(line)
    header = ("number", "name", "difficulty", "length_km", "minutes", "loop", "separated_percent")
    return Table(
        file="bike_routes.geojson", header=header, rows=rows, shapes=np.array(shapes, dtype=object)
    )
