"""Whatever reaches into a tile is in it, whole: nothing is missing and nothing is cut at an edge.

The oracle knows nothing of Quartier: mercantile projects, shapely cuts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mercantile
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layers.database_urls import DatabaseUrls
from layers.model import Layer
from tests.asking import Asker, asking, decoded
from tests.conftest import fresh_database
from tests.examples import layer
from tiles.address import TileAddress
from tiles.drawn import Drawn

pytestmark = pytest.mark.db

UNITS = 4096  # of the tile's grid
BUFFER = 64  # drawn past each edge
PIXEL = UNITS / 512
ROUNDING = 1.0  # coordinates are whole numbers of the grid, and clients may round a half either way
CUT = 1.5  # the same of a shape: its corners are rounded, and again where it is cut
HALF_WORLD_M = 20037508.342789244
WORLD_EDGE = 85.0511287798066
SPOTS = layer(id="spots", geometry="point", maxzoom=22, overview={"detail_zoom": 0})
WAYS = layer(id="ways", geometry="line", maxzoom=22)
PLOTS = layer(id="plots", geometry="polygon", maxzoom=22)
Place = tuple[float, float]  # in widths of a tile from its north-west corner, x east, y south


@dataclass(frozen=True)
class City:
    owner: Asker
    layers: dict[str, Drawn]


@pytest.fixture(scope="module")
def city(server: DatabaseUrls, template: str) -> Iterator[City]:
    with fresh_database(server, template) as database:
        database.declare(SPOTS, WAYS, PLOTS)
        with asking(database, role="ingest") as owner:
            yield City(owner, {of.id: owner.drawn(of) for of in (SPOTS, WAYS, PLOTS)})


# Where -------------------------------------------------------------------------------------------


@st.composite
def some_tile(draw: st.DrawFn) -> mercantile.Tile:
    """Any tile; often one at the edge of the world, or at its first or last zoom."""
    z = draw(st.one_of(st.sampled_from([0, 13, 14, 22]), st.integers(0, 22)))
    last = 2**z - 1
    place = st.one_of(st.sampled_from([0, last, last // 2]), st.integers(0, last))
    return mercantile.Tile(draw(place), draw(place), z)


EDGES = st.sampled_from([0.0, 1.0, 0.5, BUFFER / UNITS, -BUFFER / UNITS, 1 + BUFFER / UNITS])
AXIS = st.one_of(EDGES, st.floats(-0.03, 1.03))
PLACES = st.tuples(AXIS, AXIS)


def degrees(at: mercantile.Tile, place: Place) -> Place:
    """Longitude and latitude, kept where a layer may have them."""
    size = 2.0**-at.z
    x, y = (at.x + place[0]) * size, (at.y + place[1]) * size
    longitude = x * 360 - 180
    latitude = math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * y))))
    return min(180.0, max(-180.0, longitude)), min(WORLD_EDGE, max(-WORLD_EDGE, latitude))


def in_grid(at: mercantile.Tile, places: list[Place]) -> list[Place]:
    """Degrees in the grid of a tile, by the doubles that PostGIS has too."""
    size = 2 * HALF_WORLD_M * 2.0**-at.z
    west, north = at.x * size - HALF_WORLD_M, HALF_WORLD_M - at.y * size
    projected = [mercantile.xy(*place) for place in places]
    return [((x - west) / size * UNITS, (north - y) / size * UNITS) for x, y in projected]


def text(places: list[Place]) -> str:
    return ", ".join(f"{x!r} {y!r}" for x, y in places)


def extent(more: float) -> Any:
    first, last = -BUFFER - more, UNITS + BUFFER + more
    return shapely.box(first, first, last, last)


def drawn(city: City, of: Layer, at: mercantile.Tile, wkts: list[str]) -> dict[int, Any]:
    """The geometries in the tile's grid, y down, when the layer holds just these."""
    city.owner.run("BEGIN")
    city.owner.run(
        f"INSERT INTO city.{of.id} (fid, name, geom) OVERRIDING SYSTEM VALUE"
        " SELECT n, 'x', ST_GeomFromText(w, 4326)"
        " FROM unnest($1::text[]) WITH ORDINALITY u (w, n)",
        wkts,
    )
    tile = city.owner.whole([city.layers[of.id]], TileAddress(at.z, at.x, at.y))
    city.owner.run("ROLLBACK")
    found = decoded(tile)[of.id]["features"] if tile else []
    assert len({each["id"] for each in found}) == len(found)
    return {each["id"]: shapely.geometry.shape(each["geometry"]) for each in found}


SLOW = [HealthCheck.too_slow]  # on a busy machine
LIMITS = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=SLOW)


# Points ------------------------------------------------------------------------------------------


@LIMITS
@given(at=some_tile(), places=st.lists(PLACES, min_size=1, max_size=30))
def test_every_point_in_a_tiles_buffered_extent_is_in_it_at_its_place(
    city: City, at: mercantile.Tile, places: list[Place]
) -> None:
    spots = [degrees(at, place) for place in places]
    found = drawn(city, SPOTS, at, [f"POINT({x!r} {y!r})" for x, y in spots])
    surely, maybe = extent(-1e-3), extent(0.501)  # what rounds onto the last line is drawn there
    for number, place in enumerate(in_grid(at, spots), start=1):
        here = shapely.Point(place)
        assert number in found or not surely.intersects(here), (at, place)
        assert number not in found or maybe.intersects(here), (at, place)
        if number in found:
            assert found[number].distance(here) <= ROUNDING, (at, place)


@pytest.mark.parametrize("z", [0, 1, 5, 14, 17, 22])
def test_a_point_on_an_edge_or_a_corner_is_in_every_tile_that_meets_there(
    city: City, z: int
) -> None:
    middle = mercantile.Tile(2**z // 2, 2**z // 2, z)
    spots = [degrees(middle, place) for place in ((0, 0), (0.5, 0), (0, 0.5), (1, 1))]
    corners = [f"POINT({x!r} {y!r})" for x, y in spots]
    around = [middle, *mercantile.neighbors(middle)]
    held = {at: set(drawn(city, SPOTS, at, corners)) for at in around}
    for at in around:
        grid = in_grid(at, spots)
        wanted = {
            n for n, place in enumerate(grid, 1) if extent(0).intersects(shapely.Point(place))
        }
        assert held[at] == wanted, at
    assert held[middle] == {1, 2, 3, 4}


# Lines and polygons ------------------------------------------------------------------------------


SIZES = st.sampled_from([0.004, 0.02, 0.1, 0.4, 1.5, 4.0])  # of a tile's width
TURNS = st.floats(0, 2 * math.pi)


@st.composite
def a_line(draw: st.DrawFn) -> list[Place]:
    places = [draw(PLACES)]
    size = draw(SIZES)
    for _ in range(draw(st.integers(1, 6))):
        turn, length = draw(TURNS), size * draw(st.floats(0.1, 1))
        x, y = places[-1]
        places.append((x + length * math.cos(turn), y + length * math.sin(turn)))
    return places


@st.composite
def a_ring(draw: st.DrawFn) -> list[Place]:
    """A polygon that does not meet itself: corners around a place, turn by turn."""
    x, y = draw(PLACES)
    size = draw(SIZES)
    count = draw(st.integers(3, 9))
    ring = []
    for n in range(count):
        turn = 2 * math.pi * (n + draw(st.floats(0, 0.8))) / count
        far = size * draw(st.floats(0.15, 1))
        ring.append((x + far * math.cos(turn), y + far * math.sin(turn)))
    return [*ring, ring[0]]


def larger_than_a_pixel(shape: Any) -> bool:
    west, north, east, south = shape.bounds
    return bool(max(east - west, south - north) >= PIXEL)


def check(at: mercantile.Tile, shape: Any, found: Any, stray: float) -> None:
    """All of the shape in the extent is drawn, and nothing else is, but for what it may stray; the
    spur of a line may fall together on the grid where it is less than half a pixel.
    """
    spur = stray if shapely.get_dimensions(shape) == 2 else PIXEL / 2 + CUT
    here = thick(extent(-stray).intersection(shape), stray)
    assert found is not None or here.is_empty or not larger_than_a_pixel(shape), (at, shape.wkt)
    if found is None or not larger_than_a_pixel(shape):
        return
    assert extent(0).covers(found), (at, shape.wkt, found.wkt)
    astray = shapely.difference(found, shape.buffer(stray))
    missing = shapely.difference(here, found.buffer(spur))
    for what, parts in (("astray", astray), ("missing", missing)):
        assert _size(parts) < 1e-6, (at, what, shape.wkt, found.wkt)


def thick(shape: Any, stray: float) -> Any:
    """What of an area is wider than it may stray: no grid holds a spike that is thinner."""
    return shape if shapely.get_dimensions(shape) < 2 else shape.buffer(-stray).buffer(stray)


def _size(parts: Any) -> float:
    return float(shapely.area(parts) + shapely.length(parts))


def stray_at(z: int) -> float:
    """Half a pixel where shapes are simplified, and rounding always."""
    return (PIXEL / 2 if z < 14 else 0.0) + CUT


@LIMITS
@given(at=some_tile(), lines=st.lists(a_line(), min_size=1, max_size=12))
def test_every_line_larger_than_a_pixel_is_whole_in_each_tile_it_reaches(
    city: City, at: mercantile.Tile, lines: list[list[Place]]
) -> None:
    ways = [[degrees(at, place) for place in line] for line in lines]
    found = drawn(city, WAYS, at, [f"LINESTRING({text(way)})" for way in ways])
    for number, way in enumerate(ways, start=1):
        check(at, shapely.LineString(in_grid(at, way)), found.get(number), stray_at(at.z))


@pytest.mark.parametrize("z", [0, 3, 9, 13, 14, 17, 22])
@pytest.mark.parametrize(
    "line",
    [
        [(0.2, 0.5), (0.7, 0.5), (0.2, 0.5)],
        [(0.2, 0.5), (0.7, 0.6), (0.2, 0.5), (0.2, 0.9)],
        [(0.2, 0.5), (0.7, 0.6), (0.20001, 0.50001), (0.7, 0.6), (0.2, 0.5), (0.2, 0.1)],
        [(0.2, 0.5), (0.4, 0.5), (0.7, 0.5), (0.4, 0.5), (0.2, 0.5), (0.2, 0.51)],
        [(-0.3, 0.5), (0.7, 0.6), (-0.3, 0.5)],
        [(0.2, 0.5), (0.5, 0.5), (0.7, 0.5), (0.2, 0.5)],
        [(0.2, 0.5), (0.7, 0.5), (0.5, 0.5), (0.2, 0.5), (0.2, 0.2)],
        [(0.2, 0.5), (0.202, 0.5), (0.2, 0.5)],
        [(0.2, 0.5), (0.7, 0.5), (0.7, 0.5), (0.2, 0.5)],
        [(0.2, 0.5), (0.7, 0.5), (0.70001, 0.5), (0.7, 0.5), (0.2, 0.5), (0.2, 0.9)],
        [(0.2, 0.5), (0.7, 0.5), (0.7, 0.50001), (0.2, 0.50001)],
    ],
)
def test_a_line_that_goes_there_and_back_is_drawn_all_the_way(
    city: City, z: int, line: list[Place]
) -> None:
    at = mercantile.Tile(2**z // 2, 2**z // 2, z)
    way = [degrees(at, place) for place in line]
    shape = shapely.LineString(in_grid(at, way))
    for wkt in (f"LINESTRING({text(way)})", f"MULTILINESTRING(({text(way)}), ({text(way[:2])}))"):
        check(at, shape, drawn(city, WAYS, at, [wkt]).get(1), stray_at(at.z))


CORNER = [(-0.015625, 1.0), (-0.015125, 1.0), (-0.0155411, 1.0), (-0.0172, 1.0), (-0.0181, 0.9979)]


@pytest.mark.parametrize(("scale", "z"), [(1.0, 14), (2.0, 14), (1.5, 14), (1.0, 15), (4.0, 16)])
def test_a_turn_of_two_units_in_the_corner_of_the_extent_is_drawn(
    city: City, scale: float, z: int
) -> None:
    x0, y0 = CORNER[0]
    line = [(x0 + (x - x0) * scale, y0 + (y - y0) * scale) for x, y in CORNER]
    at = mercantile.Tile(2**z - 1, 2**z // 2, z)
    way = [degrees(at, place) for place in [*line, (-0.0142, line[-1][1])]]
    shape = shapely.LineString(in_grid(at, way))
    check(at, shape, drawn(city, WAYS, at, [f"LINESTRING({text(way)})"]).get(1), stray_at(at.z))


@LIMITS
@given(at=some_tile(), rings=st.lists(a_ring(), min_size=1, max_size=12))
def test_every_polygon_larger_than_a_pixel_is_whole_in_each_tile_it_reaches(
    city: City, at: mercantile.Tile, rings: list[list[Place]]
) -> None:
    plots = [[degrees(at, place) for place in ring] for ring in rings]
    found = drawn(city, PLOTS, at, [f"POLYGON(({text(plot)}))" for plot in plots])
    for number, plot in enumerate(plots, start=1):
        shape = shapely.Polygon(in_grid(at, plot))
        if shape.is_valid:
            check(at, shape, found.get(number), stray_at(at.z))


# The ends of the world ---------------------------------------------------------------------------


@pytest.mark.parametrize("z", [0, 3, 13, 14, 18, 22])
@pytest.mark.parametrize("longitude", [-180.0, 180.0])
@pytest.mark.parametrize("latitude", [WORLD_EDGE, 0.0, -WORLD_EDGE])
def test_what_lies_on_the_edge_of_the_world_is_in_the_tile_beside_it(
    city: City, z: int, longitude: float, latitude: float
) -> None:
    last = 2**z - 1
    x = 0 if longitude < 0 else last
    y = {WORLD_EDGE: 0, 0.0: 2**z // 2, -WORLD_EDGE: last}[latitude]
    at = mercantile.Tile(x, y, z)
    inward = (1 if longitude < 0 else -1) * 360 * 2.0**-z / 3
    up = 1 if latitude <= 0 else -1
    far = degrees(at, (0.5, 0.5))
    corner = f"{longitude!r} {latitude!r}"
    assert drawn(city, SPOTS, at, [f"POINT({corner})"]).keys() == {1}
    assert drawn(city, WAYS, at, [f"LINESTRING({corner}, {text([far])})"]).keys() == {1}
    other = f"{longitude + inward!r} {latitude!r}"
    ring = f"POLYGON(({corner}, {other}, {text([far])}, {corner}))"
    if latitude == 0.0 and up:
        ring = f"POLYGON(({corner}, {text([far])}, {longitude!r} {far[1]!r}, {corner}))"
    assert drawn(city, PLOTS, at, [ring]).keys() == {1}
