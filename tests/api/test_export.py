"""An exported archive equals the live tiles, tile by tile, and is served as a tileset again."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import mapbox_vector_tile
import mercantile
import pytest
from pmtiles.reader import MmapSource, Reader, all_tiles

from layers.catalog import Bounds
from layers.catalogue_files import CatalogueFiles
from layers.cli import apply_catalogue
from layers.errors import LayerNotFound
from layers.tilesets import Tileset
from tests.api.conftest import Service, serving
from tests.conftest import Copies, Database, copied
from tests.examples import COMMON, layer
from tiles.address import TileAddress
from tiles.errors import AddressRefused, ExportRefused
from tiles.export import ExportJob, ExportReport, make_archive
from tiles.render import decompress
from tiles.tilesets import open_archive

pytestmark = [pytest.mark.db, pytest.mark.anyio]

LAST = 10
POINTS = layer(
    id="points",
    geometry="point",
    maxzoom=LAST,
    columns=[{"name": "kind"}, {"name": "size", "type": "number"}, {"name": "day", "type": "date"}],
    tile=["kind", "size", "day"],
    priority=["-size"],
)
LINES = layer(id="lines", geometry="line", minzoom=3, maxzoom=LAST, tile=["name"])
AREAS = layer(id="areas", geometry="polygon", maxzoom=LAST, tile=["name"])
CALLS = layer(id="calls", geometry="none", columns=[{"name": "n", "type": "integer"}])


def fill(database: Database) -> None:
    """Points in heaps and alone, on tile edges and in buffers; lines over many tiles; polygons."""
    database.declare(POINTS, LINES, AREAS, CALLS)
    chance = random.Random(4)
    corner = mercantile.bounds(mercantile.tile(4.85, 45.2, LAST))
    places = [(corner.west, corner.north), (corner.west + 1e-6, corner.north - 1e-6)]
    places += [(chance.gauss(4.85, 0.05), chance.gauss(45.2, 0.05)) for _ in range(300)]
    places += [(chance.uniform(-179, 179), chance.uniform(-80, 80)) for _ in range(6)]
    database.run(
        "INSERT INTO city.points (kind, size, day, geom) SELECT 'k' || i % 3, i, date '2026-01-01'"
        " + i, ST_Point(x, y, 4326) FROM unnest(CAST(:x AS float8[]), CAST(:y AS float8[]))"
        " WITH ORDINALITY AS t(x, y, i0), LATERAL (SELECT CAST(i0 AS int) AS i) n",
        x=[x for x, _ in places],
        y=[y for _, y in places],
    )
    database.run(
        "INSERT INTO city.lines (name, geom) SELECT 'line ' || i, ST_SetSRID(ST_MakeLine("
        "ST_Point(4.5 + i * 0.03, 45), ST_Point(5.2, 45.4 - i * 0.02)), 4326)"
        " FROM generate_series(1, 12) i"
    )
    database.run(
        "INSERT INTO city.areas (name, geom) SELECT 'area ' || i,"
        " ST_Buffer(ST_Point(4.7 + i * 0.05, 45.1 + i * 0.01, 4326), 0.002 * i * i)"
        " FROM generate_series(1, 10) i"
    )


cities = copied(fill)


@pytest.fixture
async def service(cities: Copies) -> AsyncIterator[tuple[Service, Database]]:
    with cities() as database:
        async with serving(database) as running:
            yield running, database


Served = tuple[Service, Database]


async def exported(database: Database, path: Path, *ids: str, **more: Any) -> ExportReport:
    return await make_archive(database.urls.web, ExportJob(layers=",".join(ids), path=path, **more))


def stored(path: Path) -> dict[TileAddress, bytes]:
    """Every tile of an archive, read by another reader than ours."""
    if path.suffix == ".mbtiles":
        with sqlite3.connect(path) as connection:
            rows = connection.execute("SELECT * FROM tiles").fetchall()
        connection.close()
        return {TileAddress(z, x, (1 << z) - 1 - y): body for z, x, y, body in rows}
    with path.open("rb") as file:
        return {TileAddress(*at): body for at, body in all_tiles(MmapSource(file))}


def around(held: dict[TileAddress, bytes]) -> set[TileAddress]:
    """Every address of the first six zooms, and all neighbours of what is held."""
    near = {TileAddress(z, x, y) for z in range(6) for x in range(1 << z) for y in range(1 << z)}
    for z, x, y in held:
        last = (1 << z) - 1
        near |= {
            TileAddress(z, a, b)
            for a in range(max(0, x - 1), min(last, x + 1) + 1)
            for b in range(max(0, y - 1), min(last, y + 1) + 1)
        }
    return near


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def live(service: Service, ids: str, at: TileAddress) -> bytes:
    answer = await service.get(f"/tiles/{ids}/{at.z}/{at.x}/{at.y}.mvt")
    assert answer.status_code in (200, 204)
    return answer.content


@pytest.mark.parametrize("ids", [("points",), ("lines",), ("areas",), ("points", "areas", "lines")])
async def test_an_archive_equals_the_live_tiles_tile_by_tile(
    service: Served, tmp_path: Path, ids: tuple[str, ...]
) -> None:
    """Of either kind: asking for thousands of live tiles takes longest, and is done once."""
    running, database = service
    archives = []
    for path in (tmp_path / "out.pmtiles", tmp_path / "out.mbtiles"):
        report = await exported(database, path, *ids)
        held = stored(path)
        assert len(held) == report.tiles > 10
        assert {at.z for at in held} == set(range(0 if ids != ("lines",) else 3, LAST + 1))
        archives.append(held)
    for at in set().union(*map(around, archives)):
        body = await live(running, ",".join(ids), at)
        for held in archives:
            assert (decompress(held[at]) if at in held else b"") == body, at


async def test_an_archive_served_as_a_tileset_gives_the_same_again(
    service: Served, tmp_path: Path
) -> None:
    running, database = service
    paths = [tmp_path / "one.pmtiles", tmp_path / "two.mbtiles"]
    for path in paths:
        await exported(database, path, "points", "areas")
    publish(database, *paths)
    await running.caught_up()
    for at in set().union(*(around(stored(path)) for path in paths)):
        answer = await running.get(f"/tiles/points,areas/{at.z}/{at.x}/{at.y}.mvt")
        for path in paths:
            archived = await running.get(f"/tiles/{path.stem}/{at.z}/{at.x}/{at.y}.mvt")
            assert archived.status_code == answer.status_code
            assert archived.content == answer.content
    alive = (await running.get("/tiles/points,areas.json")).json()
    for path in paths:
        told = (await running.get(f"/tiles/{path.stem}.json")).json()
        for name in ("vector_layers", "minzoom", "maxzoom"):
            assert told[name] == alive[name]
        assert told["bounds"] == pytest.approx(alive["bounds"], abs=1e-6)


def publish(database: Database, *paths: Path) -> None:
    """Have each file served under its name."""
    tilesets = [
        Tileset.model_validate(COMMON | {"id": path.stem, "file": path.name}) for path in paths
    ]
    files = CatalogueFiles(
        {each.id: each for each in (POINTS, LINES, AREAS, CALLS)},
        {},
        {path.stem: path.with_suffix(".yaml") for path in paths},
        {each.id: each for each in tilesets},
    )
    apply_catalogue(database.urls.ingest, files)


async def test_an_archive_is_of_one_revision_and_says_which(
    service: Served, tmp_path: Path
) -> None:
    database = service[1]
    path = tmp_path / "out.pmtiles"
    stop = asyncio.Event()

    async def edit() -> None:
        while not stop.is_set():
            await asyncio.to_thread(
                database.run, "UPDATE city.points SET size = size + 1, kind = 'edit'"
            )

    editing = asyncio.create_task(edit())
    try:
        report = await exported(database, path, "points")
    finally:
        stop.set()
        await editing
    with path.open("rb") as file:
        metadata = Reader(MmapSource(file)).metadata()
    assert metadata["quartier:revision"] == report.revisions
    sizes: dict[int, set[float]] = {}
    for body in stored(path).values():
        for feature in mapbox_vector_tile.decode(decompress(body))["points"]["features"]:
            sizes.setdefault(feature["id"], set()).add(feature["properties"]["size"])
    assert all(len(seen) == 1 for seen in sizes.values())
    assert database.value("SELECT revision FROM quartier.layer_state WHERE layer_id = 'points'") > 1


async def test_zooms_and_a_box_bound_an_archive(service: Served, tmp_path: Path) -> None:
    _, database = service
    path = tmp_path / "out.pmtiles"
    box = Bounds(4.84, 45.19, 4.86, 45.21)
    await exported(database, path, "points", minzoom=5, maxzoom=9, bbox=box)
    held = stored(path)
    whole = tmp_path / "whole.pmtiles"
    await exported(database, whole, "points")
    wanted = {(t.z, t.x, t.y) for t in mercantile.tiles(*box, zooms=range(5, 10))} & stored(
        whole
    ).keys()
    assert held.keys() == wanted
    archive = open_archive(path)
    assert (archive.info.minzoom, archive.info.maxzoom) == (5, 9)
    assert archive.info.bounds == pytest.approx(box)
    assert archive.info.vector_layers[0]["maxzoom"] == 9


@pytest.mark.parametrize("ending", ["pmtiles", "mbtiles"])
async def test_the_same_rows_give_the_same_file(
    service: Served, tmp_path: Path, ending: str
) -> None:
    _, database = service
    one, two = tmp_path / f"one.{ending}", tmp_path / f"two.{ending}"
    await exported(database, one, "areas")
    await exported(database, two, "areas", connections=1)
    assert one.read_bytes() == two.read_bytes()


async def test_a_tile_too_full_for_every_feature_is_the_same_in_the_archive(
    service: Served, tmp_path: Path
) -> None:
    running, database = service
    database.run(
        "INSERT INTO city.points (size, geom)"
        " SELECT i, ST_Point(4.85 + i * 1e-7, 45.2, 4326) FROM generate_series(1, 50300) i"
    )
    await running.caught_up()
    path = tmp_path / "out.pmtiles"
    report = await exported(database, path, "points", minzoom=8, maxzoom=10)
    assert report.truncated > 0
    for at, body in stored(path).items():
        assert decompress(body) == await live(running, "points", at)


async def test_an_export_that_fails_leaves_the_old_file_and_nothing_half(
    service: Served, tmp_path: Path
) -> None:
    _, database = service
    path = tmp_path / "out.pmtiles"
    await exported(database, path, "areas")
    before = path.read_bytes()

    def stop(done: int, _: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await make_archive(database.urls.web, ExportJob(layers="points", path=path), stop)
    assert path.read_bytes() == before
    assert listed(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"layers": "pionts"}, LayerNotFound, "did you mean points"),
        ({"layers": "calls"}, AddressRefused, "no geometry"),
        ({"path": Path("out.zip")}, ExportRefused, "ends with .pmtiles or .mbtiles"),
        ({"path": Path("no/out.pmtiles")}, ExportRefused, "no such directory"),
        ({"maxzoom": 2}, ExportRefused, "no zoom from 3 to 2"),
        ({"bbox": Bounds(9, 9, 10, 10)}, ExportRefused, "nothing to"),
    ],
)
async def test_what_cannot_be_exported_is_refused_with_the_reason(
    service: Served,
    tmp_path: Path,
    wrong: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    asked: dict[str, Any] = {"layers": "lines", "path": Path("out.pmtiles")} | wrong
    job = ExportJob(**asked | {"path": tmp_path / asked["path"]})
    with pytest.raises(error, match=says):
        await make_archive(service[1].urls.web, job)
    assert listed(tmp_path) == []
