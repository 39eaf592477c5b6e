"""`quartier ingest` of a GeoTIFF: made a COG, kept, served; or refused with a sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from rasterio.control import GroundControlPoint
from rasterio.shutil import copy as gdal_copy

from ingest.cog import is_cog, opened
from layers.kept_rasters import kept_raster
from tests.conftest import Database
from tests.db.commands import City
from tests.examples import COMMON
from tests.rasters import ramp, write_plain

pytestmark = pytest.mark.db

TURNED = rasterio.Affine(0.0001, 0.00002, 4.8, 0.00002, -0.0001, 45.26)


@pytest.fixture
def city(database: Database, tmp_path: Path) -> City:
    """A city whose catalogue declares one raster, `photo`, in `photo.tif`."""
    made = City(database, tmp_path / "catalogue", tmp_path)
    (tmp_path / "catalogue" / "layers").mkdir(parents=True)
    declare(made)
    return made


def declare(city: City, file: str = "photo.tif", **more: Any) -> None:
    """Declare the raster, and apply it."""
    folder = city.catalogue / "tilesets"
    folder.mkdir(exist_ok=True)
    declared = COMMON | {"id": "photo", "file": f"../../{file}"} | more
    (folder / "photo.yaml").write_text(yaml.safe_dump(declared, allow_unicode=True))
    applied = city.quartier("apply")
    assert applied.exit_code == 0, applied.output


def served(city: City) -> Path:
    return Path(city.database.value("SELECT file FROM quartier.public_tilesets", "web"))


def rasters(city: City) -> Path:
    return city.home / "rasters"


def ingest(city: City, *files: Path) -> dict[str, Any]:
    """Run it and return its report; it must end well."""
    result = city.quartier("ingest", "photo", *files, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def refused(city: City, *files: Path) -> str:
    """Run it and return what it says; it must be refused, and change nothing."""
    before = served(city)
    result = city.quartier("ingest", "photo", *files)
    assert result.exit_code == 1, result.output
    assert served(city) == before
    assert list(rasters(city).glob("**/*.tif")) == []
    return " ".join(result.stderr.split())


def written(path: Path) -> Any:
    with rasterio.open(path) as raster:
        return raster.read()


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:2154", "EPSG:32631"])
def test_a_plain_raster_of_any_crs_becomes_a_cog_with_the_same_pixels(city: City, crs: str) -> None:
    data = ramp()
    plain = write_plain(city.folder / "photo.tif", data, crs=crs, nodata=-1)
    report = ingest(city)
    assert (report["state"], report["says"]) == ("published", "was made a COG")
    made = served(city)
    assert made == Path(report["file"])
    assert made.is_relative_to(rasters(city))
    with opened(plain) as before, opened(made) as after:
        assert not is_cog(before)
        assert is_cog(after)
        assert after.overviews(1)
        assert (after.crs, after.transform, after.nodata) == (before.crs, before.transform, -1)
    assert np.array_equal(written(made), data)


def test_the_same_file_again_changes_nothing(city: City) -> None:
    write_plain(city.folder / "photo.tif")
    first = ingest(city)
    made = Path(first["file"]).stat()
    again = ingest(city)
    assert again["state"] == "unchanged"
    assert Path(again["file"]).stat().st_mtime_ns == made.st_mtime_ns


def test_apply_goes_on_serving_what_was_made_until_another_file_is_declared(city: City) -> None:
    write_plain(city.folder / "photo.tif")
    made = Path(ingest(city)["file"])
    assert "Nothing to do" in city.quartier("apply").output
    declare(city, theme="imagery")
    assert served(city) == made
    declare(city, "other.tif")
    assert served(city).name == "other.tif"


def test_a_valid_cog_is_served_from_where_it_lies(city: City) -> None:
    gdal_copy(write_plain(city.folder / "plain.tif"), city.folder / "photo.tif", driver="COG")
    report = ingest(city)
    assert (report["state"], report["says"]) == (
        "unchanged",
        "is a COG, and is served from where it lies",
    )
    assert served(city).samefile(city.folder / "photo.tif")
    assert list(rasters(city).glob("**/*.tif")) == []


def test_a_cog_that_is_given_is_kept_byte_for_byte(city: City) -> None:
    cog = city.folder / "new.tif"
    gdal_copy(write_plain(city.folder / "plain.tif"), cog, driver="COG")
    report = ingest(city, cog)
    assert report["says"] == "is a COG, and a copy is kept"
    assert served(city).read_bytes() == cog.read_bytes()


def test_a_new_file_takes_the_place_of_the_old_which_may_still_be_read_for_one_more(
    city: City,
) -> None:
    plain = city.folder / "photo.tif"
    made = [Path(ingest(city, write_plain(plain, ramp() + n))["file"]) for n in range(3)]
    assert [path.is_file() for path in made] == [False, True, True]
    assert served(city) == made[-1]


@pytest.mark.parametrize(
    ("name", "data", "profile", "says"),
    [
        ("no crs", ramp(9, 9), {"crs": None}, "does not say its CRS; add the right one"),
        (
            "no place",
            ramp(9, 9),
            {"transform": rasterio.Affine.identity()},
            "does not say where its pixels lie",
        ),
        (
            "metres called degrees",
            ramp(9, 9),
            {"transform": rasterio.Affine(1, 0, 840_000, 0, -1, 6_500_000)},
            "no degrees; its CRS is probably in metres",
        ),
        (
            "at the pole",
            ramp(9, 9),
            {"transform": rasterio.Affine(0.01, 0, 4, 0, -0.01, 89)},
            "lies where no tiles are",
        ),
        (
            "off its crs",
            ramp(9, 9),
            {"crs": "EPSG:2154", "transform": rasterio.Affine(1e9, 0, 1e12, 0, -1e9, 1e12)},
            "lies where",
        ),
        ("complex", ramp(9, 9).astype("complex64"), {}, "holds complex numbers"),
        ("many bands", np.zeros((65, 4, 4), "uint8"), {}, "has 65 bands; take 64 at most"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_raster_that_no_tiles_can_be_cut_from_is_refused_with_the_fix(
    city: City, name: str, data: Any, profile: dict[str, Any], says: str
) -> None:
    write_plain(city.folder / "photo.tif", data, **profile)
    assert says in refused(city), name


def test_no_data_that_the_type_cannot_hold_hides_nothing(city: City) -> None:
    plain = write_plain(city.folder / "photo.tif", np.zeros((1, 9, 9), "uint8"), nodata=99)
    content = plain.read_bytes()
    assert content.count(b"99\x00") == 1
    plain.write_bytes(content.replace(b"99\x00", b"-9\x00"))
    assert not written(Path(ingest(city)["file"])).any()
    with rasterio.open(served(city)) as raster:
        assert raster.read(masked=True).count() == 81


def test_control_points_alone_are_no_place(city: City) -> None:
    points = [
        GroundControlPoint(row, col, 4.8 + col / 1e4, 45.2 - row / 1e4)
        for row, col in ((0, 0), (0, 9), (9, 0))
    ]
    path = city.folder / "photo.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=9, height=9, count=1, dtype="uint8", crs="EPSG:4326",
        gcps=points,
    ) as raster:  # fmt: skip
        raster.write(ramp(9, 9, "uint8"))
    assert "gdalwarp" in refused(city)


def test_a_raster_too_large_is_refused_before_it_is_read(city: City) -> None:
    placed = {"crs": "EPSG:3857", "transform": rasterio.Affine(0.01, 0, 9, 0, -0.01, 9)}
    with rasterio.open(
        city.folder / "photo.tif", "w", driver="GTiff", width=250_000, height=250_000, count=1,
        dtype="uint8", tiled=True, sparse_ok=True, bigtiff="YES", **placed,
    ):  # fmt: skip
        pass
    assert "250,000 × 250,000 pixels" in refused(city)


def test_strips_too_large_to_be_read_at_once_are_refused(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.cog.MOST_BLOCK_BYTES", 1 << 20)
    plain = write_plain(city.folder / "plain.tif")
    gdal_copy(plain, city.folder / "photo.tif", driver="GTiff", BLOCKYSIZE=1200, COMPRESS="LZW")
    assert "strips of 1,200 × 1,500 pixels, too large to be read at once" in refused(city)


def test_bands_that_the_declaration_names_and_the_file_lacks_are_told(city: City) -> None:
    write_plain(city.folder / "photo.tif", ramp(bands=2))
    declare(city, raster={"bands": [1, 2, 3]})
    assert "has 2 bands; raster.bands names 3" in refused(city)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"II*\x00" + b"\xff" * 99])
def test_what_is_no_geotiff_is_refused(city: City, content: bytes) -> None:
    city.file("photo.tif", content)
    assert "cannot be read as a GeoTIFF" in refused(city)


def test_a_file_that_is_not_there_an_archive_and_several_files_are_told(city: City) -> None:
    assert "photo.tif: cannot be read: No such file" in refused(city)
    two = [write_plain(city.folder / f"{n}.tif", ramp(9, 9)) for n in range(2)]
    assert "is one raster; join 2 files first" in refused(city, *two)
    assert city.quartier("ingest", "photo", "--partial").exit_code == 2
    declare(city, "old.pmtiles")
    assert "served from where it lies" in city.quartier("ingest", "photo").stderr.replace("\n", " ")


def test_a_refused_raster_leaves_the_one_before(city: City) -> None:
    plain = write_plain(city.folder / "photo.tif")
    made = Path(ingest(city)["file"])
    plain.write_bytes(b"II*\x00" + b"\xff" * 99)
    assert city.quartier("ingest", "photo").exit_code == 1
    assert served(city) == made
    assert made.is_file()


def test_a_tileset_that_was_not_applied_is_told_what_to_run(city: City) -> None:
    write_plain(city.folder / "photo.tif")
    city.database.run("DELETE FROM quartier.tilesets")
    told = city.quartier("ingest", "photo").stderr
    assert "run quartier apply" in told


def test_a_photograph_of_jpeg_stays_jpeg_and_classes_are_not_averaged(city: City) -> None:
    write_plain(
        city.folder / "photo.tif", ramp(kind="uint8", bands=3), compress="JPEG", photometric="YCBCR"
    )
    with rasterio.open(ingest(city)["file"]) as raster:
        assert raster.profile["compress"] == "jpeg"
    classes = np.where(np.indices((1, 1200, 1500)).sum(0) % 2, 10, 30).astype("uint8")
    write_plain(city.folder / "photo.tif", classes)
    with rasterio.open(ingest(city)["file"]) as raster:
        small = raster.read(out_shape=(1, 150, 188))
    assert set(np.unique(small)) <= {10, 30}
    declare(city, raster={"resampling": "average"})
    averaged = Path(ingest(city)["file"])
    assert "average" in averaged.name
    with rasterio.open(averaged, overview_level=0) as raster:
        assert 20 in np.unique(raster.read())


def test_a_turned_raster_is_laid_north_up(city: City) -> None:
    write_plain(city.folder / "photo.tif", ramp(), transform=TURNED)
    with rasterio.open(ingest(city)["file"]) as raster:
        assert raster.transform.b == raster.transform.d == 0
        assert raster.count == 2
        assert raster.colorinterp[1].name == "alpha"


def test_killed_half_way_the_old_one_stays_and_the_next_run_clears_up(city: City) -> None:
    plain = city.folder / "photo.tif"
    made = Path(ingest(city, write_plain(plain))["file"])
    noise = np.random.default_rng(1).random((1, 6000, 6000), np.float32)
    write_plain(plain, noise)
    environment = os.environ | {
        "QUARTIER_DATABASE_URL": city.database.urls.owner,
        "QUARTIER_CATALOGUE": str(city.catalogue),
        "QUARTIER_HOME": str(city.home),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "quartier", "ingest", "photo"],
        env=environment, cwd=Path(__file__).parents[2], start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not any(file.stat().st_size for file in rasters(city).glob(".new-*/*")):
        assert process.poll() is None, "it was too quick to be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(rasters(city).glob(".new-*"))
    assert served(city) == made
    assert made.is_file()
    kept = kept_raster(rasters(city), "photo")
    assert kept is not None
    assert rasters(city) / kept.file == made
    write_plain(plain, ramp() + 1)
    assert Path(ingest(city)["file"]) != made
    assert not list(rasters(city).glob(".new-*"))


@pytest.mark.real
@pytest.mark.parametrize(
    "name",
    [
        "raster/s2a_l2a_fishbourne.tif",
        "raster/srtm_41_19_4326.tif",
        "raster/swellendam_3420B_2010_328_RGB_LATLNG.tif",
    ],
)
def test_real_rasters_become_cogs_with_the_same_pixels(city: City, shared: Path, name: str) -> None:
    source = shared / "data" / name
    made = Path(ingest(city, source)["file"])
    assert np.array_equal(written(made), written(source))
    with opened(made) as raster:
        assert is_cog(raster)


def test_a_cog_whose_pixels_cannot_be_read_is_refused(city: City) -> None:
    gdal_copy(
        write_plain(city.folder / "plain.tif"), city.folder / "photo.tif", driver="COG",
        COMPRESS="DEFLATE",
    )  # fmt: skip
    whole = (city.folder / "photo.tif").read_bytes()
    middle = len(whole) // 2
    city.file("photo.tif", whole[:middle] + bytes(4096) + whole[middle + 4096 :])
    assert "cannot be read as a GeoTIFF" in refused(city)


@pytest.mark.real
def test_a_real_raster_that_is_damaged_is_refused(city: City, shared: Path) -> None:
    assert refused(city, shared / "data/broken/rasterio_corrupt.tif")
