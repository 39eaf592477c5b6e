"""What is given wrongly to `quartier ingest`: a sentence that helps, and nothing changed."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.run import Job, run
from layers.catalogue_files import read_catalogue
from layers.cli import apply_catalogue
from layers.database_urls import DatabaseUrls
from tests.conftest import Copies, Database, copies_of
from tests.db.commands import City
from tests.examples import COMMON

pytestmark = pytest.mark.db

COLUMNS = [
    {"name": "number", "required": True},
    {"name": "genus"},
    {"name": "height", "type": "number"},
    {"name": "planted", "type": "date"},
]
TREES: dict[str, Any] = COMMON | {
    "id": "trees", "geometry": "point", "key": "number", "columns": COLUMNS,
}  # fmt: skip
PARKS: dict[str, Any] = COMMON | {
    "id": "parks", "geometry": "polygon", "columns": [{"name": "name"}],
}  # fmt: skip
HEADER = "number,genus,height,planted,lon,lat\n"
GOOD = HEADER + "".join(f"{n},Tilia,{n}.5,2020-01-01,4.{n:03},45.2\n" for n in range(10))


def seen(city: City) -> list[Any]:
    """All that a reader can see of the layers, and their revisions."""
    return [
        city.database.run(sql)
        for sql in (
            "SELECT number, genus, height, planted, geom::text, since FROM city.trees",
            "SELECT name, geom::text, since FROM city.parks",
            "SELECT layer_id, revision, base_revision FROM quartier.layer_state ORDER BY 1",
            "SELECT count(*) FROM city_history.trees",
        )
    ]


def a_city(database: Database, folder: Path) -> City:
    catalogue = folder / "catalogue"
    made = City(database, catalogue, folder)
    made.declare(TREES)
    made.declare(PARKS)
    return made


def fill(database: Database, folder: Path) -> None:
    made = a_city(database, folder)
    declared = read_catalogue(made.catalogue)
    apply_catalogue(database.urls.ingest, declared)
    good = made.file("good.csv", GOOD)
    run(database.urls.ingest, Job(layer=declared.layers["trees"], files=(good,)))
    database.run(
        "INSERT INTO city.parks (name, geom)"
        " VALUES ('Park', ST_MakeEnvelope(4, 45, 4.1, 45.1, 4326))"
    )


@pytest.fixture(scope="module")
def cities(
    server: DatabaseUrls, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Copies]:
    folder = tmp_path_factory.mktemp("city")
    with copies_of(server, template, lambda database: fill(database, folder)) as copies:
        yield copies


@pytest.fixture
def city(cities: Copies, tmp_path: Path) -> Iterator[City]:
    with cities() as database:
        yield a_city(database, tmp_path)


def geojson(*features: dict[str, Any], **members: Any) -> str:
    return json.dumps({"type": "FeatureCollection", "features": list(features)} | members)


def tree(number: object, x: float, y: float) -> dict[str, Any]:
    return {
        "type": "Feature",
        "properties": {"number": number, "genus": "Acer", "height": 1, "planted": "2020-01-01"},
        "geometry": {"type": "Point", "coordinates": [x, y]},
    }


def zipped(name: str, content: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, content)
    return packed.getvalue()


PAGE = "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body></body></html>"
METRES = geojson(*(tree(n, 842_000.0 + n, 6_519_000.0) for n in range(10)))
LAMBERT = geojson(
    tree(1, 842_000, 6_519_000),
    crs={"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}},
)

CASES: dict[str, tuple[str, str | bytes, dict[str, Any], list[str]]] = {
    # id: (name of the file, its content, what is declared otherwise, words of the message)
    "a missing column": (
        "t.csv", GOOD.replace("genus", "Gattung", 1), {},
        ["t.csv", "genus", "Gattung", "height"],
    ),
    "a missing column, nearly named": (
        "t.csv", GOOD.replace("planted", "plantd", 1), {}, ["t.csv", "planted", "plantd"],
    ),
    "a property that no feature has": (
        "t.geojson", geojson(tree(1, 4.8, 45.2)).replace("genus", "Gattung"), {},
        ["t.geojson", "genus", "Gattung"],
    ),
    "an unknown CRS declared": (
        "t.csv", GOOD, {"source": {"crs": "EPSG:999999"}}, ["EPSG:999999", "EPSG:2154"],
    ),
    "an unknown CRS in the file": (
        "t.geojson",
        geojson(tree(1, 1, 1), crs={"type": "name", "properties": {"name": "EPSG:999999"}}), {},
        ["EPSG:999999", "t.geojson"],
    ),
    "a CRS declared that the file denies": (
        "t.geojson", LAMBERT, {"source": {"crs": "EPSG:25832"}},
        ["EPSG:2154", "EPSG:25832", "source.crs"],
    ),
    "metres in a file that says degrees": (
        "t.geojson", METRES, {}, ["metres", "842000", "source.crs", "EPSG:2154"],
    ),
    "metres in columns of degrees": (
        "t.csv", HEADER + "1,a,,,842000,6519000\n2,b,,,842001,6519000\n", {},
        ["metres", "source.crs"],
    ),
    "a truncated zip": (
        "t.zip", zipped("t.csv", GOOD)[:-60], {}, ["t.zip", "damaged or cut short"],
    ),
    "a zip with damaged content": (
        "t.zip", zipped("t.csv", GOOD)[:60] + bytes(40) + zipped("t.csv", GOOD)[100:], {},
        ["t.zip", "damaged or cut short"],
    ),
    "a truncated gzip": (
        "t.csv.gz", gzip.compress(GOOD.encode())[:-20], {}, ["t.csv.gz", "damaged or cut short"],
    ),
    "an empty zip": ("t.zip", b"PK\x05\x06" + bytes(18), {}, ["t.zip", "empty"]),
    "a web page called GeoJSON": ("t.geojson", PAGE, {}, ["t.geojson", "web page"]),
    "a web page called CSV": ("t.csv", PAGE, {}, ["t.csv", "web page"]),
    "a web page where GeoJSON is declared": (
        "t.geojson", PAGE, {"source": {"format": "geojson"}}, ["t.geojson", "web page"],
    ),
    "GeoJSON cut short": ("t.geojson", geojson(tree(1, 4, 45))[:-40], {}, ["t.geojson", "cut"]),
    "JSON that is no GeoJSON": ("t.json", '{"stations": [1, 2]}', {}, ["t.json", "GeoJSON"]),
    "a duplicate key": (
        "t.csv", GOOD + "3,Acer,1,2020-01-01,4.9,45.2\n", {},
        ["key number", "'3'", "lines 5, 12"],
    ),
    "latitude 91 in most rows": (
        "t.csv", HEADER + "".join(f"{n},a,,,4.8,{91 + n}\n" for n in range(8)) + "9,a,,,4,45\n",
        {}, ["t.csv", "out of range", "y=91"],
    ),
    "latitude and longitude swapped": (
        "t.csv", HEADER + "".join(f"{n},a,,,19.4,-99.{n}\n" for n in range(8)), {}, ["swapped"],
    ),
    "an empty file": ("t.csv", "", {}, ["t.csv", "empty"]),
    "a header and no row": ("t.csv", HEADER, {}, ["t.csv", "holds no rows"]),
    "no features": ("t.geojson", geojson(), {}, ["t.geojson", "no rows"]),
    "another delimiter than declared": (
        "t.csv", GOOD.replace(",", ";"), {"source": {"delimiter": ","}}, ["t.csv", "delimiter"],
    ),
    "a file not in UTF-8, declared as UTF-8": (
        "t.csv", GOOD.replace("Tilia", "Érable").encode("latin-1"),
        {"source": {"encoding": "utf-8"}}, ["t.csv", "utf-8"],
    ),
    "dates of which most leave the day open": (
        "t.csv", GOOD.replace("2020-01-01", "04/05/2020"), {},
        ["planted", "04/05/2020", "format", "%d/%m/%Y"],
    ),
    "a declared place column that is not there": (
        "t.csv", GOOD, {"source": {"geometry": {"longitude": "x", "latitude": "lat"}}},
        ["t.csv", "'x'", "lon"],
    ),
    "no column that holds a place": (
        "t.csv", "number,genus,height,planted\n1,a,1,2020-01-01\n", {},
        ["source.geometry", "longitude and latitude"],
    ),
    "an open quote": ("t.csv", GOOD + '11,"Tilia,1,,4,45\n', {}, ["line 12", "quote"]),
    "a letter": ("t.docx", zipped("[Content_Types].xml", "<x/>"), {}, ["XLSX"]),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "declared", "words"), CASES.values(), ids=list(CASES))
def test_bad_input_gets_a_sentence_and_changes_nothing(
    city: City, name: str, content: str | bytes, declared: dict[str, Any], words: list[str]
) -> None:
    city.declare(TREES | declared)
    before = seen(city)
    refused = city.quartier("ingest", "trees", city.file(name, content))
    assert refused.exit_code == 1, refused.output
    assert refused.stdout == ""
    for word in words:
        assert word in refused.stderr
    assert "Traceback" not in refused.output
    assert seen(city) == before
    assert (
        city.database.run("SELECT tablename FROM pg_tables WHERE schemaname = 'city_stage'") == []
    )


def test_a_refusal_as_json_is_one_object(city: City) -> None:
    refused = city.quartier("ingest", "trees", city.file("t.geojson", PAGE), "--json")
    assert refused.exit_code == 1
    told = json.loads(refused.stdout)
    assert (told["layer"], told["state"]) == ("trees", "refused")
    assert "web page" in told["message"]
    assert "web page" in refused.stderr


def test_a_row_at_latitude_91_is_withheld_and_the_rest_published(city: City) -> None:
    file = city.file("t.csv", GOOD.replace("4.003,45.2", "4.003,91"))
    loaded = city.quartier("ingest", "trees", file, "--json")
    assert loaded.exit_code == 0, loaded.stderr
    counts = json.loads(loaded.stdout)["counts"]
    assert (counts["read"], counts["unchanged"], counts["quarantined"]) == (10, 9, 1)
    withheld = city.database.run(
        "SELECT line, source_key, reason, content->>'lat' FROM quartier.quarantine"
    )
    assert len(withheld) == 1
    line, key, reason, lat = (str(value) for value in tuple(withheld[0]))
    assert (line, key, lat) == ("5", "3", "91")
    assert "latitude" in reason
    assert "91" in reason
    kept = city.database.value("SELECT count(*) FROM city.trees WHERE number = '3'")
    assert kept == 1, "its old version stays"


def test_a_shapefile_without_its_prj_asks_for_source_crs(city: City, shared: Path) -> None:
    before = seen(city)
    city.declare(PARKS | {"columns": [{"name": "name", "from": "ORTNAME", "optional": True}]})
    refused = city.quartier(
        "ingest", "parks", shared / "data" / "broken" / "mapserver_iso-subset.zip"
    )
    assert refused.exit_code == 1
    assert ".prj is missing" in refused.stderr
    assert "source.crs" in refused.stderr
    assert seen(city) == before


def test_a_shape_of_another_type_than_declared_is_named(city: City) -> None:
    before = seen(city)
    point = {
        "type": "Feature", "properties": {"name": "p"},
        "geometry": {"type": "Point", "coordinates": [4, 45]},
    }  # fmt: skip
    refused = city.quartier("ingest", "parks", city.file("p.geojson", geojson(point, point)))
    assert refused.exit_code == 1
    assert "polygon" in refused.stderr
    assert "point" in refused.stderr.lower()
    assert seen(city) == before


def nothing(city: City) -> list[str | Path]:
    return ["ingest", "trees"]


def elsewhere(city: City) -> list[str | Path]:
    return ["ingest", "trees", city.folder / "gone.csv"]


def a_folder(city: City) -> list[str | Path]:
    return ["ingest", "trees", city.folder]


def unknown(city: City) -> list[str | Path]:
    return ["ingest", "tree", city.file("t.csv", GOOD)]


def one_of_two(city: City) -> list[str | Path]:
    return ["ingest", "trees", city.file("t.csv", GOOD), city.folder / "gone.csv"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(nothing, ["trees", "no file given"], id="no file"),
        pytest.param(elsewhere, ["gone.csv", "no such file"], id="a file that is not there"),
        pytest.param(one_of_two, ["gone.csv", "no such file"], id="one of two is not there"),
        pytest.param(a_folder, ["not a file"], id="a folder"),
        pytest.param(unknown, ["'tree'", "did you mean trees?"], id="a layer nobody declared"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(
    city: City, arguments: Callable[[City], list[str | Path]], words: list[str]
) -> None:
    before = seen(city)
    refused = city.quartier(*arguments(city))
    assert refused.exit_code == 1, refused.output
    for word in words:
        assert word in refused.stderr
    assert seen(city) == before


def test_a_database_that_was_never_prepared_says_what_to_run(
    city: City,
) -> None:
    city.database.run("DROP SCHEMA quartier CASCADE", role="owner")
    refused = city.quartier("ingest", "trees", city.file("t.csv", GOOD))
    assert refused.exit_code == 1
    assert "run quartier apply" in refused.stderr


def test_a_database_that_is_not_there_is_a_sentence(city: City) -> None:
    url = "postgresql://someone:secret@127.0.0.1:9/none"
    path = city.file("t.csv", GOOD)
    refused = city.quartier("ingest", "trees", path, QUARTIER_DATABASE_URL=url)
    assert refused.exit_code == 1
    assert "127.0.0.1" in refused.stderr
    assert "secret" not in refused.output


def test_the_report_on_the_terminal_adds_up(city: City) -> None:
    file = city.file("t.csv", GOOD.replace("4.003,45.2", "4.003,91") + "11,a,tall,,4,45\n")
    loaded = city.quartier("ingest", "trees", file)
    assert loaded.exit_code == 0, loaded.output
    told = dict(line.strip().rsplit(None, 1) for line in loaded.stdout.splitlines() if "  " in line)
    figures = {name.strip(): value for name, value in told.items()}
    assert figures["rows read"] == figures["accounted for"] == "11"
    assert figures["quarantined"] == "1"
    assert figures["cells that could not be read"] == "1"
