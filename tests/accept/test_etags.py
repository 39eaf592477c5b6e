"""What psql changes, the tiles' validators show: every tile that it touches, and none far away.

The oracle knows nothing of Quartier: places come from PostGIS as WKT, are projected by mercantile
and held against the tiles with shapely.
"""

from __future__ import annotations

import math
import random
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import mercantile
import numpy as np
import pytest
import shapely

from layers.model import Layer
from tests.accept.house import Table
from tests.api.conftest import Service, serving
from tests.conftest import Database
from tests.examples import PARKS, PATHS, TREES, layer

pytestmark = [pytest.mark.db, pytest.mark.anyio]

SEED = 20261123
CHANGES = 50  # of each layer
ZOOMS = range(19)
BUFFER = 64 / 4096  # of a tile, drawn past its edge
REACH = 72 / 4096  # and a pixel that a simplified shape may stray
WEST, SOUTH, EAST, NORTH = 4.80, 45.15, 4.95, 45.25
MIXED = layer(id="mixed_things", geometry="mixed")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True, slots=True)
class Kind:
    """A layer, and how a new shape of it is made at a place."""

    layer: Layer
    shape: Callable[[random.Random, float, float], str]


def point(_: random.Random, x: float, y: float) -> str:
    return f"POINT({x} {y})"


def line(chance: random.Random, x: float, y: float) -> str:
    reach = chance.choice([0.0005, 0.005, 0.05])
    ends = [(x + chance.uniform(-reach, reach), y + chance.uniform(-reach, reach)) for _ in "abc"]
    return f"LINESTRING({x} {y}, {', '.join(f'{a} {b}' for a, b in ends)})"


def polygon(chance: random.Random, x: float, y: float) -> str:
    w, h = (chance.choice([0.0002, 0.002, 0.02]) for _ in "wh")
    return f"POLYGON(({x} {y}, {x + w} {y}, {x + w / 2} {y + h}, {x} {y}))"


def anything(chance: random.Random, x: float, y: float) -> str:
    return chance.choice([point, line, polygon])(chance, x, y)


KINDS = [
    Kind(of.model_copy(update={"maxzoom": ZOOMS[-1]}), shape)
    for of, shape in ((TREES, point), (PATHS, line), (PARKS, polygon), (MIXED, anything))
]


def psql(database: Database, sql: str) -> None:
    program = shutil.which("psql")
    assert program is not None
    subprocess.run(
        [program, database.urls.ingest, "-qX", "-v", "ON_ERROR_STOP=1", "-c", sql], check=True
    )


def place(chance: random.Random) -> tuple[float, float]:
    """Anywhere in the city; often just on the edge of tiles, or so near that a buffer holds it."""
    x, y = chance.uniform(WEST, EAST), chance.uniform(SOUTH, NORTH)
    if chance.random() < 0.4:
        at = mercantile.tile(x, y, chance.randint(9, 18))
        bounds = mercantile.bounds(at)
        nudge = chance.choice([0, 0.01, 0.0155, 0.0157, 0.02]) * chance.choice([-1, 1])
        x = bounds.west + nudge * (bounds.east - bounds.west)
        y = bounds.north + nudge * (bounds.north - bounds.south)
    return round(x, 9), round(y, 9)


def a_change(kind: Kind, chance: random.Random, fids: list[int]) -> tuple[str, list[int], str]:
    """One statement of psql on one or a few features, their fids and the new shape in it."""
    table, name = f"city.{kind.layer.id}", kind.layer.columns[0].name
    chosen = chance.sample(fids, chance.choice([1, 1, 3]))
    some = f"fid IN ({', '.join(map(str, chosen))})"
    text = kind.shape(chance, *place(chance))
    shape = f"ST_GeomFromText('{text}', 4326)"
    statement = chance.choice([
        f"UPDATE {table} SET {name} = 'changed {chance.random()}' WHERE {some}",
        f"UPDATE {table} SET geom = {shape} WHERE {some}",
        f"UPDATE {table} SET geom = ST_Translate(geom, 0.00001, 0) WHERE {some}",
        f"UPDATE {table} SET geom = NULL WHERE {some}",
        f"INSERT INTO {table} ({name}, geom) VALUES ('new', {shape}), ('placeless', NULL)",
        f"DELETE FROM {table} WHERE {some}",
    ])  # fmt: skip
    return statement, chosen, text


Rows = dict[int, tuple[str | None, str | None]]


def state(database: Database, of: Layer) -> Rows:
    rows = database.run(
        f"SELECT fid::text, {of.columns[0].name}, ST_AsText(geom, 15) FROM city.{of.id}"
    )
    return {int(str(fid)): (name, text) for fid, name, text in cast(Any, rows)}


def changed_places(before: Rows, after: Rows) -> list[shapely.Geometry]:
    """Old and new places of every changed row, in tiles of zoom 0 (x east, y south, 0 to 1)."""
    texts = {
        rows[fid][1]
        for fid in before.keys() | after.keys()
        if before.get(fid) != after.get(fid)
        for rows in (before, after)
        if fid in rows
    }
    return [in_tiles(text) for text in texts if text is not None]


def in_tiles(text: str) -> shapely.Geometry:
    def project(coordinates: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        return [_to_world(x, y) for x, y in coordinates]

    return shapely.transform(shapely.from_wkt(text), lambda c: np.array(project(c.tolist())))


def _to_world(longitude: float, latitude: float) -> tuple[float, float]:
    x, y = mercantile.xy(longitude, latitude)
    half = 20037508.342789244
    return (x + half) / (2 * half), (half - y) / (2 * half)


def drawn_in(places: list[shapely.Geometry], at: mercantile.Tile) -> bool:
    """Whether a place lies in the tile or its buffer."""
    size = 2.0**-at.z
    return _near(places, at, BUFFER * size * (1 - 1e-9))


def within_a_cell(places: list[shapely.Geometry], at: mercantile.Tile) -> bool:
    """Whether a place lies no more than `_cell` away from the tile and its buffer."""
    size = 2.0**-at.z
    return any(_near([shape], at, REACH * size + _cell(shape) * (1 + 1e-6)) for shape in places)


def _cell(shape: shapely.Geometry) -> float:
    """More than the side of the cells a shape is logged in: a metre, or an eighth of the shape."""
    west, north, east, south = shapely.bounds(shape).tolist()
    longest = max(east - west, south - north)
    return 2.0 ** max(-20, math.ceil(math.log2(longest / 8))) if longest else 2.0**-20


def _near(places: list[shapely.Geometry], at: mercantile.Tile, reach: float) -> bool:
    size = 2.0**-at.z
    box = shapely.box(
        at.x * size - reach,
        at.y * size - reach,
        (at.x + 1) * size + reach,
        (at.y + 1) * size + reach,
    )
    return any(box.intersects(place) for place in places)


def watched_tiles(chance: random.Random) -> list[mercantile.Tile]:
    """Tiles of every zoom, all over the city and beyond."""
    tiles = {mercantile.tile(WEST, NORTH, z) for z in ZOOMS}
    for z in ZOOMS:
        for _ in range(6):
            tiles.add(mercantile.tile(chance.uniform(4.7, 5.05), chance.uniform(45.1, 45.3), z))
    return sorted(tiles)


def tiles_about(places: list[shapely.Geometry], chance: random.Random) -> set[mercantile.Tile]:
    """Tiles that hold a vertex of a place, and their neighbours, at every zoom."""
    found = set()
    for shape in places:
        corners = shapely.get_coordinates(shape).tolist()
        for x, y in chance.sample(corners, min(2, len(corners))):
            for z in ZOOMS:
                column, row = int(x * 2**z), int(y * 2**z)
                for dx in (-2, -1, 0, 1, 2):
                    for dy in (-1, 0, 1):
                        if 0 <= column + dx < 2**z and 0 <= row + dy < 2**z:
                            found.add(mercantile.Tile(column + dx, row + dy, z))
    return found


async def etag(service: Service, of: Layer, at: mercantile.Tile) -> str:
    answer = await service.get(f"/tiles/{of.id}/{at.z}/{at.x}/{at.y}.mvt")
    assert answer.status_code in (200, 204)
    return answer.headers["etag"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.layer.geometry.value)
async def test_psql_changes_the_etag_of_each_tile_it_touches_and_of_none_far_away(
    database: Database, kind: Kind
) -> None:
    chance = random.Random(f"{SEED}{kind.layer.id}")
    database.declare(kind.layer)
    name, table = kind.layer.columns[0].name, f"city.{kind.layer.id}"
    rows = ", ".join(
        f"('n{n}', ST_GeomFromText('{kind.shape(chance, *place(chance))}', 4326))"
        for n in range(60)
    )
    database.run(f"INSERT INTO {table} ({name}, geom) VALUES {rows}")
    counts: dict[str, int] = defaultdict(int)
    async with serving(database) as service:
        for _ in range(CHANGES):
            before = state(database, kind.layer)
            statement, chosen, text = a_change(kind, chance, sorted(before))
            shapes = [text, *(old_text for fid in chosen if (old_text := before[fid][1]))]
            near = sorted(tiles_about([in_tiles(shape) for shape in shapes], chance))
            tiles = watched_tiles(chance) + chance.sample(near, min(250, len(near)))
            old = {at: await etag(service, kind.layer, at) for at in tiles}
            psql(database, statement)
            await service.caught_up()
            places = changed_places(before, state(database, kind.layer))
            for at in tiles:
                is_other = await etag(service, kind.layer, at) != old[at]
                touched, close = drawn_in(places, at), within_a_cell(places, at)
                assert is_other or not touched, f"{statement}: {at} keeps its old ETag"
                assert close or not is_other, f"{statement}: {at} is far and has another ETag"
                counts["held"] += 1
                counts["touched"] += touched
                counts["changed"] += is_other
                counts["changed, within a cell"] += is_other and not touched
    table_ = Table(f"ETags after psql: {kind.layer.geometry}", ["statements", *counts])
    table_.add(CHANGES, *counts.values())
    table_.print()
    assert counts["touched"] > CHANGES
