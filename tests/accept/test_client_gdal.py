"""GDAL reads the sample city: Debian's programs (3.6) and the library in pyogrio (3.12)."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import mercantile
import pyproj
import pytest

from tests.accept.house import Table
from tests.accept.recorder import Recorder
from tests.accept.tools import fetch, program, said, told

pytestmark = pytest.mark.db

BOX = (4.84, 45.20, 4.85, 45.21)
TREE_TYPES = {
    "id": "object", "genus": "object", "species": "object", "common_name": "object",
    "height_m": "float64", "girth_cm": "int32", "planted_on": "datetime64[D]",
    "remarkable": "bool", "situation": "object", "address": "object", "district": "object",
}  # fmt: skip
FILTERS = [  # as OGR SQL has it, and as CQL2 has it
    ("genus = 'Tilia' AND height_m > 20", "genus = 'Tilia' AND height_m > 20"),
    ("genus <> 'Tilia' AND girth_cm <= 15", "genus <> 'Tilia' AND girth_cm <= 15"),
    ("common_name LIKE 'Tilleul%'", "common_name LIKE 'Tilleul%'"),
    ("common_name ILIKE '%ARGENT%'", "CASEI(common_name) LIKE CASEI('%ARGENT%')"),
    ("height_m IS NULL", "height_m IS NULL"),
    ("NOT (genus = 'Acer') AND height_m < 5", "NOT (genus = 'Acer') AND height_m < 5"),
    ("planted_on >= '2020/01/01'", "planted_on >= DATE('2020-01-01')"),
    ("planted_on = '2020/03/02'", "planted_on = DATE('2020-03-02')"),
]  # fmt: skip


def matched(url: str, layer: str, **asked: str) -> int:
    page = fetch(f"{url}/collections/{layer}/items", limit="1", **asked)
    count: int = page["numberMatched"]
    return count


def by_debian(url: str, layer: str, *options: str) -> Any:
    """A layer as GeoJSON, as Debian's ogr2ogr wrote it."""
    ogr2ogr = program("ogr2ogr", "gdal-bin")
    written = said(
        ogr2ogr, "-f", "GeoJSON", "/vsistdout/", f"OAPIF:{url}", layer,
        "-oo", "PAGE_SIZE=1000", "-preserve_fid", *options,
    )  # fmt: skip
    return json.loads(written)["features"]


def by_library(url: str, layer: str, **options: Any) -> Any:
    return told("gdal_walk.py", f"OAPIF:{url}", layer, json.dumps(options))


def debians_version() -> str:
    return f"GDAL {said(program('ogrinfo', 'gdal-bin'), '--version').split()[1].rstrip(',')}"


def ours(found: Any) -> str:
    return f"GDAL {found['version']}"


def test_gdal_lists_every_layer_with_its_kind_of_geometry(
    recorder: Recorder, clients: Table
) -> None:
    listed = said(program("ogrinfo", "gdal-bin"), f"OAPIF:{recorder.url}")
    names = re.findall(r"^\d+: (\w+)", listed, re.M)
    every = [each["id"] for each in fetch(f"{recorder.url}/collections")["collections"]]
    assert names == every == told("gdal_walk.py", f"OAPIF:{recorder.url}", "", "{}")
    assert recorder.refused() == []
    clients.add(debians_version(), "lists layers", len(names), len(recorder.asked))


def test_gdal_knows_the_count_the_extent_and_the_types(recorder: Recorder, clients: Table) -> None:
    shown = said(program("ogrinfo", "gdal-bin"), "-so", f"OAPIF:{recorder.url}", "trees")
    assert "Feature Count: 30000" in shown
    assert "Extent: (4.766056, 45.152364) - (4.933917, 45.249449)" in shown
    for line in ("height_m: Real", "girth_cm: Integer", "planted_on: Date",
                 "remarkable: Integer(Boolean)", "genus: String"):  # fmt: skip
        assert line in shown
    clients.add(debians_version(), "count, extent, types", "30 000", len(recorder.asked))


def test_gdal_pages_through_a_whole_layer_and_meets_each_feature_once(
    recorder: Recorder, clients: Table
) -> None:
    found = by_library(recorder.url, "trees")
    asked = [each for each in recorder.of("/collections/trees/items") if each.status == 200]
    assert (found["count"], found["matched"], len(found["fids"])) == (30_000, 30_000, 30_000)
    assert found["fields"] == TREE_TYPES
    assert max(int(each.said("limit")) for each in asked) == 1_000
    assert recorder.refused() == []
    clients.add(ours(found), "a whole layer, in pages", found["count"], len(recorder.asked))
    features = by_debian(recorder.url, "streets")
    assert len({each["id"] for each in features}) == len(features) == 2_610


@pytest.mark.parametrize("read", ["debian", "library"])
def test_gdal_lets_the_server_look_for_a_box(recorder: Recorder, clients: Table, read: str) -> None:
    expected = matched(recorder.url, "trees", bbox=",".join(map(str, BOX)))
    recorder.since_now()
    if read == "debian":
        count = len(by_debian(recorder.url, "trees", "-spat", *map(str, BOX)))
        version = debians_version()
    else:
        found = by_library(recorder.url, "trees", bbox=BOX)
        count, version = found["count"], ours(found)
    assert count == expected == 144
    assert [each for each in recorder.asked if "bbox" in each.parameters]
    assert recorder.refused() == []
    clients.add(version, "-spat, on the server", count, len(recorder.asked))


@pytest.mark.parametrize(("where", "cql2"), FILTERS)
@pytest.mark.parametrize("read", ["debian", "library"])
def test_gdal_lets_the_server_filter(
    recorder: Recorder, clients: Table, read: str, where: str, cql2: str
) -> None:
    expected = matched(recorder.url, "trees", filter=cql2)
    recorder.since_now()
    if read == "debian":
        count = len(by_debian(recorder.url, "trees", "-where", where))
        version = debians_version()
    else:
        found = by_library(recorder.url, "trees", where=where)
        count, version = found["count"], ours(found)
    asked = [each for each in recorder.asked if "filter" in each.parameters]
    assert count == expected > 0
    assert {each.said("filter-lang") for each in asked} == {"cql-text"}
    assert recorder.refused() == []
    clients.add(version, f"-where {where}", count, len(recorder.asked))


def test_gdal_lets_the_server_look_for_a_time(recorder: Recorder, clients: Table) -> None:
    span = "2026-10-01/2026-10-07"
    found = by_library(recorder.url, "crimes", DATETIME=span)
    assert found["count"] == matched(recorder.url, "crimes", datetime=span) > 0
    assert any(each.said("datetime") == span for each in recorder.asked)
    clients.add(ours(found), "-oo DATETIME", found["count"], len(recorder.asked))


@pytest.mark.parametrize("code", [2154, 3857, 25831, 4258])
def test_gdal_is_given_other_systems_in_the_order_of_their_axes(
    recorder: Recorder, clients: Table, code: int
) -> None:
    plain = by_library(recorder.url, "districts")
    found = by_library(recorder.url, "districts", CRS=f"EPSG:{code}")
    carried = pyproj.Transformer.from_crs(4326, code, always_xy=True)
    tolerance = 1e-6 if code == 4258 else 0.01
    expected = carried.transform_bounds(*plain["bounds"])
    uri = f"http://www.opengis.net/def/crs/EPSG/0/{code}"
    assert any(each.said("crs") == uri for each in recorder.asked)
    if code == 4258:
        assert found["bounds"] == pytest.approx(expected, abs=tolerance)
    else:  # the corners of a box in degrees lie further out than what is in it
        west, south, east, north = found["bounds"]
        assert expected[0] - 2 < west < east < expected[2] + 2
        assert expected[1] - 2 < south < north < expected[3] + 2
        assert (east - west) > 0.9 * (expected[2] - expected[0])
    assert recorder.refused() == []
    clients.add(ours(found), f"-oo CRS=EPSG:{code}", found["count"], len(recorder.asked))


def test_gdal_reads_what_has_no_places(recorder: Recorder, clients: Table) -> None:
    shown = said(
        program("ogrinfo", "gdal-bin"), "-so", "-oo", "PAGE_SIZE=10000",
        f"OAPIF:{recorder.url}", "hotline_calls",
    )  # fmt: skip
    assert "Feature Count: 70080" in shown
    assert "calls: Integer" in shown
    clients.add(debians_version(), "a plain table", "70 080", len(recorder.asked))


# Tiles -------------------------------------------------------------------------------------------


def test_gdal_reads_the_tiles_of_a_collection_as_ogc_api_tiles(
    recorder: Recorder, clients: Table
) -> None:
    west, south = mercantile.xy(4.75, 45.14)
    east, north = mercantile.xy(4.95, 45.26)
    options = {
        "API": "TILES", "VECTOR_FORMAT": "MVT", "TILEMATRIXSET": "WebMercatorQuad",
        "MINX": f"{west}", "MINY": f"{south}", "MAXX": f"{east}", "MAXY": f"{north}",
    }  # fmt: skip
    source = f"OGCAPI:{recorder.url}/collections/trees"
    found = told("gdal_walk.py", source, "Zoom level 14", json.dumps(options))
    tiles = [each for each in recorder.asked if "/tiles/WebMercatorQuad/14/" in each.path]
    assert found["count"] >= 30_000  # a tree at an edge is in two tiles
    assert {each.status for each in tiles} <= {200, 204}
    clients.add(ours(found), "OGC API – Tiles", found["count"], len(recorder.asked))


def test_gdal_reads_a_folder_of_tiles_at_its_address(
    recorder: Recorder, clients: Table, tmp_path: Path
) -> None:
    written = tmp_path / "districts.geojson"
    said(
        program("ogr2ogr", "gdal-bin"), written, f"MVT:{recorder.url}/tiles/districts/11",
        "-oo", "TILE_EXTENSION=mvt", "-oo", f"METADATA_FILE={recorder.url}/tiles/districts.json",
    )  # fmt: skip
    names = Counter(
        each["properties"]["name"] for each in json.loads(written.read_text())["features"]
    )
    assert len(names) == 24
    clients.add(debians_version(), "a folder of MVT", len(names), len(recorder.asked))


def test_gdal_reads_one_tile_in_its_place(recorder: Recorder, clients: Table) -> None:
    at = mercantile.tile(4.845, 45.205, 12)
    shown = said(
        program("ogrinfo", "gdal-bin"), "-so", "-al",
        f"MVT:{recorder.url}/tiles/districts/12/{at.x}/{at.y}.mvt",
    )  # fmt: skip
    count = re.search(r"Feature Count: (\d+)", shown)
    assert count is not None
    assert int(count[1]) > 0
    assert "population: Integer" in shown
    clients.add(debians_version(), "one tile of MVT", int(count[1]), len(recorder.asked))
