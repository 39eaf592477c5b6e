"""One fixture a format: what the field publishes besides CSV, GeoJSON and shapefiles."""

from __future__ import annotations

import datetime as dt
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio.raw
import pytest
import shapely
from pyproj import CRS

from ingest.errors import SourceRefused
from ingest.sources import parquet, workbook
from tests.unit.ingest.making import Folder, Taken, layer_of, take

NAMED = layer_of("name", geometry="mixed")
TREES = layer_of(
    "name",
    {"name": "height", "type": "number"},
    {"name": "planted", "type": "date"},
    geometry="point",
)
POINTS = ["POINT (2 48)", "POINT (3 49)"]


def mixed(*columns: str | Mapping[str, object], **source: object) -> Any:
    return layer_of(*columns, geometry="mixed", source=source)


# Workbooks ----------------------------------------------------------------------------------------


def book(folder: Folder, *rows: list[object], title: str = "Arbres", **more: list[Any]) -> Path:
    """A workbook of one sheet, and others by their names."""
    made = openpyxl.Workbook()
    sheet = made.active
    assert sheet is not None
    sheet.title = title
    for row in rows:
        sheet.append(row)
    for name, others in more.items():
        another = made.create_sheet(name)
        for row in others:
            another.append(row)
    out = io.BytesIO()
    made.save(out)
    return folder.data(out.getvalue(), "trees.xlsx")


HEADER: list[object] = ["Name", "Height", "Planted", "lon", "lat"]


def test_q52_a_workbook_is_read_as_a_table_with_the_numbers_of_its_rows(folder: Folder) -> None:
    path = book(
        folder,
        HEADER,
        ["Tilia", 12, dt.date(2020, 3, 1), 2, 48],
        [],
        ["Ulmus", 7.5, dt.datetime(2021, 5, 6, 12, 30), 3, 49],
    )
    taken = take(TREES, path, batch_rows=1)
    assert taken.shapes == POINTS
    assert taken.column("height") == [12, 7.5]
    assert taken.column("planted") == [dt.date(2020, 3, 1), dt.date(2021, 5, 6)]
    assert taken.column("line") == [2, 4]
    assert (taken.facts[0].format, taken.notes["sheet"]) == ("xlsx", "Arbres")


def test_titles_above_the_header_of_a_workbook_are_passed_over(folder: Folder) -> None:
    path = book(folder, ["Arbres de la ville"], ["Édition", 2026], [], HEADER,
                ["Tilia", 12, None, 2, 48])  # fmt: skip
    taken = take(TREES, path)
    assert (taken.column("name"), taken.notes["header_row"]) == (["Tilia"], 4)
    declared = layer_of("name", geometry="none", source={"header": 1})
    with pytest.raises(SourceRefused, match=r"no column for 'name'"):
        take(declared, path)


def test_errors_and_wide_rows_of_a_workbook_are_told(folder: Folder) -> None:
    path = book(folder, HEADER, ["#N/A", 1, None, 2, 48], ["Tilia", "x", None, 2, 48],
                ["Ulmus", 1, None, 3, 49, "beyond"])  # fmt: skip
    taken = take(TREES, path)
    assert taken.column("name") == [None, "Tilia"]
    assert [refusal.reason for refusal in taken.refusals] == [
        "height: 'x' is not a number such as 48.85",
        "the row has 6 cells where the header has 5",
    ]
    assert taken.refusals[1].line == 4


def test_the_sheet_is_declared_where_a_workbook_has_several(folder: Folder) -> None:
    path = book(folder, ["name"], ["a"], Deux=[["name"], ["b"]], Vide=[])
    with pytest.raises(SourceRefused, match=r"several sheets; .* one of: Arbres, Deux"):
        take(layer_of("name"), path)
    assert take(layer_of("name", source={"sublayer": "Deux"}), path).column("name") == ["b"]
    with pytest.raises(SourceRefused, match=r"no sheet 'Trois'"):
        take(layer_of("name", source={"sublayer": "Trois"}), path)


def test_what_is_no_workbook_is_refused_by_its_name(folder: Folder) -> None:
    types = {"[Content_Types].xml": b"<x/>"}
    with pytest.raises(SourceRefused, match=r"Office document and no workbook"):
        take(NAMED, folder.zip({**types, "word/document.xml": b""}, "a.docx"))
    with pytest.raises(SourceRefused, match=r"damaged or not what it seems"):
        take(NAMED, folder.zip({**types, "xl/workbook.xml": b"<no"}, "a.xlsx"))
    with pytest.raises(SourceRefused, match=r"OpenDocument file; save it as XLSX"):
        take(NAMED, folder.zip({"mimetype": b"x", "content.xml": b""}, "a.ods"))


def test_texts_of_a_workbook_are_bounded(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_SHARED_BYTES", 10)
    path = book(folder, ["name"], ["a"])
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("xl/sharedStrings.xml", "<sst/>" * 10)
    with pytest.raises(SourceRefused, match=r"MB of texts; save it as CSV"):
        take(layer_of("name"), path)


def test_entities_of_a_workbook_do_not_swell(folder: Folder) -> None:
    lol = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE x [<!ENTITY l0 "lol">{lol}]><workbook>&l9;</workbook>'.encode()
    with pytest.raises(SourceRefused, match=r"damaged or not what it seems"):
        take(NAMED, folder.zip({"[Content_Types].xml": bomb, "xl/workbook.xml": bomb}, "a.xlsx"))


# Parquet ------------------------------------------------------------------------------------------


def parquet_file(folder: Folder, table: pa.Table, geo: object = None) -> Path:
    if geo is not None:
        table = table.replace_schema_metadata({"geo": json.dumps(geo)})
    path = folder.path / "things.parquet"
    pq.write_table(table, path)
    return path


def geo_of(**column: object) -> dict[str, object]:
    said = {"encoding": "WKB", "geometry_types": [], **column}
    return {"version": "1.1.0", "primary_column": "place", "columns": {"place": said}}


def wkb(*wkt: str | None) -> pa.Array:
    return pa.array(shapely.to_wkb(shapely.from_wkt(np.array(wkt, dtype=object))), pa.binary())


def test_q52_geoparquet_is_read_by_its_metadata(folder: Folder) -> None:
    table = pa.table({"name": ["a", "b", None], "place": wkb(*POINTS, None)})
    taken = take(NAMED, parquet_file(folder, table, geo_of()), batch_rows=2)
    assert (taken.shapes, taken.column("name")) == ([*POINTS, None], ["a", "b", None])
    assert taken.column("line") == [1, 2, 3]
    assert (taken.facts[0].format, taken.facts[0].crs) == ("parquet", "EPSG:4326")


def test_geoparquet_in_another_crs_becomes_degrees(folder: Folder) -> None:
    crs = pyproj_json(2154)
    table = pa.table({"name": ["a"], "place": wkb("POINT (700000 6600000)")})
    taken = take(NAMED, parquet_file(folder, table, geo_of(crs=crs)))
    assert rounded(taken) == ["POINT (3 46.5)"]
    assert taken.facts[0].crs == "EPSG:2154"


def rounded(taken: Taken) -> list[str]:
    shapes = shapely.set_precision(shapely.from_wkt(np.array(taken.shapes)), 1e-9)
    return [str(shape) for shape in shapes]


def pyproj_json(code: int) -> dict[str, Any]:
    found: dict[str, Any] = CRS.from_epsg(code).to_json_dict()
    return found


@pytest.mark.parametrize("wkt", ["POINT (2 48)", "LINESTRING (2 48, 3 49)",
                                 "POLYGON ((2 48, 3 48, 3 49, 2 48))",
                                 "MULTIPOLYGON (((2 48, 3 48, 3 49, 2 48)))"])  # fmt: skip
def test_coordinates_in_lists_are_read_like_wkb(folder: Folder, wkt: str) -> None:
    shape = shapely.from_wkt(wkt)
    kind, coordinates, offsets = shapely.to_ragged_array([shape])
    values: pa.Array = pa.StructArray.from_arrays(list(map(pa.array, coordinates.T)), ["x", "y"])
    for each in offsets:
        values = pa.ListArray.from_arrays(pa.array(each, pa.int32()), values)
    table = pa.table({"name": ["a"], "place": values})
    geo = geo_of(encoding=kind.name.lower())
    assert take(NAMED, parquet_file(folder, table, geo)).shapes == [wkt]


def test_arrow_types_name_a_place_without_metadata(folder: Folder) -> None:
    meta = {
        "ARROW:extension:name": "geoarrow.wkb",
        "ARROW:extension:metadata": json.dumps({"crs": pyproj_json(2154)}),
    }
    schema = pa.schema([pa.field("name", pa.string()), pa.field("p", pa.binary(), metadata=meta)])
    table = pa.table([pa.array(["a"]), wkb("POINT (700000 6600000)")], schema=schema)
    assert rounded(take(NAMED, parquet_file(folder, table))) == ["POINT (3 46.5)"]


def test_q52_plain_parquet_is_located_by_its_columns(folder: Folder) -> None:
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    layer = layer_of(
        "name",
        {"name": "at", "type": "datetime"},
        {"name": "local", "type": "datetime"},
        {"name": "tags", "type": "json"},
        {"name": "amount", "type": "number"},
        geometry="point",
        time_zone="Europe/Paris",
    )
    table = pa.table({
        "name": pa.array([b"caf\xc3\xa9", b"\xff"], pa.binary()),
        "at": pa.array([moment, None], pa.timestamp("ns", "America/New_York")),
        "local": pa.array([moment.replace(tzinfo=None)] * 2, pa.timestamp("ms")),
        "tags": pa.array([{"a": 1}, None]),
        "amount": pa.array(["1", "2"]).cast(pa.decimal128(5, 2)),
        "longitude": pa.array([2.0, float("nan")]),
        "latitude": pa.array([48.0, 1.0], pa.float32()),
    })  # fmt: skip
    taken = take(layer, parquet_file(folder, table))
    assert taken.refusals == []
    assert taken.shapes == ["POINT (2 48)", None]
    assert taken.column("name") == ["café", "ff"]
    assert taken.column("at") == [moment, None]
    assert taken.column("local")[0] == moment - dt.timedelta(hours=1)
    assert taken.column("tags") == ['{"a":1}', None]
    assert taken.column("amount") == [1, 2]


def test_parquet_without_a_place_is_refused_for_a_layer_that_draws(folder: Folder) -> None:
    with pytest.raises(SourceRefused, match=r"no column that holds the place"):
        take(NAMED, parquet_file(folder, pa.table({"name": ["a"]})))


def test_a_damaged_or_swelling_parquet_is_refused(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet_file(folder, pa.table({"name": ["a"] * 1000}))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceRefused, match=r"damaged or not what it seems"):
        take(layer_of("name"), path)
    path = parquet_file(folder, pa.table({"name": ["a"] * 1000}))
    monkeypatch.setattr(parquet, "MAX_GROUP_BYTES", 10)
    with pytest.raises(SourceRefused, match=r"row groups of at most"):
        take(layer_of("name"), path)
    monkeypatch.setattr(parquet, "MAX_BYTES", 10)
    with pytest.raises(SourceRefused, match=r"a bomb\?"):
        take(layer_of("name"), path)


# GDAL ---------------------------------------------------------------------------------------------


def write(path: Path, *wkt: str, crs: str | None = "EPSG:4326", kind: str = "Unknown") -> Path:
    shapes = shapely.to_wkb(shapely.from_wkt(np.array(wkt, dtype=object)))
    names = np.array([f"n{number}" for number in range(len(wkt))], dtype=object)
    pyogrio.raw.write(path, shapes, [names], np.array(["name"], dtype=object),
                      geometry_type=kind, crs=crs)  # fmt: skip
    return path


def test_q52_flatgeobuf_is_read(folder: Folder) -> None:
    path = write(folder.path / "a.fgb", *POINTS, "LINESTRING (1 1, 2 2)")
    taken = take(NAMED, path)
    assert sorted(taken.column("name")) == ["n0", "n1", "n2"]
    assert sorted(taken.shapes, key=str) == ["LINESTRING (1 1, 2 2)", *POINTS]
    assert taken.facts[0].format == "flatgeobuf"


KML = """<?xml version="1.0" encoding="UTF-8"?><kml xmlns="http://www.opengis.net/kml/2.2">
<Document><name>Ways</name>
<Placemark><name>a</name><description><![CDATA[<b>x</b>]]></description>
<ExtendedData><Data name="surface"><value>paved</value></Data></ExtendedData>
<MultiGeometry><LineString><coordinates>1,1,0 2,2,0</coordinates></LineString>
<LineString><coordinates>3,3,0 4,4,0</coordinates></LineString></MultiGeometry></Placemark>
<Placemark><name>b</name><Point><coordinates>2,48,0</coordinates></Point></Placemark>
</Document></kml>"""


def test_q52_kml_and_kmz_are_read_with_their_extended_data(folder: Folder) -> None:
    layer = mixed("name", "surface", "description")
    zipped = folder.zip({"doc.kml": KML.encode(), "files/icon.png": b"\x89PNG"}, "a.kmz")
    for path in (folder.text(KML, "a.kml"), zipped):
        taken = take(layer, path)
        assert taken.column("name") == ["a", "b"]
        assert taken.column("surface") == ["paved", None]
        assert taken.column("description")[0] == "<b>x</b>"
        assert taken.shapes[0] == "MULTILINESTRING ((1 1, 2 2), (3 3, 4 4))"


def test_entities_of_kml_do_not_swell(folder: Folder) -> None:
    lol = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE kml [<!ENTITY l0 "lol">{lol}]>' + KML.split("?>")[1].replace(">a<", ">&l9;<")
    with pytest.raises(SourceRefused, match=r"damaged or not what it seems"):
        take(mixed("name"), folder.text(bomb, "a.kml"))


GPX = """<?xml version="1.0"?><gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1">
{waypoint}<trk><name>way</name><trkseg><trkpt lat="48" lon="2"><ele>30</ele></trkpt>
<trkpt lat="49" lon="3"/></trkseg></trk></gpx>"""
WAYPOINT = '<wpt lat="48" lon="2"><name>tap</name></wpt>'


def test_q52_a_gpx_file_gives_the_layer_that_it_holds_or_that_fits(folder: Folder) -> None:
    track = folder.text(GPX.format(waypoint=""), "a.gpx")
    both = folder.text(GPX.format(waypoint=WAYPOINT), "b.gpx")
    way = "MULTILINESTRING ((2 48, 3 49))"
    assert take(NAMED, track).shapes == [way]
    assert take(layer_of("name", geometry="line"), both).shapes == [way]
    assert take(layer_of("name", geometry="point"), both).column("name") == ["tap"]
    with pytest.raises(SourceRefused, match=r"several layers; .* one of: waypoints, tracks"):
        take(NAMED, both)


OSM = """<osm version="0.6"><node id="1" lat="48" lon="2"><tag k="amenity" v="bench"/>
<tag k="seats:count" v="3"/><tag k="colour" v="red"/></node>
<node id="2" lat="48" lon="2.1"/><node id="3" lat="48.1" lon="2.1"/>
<way id="9"><nd ref="1"/><nd ref="2"/><tag k="highway" v="cycleway"/></way>
<way id="10"><nd ref="1"/><nd ref="2"/><nd ref="3"/><nd ref="1"/><tag k="building" v="yes"/></way>
</osm>"""


def test_q52_openstreetmap_makes_a_column_of_every_tag_that_is_declared(folder: Folder) -> None:
    path = folder.text(OSM, "a.osm")
    seats = {"name": "seats", "from": "seats:count", "type": "integer"}
    benches = layer_of("osm_id", "amenity", seats, "other_tags", geometry="point")
    [bench] = take(benches, path).rows
    assert (bench["osm_id"], bench["amenity"], bench["seats"]) == ("1", "bench", 3)
    assert bench["other_tags"] == '"colour"=>"red"'
    ways = take(layer_of("highway", geometry="line"), path)
    assert (ways.column("highway"), ways.shapes) == (["cycleway"], ["LINESTRING (2 48, 2.1 48)"])
    assert take(layer_of("building", geometry="polygon"), path).column("building") == ["yes"]


# JSON ---------------------------------------------------------------------------------------------

ESRI: dict[str, Any] = {
    "objectIdFieldName": "OBJECTID",
    "geometryType": "esriGeometryPolygon",
    "spatialReference": {"wkid": 102100, "latestWkid": 3857},
    "fields": [
        {"name": "OBJECTID", "type": "esriFieldTypeOID"},
        {"name": "opened", "type": "esriFieldTypeDate"},
        {
            "name": "kind", "type": "esriFieldTypeString",
            "domain": {"type": "codedValue", "codedValues": [{"name": "Bus lane", "code": "70"}]},
        },
    ],
    "features": [
        {
            "attributes": {"OBJECTID": 1, "opened": 1767225600000, "kind": "70"},
            "geometry": {"rings": [
                [[0, 0], [0, 100], [100, 100], [100, 0], [0, 0]],
                [[20, 20], [40, 20], [40, 40], [20, 20]],
                [[200, 0], [200, 100], [300, 100], [200, 0]],
            ]},
        },
        {"attributes": {"OBJECTID": 2, "opened": None, "kind": "99"}, "geometry": None},
    ],
}  # fmt: skip


def esri(folder: Folder, **more: object) -> Taken:
    layer = layer_of({"name": "id", "from": "OBJECTID"}, "kind", "kind_code",
                     {"name": "opened", "type": "datetime"}, geometry="mixed")  # fmt: skip
    return take(layer, folder.json({**ESRI, **more}, "query.json"))


def test_esri_json_is_decoded_and_keeps_its_codes(folder: Folder) -> None:
    taken = esri(folder)
    assert taken.column("kind") == ["Bus lane", "99"]
    assert taken.column("kind_code") == ["70", "99"]
    assert taken.column("opened") == [dt.datetime(2026, 1, 1, tzinfo=dt.UTC), None]
    shape = shapely.from_wkb(taken.rows[0]["geom"])
    assert (shape.geom_type, len(shape.geoms)) == ("MultiPolygon", 2)
    assert sorted(len(part.interiors) for part in shape.geoms) == [0, 1]
    assert taken.facts[0].format == "esrijson"
    assert "incomplete" not in taken.notes


def test_esri_json_that_was_cut_by_its_server_says_so(folder: Folder) -> None:
    assert esri(folder, exceededTransferLimit=True).notes["incomplete"] == "exceededTransferLimit"


@pytest.mark.parametrize(
    ("geometry", "wkt"),
    [
        ({"x": 2, "y": 48}, "POINT (2 48)"),
        ({"x": "NaN", "y": "NaN"}, None),
        ({"points": [[2, 48], [3, 49]]}, "MULTIPOINT ((2 48), (3 49))"),
        ({"paths": [[[2, 48], [3, 49]]]}, "MULTILINESTRING ((2 48, 3 49))"),
        ({"hasM": True, "paths": [[[2, 48, 7], [3, 49, 9]]]}, "MULTILINESTRING ((2 48, 3 49))"),
        ({"rings": []}, None),
    ],
)
def test_every_esri_geometry_is_read(folder: Folder, geometry: object, wkt: str | None) -> None:
    features = [{"attributes": {"name": "a"}, "geometry": geometry}]
    taken = take(NAMED, folder.json({"features": features}))
    assert taken.shapes == [wkt]


def test_an_esri_curve_is_withheld(folder: Folder) -> None:
    curve = {"attributes": {"name": "a"}, "geometry": {"curveRings": [[]]}}
    taken = take(NAMED, folder.json({"features": [curve]}))
    assert [refusal.column for refusal in taken.refusals] == [None]


def test_plain_objects_are_rows(folder: Folder) -> None:
    layer = layer_of("name", {"name": "size", "type": "integer"}, geometry="point")
    rows = [{"name": "a", "size": "3", "lon": 2, "lat": 48}, {"name": "b", "lon": "3", "lat": "49"}]
    lines = "\n".join(map(json.dumps, rows))
    for path in (folder.json(rows, "a.json"), folder.text(lines, "a.jsonl")):
        taken = take(layer, path)
        assert (taken.column("size"), taken.shapes) == ([3, None], POINTS)
        assert taken.facts[0].format == "json"


def test_one_plain_object_is_a_row_where_that_is_declared(folder: Folder) -> None:
    path = folder.json({"name": "a", "location": {"latitude": "48", "longitude": "2"}})
    with pytest.raises(SourceRefused, match=r"JSON but not GeoJSON; .*format: json"):
        take(NAMED, path)
    layer = mixed("name", format="json", geometry={"column": "location"})
    assert take(layer, path).shapes == ["POINT (2 48)"]


def test_json_that_is_nested_without_end_is_refused(folder: Folder) -> None:
    deep = '{"type":"Feature","properties":{"a":' + "[" * 100_000 + "]" * 100_000 + "}}"
    with pytest.raises(SourceRefused, match=r"depth limit exceeded"):
        take(NAMED, folder.text(deep, "a.geojson"))


def test_json_with_thousands_of_keys_is_refused(folder: Folder) -> None:
    wide = [{f"key{number}": 1 for number in range(2_001)}]
    with pytest.raises(SourceRefused, match=r"2001 keys; at most 2000"):
        take(layer_of("key1"), folder.json(wide))


def gbfs(folder: Folder, name: str, kind: str, *records: object, **more: object) -> Path:
    return folder.json({"last_updated": 5, "ttl": 5, **more, "data": {kind: list(records)}}, name)


def test_q54_gbfs_stations_are_read_alike_in_every_version(folder: Folder) -> None:
    layer = layer_of("station_id", "name", {"name": "last_reported", "type": "datetime"},
                     geometry="point", key="station_id")  # fmt: skip
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    texts = [{"text": "Gare", "language": "fr"}, {"text": "Station", "language": "en"}]
    old = gbfs(folder, "old.json", "stations",
               {"station_id": 19335882998, "name": "Gare", "lat": 48, "lon": 2,
                "last_reported": 1767225600})  # fmt: skip
    new = gbfs(folder, "new.json", "stations",
               {"station_id": "19335882998", "name": texts, "lat": 48, "lon": 2,
                "last_reported": "2026-01-01T00:00:00Z"}, version="3.0")  # fmt: skip
    for path in (old, new):
        taken = take(layer, path)
        assert taken.column("source_key") == ["19335882998"]
        assert (taken.column("name"), taken.column("last_reported")) == (["Gare"], [at])
        assert taken.shapes == ["POINT (2 48)"]
    english = layer_of("station_id", "name_en", geometry="point")
    assert take(english, new).column("name_en") == ["Station"]


def test_gbfs_feeds_of_one_system_are_joined(folder: Folder) -> None:
    places = gbfs(folder, "station_information.json", "stations",
                  *({"station_id": key, "lat": 48, "lon": 2} for key in "ab"))  # fmt: skip
    states = gbfs(folder, "station_status.json", "stations",
                  {"station_id": "b", "num_bikes_available": 4},
                  {"station_id": "c", "num_bikes_available": 1})  # fmt: skip
    bikes = {"name": "bikes", "from": "num_bikes_available", "type": "integer"}
    taken = take(layer_of("station_id", bikes, geometry="point"), places, states)
    assert taken.column("station_id") == ["a", "b", "c"]
    assert taken.column("bikes") == [None, 4, 1]
    assert taken.shapes == ["POINT (2 48)", "POINT (2 48)", None]


def test_gbfs_without_stations_is_refused(folder: Folder) -> None:
    with pytest.raises(SourceRefused, match=r"give station_information"):
        take(NAMED, gbfs(folder, "gbfs.json", "feeds"))
    broken = folder.text('{"data":{"stations":[{"station_id":1},]}}', "a.json")
    with pytest.raises(SourceRefused, match=r"line 1, column \d+: "):
        take(NAMED, broken)


# GTFS ---------------------------------------------------------------------------------------------

FEED = {
    "agency.txt": "agency_id,agency_name\n1,City Transit\n",
    "stops.txt": "\ufeffstop_id,stop_name,stop_lat,stop_lon\ns1,Gare,48,2\ns2,Port,49,3\n",
    "routes.txt": "route_id,agency_id,route_short_name,route_type\nr1,1,A,3\nr2,1,B,3\n",
    "trips.txt": "route_id,trip_id,shape_id,direction_id,trip_headsign\n"
    "r1,t1,x,0,Port\nr1,t2,y,1,Gare\nr1,t3,x,0,Port\nr2,t4,,0,\n",
    "shapes.txt": "shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence\n"
    "x,49,3,10\nx,48,2,9\ny,49,3,1\ny,48,2,2\nz,48,2,1\n",
}


def feed(folder: Folder, without: str = "") -> Path:
    tables = {name: text.encode() for name, text in FEED.items() if name != without}
    return folder.zip(tables, "gtfs.zip")


def test_a_gtfs_feed_gives_its_stops_and_its_routes(folder: Folder) -> None:
    stops = layer_of("stop_id", "stop_name", geometry="point", key="stop_id")
    taken = take(stops, feed(folder))
    assert (taken.column("stop_name"), taken.shapes) == (["Gare", "Port"], POINTS)
    routes = layer_of("route_short_name", "agency_name", geometry="line")
    taken = take(routes, feed(folder))
    assert taken.column("agency_name") == ["City Transit"] * 2
    assert taken.shapes == ["MULTILINESTRING ((2 48, 3 49), (3 49, 2 48))", None]
    assert taken.notes["routes_without_shape"] == 1
    assert taken.facts[0].format == "gtfs"


def test_a_gtfs_feed_gives_its_shapes_and_its_plain_tables(folder: Folder) -> None:
    shapes = layer_of("shape_id", "trip_headsign", "route_short_name", geometry="line",
                      source={"sublayer": "shapes"})  # fmt: skip
    rows = take(shapes, feed(folder)).rows
    assert [(row["shape_id"], row["trip_headsign"], row["route_short_name"]) for row in rows] == [
        ("x", "Port", "A"),
        ("y", "Gare", "A"),
    ]
    trips = layer_of("trip_id", source={"sublayer": "trips.txt"})
    assert len(take(trips, feed(folder)).rows) == 4


def test_a_gtfs_table_that_is_missing_is_named(folder: Folder) -> None:
    with pytest.raises(SourceRefused, match=r"GTFS feed; .* one of: agency, routes, shapes"):
        take(NAMED, feed(folder))
    with pytest.raises(SourceRefused, match=r"no shapes.txt, so its routes cannot be drawn"):
        take(layer_of("route_id", geometry="line"), feed(folder, without="shapes.txt"))


# Tables -------------------------------------------------------------------------------------------


def test_the_header_of_a_table_is_where_it_is_declared(folder: Folder) -> None:
    path = folder.text("# trees of 2026\nnom,hauteur\nname,height\nTilia,12\n")
    assert take(layer_of("name", source={"header": 3}), path).column("name") == ["Tilia"]
    with pytest.raises(SourceRefused, match=r"no row 9, which source.header names"):
        take(layer_of("name", source={"header": 9}), path)


def test_a_table_without_header_has_numbered_columns(folder: Folder) -> None:
    path = folder.text("48|2|a\n49|3|b\n")
    layer = layer_of(
        {"name": "name", "from": "column_3"},
        geometry="point",
        source={"header": 0, "geometry": {"longitude": "column_2", "latitude": "column_1"}},
    )
    taken = take(layer, path)
    assert (taken.column("name"), taken.shapes) == (["a", "b"], POINTS)
    assert taken.column("line") == [1, 2]


def test_all_members_of_a_zip_are_one_layer_where_that_is_declared(folder: Folder) -> None:
    one, two = (
        json.dumps({"type": "Feature", "properties": {"name": name}, "geometry": None})
        for name in "ab"
    )
    table = b"name,geometry\nc,POINT (2 48)\n"
    path = folder.zip({"a.geojson": one.encode(), "b.geojson": two.encode(), "c.csv": table})
    with pytest.raises(SourceRefused, match=r"or '\*' to take all as one"):
        take(NAMED, path)
    assert take(mixed("name", sublayer="*"), path).column("name") == ["a", "b", "c"]


@pytest.mark.parametrize(
    "more",
    [
        {"exceededTransferLimit": True},
        {"properties": {"exceededTransferLimit": True}},
        {"numberMatched": 9, "numberReturned": 1},
    ],
)
def test_a_collection_that_leaves_features_out_says_so(
    folder: Folder, more: dict[str, Any]
) -> None:
    one = {"type": "Feature", "properties": {"name": "a"}, "geometry": None}
    whole = {"type": "FeatureCollection", "features": [one]}
    assert take(NAMED, folder.json(whole | more)).notes["incomplete"]
    all_of_it = whole | {"numberMatched": 1, "numberReturned": 1}
    assert "incomplete" not in take(NAMED, folder.json(all_of_it)).notes
    pages = json.dumps(whole) + json.dumps(whole | more)
    if "numberMatched" not in more:
        assert take(NAMED, folder.text(pages, "pages.geojson")).notes["incomplete"]


@pytest.mark.parametrize(
    ("table", "text", "said"),
    [
        (
            "routes.txt",
            "route_id,route_short_name\nr1,A\nr2,B,extra\n",
            "line 3: the row has 3 cells",
        ),
        ("trips.txt", "route_id,trip_id,shape_id\nr1,t1,x,y\n", "line 2: the row has 4 cells"),
        ("routes.txt", "id,route_short_name\nr1,A\n", "no column route_id"),
    ],
)
def test_a_gtfs_feed_that_cannot_be_read_whole_is_refused(
    folder: Folder, table: str, text: str, said: str
) -> None:
    tables = {name: each.encode() for name, each in (FEED | {table: text}).items()}
    with pytest.raises(SourceRefused, match=said):
        take(layer_of("route_short_name", geometry="line"), folder.zip(tables, "gtfs.zip"))


@pytest.mark.parametrize(
    "value",
    [
        [{"type": {"id": 1}, "name": "a"}],
        {"features": [{"attributes": {"name": ["a"]}}],
         "fields": [{"name": "name", "domain": {"codedValues": [{"name": "no code"}, 5]}}]},
        {"features": [{"attributes": {"name": "a"}, "geometry": {"rings": [[None, [1]]]}}]},
        {"features": [{"attributes": {"name": "a"},
                       "geometry": {"rings": [[[0, 0]] * 2 + [["NaN", 1]] * 3]}}]},
        {"data": {"stations": [{"station_id": ["a"], "name": "a"}]}},
        [{"name": "a", "lat": [1], "lon": 2}],
    ],
)  # fmt: skip
def test_json_that_is_merely_odd_is_read_withheld_or_refused(folder: Folder, value: Any) -> None:
    layer = layer_of("name", source={"null_values": ["", "x"]})
    assert len(take(layer, folder.json(value)).rows) == 1
    try:
        taken = take(NAMED, folder.json(value))
    except SourceRefused:
        return
    assert taken.read == len(taken.rows) + len(taken.withheld)


@pytest.mark.parametrize("text", ["[null, null]", '{"lat": [1], "lon": 2}', "[1, [2]]"])
def test_an_odd_place_in_a_cell_costs_its_row_at_most(folder: Folder, text: str) -> None:
    quoted = text.replace('"', '""')
    path = folder.text(f'name;geo_point_2d\na;"{quoted}"\nb;"48, 2"\nc;"48, 2"\n')
    taken = take(layer_of("name", geometry="point"), path)
    assert len(taken.rows) + len(taken.withheld) == 3
    assert len(taken.rows) >= 2


def test_odd_parquet_is_read_or_refused(folder: Folder) -> None:
    lists = pa.array([[1], None], pa.list_(pa.int64())).cast(pa.list_(pa.decimal128(21, 2)))
    tags = {"name": "tags", "type": "json"}
    path = parquet_file(folder, pa.table({"tags": lists}))
    assert take(layer_of(tags), path).column("tags") == ['["1.00"]', None]
    twice = pa.table([pa.array(["a"]), pa.array(["b"])], names=["name", "name"])
    with pytest.raises(SourceRefused, match=r"'name' stands there twice"):
        take(layer_of("name"), parquet_file(folder, twice))


def test_a_sheet_that_was_cut_short_is_refused(folder: Folder) -> None:
    rows: list[list[object]] = [["a"]] * 50
    path = book(folder, ["name"], *rows)
    parts = {}
    with zipfile.ZipFile(path) as packed:
        for name in packed.namelist():
            parts[name] = packed.read(name)
    parts["xl/worksheets/sheet1.xml"] = parts["xl/worksheets/sheet1.xml"][:-300]
    with pytest.raises(SourceRefused, match=r"damaged or not what it seems"):
        take(layer_of("name"), folder.zip(parts, "cut.xlsx"))
