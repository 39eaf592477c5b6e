"""The city itself, before anyone counts its trees: ground, water, streets, houses, districts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import shapely

from data.sample_city.buildings import Buildings, make_buildings
from data.sample_city.districts import Districts, make_districts
from data.sample_city.parks import Park, make_parks, make_squares
from data.sample_city.plan import Plan, make_plan
from data.sample_city.space import Coords, Indices, Lines, Numbers, coords_of, parts
from data.sample_city.streets import Network, make_network
from data.sample_city.water import Water, make_water

TODAY = date(2026, 11, 23)  # the day all registers were closed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class City:
    """Everything that the layers are drawn from, in metres."""

    water: Water
    plan: Plan
    parks: tuple[Park, ...]
    network: Network
    blocks: Lines
    districts: Districts
    buildings: Buildings


def make_city() -> City:
    """The same city every time."""
    water = make_water()
    plan = make_plan(water)
    parks = make_parks(plan, water)
    network = make_network(plan, water, parks)
    blocks = parts(shapely.polygonize(network.lines))
    blocks = blocks[np.lexsort(coords_of(shapely.centroid(blocks)).T)]
    parks += make_squares(blocks)
    kept_free = shapely.union_all([water.all, *(park.shape for park in parks)])
    return City(
        water=water, plan=plan, parks=parks, network=network, blocks=blocks,
        districts=make_districts(plan, water), buildings=make_buildings(network, blocks, kept_free),
    )  # fmt: skip


def midpoints(lines: Lines) -> Coords:
    """The points halfway along lines."""
    return coords_of(shapely.line_interpolate_point(lines, 0.5, normalized=True))


def codes(city: City, at: Coords) -> list[str | None]:
    """The code of the district that each point lies in, or nothing outside the limit."""
    names = (*city.districts.codes, None)
    return [names[index] for index in city.districts.of(at).tolist()]


def pick(draw: np.random.Generator, weights: Numbers, count: int) -> Indices:
    """`count` indices, each as often as its weight says."""
    ladder = np.cumsum(weights)
    found: Indices = np.searchsorted(ladder, draw.random(count) * ladder[-1], side="right")
    return np.minimum(found, len(weights) - 1)
