"""The sample city: the same bytes every time, and a plausible city in them."""

from __future__ import annotations

import csv
import gzip
import json
import re
import subprocess
import sys
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from data.sample_city.make import is_current, make_files
from data.sample_city.sites import COUNT as SITES

CHECKOUT = Path(__file__).parents[2]


@cache
def made(base: Path) -> dict[Path, int]:
    """The files of the sample city and their rows, made once for all tests of a session."""
    return dict(make_files(base / "sample_city"))


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return next(iter(made(tmp_path_factory.getbasetemp()))).parent


def shapes(path: Path) -> list[shapely.Geometry]:
    return [shapely.geometry.shape(feature["geometry"]) for feature in features(path)]


def features(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    found = text.splitlines() if path.suffix == ".geojsonl" else [text]
    read = [json.loads(line) for line in found]
    return read if path.suffix == ".geojsonl" else list(read[0]["features"])


def table(path: Path, delimiter: str = ";") -> list[dict[str, str]]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return list(csv.DictReader(text.decode("utf-8-sig").splitlines(), delimiter=delimiter))


def test_a_second_run_in_another_process_writes_the_same_bytes(city: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "data.sample_city", str(tmp_path)]
    said = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True)
    assert len(said.stdout.splitlines()) == 15
    digests = [
        {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        for folder in (city, tmp_path)
    ]
    assert digests[0] == digests[1]
    again = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True)
    assert again.stdout == f"{tmp_path} is up to date\n"


def test_a_folder_with_a_file_missing_is_not_current(city: Path, tmp_path: Path) -> None:
    assert is_current(city)
    for path in city.iterdir():
        (tmp_path / path.name).symlink_to(path)
    assert is_current(tmp_path)
    (tmp_path / "trees.csv").unlink()
    assert not is_current(tmp_path)


def test_every_file_has_the_rows_that_were_promised(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    found = {path.name: count for path, count in made(tmp_path_factory.getbasetemp()).items()}
    assert found["crimes.csv.gz"] == 120_000
    assert found["construction_sites.csv"] == SITES
    assert found["bike_routes.geojson"] == 8
    assert 29_000 <= found["trees.csv"] <= 31_000
    assert 15_000 <= found["buildings.geojsonl"] <= 25_000


def test_districts_tile_the_plane(city: Path) -> None:
    found = np.array(shapes(city / "districts.geojson"))
    assert shapely.is_valid(found).all()
    assert shapely.coverage_is_valid(found)
    whole = shapely.union_all(found)
    assert whole.geom_type == "Polygon"
    assert not list(shapely.get_rings(whole))[1:]
    assert shapely.area(found).sum() == pytest.approx(whole.area, rel=1e-12)


@pytest.mark.parametrize(
    "file", ["land", "water", "parks", "districts", "streets", "buildings", "bike_routes"]
)
def test_every_geometry_is_valid_and_in_the_city(city: Path, file: str) -> None:
    path = next(path for path in city.glob(f"{file}.geojson*"))
    found = shapely.from_geojson([json.dumps(feature["geometry"]) for feature in features(path)])
    assert shapely.is_valid(found).all()
    assert not shapely.is_empty(found).any()
    west, south, east, north = shapely.total_bounds(found)
    assert 4.75 < west < east < 4.95
    assert 45.13 < south < north < 45.27


def test_buildings_stand_clear_of_water_and_of_each_other(city: Path) -> None:
    wet = shapely.union_all(shapes(city / "water.geojson"))
    texts = [json.dumps(feature["geometry"]) for feature in features(city / "buildings.geojsonl")]
    houses = shapely.from_geojson(texts)
    assert not shapely.STRtree(houses).query(wet, predicate="intersects").size
    first, second = shapely.STRtree(houses).query(houses, predicate="overlaps")
    assert not first.size, (first[:3], second[:3])


def test_only_bridges_cross_the_river(city: Path) -> None:
    river = shapely.buffer(shapes(city / "water.geojson")[0], -0.00003)
    streets = features(city / "streets.geojsonl")
    over = [f for f in streets if river.intersects(shapely.geometry.shape(f["geometry"]))]
    assert all(feature["properties"]["bridge"] for feature in over)
    assert 6 <= len({feature["properties"]["name"] for feature in over}) <= 30


def test_each_bike_route_is_one_line_along_the_streets(city: Path) -> None:
    streets = shapely.STRtree(shapes(city / "streets.geojsonl"))
    for route in shapes(city / "bike_routes.geojson"):
        assert isinstance(route, shapely.LineString)
        middles = shapely.line_interpolate_point(route, np.linspace(0, route.length, 200))
        _, away = streets.query_nearest(middles, all_matches=False, return_distance=True)
        assert away.max() < 2e-7
        assert 0.03 < route.length < 0.25


def test_crimes_have_a_daily_rhythm_and_some_have_no_place(city: Path) -> None:
    found = table(city / "crimes.csv.gz", ",")
    hours = np.array([datetime.fromisoformat(row["occurred_at"]).hour for row in found])
    by_hour = np.bincount(hours, minlength=24)
    assert by_hour.max() > 2 * by_hour.min()
    assert 0.005 < sum(row["longitude"] == "" for row in found) / len(found) < 0.02
    assert len({row["category"] for row in found}) == 10
    assert found == sorted(found, key=lambda row: row["report_id"])


def test_no_crime_happens_in_the_hour_that_spring_skips(city: Path) -> None:
    times = {row["occurred_at"] for row in table(city / "crimes.csv.gz", ",")}
    for day in ("2024-03-31", "2025-03-30", "2026-03-29"):
        assert not {time for time in times if time.startswith(f"{day}T02")}
        assert {time for time in times if time.startswith(f"{day}T03")}


def test_registers_have_the_faults_that_real_ones_have(city: Path) -> None:
    sites = table(city / "construction_sites.csv")
    assert any(not row["Maître d’ouvrage"] for row in sites)
    assert any(not row["Date de fin"] for row in sites)
    ended = [row for row in sites if row["Date de fin"] and day(row["Date de fin"]) < "2026-11-23"]
    assert any(row["Statut"] == "en cours" for row in ended)
    footprints = shapely.from_geojson([row["geo_shape"] for row in sites])
    assert shapely.is_valid(footprints).all()
    pairs = shapely.STRtree(footprints).query(footprints, predicate="overlaps")
    assert 10 < pairs.shape[1] / 2 < SITES
    trees = table(city / "trees.csv")
    assert any(not row["Hauteur (m)"] for row in trees)


def day(text: str) -> str:
    return "-".join(reversed(text.split("/")))


def test_codes_of_districts_are_the_same_in_every_register(city: Path) -> None:
    codes = {feature["properties"]["code"] for feature in features(city / "districts.geojson")}
    for file, column in (
        ("hotline_calls.csv", "code_quartier"),
        ("trees.csv", "Code quartier"),
        ("construction_sites.csv", "Code quartier"),
    ):
        assert {row[column] for row in table(city / file)} - {""} <= codes
    assert {row["code_quartier"] for row in table(city / "hotline_calls.csv")} == codes


def test_coordinates_have_no_false_precision(city: Path) -> None:
    for path in city.glob("*.geojson*"):
        assert not re.search(r"\d\.\d{8}", path.read_text()), path.name
