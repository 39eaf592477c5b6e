"""The files of the city's plan: land, water, parks, buildings, streets and districts."""

from __future__ import annotations

import numpy as np
import shapely

from data.sample_city.city import City, codes
from data.sample_city.districts import populations
from data.sample_city.space import Lines, coords_of
from data.sample_city.streets import merged
from data.sample_city.write import Table

CLASS_RANK = {"main": 1, "secondary": 2, "residential": 3, "path": 4}
SPEEDS = {"main": 50, "secondary": 50, "residential": 30, "path": None}


def land(city: City) -> Table:
    rows = [("land", "Pays de la Vernelle")]
    return Table(
        file="land.geojson", header=("id", "name"), rows=rows, shapes=_array([city.plan.land])
    )


def water(city: City) -> Table:
    bodies = [
        (name, kind, shape.intersection(city.plan.land)) for name, kind, shape in city.water.bodies
    ]
    rows = [
        (f"W{number:02}", name, kind, round(shape.area))
        for number, (name, kind, shape) in enumerate(bodies, 1)
    ]
    shapes = _array([shape for _, _, shape in bodies])
    return Table(
        file="water.geojson", header=("id", "name", "kind", "area_m2"), rows=rows, shapes=shapes
    )


def parks(city: City) -> Table:
    shapes = _array([park.shape for park in city.parks])
    where = codes(city, coords_of(shapely.point_on_surface(shapes)))
    rows = [
        (f"P{number:03}", park.name, park.kind, round(park.shape.area / 10_000, 2), code)
        for number, (park, code) in enumerate(zip(city.parks, where, strict=True), 1)
    ]
    header = ("id", "name", "kind", "area_ha", "district")
    return Table(file="parks.geojson", header=header, rows=rows, shapes=shapes)


def buildings(city: City) -> Table:
    built = city.buildings
    where = codes(city, coords_of(shapely.centroid(built.shapes)))
    facts = zip(built.names, built.use.tolist(), built.floors.tolist(), where, strict=True)
    rows = [(f"B{number:05}", *fact) for number, fact in enumerate(facts, 1)]
    header = ("id", "name", "use", "floors", "district")
    return Table(file="buildings.geojsonl", header=header, rows=rows, shapes=built.shapes)


def streets(city: City) -> Table:
    """One row for each stretch of a street that is on a bridge, or is not, without a gap."""
    network = city.network
    group = network.owner * 2 + network.bridge
    rows: list[tuple[object, ...]] = []
    shapes: list[shapely.Geometry] = []
    for which in np.unique(group):
        street = network.streets[which // 2]
        for line in merged(network, np.flatnonzero(group == which)):
            rows.append(
                (
                    f"S{len(rows) + 1:05}", street.name, street.kind, CLASS_RANK[street.kind],
                    SPEEDS[street.kind], bool(which % 2), round(line.length),
                )
            )  # fmt: skip
            shapes.append(line)
    header = ("id", "name", "class", "rank", "speed_limit", "bridge", "length_m")
    return Table(file="streets.geojsonl", header=header, rows=rows, shapes=_array(shapes))


def districts(city: City) -> Table:
    found = city.districts
    people = populations(found, city.network).tolist()
    rows = [
        (code, name, count, round(shape.area / 10_000, 1), round(count / (shape.area / 1e6)))
        for code, name, count, shape in zip(
            found.codes, found.names, people, found.shapes, strict=True
        )
    ]
    header = ("code", "name", "population", "area_ha", "density")
    return Table(file="districts.geojson", header=header, rows=rows, shapes=_array(found.shapes))


def _array(shapes: list[shapely.Geometry] | tuple[shapely.Geometry, ...]) -> Lines:
    found: Lines = np.array(shapes, dtype=object)
    return found
