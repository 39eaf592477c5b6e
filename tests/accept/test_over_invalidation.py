"""Which ETags an edit changes: of every tile whose bytes it changed, and of hardly any other.

Several programs write at once, some of them roll back. The oracle is that of `test_etags`:
mercantile projects and shapely looks.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import mercantile
import pytest
import shapely

from layers.model import Layer
from tests.accept import test_etags as places
from tests.accept.house import Table
from tests.api.conftest import Service, serving
from tests.conftest import Database
from tiles.address import TileAddress, parse_layers

pytestmark = [pytest.mark.db, pytest.mark.anyio]

SEED = 20261130
EDITS = 500
ZOOMS = range(17)  # of a layer that declares none
AT_A_ZOOM = 150  # tiles whose ETags are held against the truth, each round
READ = 30  # tiles whose bytes are, each round
MOST = 0.05  # of the tiles that look changed, those that hold nothing that changed
DETAIL_ZOOM = 13
REVISION = "SELECT revision FROM quartier.layer_state WHERE layer_id = :id"
Tile: TypeAlias = mercantile.Tile


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True, slots=True)
class Kind:
    """A layer, how a new shape of it is made, and how it is shown beside its features."""

    layer: Layer
    shape: Callable[[random.Random, float, float], str]
    shown: str | None = None

    @property
    def names(self) -> list[str]:
        return [self.layer.id, *([f"{self.layer.id}:{self.shown}"] if self.shown else [])]


def large(chance: random.Random, x: float, y: float) -> str:
    """A polygon: usually some houses or a park, now and then half a city."""
    w, h = (chance.choice([0.0002, 0.002, 0.02, 0.1]) for _ in "wh")
    return f"POLYGON(({x} {y}, {x + w} {y}, {x + w / 2} {y + h}, {x} {y}))"


def kinds() -> list[Kind]:
    shapes = [(kind.layer, kind.shape) for kind in places.KINDS]
    (point, a_point), (line, a_line), (polygon, _), (mixed, anything) = [
        (of.model_copy(update={"maxzoom": ZOOMS[-1]}), shape) for of, shape in shapes
    ]
    told = point.overview.model_copy(update={"detail_zoom": DETAIL_ZOOM})
    return [
        Kind(point.model_copy(update={"overview": told}), a_point, "heat"),
        Kind(line, a_line),
        Kind(polygon, large, "labels"),
        Kind(mixed, anything),
    ]


@dataclass(slots=True)
class Seen:
    """What was held against the truth. At each zoom some of the tiles about a change are looked
    at, and each stands for as many as there are to one that was.
    """

    statements: int = 0
    looked: Counter[int] = field(default_factory=Counter)  # by zoom
    changed: Counter[int] = field(default_factory=Counter)
    idle: Counter[int] = field(default_factory=Counter)  # that changed and hold nothing that did
    all_changed: float = 0  # tiles, by what the tiles looked at stand for
    all_idle: float = 0
    bytes_: int = 0
    changed_bytes: int = 0

    def add(self, z: int, stands_for: float, *, is_idle: bool) -> None:
        self.changed[z] += 1
        self.idle[z] += is_idle
        self.all_changed += stands_for
        self.all_idle += is_idle * stands_for

    @property
    def share(self) -> float:
        return self.all_idle / max(1, self.all_changed)


async def psql(database: Database, sql: str) -> None:
    program = shutil.which("psql")
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program, database.urls.ingest, "-qX", "-v", "ON_ERROR_STOP=1", "-c", sql
    )
    assert await process.wait() == 0


def tiles_near(shapes: Sequence[Any], chance: random.Random) -> dict[Tile, float]:
    """At each zoom some of the tiles about the shapes, and how many each of them stands for."""
    found = {}
    for z in ZOOMS:
        ranges = [_columns_and_rows(shape, 2**z) for shape in shapes]
        sizes = [len(columns) * len(rows) for columns, rows in ranges]
        if sum(sizes) <= AT_A_ZOOM:
            chosen = {(x, y) for columns, rows in ranges for x in columns for y in rows}
        else:
            picked = chance.choices(ranges, sizes, k=AT_A_ZOOM)
            chosen = {(chance.choice(columns), chance.choice(rows)) for columns, rows in picked}
        found.update({Tile(x, y, z): sum(sizes) / len(chosen) for x, y in chosen})
    return found


def _columns_and_rows(shape: Any, n: int) -> tuple[range, range]:
    """Of the tiles about a shape, two of them past its box."""
    west, north, east, south = shapely.bounds(shape).tolist()
    columns = range(max(0, int(west * n) - 2), min(n - 1, int(east * n) + 2) + 1)
    return columns, range(max(0, int(north * n) - 2), min(n - 1, int(south * n) + 2) + 1)


def validators(service: Service, names: list[str], tiles: Sequence[Tile]) -> dict[Any, str]:
    """What ETags are made of, as the worker tells them now."""
    asked = {name: parse_layers(name) for name in names}
    validator = service.parts.renderer.validator
    return {
        (name, at): validator(asked[name], TileAddress(at.z, at.x, at.y))
        for name in names
        for at in tiles
    }


async def read(service: Service, names: list[str], tiles: Sequence[Tile]) -> dict[Any, Any]:
    found = {}
    for name in names:
        for at in tiles:
            answer = await service.get(f"/tiles/{name}/{at.z}/{at.x}/{at.y}.mvt")
            assert answer.status_code in (200, 204)
            found[name, at] = (answer.content, answer.headers["etag"])
    return found


async def a_round(
    database: Database, service: Service, kind: Kind, chance: random.Random, seen: Seen
) -> None:
    before = places.state(database, kind.layer)
    revision = database.value(REVISION, id=kind.layer.id)
    edits = [
        places.a_change(places.Kind(kind.layer, kind.shape), chance, sorted(before))
        for _ in range(chance.choice([1, 2, 3, 4]))
    ]
    texts = [text for _, _, text in edits]
    texts += [old for _, fids, _ in edits for fid in fids if (old := before[fid][1])]
    shapes = [places.in_tiles(text) for text in texts]
    stands_for = tiles_near(shapes, chance)
    tiles = sorted(stands_for)
    sharp = sorted(places.tiles_about(shapes, chance))
    reading = chance.sample(sharp, min(READ, len(sharp)))
    validators_before = validators(service, kind.names, tiles)
    old_tiles = await read(service, kind.names, reading)
    ends = [chance.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]) for _ in edits]
    await asyncio.gather(*(
        psql(database, f"BEGIN; {statement}; {end}")
        for (statement, _, _), end in zip(edits, ends, strict=True)
    ))  # fmt: skip
    await service.caught_up()
    seen.statements += len(edits)
    moved = places_since(database, kind.layer, revision)
    check_bytes(old_tiles, await read(service, kind.names, reading), seen)
    new = validators(service, kind.names, tiles)
    for (name, at), validator in new.items():
        seen.looked[at.z] += 1
        touched = places.drawn_in(moved, at)
        assert validator != validators_before[name, at] or not touched, (
            f"{edits}: {name} {at} looks unchanged"
        )
        if validator != validators_before[name, at]:
            seen.add(at.z, stands_for[at], is_idle=not touched)


def places_since(database: Database, of: Layer, revision: object) -> list[shapely.Geometry]:
    """Every place that a row had or got after a revision, also for a moment, in tiles of zoom 0."""
    rows = database.run(
        f"SELECT ST_AsText(geom, 15) FROM city.{of.id} WHERE since > :revision AND geom IS NOT NULL"
        f" UNION SELECT ST_AsText(geom, 15) FROM city_history.{of.id}"
        " WHERE valid_to > :revision AND geom IS NOT NULL",
        revision=revision,
    )
    return [places.in_tiles(text) for (text,) in rows]


def check_bytes(old: dict[Any, Any], new: dict[Any, Any], seen: Seen) -> None:
    for key, (content, etag) in new.items():
        seen.bytes_ += 1
        if content != old[key][0]:
            seen.changed_bytes += 1
            assert etag != old[key][1], f"{key}: other bytes under the ETag of before"


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.layer.geometry.value)
async def test_hardly_a_tile_that_holds_nothing_changed_looks_changed(
    database: Database, kind: Kind
) -> None:
    chance, seen = random.Random(f"{SEED}{kind.layer.id}"), Seen()
    database.declare(kind.layer)
    name, table = kind.layer.columns[0].name, f"city.{kind.layer.id}"
    rows = ", ".join(
        f"('n{n}', ST_GeomFromText('{kind.shape(chance, *places.place(chance))}', 4326))"
        for n in range(60)
    )
    database.run(f"INSERT INTO {table} ({name}, geom) VALUES {rows}")
    async with serving(database) as service:
        while seen.statements < EDITS / 4:
            await a_round(database, service, kind, chance, seen)
    table_ = Table(
        f"ETags after {seen.statements} transactions: {kind.layer.geometry}",
        ["zoom", "tiles looked at", "ETag changed", "hold nothing changed"],
    )
    for z in ZOOMS:
        table_.add(z, seen.looked[z], seen.changed[z], seen.idle[z])
    table_.add("all", seen.looked.total(), seen.changed.total(), seen.idle.total())
    table_.add("of all there are", "", round(seen.all_changed), f"{seen.share:.1%}")
    table_.print()
    print(
        database.run("SELECT log_epoch, log_size FROM quartier.layer_state"),
        database.run("SELECT z,count(*) FROM quartier.public_changes GROUP BY 1 ORDER BY 1"),
    )
    print(f"  {seen.bytes_} tiles read, {seen.changed_bytes} with other bytes")
    assert seen.changed_bytes > 50
    assert seen.changed.total() > 1_000
    assert seen.share <= MOST
