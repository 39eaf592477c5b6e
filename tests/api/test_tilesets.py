"""Tilesets over HTTP: stored tiles as they are, rasters as images, files that change or break."""

from __future__ import annotations

import os
import shutil
import sqlite3
import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mercantile
import numpy as np
import pytest
import rasterio
import structlog
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from rasterio.shutil import copy as gdal_copy

from layers.catalogue_files import CatalogueFiles
from layers.cli import apply_catalogue
from layers.database_urls import DatabaseUrls
from layers.tilesets import Tileset
from tests.api.conftest import Service, serving
from tests.conftest import Copies, Database, copies_of
from tests.examples import COMMON, TREES
from tests.unit.tiles.test_archives import META
from tiles.address import TileAddress
from tiles.archive_writers import archive_writer
from tiles.render import compress

pytestmark = [pytest.mark.db, pytest.mark.anyio]

AT = TileAddress(3, 4, 2)
PNG = b"\x89PNG\r\n\x1a\n as it was stored"
WEST, NORTH, PIXEL = 4.8, 45.25, 0.0001  # of the raster that tests make


@dataclass(frozen=True, slots=True)
class Published:
    """A running service and the folder of its tilesets' files."""

    service: Service
    database: Database
    folder: Path

    async def publish(self, *declared: dict[str, Any]) -> None:
        """Declare these tilesets and no others."""
        tilesets = [Tileset.model_validate(COMMON | each) for each in declared]
        files = CatalogueFiles(
            {TREES.id: TREES},
            {},
            {each.id: self.folder / f"{each.id}.yaml" for each in tilesets},
            {each.id: each for each in tilesets},
        )
        apply_catalogue(self.database.urls.ingest, files)
        await self.service.caught_up()

    async def get(self, path: str, **headers: str) -> Any:
        return await self.service.get(path, **headers)


@pytest.fixture(scope="module")
def cities(server: DatabaseUrls, template: str) -> Iterator[Copies]:
    with copies_of(server, template, lambda database: database.declare(TREES)) as copies:
        yield copies


@pytest.fixture
async def city(cities: Copies, tmp_path: Path) -> AsyncIterator[Published]:
    with cities() as database:
        async with serving(database) as running:
            yield Published(running, database, tmp_path)


def write_archive(path: Path, tiles: dict[TileAddress, bytes]) -> None:
    with archive_writer(path, META) as writer:
        for at, body in tiles.items():
            writer.add(at, body)


def write_png_mbtiles(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.executescript("""
            CREATE TABLE metadata (name text, value text);
            CREATE TABLE tiles (zoom_level int, tile_column int, tile_row int, tile_data blob);
            INSERT INTO metadata VALUES ('name', 'Plan'), ('format', 'png')""")
        connection.execute("INSERT INTO tiles VALUES (?, ?, ?, ?)", (3, 4, 7 - 2, PNG))
    connection.close()


def write_raster(path: Path, bands: Any, **profile: Any) -> None:
    """A COG in degrees, 500 by 500 pixels."""
    data = np.asarray(bands)
    placed = {"crs": "EPSG:4326", "transform": rasterio.Affine(PIXEL, 0, WEST, 0, -PIXEL, NORTH)}
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", count=len(data), height=500, width=500, dtype=data.dtype,
            **placed | profile,
        ) as raster:  # fmt: skip
            raster.write(data)
        with memory.open() as raster:
            gdal_copy(raster, path, driver="COG")


def tile_of_raster(zoom: int = 13) -> mercantile.Tile:
    return mercantile.tile(WEST + 250 * PIXEL, NORTH - 250 * PIXEL, zoom)


def url(at: Any, ending: str = "png", tileset: str = "photo", query: str = "") -> str:
    return f"/tiles/{tileset}/{at.z}/{at.x}/{at.y}.{ending}{query}"


def pixels(body: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with MemoryFile(body) as memory, memory.open() as image:
            return image.read()


async def test_a_vector_tile_is_sent_as_it_is_stored(city: Published) -> None:
    body = compress(b"a tile")
    write_archive(city.folder / "old.pmtiles", {AT: body})
    await city.publish({"id": "old", "file": "old.pmtiles", "max_age_s": 60})
    answer = await city.get(url(AT, "mvt", "old"))
    assert (answer.status_code, answer.content) == (200, b"a tile")
    assert int(answer.headers["content-length"]) == len(body)
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"] == "application/vnd.mapbox-vector-tile"
    assert answer.headers["cache-control"].startswith("max-age=60, s-maxage=1,")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["vary"] == "Accept-Encoding"


async def test_a_client_that_takes_no_gzip_gets_the_tile_unpacked_under_another_etag(
    city: Published,
) -> None:
    write_archive(city.folder / "old.pmtiles", {AT: compress(b"a tile" * 50_000)})
    await city.publish({"id": "old", "file": "old.pmtiles"})
    packed = await city.get(url(AT, "mvt", "old"))
    bare = await city.get(url(AT, "mvt", "old"), accept_encoding="identity")
    assert bare.content == b"a tile" * 50_000
    assert "content-encoding" not in bare.headers
    assert bare.headers["etag"] != packed.headers["etag"]


async def test_a_picture_is_sent_as_it_is_stored(city: Published) -> None:
    write_png_mbtiles(city.folder / "plan.mbtiles")
    await city.publish({"id": "plan", "file": "plan.mbtiles"})
    answer = await city.get(url(AT, "png", "plan"))
    assert (answer.status_code, answer.content) == (200, PNG)
    assert answer.headers["content-type"] == "image/png"
    assert "content-encoding" not in answer.headers


async def test_a_tile_the_archive_lacks_is_204_with_a_validator(city: Published) -> None:
    write_archive(city.folder / "old.pmtiles", {AT: compress(b"a tile")})
    await city.publish({"id": "old", "file": "old.pmtiles"})
    for at in (TileAddress(3, 0, 0), TileAddress(0, 0, 0), TileAddress(22, 0, 0)):
        answer = await city.get(url(at, "mvt", "old"))
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["etag"]


async def test_a_client_that_has_the_tile_is_told_so_and_the_tile_is_not_read(
    city: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(city.folder / "old.pmtiles", {AT: compress(b"a tile")})
    await city.publish({"id": "old", "file": "old.pmtiles"})
    etag = (await city.get(url(AT, "mvt", "old"))).headers["etag"]

    async def refuse(*_: object) -> None:
        raise AssertionError("the tile was read")

    monkeypatch.setattr(city.service.parts.tilesets, "read", refuse)
    for asked in (etag, f'"x", {etag}', "*"):
        answer = await city.get(url(AT, "mvt", "old"), if_none_match=asked)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag


async def test_head_options_and_other_methods_are_answered_as_for_layers(city: Published) -> None:
    write_archive(city.folder / "old.pmtiles", {AT: compress(b"a tile")})
    await city.publish({"id": "old", "file": "old.pmtiles"})
    client, path = city.service.client, url(AT, "mvt", "old")
    head = await client.head(path, headers={"accept-encoding": "gzip"})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(compress(b"a tile")))
    assert (await client.options(path)).headers["access-control-allow-methods"]
    assert (await client.post(path)).status_code == 405


@pytest.mark.parametrize("swap", ["renamed", "written over"])
@pytest.mark.parametrize("ending", ["pmtiles", "mbtiles"])
async def test_a_file_that_is_replaced_shows_at_once_under_a_new_etag(
    city: Published, ending: str, swap: str
) -> None:
    served, other = city.folder / f"old.{ending}", city.folder / f"new.{ending}"
    write_archive(served, {AT: compress(b"first")})
    write_archive(other, {TileAddress(2, 0, 0): compress(b"more"), AT: compress(b"second")})
    await city.publish({"id": "old", "file": served.name})
    before = await city.get(url(AT, "mvt", "old"))
    if swap == "renamed":
        os.replace(other, served)  # noqa: PTH105
    else:
        shutil.copyfile(other, served)
    after = await city.get(url(AT, "mvt", "old"), if_none_match=before.headers["etag"])
    assert (before.content, after.content) == (b"first", b"second")
    assert before.headers["etag"] != after.headers["etag"]


async def test_a_file_changed_while_it_is_read_is_never_served_half_old(
    city: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is written over after its directory was read and before its tile is."""
    served, other = city.folder / "old.pmtiles", city.folder / "new.pmtiles"
    write_archive(served, {AT: compress(b"first")})
    write_archive(other, {TileAddress(0, 0, 0): compress(b"x" * 99), AT: compress(b"second")})
    await city.publish({"id": "old", "file": served.name})
    before = await city.get(url(AT, "mvt", "old"))
    tilesets = city.service.parts.tilesets
    find = tilesets.find

    async def find_and_change(*asked: Any) -> Any:
        found = await find(*asked)
        monkeypatch.undo()
        shutil.copyfile(other, served)
        return found

    monkeypatch.setattr(tilesets, "find", find_and_change)
    answer = await city.get(url(AT, "mvt", "old"))
    assert answer.content == b"second"
    assert answer.headers["etag"] != before.headers["etag"]
    assert (await city.get(url(AT, "mvt", "old"))).headers["etag"] == answer.headers["etag"]


@pytest.mark.parametrize("file", ["gone.pmtiles", "gone.mbtiles", "gone.tif"])
async def test_a_missing_file_is_a_503_and_one_line_in_the_log_until_it_is_there(
    city: Published, file: str
) -> None:
    await city.publish({"id": "old", "file": file})
    ending = "png" if file.endswith("tif") else "mvt"
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            answer = await city.get(url(AT, ending, "old"))
            assert answer.status_code == 503
            assert answer.json()["detail"] == "tileset 'old': its file is missing"
            assert "retry-after" in answer.headers
        assert (await city.get("/tiles/old.json")).status_code == 503
    assert [(line["tileset"], line["reason"]) for line in lines] == [("old", "is missing")]
    assert str(city.folder) in lines[0]["file"]
    assert str(city.folder) not in answer.text
    if file == "gone.pmtiles":
        write_archive(city.folder / file, {AT: compress(b"a tile")})
        assert (await city.get(url(AT, "mvt", "old"))).status_code == 200


@pytest.mark.parametrize("file", ["bad.pmtiles", "bad.mbtiles", "bad.tif", "folder.pmtiles"])
async def test_a_file_that_is_something_else_is_a_503(city: Published, file: str) -> None:
    if file.startswith("folder"):
        (city.folder / file).mkdir()
    else:
        (city.folder / file).write_bytes(b"<html>not found</html>" * 100)
    await city.publish({"id": "old", "file": file})
    answer = await city.get(url(AT, "png" if file.endswith("tif") else "mvt", "old"))
    assert answer.status_code == 503
    assert answer.json()["detail"] == "tileset 'old': its file cannot be read"


async def test_a_tile_that_cannot_be_unpacked_is_a_503_for_those_who_need_it_unpacked(
    city: Published,
) -> None:
    write_archive(city.folder / "old.pmtiles", {AT: b"\x1f\x8bnot gzip at all"})
    await city.publish({"id": "old", "file": "old.pmtiles"})
    answer = await city.get(url(AT, "mvt", "old"), accept_encoding="identity")
    assert answer.status_code == 503


async def test_more_tilesets_than_may_be_open_are_all_served(
    city: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiles.tilesets.MOST_OPEN", 3)
    names = [f"set{number}" for number in range(8)]
    for name in names:
        write_archive(city.folder / f"{name}.pmtiles", {AT: compress(name.encode())})
    await city.publish(*({"id": name, "file": f"{name}.pmtiles"} for name in names))
    for name in names * 2:
        assert (await city.get(url(AT, "mvt", name))).content == name.encode()
    open_files = [os.readlink(f"/proc/self/fd/{fd}") for fd in _descriptors()]  # noqa: PTH115
    assert sum(path.startswith(str(city.folder)) for path in open_files) <= 3


def _descriptors() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]  # noqa: PTH110, PTH208


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/tiles/old/3/9/0.mvt", 400, "x"),
        ("/tiles/old/3/1/0.png", 400, "format"),
        ("/tiles/old/3/1/0.tiff", 400, "format"),
        ("/tiles/old/3/1/0@2x.mvt", 400, "y"),
        ("/tiles/old/3/1/0.mvt?bidx=1", 400, "bidx"),
        ("/tiles/old/3/1.mvt", 400, "path"),
        ("/tiles/old/3/4/2.mvt?utm_source=x", 200, None),
        ("/tiles/old/3/4/2.pbf", 200, None),
        ("/tiles/old,trees/3/4/2.mvt", 404, None),
        ("/tiles/nothing/3/4/2.png", 404, None),
    ],
)
async def test_a_wrong_address_is_told_what_is_wrong(
    city: Published, path: str, status: int, says: str | None
) -> None:
    write_archive(city.folder / "old.pmtiles", {AT: compress(b"a tile")})
    await city.publish({"id": "old", "file": "old.pmtiles"})
    answer = await city.get(path)
    assert answer.status_code == status
    if says is not None:
        assert answer.json()["parameter"] == says


async def test_tilejson_tells_what_the_archive_says(city: Published) -> None:
    write_archive(city.folder / "old.pmtiles", {AT: compress(b"a tile")})
    await city.publish(
        {"id": "old", "file": "old.pmtiles", "minzoom": 2, "title": {"en": "Old", "fr": "Vieux"}}
    )
    told = (await city.get("/tiles/old.json?lang=fr")).json()
    assert told["name"] == "Vieux"
    assert told["tiles"] == ["http://city.test/tiles/old/{z}/{x}/{y}.mvt"]
    assert told["vector_layers"] == [{"id": "trees", "fields": {}}]
    assert (told["minzoom"], told["maxzoom"], told["format"]) == (2, 9, "pbf")
    assert told["bounds"] == list(META.bounds)


async def test_a_tileset_no_longer_declared_is_gone_and_comes_back(city: Published) -> None:
    write_archive(city.folder / "old.pmtiles", {AT: compress(b"a tile")})
    await city.publish({"id": "old", "file": "old.pmtiles"})
    await city.publish()
    assert (await city.get(url(AT, "mvt", "old"))).status_code == 404
    await city.publish({"id": "old", "file": "old.pmtiles"})
    assert (await city.get(url(AT, "mvt", "old"))).status_code == 200


async def test_a_raster_is_drawn_where_it_is(city: Published) -> None:
    red = np.zeros((3, 500, 500), np.uint8)
    red[0, :, :250] = 200
    write_raster(city.folder / "photo.tif", red, photometric="RGB")
    await city.publish({"id": "photo", "file": "photo.tif"})
    at = tile_of_raster()
    answer = await city.get(url(at))
    assert answer.headers["content-type"] == "image/png"
    image, (west, south, east, north) = pixels(answer.content), mercantile.bounds(at)
    assert image.shape == (4, 256, 256)
    column = int((WEST + 250 * PIXEL - west) / (east - west) * 256)
    row = int((north - (NORTH - 250 * PIXEL)) / (north - south) * 256)
    assert image[:, row, column - 3].tolist() == [200, 0, 0, 255]
    assert image[:, row, column + 3].tolist() == [0, 0, 0, 255]
    assert (await city.get(url(at, "png"))).headers["etag"] == answer.headers["etag"]
    assert pixels((await city.get(url(at._replace(y=f"{at.y}@2x")))).content).shape[1] == 512
    assert (await city.get(url(at, "webp"))).headers["content-type"] == "image/webp"


async def test_what_is_no_data_or_outside_is_transparent_and_a_tile_of_it_is_204(
    city: Published,
) -> None:
    heights = np.full((1, 500, 500), 100.0, np.float32)
    heights[0, :, :250] = -9999
    heights[0, :, 400:] = np.nan
    write_raster(city.folder / "photo.tif", heights, nodata=-9999)
    await city.publish(
        {"id": "photo", "file": "photo.tif", "minzoom": 11, "raster": {"rescale": [0, 200]}}
    )
    image = pixels((await city.get(url(tile_of_raster(11)))).content)
    grey, opacity = image
    assert set(np.unique(opacity)) == {0, 255}
    assert set(np.unique(grey[opacity == 255])) == {128}
    assert (await city.get(url(mercantile.tile(9, 9, 13)))).status_code == 204
    west = mercantile.tile(WEST + 50 * PIXEL, NORTH - 250 * PIXEL, 16)
    assert (await city.get(url(west))).status_code == 204


async def test_bands_ranges_and_colours_can_be_asked_for(city: Published) -> None:
    ramp = np.linspace(0, 1000, 250_000, dtype=np.float32).reshape(500, 500)
    write_raster(city.folder / "photo.tif", np.stack([ramp, 1000 - ramp, ramp * 0 + 500, ramp]))
    await city.publish({"id": "photo", "file": "photo.tif"})

    async def image(query: str) -> Any:
        answer = await city.get(url(tile_of_raster(), query=query))
        assert answer.status_code == 200, answer.text
        return pixels(answer.content)

    plain, turned = await image("?bidx=1&rescale=0,1000"), await image("?bidx=2&rescale=0,1000")
    seen = plain[1] == 255
    total = plain[0][seen].astype(int) + turned[0][seen]
    assert set(np.unique(total)) <= {254, 255, 256}
    assert (await image("?bidx=1,2,3&rescale=0,1000")).shape[0] == 4
    assert (await image("?bidx=3&bidx=2&bidx=1&rescale=0,1000&rescale=0,500&rescale=0,9")).any()
    assert (await image("?colormap_name=viridis&rescale=0,1000")).shape[0] == 4


async def test_a_palette_of_the_file_is_used_where_nothing_else_is_asked_for(
    city: Published,
) -> None:
    path = city.folder / "photo.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=500, width=500, dtype="uint8", crs="EPSG:4326",
        transform=rasterio.Affine(PIXEL, 0, WEST, 0, -PIXEL, NORTH),
    ) as raster:  # fmt: skip
        raster.write(np.full((1, 500, 500), 7, np.uint8))
        raster.write_colormap(1, {7: (200, 100, 50, 255)})
    await city.publish({"id": "photo", "file": "photo.tif"})
    middle = pixels((await city.get(url(tile_of_raster(14)))).content)[:, 128, 128]
    assert middle.tolist() == [200, 100, 50, 255]
    grey = pixels((await city.get(url(tile_of_raster(14), query="?rescale=0,14"))).content)
    assert grey[:, 128, 128].tolist() == [128, 255]


async def test_an_mbtiles_file_of_odd_content_is_a_503_or_what_it_has(city: Published) -> None:
    for number, change in enumerate(
        (
            "UPDATE metadata SET value = NULL WHERE name = 'format'",
            "INSERT INTO metadata VALUES ('json', '[1, 2]')",
            "INSERT INTO metadata VALUES ('bounds', 'here and there')",
            "UPDATE tiles SET tile_data = 'a text'",
            "DROP TABLE metadata",
        )
    ):
        path = city.folder / f"plan{number}.mbtiles"
        write_png_mbtiles(path)
        with sqlite3.connect(path) as connection:
            connection.execute(change)
        connection.close()
        await city.publish({"id": "plan", "file": path.name})
        assert (await city.get(url(AT, "png", "plan"))).status_code == 503, change


async def test_the_same_image_asked_for_in_other_words_has_the_same_etag(city: Published) -> None:
    write_raster(city.folder / "photo.tif", np.ones((3, 500, 500), np.uint16))
    await city.publish({"id": "photo", "file": "photo.tif", "raster": {"rescale": [0, 10]}})

    async def etag(query: str) -> str:
        answer = await city.get(url(tile_of_raster(), query=query))
        assert answer.status_code == 200, answer.text
        return str(answer.headers["etag"])

    asked = ["", "?bidx=1", "?rescale=0,10", "?rescale=0.0,1e1&bidx=1&utm_source=x"]
    assert len({await etag(query) for query in asked}) == 1
    assert await etag("?rescale=0,11") != await etag("")


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("bidx=0", "bidx"),
        ("bidx=5", "bidx"),
        ("bidx=1.5", "bidx"),
        ("bidx=1,2", "bidx"),
        ("bidx=1,1,1,1,1", "bidx"),
        ("bidx=" + "1," * 5000, "bidx"),
        ("bidx=", "bidx"),
        ("rescale=0", "rescale"),
        ("rescale=5,5", "rescale"),
        ("rescale=0,nan", "rescale"),
        ("rescale=0,inf", "rescale"),
        ("rescale=0,1e999", "rescale"),
        ("rescale=0,1,2,3", "rescale"),
        ("colormap_name=nothing", "colormap_name"),
        ("colormap_name=../../etc/passwd", "colormap_name"),
        ("colormap_name=viridis&bidx=1,2,3", "colormap_name"),
        ("expression=b1/b2", "expression"),
        ("url=/etc/passwd", "url"),
    ],
)
async def test_a_wrong_parameter_of_a_raster_is_a_400_that_says_what_is_allowed(
    city: Published, query: str, parameter: str
) -> None:
    write_raster(city.folder / "photo.tif", np.ones((4, 500, 500), np.uint8))
    await city.publish({"id": "photo", "file": "photo.tif"})
    answer = await city.get(url(tile_of_raster(), query=f"?{query}"))
    assert answer.status_code == 400
    assert answer.json()["parameter"] == parameter
    assert answer.json()["fix"]


async def test_a_raster_that_only_points_to_other_files_is_not_followed(city: Published) -> None:
    write_raster(city.folder / "secret.tif", np.ones((1, 500, 500), np.uint8))
    (city.folder / "photo.tif").write_text(
        '<VRTDataset rasterXSize="500" rasterYSize="500"><SRS>EPSG:4326</SRS>'
        f"<GeoTransform>{WEST}, {PIXEL}, 0, {NORTH}, 0, -{PIXEL}</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>'
        f"{city.folder}/secret.tif</SourceFilename><SourceBand>1</SourceBand>"
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    await city.publish({"id": "photo", "file": "photo.tif"})
    assert (await city.get(url(tile_of_raster()))).status_code == 503


async def test_a_raster_without_crs_or_far_too_large_without_overviews_is_a_503(
    city: Published,
) -> None:
    write_raster(city.folder / "nowhere.tif", np.ones((1, 500, 500), np.uint8), crs=None)
    with rasterio.open(
        city.folder / "huge.tif", "w", driver="GTiff", width=20_000, height=20_000, count=1,
        dtype="uint8", crs="EPSG:3857", transform=rasterio.Affine(1, 0, 9, 0, -1, 9), tiled=True,
        sparse_ok=True,
    ):  # fmt: skip
        pass
    await city.publish({"id": "nowhere", "file": "nowhere.tif"}, {"id": "huge", "file": "huge.tif"})
    with structlog.testing.capture_logs() as lines:
        for tileset in ("nowhere", "huge"):
            assert (await city.get(f"/tiles/{tileset}.json")).status_code == 503
    assert "CRS" in lines[0]["reason"]
    assert "gdal_translate -of COG" in lines[1]["reason"]


async def test_tilejson_of_a_raster_tells_its_zooms_and_place(city: Published) -> None:
    write_raster(city.folder / "photo.tif", np.ones((1, 500, 500), np.uint8))
    await city.publish({"id": "photo", "file": "photo.tif", "maxzoom": 15})
    told = (await city.get("/tiles/photo.json")).json()
    assert told["tiles"] == ["http://city.test/tiles/photo/{z}/{x}/{y}.png"]
    assert told["bounds"] == pytest.approx([WEST, NORTH - 0.05, WEST + 0.05, NORTH], abs=1e-6)
    assert (told["minzoom"], told["maxzoom"]) == (13, 15)
    assert "vector_layers" not in told


async def test_a_raster_has_a_style_that_names_its_tilejson(city: Published) -> None:
    await city.publish({"id": "photo", "file": "photo.tif"}, {"id": "old", "file": "old.pmtiles"})
    style = (await city.get("/styles/photo.json")).json()
    assert style["sources"]["photo"]["url"] == "http://city.test/tiles/photo.json"
    assert style["layers"][-1] == {"id": "photo", "type": "raster", "source": "photo"}
    assert (await city.get("/styles/old.json")).status_code == 404


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "bands"),
    [
        ("s2a_l2a_fishbourne.tif", "?bidx=3,2,1&rescale=0,1200"),
        ("srtm_41_19_4326.tif", "?colormap_name=terrain&rescale=0,1200"),
        ("swellendam_3420B_2010_328_RGB_LATLNG.tif", ""),
    ],
)
async def test_real_rasters_are_drawn(city: Published, shared: Path, name: str, bands: str) -> None:
    await city.publish({"id": "photo", "file": str(shared / "data/raster" / name)})
    told = (await city.get("/tiles/photo.json")).json()
    west, south, east, north = told["bounds"]
    for zoom in range(told["minzoom"], told["maxzoom"] + 1):
        at = mercantile.tile((west + east) / 2, (south + north) / 2, zoom)
        answer = await city.get(url(at, query=bands))
        image = pixels(answer.content)
        assert image[-1].max() == 255
        assert image[:-1].std() > 1


@pytest.mark.real
async def test_tiles_of_a_real_raster_that_is_damaged_are_drawn_or_a_503(
    city: Published, shared: Path
) -> None:
    await city.publish({"id": "photo", "file": str(shared / "data/broken/rasterio_corrupt.tif")})
    told = (await city.get("/tiles/photo.json")).json()
    tiles = mercantile.tiles(*told["bounds"], zooms=[told["maxzoom"]])
    answers = [await city.get(url(at)) for at in tiles]
    assert {200, 503} <= {answer.status_code for answer in answers} <= {200, 204, 503}
    assert all(
        answer.json()["detail"] == "tileset 'photo': its file cannot be read"
        for answer in answers
        if answer.status_code == 503
    )
