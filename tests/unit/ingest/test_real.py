from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
import shapely

from ingest.errors import SourceRefused
from ingest.read import read
from layers.model import Layer
from tests.unit.ingest.making import layer_of, take

DATA = Path(__file__).parents[4] / "shared" / "data"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason="no real city data beside the checkout"),
]
BROKEN = sorted(path for path in (DATA / "broken").rglob("*") if path.is_file())
CRIMES = layer_of(
    {"name": "year", "type": "integer", "from": "anio_hecho"},
    {"name": "day", "type": "date", "from": "fecha_hecho"},
    {"name": "clock", "type": "time", "from": "hora_hecho"},
    {"name": "offence", "from": "delito"},
    geometry="point",
    time_zone="America/Mexico_City",
)
DATED: dict[str, Any] = {"type": "date"}


def test_mexican_crimes_are_read_in_bounded_batches() -> None:
    reading = read(CRIMES, [DATA / "mexico-city/cdmx_fgj_carpetas_2019_2025.csv.gz"])
    with reading:
        batches = list(itertools.islice(reading, 3))
    assert [batch.read for batch in batches] == [65_536] * 3
    for batch in batches:
        assert not batch.refusals
        assert batch.rows["geom"].null_count == 0
        assert batch.rows["clock"].null_count < 100
    assert batches[2].rows["line"][-1].as_py() == 3 * 65_536 + 1


def test_paris_roadworks_of_a_table() -> None:
    layer = layer_of(
        {"name": "reference", "from": "Référence Chantier"},
        {"name": "start", **DATED, "from": "Date début du chantier"},
        {"name": "surface", "type": "number", "from": "Surface (m2)"},
        geometry="polygon",
        key="reference",
    )
    taken = take(layer, DATA / "paris/chantiers-a-paris.csv")
    assert (taken.read, len(taken.rows), taken.refusals) == (4710, 4710, [])
    assert taken.rows[0]["source_key"] == "EC479740"
    assert "geo_point_2d" in taken.facts[0].ignored


def test_paris_roadworks_of_a_collection() -> None:
    layer = layer_of(
        "objet",
        {"name": "identifiant_ctv"},
        {"name": "date_debut", **DATED},
        geometry="polygon",
    )
    taken = take(layer, DATA / "paris/chantiers-perturbants.geojson")
    assert (taken.read, len(taken.rows)) == (1136, 1136)
    assert sum(value is not None for value in taken.column("identifiant_ctv")) == 1
    assert taken.notes["without_place"] == 1


def test_vancouver_trees_of_many_tables() -> None:
    layer = layer_of(
        {"name": "tree_id", "from": "TREE_ID"},
        {"name": "planted", **DATED, "from": "DATE_PLANTED"},
        {"name": "cultivar", "from": "CULTIVAR_NAME"},
        geometry="point",
        key="tree_id",
    )
    reading = read(layer, [DATA / "vancouver/csv_street_trees_2018-11.zip"])
    batches = list(reading)
    assert sum(batch.read for batch in batches) == 144_815
    assert sum(batch.rows["geom"].null_count for batch in batches) == 20_922
    assert not any(pc.any(pc.equal(batch.rows["cultivar"], " ")).as_py() for batch in batches)
    assert len(reading.facts) == 22


def test_new_york_boroughs_in_feet() -> None:
    layer = layer_of({"name": "borough", "from": "BoroName"}, geometry="polygon")
    taken = take(layer, DATA / "nyc/nybb_16a.zip")
    assert taken.facts[0].crs == "EPSG:2263"
    shapes = shapely.from_wkb([row["geom"] for row in taken.rows])
    west, south, east, north = shapely.total_bounds(shapes)
    assert (west, east) == (pytest.approx(-74.26, abs=0.01), pytest.approx(-73.70, abs=0.01))
    assert (south, north) == (pytest.approx(40.50, abs=0.01), pytest.approx(40.92, abs=0.01))


def test_chambery_lines_of_many_files_are_one_mixed_layer() -> None:
    layer = layer_of(
        {"name": "status"},
        {"name": "done", "from": "doneAt", **DATED, "format": "%d/%m/%Y"},
        geometry="mixed",
    )
    taken = take(layer, *sorted((DATA / "chambery").glob("rev-ligne-*.json")))
    assert (taken.read, len(taken.rows), taken.withheld) == (117, 117, [])
    assert taken.column("row") == list(range(1, 118))
    kinds = {shapely.from_wkb(row["geom"]).geom_type for row in taken.rows}
    assert kinds == {"Point", "LineString"}


def test_mexican_boroughs_without_cpg() -> None:
    taken = take(layer_of(geometry="polygon"), DATA / "mexico-city/alcaldias.zip")
    assert (taken.read, taken.facts[0].encoding) == (16, "utf-8")


def test_shapes_without_dbf() -> None:
    taken = take(layer_of(geometry="point"), DATA / "mexico-city/datoscrimen_no_dbf.zip")
    assert (taken.read, taken.notes["without_place"]) == (22_959, 804)


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.name)
def test_a_broken_file_is_accounted_for_or_refused_with_a_sentence(path: Path) -> None:
    crs = {"source": {"crs": "EPSG:31467"}} if "subset" in path.name else {}
    layer: Layer = layer_of(geometry="mixed", **crs)
    said = ""
    try:
        taken = take(layer, path)
    except SourceRefused as refused:
        said = str(refused)
    if said:
        assert said.startswith(path.name)
        assert len(said) > len(path.name) + 15
    else:
        assert taken.read == len(taken.rows) + len(taken.withheld)
