"""A tile keeps to its budget, in the same way each time, and says what it left out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import mercantile
import pytest

from layers.model import Layer
from tests.asking import Asker, asking, decoded, features
from tests.conftest import Copies, Database, copied
from tests.examples import layer
from tiles.address import Show, TileAddress
from tiles.drawn import Drawn
from tiles.parts import Budget

pytestmark = pytest.mark.db

SEED = 20261127
AT = mercantile.tile(4.85, 45.2, 15)
HOME = TileAddress(AT.z, AT.x, AT.y)
LOW = TileAddress(*(lambda t: (t.z, t.x, t.y))(mercantile.parent(AT, zoom=9)))
COLUMNS = [
    {"name": "kind"},
    {"name": "rank", "type": "integer"},
    {"name": "note"},
]
TOLD: dict[str, Any] = {"columns": COLUMNS, "category": "kind", "tile": ["kind", "rank", "note"]}
SPOTS = layer(id="spots", geometry="point", overview={"detail_zoom": 12}, **TOLD)
WAYS = layer(id="ways", geometry="line", **TOLD)
PLOTS = layer(id="plots", geometry="polygon", **TOLD)
THINGS = layer(id="things", geometry="mixed", **TOLD)
LAYERS = (SPOTS, WAYS, PLOTS, THINGS)
COUNT = 1200


@pytest.fixture(scope="module")
def filled(cities: Copies) -> Iterator[Database]:
    """Tests that change nothing share it."""
    with cities() as database:
        yield database


@pytest.fixture(scope="module")
def web(filled: Database) -> Iterator[Asker]:
    with asking(filled) as asker:
        yield asker


@pytest.fixture
def city(cities: Copies) -> Iterator[Database]:
    """One to change."""
    with cities() as database:
        yield database


@pytest.fixture
def changed(city: Database) -> Iterator[Asker]:
    with asking(city) as asker:
        yield asker


def fill_all(database: Database) -> None:
    database.declare(*LAYERS)
    for of in LAYERS:
        fill(database, of)


cities = copied(fill_all)


def fill(database: Database, of: Layer, count: int = COUNT) -> None:
    chance = random.Random(f"{SEED}{of.id}")
    rows = [
        f"('k{n % 5}', {chance.randrange(40)}, '{chance.random()}{chance.random()}',"
        f" ST_GeomFromText('{a_shape(chance, of)}', 4326))"
        for n in range(count)
    ]
    database.run(f"INSERT INTO city.{of.id} (kind, rank, note, geom) VALUES {', '.join(rows)}")


def a_shape(chance: random.Random, of: Layer) -> str:
    """Inside the tile, so that what a budget keeps of it can be counted."""
    box = mercantile.bounds(AT)
    across, down = box.east - box.west, box.north - box.south
    x, y = (
        box.west + across * chance.uniform(0.02, 0.8),
        box.south + down * chance.uniform(0.02, 0.8),
    )
    w, h = across * chance.uniform(0.01, 0.15), down * chance.uniform(0.01, 0.15)
    shapes = {
        "point": f"POINT({x} {y})",
        "line": f"LINESTRING({x} {y}, {x + w} {y + h / 3}, {x + w} {y + h})",
        "polygon": f"POLYGON(({x} {y}, {x + w} {y}, {x + w} {y + h}, {x} {y}))",
    }
    return shapes.get(of.geometry) or chance.choice(list(shapes.values()))


def cases() -> list[Any]:
    found = [pytest.param(of, Show.FEATURES, id=of.id) for of in LAYERS]
    return [*found, pytest.param(PLOTS, Show.LABELS, id="labels")]


def ids(tile: bytes) -> list[int]:
    return [each["id"] for each in features(tile)]


# Features ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("of", "show"), cases())
@pytest.mark.parametrize("most", [1, 2, 100, COUNT - 1, COUNT, COUNT + 1])
def test_a_tile_holds_as_many_features_as_its_budget_allows_and_tells_of_the_rest(
    web: Asker, of: Layer, show: Show, most: int
) -> None:
    drawn = web.drawn(of, show)
    [part], packed = web.parts([drawn], HOME, Budget(features=most))
    found = features(part.tile)
    assert len(found) == min(most, COUNT) == part.kept
    assert len({each["id"] for each in found}) == len(found)
    told = f"{drawn.name};kept={most};of={COUNT}" if most < COUNT else None
    assert part.told == told
    assert packed


@pytest.mark.parametrize("of", [WAYS, PLOTS], ids=lambda of: of.id)
def test_the_overview_of_shapes_keeps_the_budget_too(web: Asker, of: Layer) -> None:
    at = TileAddress(13, AT.x >> 2, AT.y >> 2)
    [part], _ = web.parts([web.drawn(of)], at, Budget(features=50))
    [whole], _ = web.parts([web.drawn(of)], at)
    assert len(features(part.tile)) == 50
    assert set(ids(part.tile)) <= set(ids(whole.tile))
    assert part.told == f"{of.id};kept=50;of={whole.kept}"


@pytest.mark.parametrize("of", [WAYS, PLOTS], ids=lambda of: of.id)
@pytest.mark.parametrize("z", [13, 15])
def test_what_only_seems_to_be_in_the_tile_is_neither_kept_nor_told_of(
    city: Database, changed: Asker, of: Layer, z: int
) -> None:
    """A shape that goes round the tile has a box that meets it."""
    at = mercantile.tile(4.85, 45.2, z)
    box = mercantile.bounds(mercantile.Tile(at.x, at.y - 8, z))
    across, down = box.east - box.west, box.north - box.south
    far = f"{box.west - 9 * across} {box.south - 9 * down}"
    bend = f"{box.west - 9 * across} {box.north}, {box.east + across} {box.north}"
    around = f"LINESTRING({far}, {bend})"
    if of is PLOTS:
        thin = (
            f"{box.east + across} {box.north + down}, {box.west - 10 * across} {box.north + down}"
        )
        around = f"POLYGON(({far}, {bend}, {thin}, {far}))"
    city.run(
        f"INSERT INTO city.{of.id} (kind, geom) SELECT 'around', ST_GeomFromText('{around}', 4326)"
        " FROM generate_series(1, 30)"
    )
    [whole], _ = changed.parts([changed.drawn(of)], TileAddress(z, at.x, at.y))
    assert whole.told is None
    assert "around" not in {each["properties"]["kind"] for each in features(whole.tile)}
    inside = len(features(whole.tile))
    assert whole.kept == inside
    [part], _ = changed.parts([changed.drawn(of)], TileAddress(z, at.x, at.y), Budget(features=40))
    assert len(features(part.tile)) == 40 == part.kept
    assert part.told == f"{of.id};kept=40;of={inside}"


# Which ones stay ---------------------------------------------------------------------------------


@pytest.mark.parametrize("of", LAYERS, ids=lambda of: of.id)
@pytest.mark.parametrize("priority", ["rank", "-rank"])
def test_features_of_a_declared_priority_stay(
    city: Database, changed: Asker, of: Layer, priority: str
) -> None:
    first = of.model_copy(update={"priority": (priority,)})
    city.declare(first, *(each for each in LAYERS if each.id != of.id))
    tile = changed.parts([changed.drawn(first)], HOME, Budget(features=300))[0][0].tile
    ranks = sorted(city.run(f"SELECT rank FROM city.{of.id}"), reverse=priority[0] == "-")
    kept = [each["properties"]["rank"] for each in features(tile)]
    assert sorted(kept, reverse=priority[0] == "-") == [rank for (rank,) in ranks[:300]]


@pytest.mark.parametrize("of", [WAYS, PLOTS], ids=lambda of: of.id)
@pytest.mark.parametrize("z", [12, 15])
def test_the_longest_or_largest_stay_where_no_priority_is_declared(
    filled: Database, web: Asker, of: Layer, z: int
) -> None:
    at = TileAddress(z, AT.x >> (15 - z), AT.y >> (15 - z))
    tile = web.parts([web.drawn(of)], at, Budget(features=200))[0][0].tile
    rows = filled.run(
        f"SELECT fid FROM city.{of.id} ORDER BY ST_Area(tile_geom) DESC,"
        " ST_Length(tile_geom) DESC, fid LIMIT 200"
    )
    assert set(ids(tile)) == {fid for (fid,) in rows}


def test_points_that_stay_are_an_even_sample(web: Asker) -> None:
    tile = web.parts([web.drawn(SPOTS)], HOME, Budget(features=400))[0][0].tile
    quarters = [0, 0, 0, 0]
    for each in features(tile):
        x, y = each["geometry"]["coordinates"]
        quarters[(x > 0.41 * 4096) + 2 * (y > 0.59 * 4096)] += 1
    assert min(quarters) > 60


@pytest.mark.parametrize("features_", [30, 400])
def test_what_a_smaller_budget_keeps_a_larger_one_keeps_too(web: Asker, features_: int) -> None:
    for of in LAYERS:
        small = web.parts([web.drawn(of)], HOME, Budget(features=features_))[0][0].tile
        large = web.parts([web.drawn(of)], HOME, Budget(features=2 * features_))[0][0].tile
        assert set(ids(small)) < set(ids(large)), of.id


# Bytes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("of", "show"), cases())
@pytest.mark.parametrize("most", [40_000, 12_000, 3_000])
def test_a_tile_is_no_larger_than_its_budget_and_needed_attributes_stay(
    web: Asker, of: Layer, show: Show, most: int
) -> None:
    drawn = web.drawn(of, show)
    [part], packed = web.parts([drawn], HOME, Budget(bytes=most))
    found = features(part.tile)
    assert len(packed) <= most
    assert len(found) == part.kept > 0
    assert all("kind" in each["properties"] for each in found)
    slim = all("note" not in each["properties"] for each in found)
    rest = ";attributes=style" if slim else ""
    assert part.told == (f"{drawn.name};kept={part.kept};of={COUNT}{rest}" if slim else None)
    assert part.matched == COUNT


def test_attributes_go_before_features_do(web: Asker) -> None:
    [whole], packed = web.parts([web.drawn(SPOTS)], HOME)
    [part], _ = web.parts([web.drawn(SPOTS)], HOME, Budget(bytes=len(packed) - 1))
    assert part.told == f"spots;kept={COUNT};of={COUNT};attributes=style"
    assert ids(part.tile) != []
    assert set(ids(part.tile)) == set(ids(whole.tile))


def composite(web: Asker) -> list[Drawn]:
    return [*(web.drawn(of) for of in LAYERS), web.drawn(PLOTS, Show.LABELS)]


@pytest.mark.parametrize("most", [60_000, 15_000, 4_000])
def test_a_composite_keeps_its_budget_over_all_layers(web: Asker, most: int) -> None:
    parts, packed = web.parts(composite(web), HOME, Budget(bytes=most))
    assert len(packed) <= most
    assert {part.drawn.name for part in parts} == set(decoded(b"".join(p.tile for p in parts)))
    for part in parts:
        found = features(part.tile)
        assert len(found) == part.kept
        assert (part.told is None) == (part.kept == COUNT and not part.cut.style_only)
        assert all("kind" in each["properties"] for each in found)


def test_counted_cells_are_never_cut(web: Asker) -> None:
    cells, ways = web.drawn(SPOTS), web.drawn(WAYS)
    [whole, _], _ = web.parts([cells, ways], LOW)
    parts, _ = web.parts([cells, ways], LOW, Budget(features=1, bytes=10))
    assert parts[0].tile == whole.tile
    assert parts[0].told is None
    assert sum(each["properties"]["point_count"] for each in features(parts[0].tile)) == COUNT
    assert parts[1].kept == 1, "all that could go has gone"
    heat, _ = web.parts([web.drawn(SPOTS, Show.HEAT)], HOME, Budget(features=1, bytes=10))
    assert sum(each["properties"]["point_count"] for each in features(heat[0].tile)) == COUNT


@pytest.mark.parametrize("bytes_", [0, 1, 500])
def test_a_single_huge_feature_is_drawn_whatever_the_budget(
    city: Database, changed: Asker, bytes_: int
) -> None:
    city.run("TRUNCATE city.plots")
    city.run(
        "INSERT INTO city.plots (kind, note, geom) SELECT 'huge', repeat('long ', 5000),"
        " ST_Buffer(ST_Point(4.85, 45.2, 4326), 0.005, 'quad_segs=50000')"
    )
    [part], packed = changed.parts([changed.drawn(PLOTS)], HOME, Budget(bytes=bytes_))
    assert len(packed) > bytes_
    assert (part.kept, part.told) == (1, "plots;kept=1;of=1;attributes=style")


# The same each time ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "budget",
    [Budget(), Budget(features=77), Budget(bytes=9_000), Budget(features=500, bytes=9_000)],
    ids=["ample", "features", "bytes", "both"],
)
@pytest.mark.parametrize("at", [HOME, LOW], ids=["features", "overview"])
def test_a_tile_is_the_same_on_every_connection_however_the_rows_lie(
    city: Database, changed: Asker, budget: Budget, at: TileAddress
) -> None:
    before = changed.whole(composite(changed), at, budget)
    revisions = city.run("SELECT layer_id, revision FROM quartier.layer_state ORDER BY 1")
    for of in LAYERS:
        city.run(f"UPDATE city.{of.id} SET kind = kind WHERE fid % 3 = 0")
        city.run(f"VACUUM city.{of.id}")
        city.run(f"UPDATE city.{of.id} SET kind = kind WHERE fid % 2 = 0")
        city.run(f"ANALYZE city.{of.id}")
    assert city.run("SELECT layer_id, revision FROM quartier.layer_state ORDER BY 1") == revisions
    with asking(city) as other:
        assert other.whole(composite(other), at, budget) == before
    assert changed.whole(composite(changed), at, budget) == before
    assert before
