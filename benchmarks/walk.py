"""What people do with a map: a seeded random walk of views. Pure: nothing here asks for a tile.

Places are in the square world of Web Mercator, 0 to 1, x from the west and y from the north.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tiles.address import TileAddress

TILE_PX = 512  # the side of a vector tile as MapLibre draws it at its own zoom
FIRST_ZOOM, NEAREST, FARTHEST = 11.0, 18.0, 4.0
STEPS = 20
ACTS = {"pan": 8, "in": 6, "out": 3, "fling": 3, "jump": 2}  # how often, of 22
FRAMES = 3  # views that a fling passes on its way
Place = tuple[float, float]


class Screen(NamedTuple):
    """A map's size in CSS pixels."""

    name: str
    width: int
    height: int


LAPTOP, PHONE = Screen("1280 × 800", 1280, 800), Screen("390 × 844", 390, 844)


@dataclass(frozen=True, slots=True)
class View:
    """What a map shows. One that is `passing` is left before it is complete."""

    x: float
    y: float
    zoom: float
    act: str = "open"
    passing: bool = False

    def moved(self, screen: Screen, widths: float, heights: float) -> Place:
        """The place so many screens to the east and to the south."""
        world = TILE_PX * 2**self.zoom
        return (
            self.x + widths * screen.width / world,
            self.y + heights * screen.height / world,
        )


def tiles_in(view: View, screen: Screen, maxzoom: int) -> list[TileAddress]:
    """The tiles that cover a view, those near its middle first, as MapLibre asks for them."""
    z = min(math.floor(view.zoom), maxzoom)
    tiles, world = 2**z, TILE_PX * 2**view.zoom
    half_x, half_y = screen.width / 2 / world, screen.height / 2 / world

    def reach(middle: float, half: float) -> range:
        first = max(0, math.floor((middle - half) * tiles))
        return range(first, min(tiles - 1, math.floor((middle + half) * tiles)) + 1)

    found = [TileAddress(z, x, y) for x in reach(view.x, half_x) for y in reach(view.y, half_y)]
    middle_x, middle_y = view.x * tiles - 0.5, view.y * tiles - 0.5
    return sorted(found, key=lambda at: (math.hypot(at.x - middle_x, at.y - middle_y), at))


def walk(seed: int, places: Sequence[Place], screen: Screen, steps: int = STEPS) -> Iterator[View]:
    """Views of one session: it opens somewhere in the data, and goes on from there."""
    chance = random.Random(seed)
    view = View(*chance.choice(places), FIRST_ZOOM)
    yield view
    for act in chance.choices(list(ACTS), list(ACTS.values()), k=steps):
        views = list(_acted(act, view, places, screen, chance))
        yield from views
        view = views[-1]


def _acted(
    act: str, view: View, places: Sequence[Place], screen: Screen, chance: random.Random
) -> Iterator[View]:
    if act == "pan":
        yield _pan(view, screen, chance)
    elif act == "in":
        zoom = min(NEAREST, view.zoom + chance.uniform(0.6, 2.2))
        yield View(*_place_in(view, places, screen, chance), zoom, act)
    elif act == "out":
        yield View(view.x, view.y, max(FARTHEST, view.zoom - chance.uniform(0.6, 2.5)), act)
    elif act == "jump":  # to a place that was searched for
        yield View(*chance.choice(places), chance.uniform(13, 16), act)
    else:
        yield from _fling(view, screen, chance)


def _pan(view: View, screen: Screen, chance: random.Random) -> View:
    angle, far = chance.uniform(0, math.tau), chance.uniform(0.2, 0.8)
    place = view.moved(screen, far * math.cos(angle), far * math.sin(angle))
    return View(*_inside(place), view.zoom, "pan")


def _fling(view: View, screen: Screen, chance: random.Random) -> Iterator[View]:
    """The map glides on by several screens, ever slower."""
    angle = chance.uniform(0, math.tau)
    for frame in range(FRAMES + 1):
        far = 0.9 * 0.7**frame
        place = view.moved(screen, far * math.cos(angle), far * math.sin(angle))
        view = View(*_inside(place), view.zoom, "fling", passing=frame < FRAMES)
        yield view


def _place_in(view: View, places: Sequence[Place], screen: Screen, chance: random.Random) -> Place:
    """A place of the data that is in sight, if there is one: that is where people look closer."""
    west, north = view.moved(screen, -0.5, -0.5)
    east, south = view.moved(screen, 0.5, 0.5)
    near = [(x, y) for x, y in places if west <= x <= east and north <= y <= south]
    return chance.choice(near) if near else (view.x, view.y)


def _inside(place: Place) -> Place:
    x, y = place
    return min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)
