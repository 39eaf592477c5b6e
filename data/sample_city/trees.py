"""The register of trees: rows along the streets and walks, groves in the parks."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from data.sample_city.along import inside, places_along
from data.sample_city.city import TODAY, City, codes, pick
from data.sample_city.space import Coords, Indices, Numbers, chance
from data.sample_city.write import Table, blanked, geo_points

COUNT = 30_000
STREET_SHARE = 0.72
SPECIES = (  # genus, species, common name, height when grown (m), weight in streets and in parks
    ("Platanus", "Platanus x hispanica", "Platane commun", 27, 21, 9),
    ("Tilia", "Tilia tomentosa", "Tilleul argenté", 21, 12, 8),
    ("Tilia", "Tilia cordata", "Tilleul à petites feuilles", 19, 7, 6),
    ("Acer", "Acer platanoides", "Érable plane", 18, 9, 8),
    ("Acer", "Acer campestre", "Érable champêtre", 12, 6, 7),
    ("Celtis", "Celtis australis", "Micocoulier de Provence", 18, 8, 4),
    ("Styphnolobium", "Styphnolobium japonicum", "Sophora du Japon", 17, 6, 3),
    ("Prunus", "Prunus avium", "Merisier", 12, 5, 5),
    ("Pyrus", "Pyrus calleryana", "Poirier de Chine", 10, 5, 1),
    ("Fraxinus", "Fraxinus angustifolia", "Frêne à feuilles étroites", 20, 4, 5),
    ("Robinia", "Robinia pseudoacacia", "Robinier faux-acacia", 18, 4, 4),
    ("Ginkgo", "Ginkgo biloba", "Arbre aux quarante écus", 20, 3, 2),
    ("Carpinus", "Carpinus betulus", "Charme", 15, 3, 8),
    ("Quercus", "Quercus robur", "Chêne pédonculé", 26, 2, 11),
    ("Quercus", "Quercus ilex", "Chêne vert", 14, 2, 3),
    ("Aesculus", "Aesculus hippocastanum", "Marronnier d’Inde", 22, 2, 5),
    ("Betula", "Betula pendula", "Bouleau verruqueux", 16, 1, 5),
    ("Cedrus", "Cedrus atlantica", "Cèdre de l’Atlas", 28, 0, 3),
    ("Pinus", "Pinus sylvestris", "Pin sylvestre", 22, 0, 6),
    ("Salix", "Salix alba", "Saule blanc", 18, 0, 4),
)
SPACING = {"main": 10.5, "secondary": 12.0, "residential": 13.0, "path": 11.0}  # metres
OFFSET = {"main": 8.7, "secondary": 6.4, "residential": 4.6, "path": 3.4}  # from the middle
PLANTED = {"main": 0.82, "secondary": 0.55, "residential": 0.16, "path": 0.75}  # share of streets
HEADER = (
    "Identifiant", "Genre", "Espèce", "Nom commun", "Hauteur (m)", "Circonférence (cm)",
    "Date de plantation", "Remarquable", "Domanialité", "Adresse", "Code quartier", "geo_point_2d",
)  # fmt: skip


def trees(city: City) -> Table:
    """About 30 000 trees; some facts are not known."""
    street_at, owner = _in_streets(city)
    park_at, park = _in_parks(city, COUNT - len(street_at))
    at = np.vstack([street_at, park_at])
    draw = chance("tree facts")
    species = np.concatenate([_street_species(owner), _park_species(park)])
    avenue_year = 1925 + (chance("avenues planted").random(len(city.network.streets)) ** 0.6 * 98)
    year = np.concatenate([avenue_year[owner], 1880 + draw.random(len(park)) ** 0.5 * 144])
    replaced = draw.random(len(at)) < 0.22
    year = np.where(replaced, draw.uniform(1998, 2026, len(at)), year)
    planted = _planting_days(year, draw)
    places = [city.network.streets[index].name for index in owner.tolist()]
    kinds = ["Alignement"] * len(owner) + ["Jardin"] * len(park)
    places += [city.parks[index].name for index in park.tolist()]
    columns = [
        [f"A{number:05}" for number in range(1, len(at) + 1)],
        *([SPECIES[kind][fact] for kind in species.tolist()] for fact in (0, 1, 2)),
        *_sizes(species, planted, draw), blanked(planted, draw.random(len(at)) < 0.07),
        np.where((year < 1945) & (draw.random(len(at)) < 0.02), "oui", "non").tolist(),
        kinds, places, codes(city, at), geo_points(at),
    ]  # fmt: skip
    return Table(file="trees.csv", header=HEADER, rows=list(zip(*columns, strict=True)))


def _in_streets(city: City) -> tuple[Coords, Indices]:
    """Where trees stand in rows, and the index of the street of each."""
    network = city.network
    kind = network.kind
    lucky = chance("streets with trees").random(len(network.streets))[network.owner]
    share = np.array([PLANTED[k] for k in kind]) * np.where(network.zone == "core", 0.12, 1.0)
    edges = np.flatnonzero((lucky < share) & ~network.bridge & (network.zone != "country"))
    kind = kind[edges]
    places = places_along(network.lines[edges], np.array([SPACING[k] for k in kind]), 5.0)
    at = places.aside(np.array([OFFSET[k] for k in kind])[places.line])
    draw = chance("street trees")
    at = np.round(at + draw.normal(0, 0.25, at.shape), 2)
    good = (draw.random(len(at)) > 0.06) & ~inside(city.water.all.buffer(2), at)
    found = np.flatnonzero(good)
    most = round(COUNT * STREET_SHARE)
    if len(found) > most:
        found = np.sort(draw.permutation(found)[:most])
    return at[found], network.owner[edges][places.line[found]]


def _in_parks(city: City, count: int) -> tuple[Coords, Indices]:
    """Trees in groves, thicker in woods, and the index of the park of each."""
    weight = {"wood": 2.2, "park": 1.6, "garden": 3.0, "square": 4.0, "cemetery": 1.2}
    shapes = np.array([park.shape.buffer(-4) for park in city.parks], dtype=object)
    value = shapely.area(shapes) ** 0.72 * [weight.get(park.kind, 0.35) for park in city.parks]
    draw = chance("park trees")
    found, owners = [], []
    wet = city.water.all.buffer(3)
    for index in np.flatnonzero(value > 0).tolist():
        wanted = round(count * 1.02 * value[index] / value.sum())
        at = _groves(shapes[index], wanted * 4 + 40, draw)
        at = at[inside(shapes[index], at) & ~inside(wet, at)][:wanted]
        found.append(at)
        owners.append(np.full(len(at), index))
    return np.vstack(found)[:count], np.concatenate(owners)[:count]


def _groves(shape: BaseGeometry, count: int, draw: np.random.Generator) -> Coords:
    west, south, east, north = shape.bounds
    seeds = draw.uniform((west, south), (east, north), (max(3, count // 14), 2))
    spread = draw.normal(0, 1, (count, 2)) * draw.uniform(8, 34, (count, 1))
    at: Coords = np.round(seeds[draw.integers(0, len(seeds), count)] + spread, 2)
    return at


def _street_species(owner: Indices) -> Indices:
    """A street has one species, and a few others where one was replaced."""
    weights = np.array([kind[4] for kind in SPECIES], dtype=np.float64)
    draw = chance("street species")
    of_street = pick(draw, weights, int(owner.max()) + 1)
    return np.where(
        draw.random(len(owner)) < 0.86, of_street[owner], pick(draw, weights, len(owner))
    )


def _park_species(park: Indices) -> Indices:
    weights = np.array([kind[5] for kind in SPECIES], dtype=np.float64)
    return pick(chance("park species"), weights, len(park))


def _planting_days(year: Numbers, draw: np.random.Generator) -> list[date]:
    """Days from November to March, when trees are planted."""
    days = draw.integers(0, 130, len(year)).tolist()
    first = [date(int(y), 11, 1) for y in year.tolist()]
    return [min(day + timedelta(more), TODAY) for day, more in zip(first, days, strict=True)]


def _sizes(
    species: Indices, planted: list[date], draw: np.random.Generator
) -> tuple[list[object], list[object]]:
    """Heights in metres and girths in centimetres, some not measured."""
    age = np.array([TODAY.year - day.year + 6 for day in planted], dtype=np.float64)
    grown = np.array([kind[3] for kind in SPECIES], dtype=np.float64)[species]
    height = grown * (age / (age + 18)) * draw.uniform(0.75, 1.2, len(age))
    girth = 6 + 2.3 * age * draw.uniform(0.6, 1.3, len(age)) * (grown / 20)
    gap: NDArray[np.bool_] = draw.random(len(age)) < 0.03
    tall = blanked(np.round(height, 1).tolist(), gap)
    return tall, blanked(np.round(girth).astype(int).tolist(), gap | (draw.random(len(age)) < 0.04))
