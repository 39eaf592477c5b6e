"""The commands tile, export and bake, as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mercantile
import pytest
import structlog
from typer.testing import CliRunner, Result

from layers.catalogue_files import CatalogueFiles
from layers.cli import apply_catalogue
from layers.tilesets import Tileset
from quartier import app
from tests.conftest import Copies, Database, copied
from tests.examples import COMMON, PARKS, TREES

pytestmark = pytest.mark.db

Quartier = Callable[..., Result]


def fill(database: Database) -> None:
    """Two trees and a park."""
    database.declare(TREES, PARKS)
    database.run(
        "INSERT INTO city.trees (number, genus, height, planted, geom) VALUES"
        " ('1', 'Tilia', 12.5, '2020-02-29', ST_Point(4.85, 45.2, 4326)),"
        " ('2', 'Acer', NULL, NULL, ST_Point(4.8501, 45.2, 4326))"
    )
    database.run(
        "INSERT INTO city.parks (name, geom)"
        " VALUES ('Park', ST_MakeEnvelope(4.849, 45.199, 4.851, 45.201, 4326))"
    )


cities = copied(fill)


@pytest.fixture
def database(cities: Copies) -> Iterator[Database]:
    with cities() as copy:
        yield copy


@pytest.fixture
def quartier(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Quartier:
    """The command, on that city."""
    monkeypatch.setenv("QUARTIER_DATABASE_URL", database.urls.owner)
    monkeypatch.setenv("QUARTIER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(each) for each in arguments])

    return run


def place() -> str:
    at = mercantile.tile(4.85, 45.2, 14)
    return f"{at.z}/{at.x}/{at.y}"


def told(result: Result) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def test_tile_prints_layers_attributes_geometries_and_sizes(quartier: Quartier) -> None:
    result = quartier("tile", "trees,parks", place())
    assert result.exit_code == 0, result.output
    for said in ("trees 2 Point", "parks 1 Polygon", "genus", "Tilia, Acer", "revision 1", "bytes"):
        assert said in result.stdout


def test_the_log_after_a_command_goes_to_the_stderr_of_that_moment(
    quartier: Quartier, capsys: pytest.CaptureFixture[str]
) -> None:
    quartier("tile", "trees", place())
    structlog.get_logger().warning("said afterwards")
    assert "said afterwards" in capsys.readouterr().err


def test_tile_as_json_holds_everything(quartier: Quartier) -> None:
    shown = told(quartier("tile", "trees", place(), "--json"))
    features = shown["layers"]["trees"]["features"]
    assert features[0]["properties"] == {"genus": "Tilia", "height": 12.5, "planted": "2020-02-29"}
    assert features[0]["geometry"]["type"] == "Point"
    assert shown["bytes"] > 0
    assert shown["bytes_gzip"] > 0
    assert shown["revisions"] == {"trees": 1}
    assert shown["validator"]


def test_tile_reads_an_exported_archive_by_path_and_as_a_tileset(
    quartier: Quartier, database: Database, tmp_path: Path
) -> None:
    live = told(quartier("tile", "trees", place(), "--json"))
    for ending in ("pmtiles", "mbtiles"):
        file = tmp_path / f"copy.{ending}"
        report = told(quartier("export", "trees", file, "--minzoom", 12, "--json"))
        assert report["tiles"] == sum(report["by_zoom"].values()) > 0
        stored = told(quartier("tile", file, place(), "--json"))
        assert stored["layers"] == live["layers"]
        tileset = Tileset.model_validate(COMMON | {"id": "copy", "file": file.name})
        paths = {"copy": tmp_path / "copy.yaml"}
        layers = {"trees": TREES, "parks": PARKS}
        apply_catalogue(database.urls.ingest, CatalogueFiles(layers, {}, paths, {"copy": tileset}))
        assert told(quartier("tile", "copy", place(), "--json"))["layers"] == live["layers"]


def test_an_empty_tile_is_told_to_be_empty(quartier: Quartier) -> None:
    result = quartier("tile", "trees", "14/0/0")
    assert result.exit_code == 0
    assert "nothing to draw" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("tile", "treez", "0/0/0"), "did you mean trees"),
        (("tile", "trees", "0/0"), "write Z/X/Y"),
        (("tile", "trees", "0/0/9"), "must be from 0 to 0"),
        (("tile", "nowhere.pmtiles", "0/0/0"), "No such file"),
        (("export", "trees", "trees.zip"), ".pmtiles or .mbtiles"),
        (("export", "trees", "trees.pmtiles", "--bbox", "1,2,3"), "has 3 numbers"),
        (("bake", "trees", "--zooms", "9-3"), "such as 0-14"),
        (("bake", "treez"), "did you mean trees"),
    ],
)
def test_what_is_wrong_is_said_and_ends_with_1(
    quartier: Quartier, arguments: tuple[str, ...], says: str
) -> None:
    result = quartier(*arguments)
    assert result.exit_code == 1
    assert says in " ".join(result.stderr.split())


def test_bake_fills_the_cache_of_the_home_and_goes_on(quartier: Quartier, tmp_path: Path) -> None:
    first = told(quartier("bake", "trees", "--zooms", "12-14", "--json"))
    again = told(quartier("bake", "trees", "--zooms", "12-14", "--json"))
    assert first["made"] > 0
    assert (again["made"], again["ready"]) == (0, first["made"])
    assert any((tmp_path / "home" / "cache" / "tiles").rglob("*"))


def test_bake_without_a_cache_to_fill_says_so(
    quartier: Quartier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUARTIER_CACHE_URL", "memory:")
    result = quartier("bake", "trees")
    assert result.exit_code == 1
    assert "name a folder or a Redis" in " ".join(result.stderr.split())
