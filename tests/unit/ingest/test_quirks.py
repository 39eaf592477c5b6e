"""The quirks that importers meet, by their numbers in the design.

Q52 (formats) and Q54 (GBFS) stand in test_formats; Q41, Q43 and Q53 belong to feeds.

Each is held here in its smallest form; the tests beside this file go further.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pytest
import shapely

from ingest import archive
from ingest.errors import SourceRefused
from ingest.gates import findings_of, keys_finding
from ingest.profile import Profile
from ingest.read import read
from ingest.sieve import Sieve
from layers.model import Layer
from tests.unit.ingest.making import Folder, Taken, collection, feature, layer_of, point, take

POINT = "POINT (2 48)"
NAMED = layer_of("name", geometry="mixed")


def placed(*columns: Any, geometry: str = "point", **more: Any) -> Layer:
    return layer_of(*(columns or ("name",)), geometry=geometry, **more)


def shape_of(taken: Taken) -> Any:
    """The shape of the first row."""
    return shapely.from_wkb(taken.rows[0]["geom"])


def number(text: str, **source: object) -> object:
    """What a cell is read as; its reason where it cannot be."""
    layer = layer_of({"name": "n", "type": "number"}, "x", source=source)
    path = Path(NUMBERS)
    path.write_text(f'n;x\n"{text}";x\n', encoding="utf-8")
    taken = take(layer, path)
    return taken.refusals[0].reason if taken.refusals else taken.column("n")[0]


NUMBERS = "/dev/null"


@pytest.fixture(autouse=True)
def _numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.ingest.test_quirks.NUMBERS", str(tmp_path / "numbers.csv"))


def gates(layer: Layer, path: Path, before: Profile | None = None) -> dict[str, str]:
    """The gates that a load of the file does not hold, and what they say."""
    sieve = Sieve(layer, before)
    headers: set[str] = set()
    reading = read(layer, [path])
    for batch in reading:
        sieve.sift(batch)
    headers = {name for facts in reading.facts for name in facts.headers}
    seen = sieve.finish(sorted(headers), partial=False)
    return {each.gate: each.says for each in findings_of(layer, seen, before)}


def test_q01_a_byte_order_mark_and_semicolons(folder: Folder) -> None:
    path = folder.data("\ufeffname;b\r\nCafé, bar;1\r\n".encode())
    assert take(layer_of("name"), path).column("name") == ["Café, bar"]


@pytest.mark.parametrize("text", ["48.826, 2.392", "48.826,2.392"])
def test_q02_latitude_comma_longitude(folder: Folder, text: str) -> None:
    path = folder.text(f'name;geo_point_2d\na;"{text}"\n')
    assert take(placed(), path).shapes == ["POINT (2.392 48.826)"]


def test_q03_geojson_in_a_cell_with_its_keys_in_any_order(folder: Folder) -> None:
    shape = '"{""coordinates"": [[2, 48], [3, 49]], ""type"": ""LineString""}"'
    path = folder.text(f"name;geo_shape\na;{shape}\n")
    assert take(NAMED, path).shapes == ["LINESTRING (2 48, 3 49)"]


def test_q04_features_and_points_by_name_in_a_cell(folder: Folder) -> None:
    whole = {"type": "Feature", "geometry": point(2, 48), "properties": {}}
    layer = placed(source={"geometry": {"column": "shape"}})
    for value in (whole, {"lon": 2, "lat": 48}, [48, 2]):
        path = folder.json([{"name": "a", "shape": value}])
        assert take(layer, path).shapes == [POINT]


@pytest.mark.parametrize("header", ["geo_punkt", "tst", "le_geom", "localisation", "whatever"])
def test_q05_a_place_is_known_by_what_it_looks_like(folder: Folder, header: str) -> None:
    path = folder.text(f'name;{header};n\na;"48.12345, 2.12345";1\nb;;2\n')
    assert take(placed(), path).shapes == ["POINT (2.12345 48.12345)", None]
    two = folder.text(f'name;{header};other\na;"48.12345, 2.12345";"48.1234, 2.1234"\n')
    with pytest.raises(SourceRefused, match=r"Declare source.geometry"):
        take(placed(), two)


def test_q06_a_second_geometry_is_a_column(folder: Folder) -> None:
    area = "POLYGON ((2 48, 3 48, 3 49, 2 48))"
    path = folder.text(f'name;geo_shape;geo_point_2d\na;"{area}";"48.3, 2.7"\n')
    taken = take(placed("name", "geo_point_2d", geometry="polygon"), path)
    assert (taken.shapes, taken.column("geo_point_2d")) == ([area], ["48.3, 2.7"])


def test_q07_labels_and_technical_names_are_one_column(folder: Folder) -> None:
    column = {"name": "debit_horaire", "from": "q", "label": {"fr": "Débit horaire"}}
    for header in ("q", "debit_horaire", "Débit horaire", "DEBIT HORAIRE"):
        assert take(layer_of(column), folder.text(f"{header};x\n5;1\n")).column(
            "debit_horaire"
        ) == ["5"]


def shapefile(folder: Folder, *fields: str, crs: str | None = "EPSG:4326", **more: Any) -> Path:
    path = folder.path / "trees.shp"
    wkb = shapely.to_wkb(shapely.from_wkt(np.array([POINT], dtype=object)))
    values = [np.array(["Tilleul"], dtype=object) for _ in fields]
    pyogrio.raw.write(path, wkb, values, np.array(fields, dtype=object), geometry_type="Point",
                      crs=crs, **more)  # fmt: skip
    return path


def test_q08_names_that_a_shapefile_cut(folder: Folder) -> None:
    columns = [{"name": "species", "from": "Espèce"}, {"name": "manager", "from": "gestionnaire"}]
    taken = take(placed(*columns), shapefile(folder, "Espce", "gestionnai"))
    assert (taken.column("species"), taken.column("manager")) == (["Tilleul"], ["Tilleul"])


def test_q09_a_shapefile_without_prj_is_refused_until_its_crs_is_declared(folder: Folder) -> None:
    path = shapefile(folder, "name")
    path.with_suffix(".prj").unlink()
    with pytest.raises(SourceRefused, match=r"\.prj is missing; declare source.crs"):
        take(placed(), path)
    assert take(placed(source={"crs": "EPSG:4326"}), path).shapes == [POINT]


def test_q10_encodings_are_found_declared_or_refused(folder: Folder) -> None:
    assert take(layer_of("name"), folder.text("name;x\nCafé;1\n", encoding="cp1252")).column(
        "name"
    ) == ["Café"]
    utf16 = folder.data("name;x\nCafé;1\n".encode("utf-16"))
    assert take(layer_of("name"), utf16).column("name") == ["Café"]
    with pytest.raises(SourceRefused, match=r"neither UTF-8 nor Windows-1252"):
        take(layer_of("name"), folder.data(b"name;x\nCaf\x8e;1\x8f\n"))
    wrong = folder.text("name;x\n" + "CafÃ©;1\n" * 30)
    assert "mojibake" in gates(layer_of("name"), wrong)


def test_q11_a_file_whose_axes_are_swapped(folder: Folder) -> None:
    layer = placed(gates={"extent": {"within": [5, 43, 6, 44]}})
    path = folder.text("name;longitude;latitude\n" + "a;43.2959;5.3761\n" * 20)
    assert "declare source.swap_axes: true" in gates(layer, path)["extent"]


def test_q12_rows_whose_axes_are_swapped(folder: Folder) -> None:
    layer = placed(gates={"extent": {"within": [5, 43, 6, 44], "limit": 0.5}})
    path = folder.text("name;longitude;latitude\na;43.3;5.4\nb;5.4;43.3\n")
    sieve = Sieve(layer, None)
    [batch] = [sieve.sift(batch) for batch in read(layer, [path])]
    assert [refusal.line for refusal in batch.refusals] == [2]
    assert batch.rows.column(3).to_pylist() == ["b"]


def test_q13_null_island_is_no_place_and_greenwich_is_one(folder: Folder) -> None:
    path = folder.text("name;lon;lat\na;0;0\nb;NaN;NaN\nc;0;48\nd;2;0\n")
    assert take(placed(), path).shapes == [None, None, "POINT (0 48)", "POINT (2 0)"]


@pytest.mark.parametrize(
    "crs", ["EPSG:3857", "102100", "ESRI:102100", "urn:ogc:def:crs:EPSG::3857"]
)
def test_q14_systems_by_all_their_names_and_metres_without_one(folder: Folder, crs: str) -> None:
    path = folder.text("name;x;y\na;222638.98;6106854.83\n" * 1)
    taken = take(placed(source={"crs": crs, "geometry": {"longitude": "x", "latitude": "y"}}), path)
    assert shape_of(taken).equals_exact(shapely.Point(2, 48), 1e-6)
    bare = placed(source={"geometry": {"longitude": "x", "latitude": "y"}})
    with pytest.raises(SourceRefused, match=r"look like metres .* declare source.crs"):
        take(bare, path)


def test_q15_the_crs_member_of_2008(folder: Folder) -> None:
    named = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}
    path = folder.json(collection(feature(point(222638.98, 6106854.83), {"name": "a"}), crs=named))
    assert take(NAMED, path).facts[0].crs == "EPSG:3857"


def test_q16_latitude_first_where_it_is_declared(folder: Folder) -> None:
    path = folder.json(collection(feature(point(48, 2), {"name": "a"})))
    assert take(placed(source={"swap_axes": True}), path).shapes == [POINT]


def test_q17_heights_and_measures_are_dropped(folder: Folder) -> None:
    path = folder.json(
        collection(feature({"type": "Point", "coordinates": [2, 48, 0.0]}, {"name": "a"}))
    )
    taken = take(placed(), path)
    assert (taken.shapes, taken.notes["heights_dropped"]) == ([POINT], 1)


def test_q18_and_q20_types_are_mixed_and_kept(folder: Folder) -> None:
    shapes = [point(2, 48), {"type": "MultiPoint", "coordinates": [[2, 48], [3, 49]]},
              {"type": "LineString", "coordinates": [[2, 48], [3, 49]]},
              {"type": "MultiLineString", "coordinates": [[[2, 48], [3, 49]]]}]  # fmt: skip
    taken = take(NAMED, folder.json(collection(*(feature(s, {"name": "a"}) for s in shapes))))
    assert [str(wkt).split(" ")[0] for wkt in taken.shapes] == [
        "POINT", "MULTIPOINT", "LINESTRING", "MULTILINESTRING",
    ]  # fmt: skip


def test_q19_collections_become_what_the_layer_draws(folder: Folder) -> None:
    line = {"type": "LineString", "coordinates": [[2, 48], [3, 49]]}
    both = {"type": "GeometryCollection", "geometries": [line, point(2, 48)]}
    path = folder.json(collection(feature(both, {"name": "a"})))
    assert len(take(placed(geometry="line"), path).rows) + len(take(NAMED, path).rows) >= 1


def test_q21_no_geometry_in_every_way_of_writing_it(folder: Folder) -> None:
    empty: list[Any] = [None, {}, "null"]
    path = folder.json(collection(*(feature(value, {"name": "a"}) for value in empty)))
    assert take(placed(), path).shapes == [None] * 3


def test_q22_polygons_are_repaired_and_counted(folder: Folder) -> None:
    bowtie = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
    taken = take(
        placed(geometry="polygon"), folder.json(collection(feature(bowtie, {"name": "a"})))
    )
    assert taken.notes["polygons_repaired"] == 1
    assert shape_of(taken).is_valid


def test_q23_lines_of_no_length_are_withheld(folder: Folder) -> None:
    dot = {"type": "LineString", "coordinates": [[2, 48], [2, 48]]}
    line = {"type": "LineString", "coordinates": [[2, 48], [3, 49]]}
    path = folder.json(collection(*(feature(shape, {"name": "a"}) for shape in (dot, line, line))))
    assert [refusal.row for refusal in take(placed(geometry="line"), path).withheld] == [1]


def test_q24_a_polygon_of_very_many_vertices_is_kept_whole(folder: Folder) -> None:
    ring = shapely.Point(2, 48).buffer(0.5, quad_segs=50_000)
    path = folder.json(collection(feature(json.loads(shapely.to_geojson(ring)), {"name": "a"})))
    [wkt] = take(placed(geometry="polygon"), path).shapes
    assert shapely.get_num_coordinates(shapely.from_wkt(wkt)) == shapely.get_num_coordinates(ring)


def test_q25_what_goes_beyond_180_degrees_is_withheld_and_said(folder: Folder) -> None:
    path = folder.json(
        collection(
            feature(point(181, 0), {"name": "a"}), *[feature(point(2, 48), {"name": "b"})] * 3
        )
    )
    [refusal] = take(placed(), path).withheld
    assert "longitude 181.0 is outside" in refusal.reason


def test_q26_coordinates_are_stored_as_given(folder: Folder) -> None:
    path = folder.text("name;lon;lat\na;2.123456789012345;48.1\n")
    assert take(placed(), path).shapes == ["POINT (2.123456789012345 48.1)"]


@pytest.mark.parametrize(
    ("lat", "lon"),
    [
        ("48,85", "2,35"),
        ("48° 51′ 0″ N", "2° 21′ 0″ E"),
        ("N 48°51'00\"", "E 2°21'"),
        ("48.85°", "2.35°"),
    ],
)
def test_q27_decimal_commas_and_degrees_minutes_seconds(folder: Folder, lat: str, lon: str) -> None:
    quoted = [text.replace('"', '""') for text in (lat, lon)]
    path = folder.text('name;lat;lon\na;"{}";"{}"\n'.format(*quoted))
    shape = shape_of(take(placed(), path))
    assert shape.equals_exact(shapely.Point(2.35, 48.85), 1e-9)


def test_q27_an_o_may_be_east_or_west_and_is_not_guessed(folder: Folder) -> None:
    path = folder.text("name;lat;lon\na;48°30'N;13°24'O\nb;48.5;13.4\n")
    assert [refusal.row for refusal in take(placed(), path).withheld] == [1]


@pytest.mark.parametrize(("sign", "want"), [("S", -48.5), ("N", 48.5)])
def test_q27_the_southern_half_of_the_world(folder: Folder, sign: str, want: float) -> None:
    path = folder.text(f"name;lat;lon\na;48°30'{sign};70°15'W\n")
    assert shape_of(take(placed(), path)).coords[0] == (-70.25, want)


@pytest.mark.parametrize(
    ("text", "source", "want"),
    [
        ("1 234,5", {}, 1234.5), ("1\u202f234\u202f567", {}, 1234567), ("1'234.5", {}, 1234.5),
        ("1.234,5", {"decimal": ","}, 1234.5), ("1.234", {"decimal": ","}, 1234),
        ("1,234", {"decimal": "."}, 1234), ("1,234.5", {"decimal": "."}, 1234.5),
        ("12,5", {"decimal": ","}, 12.5), ("-", {"null_values": ["", "-"]}, None),
    ],
)  # fmt: skip
def test_q28_numbers_as_people_write_them(
    text: str, source: dict[str, object], want: float | None
) -> None:
    assert number(text, **source) == want


@pytest.mark.parametrize("text", ["n.d.", "NC", "1,234", "1.2.3", "12,34,5"])
def test_q28_what_is_no_number_loses_its_cell_and_not_its_row(text: str) -> None:
    assert "is not a number" in str(number(text))


def test_q29_numbers_that_are_names_stay_as_they_are_written(folder: Folder) -> None:
    rows = [{"insee": "01004", "siret": 12345678901234, "big": 19335882998123456}]
    taken = take(layer_of("insee", "siret", "big"), folder.json(rows))
    assert taken.rows[0]["insee"] == "01004"
    assert taken.rows[0]["siret"] == "12345678901234"
    assert taken.rows[0]["big"] == "19335882998123456"


def test_q30_the_words_for_yes_and_no_are_the_columns_own(folder: Folder) -> None:
    yes = {"name": "v", "type": "boolean", "true_values": ["oui", "X"], "false_values": ["non"]}
    taken = take(layer_of(yes, "x"), folder.text("v;x\nOui;1\nNON;1\nx;1\npeut-être;1\n"))
    assert taken.column("v") == [True, False, True, None]
    assert taken.refusals[0].reason == "v: 'peut-être' is not one of oui, X, non"


@pytest.mark.parametrize(
    ("text", "form", "want"),
    [
        ("05/10/2026", "%d/%m/%Y", dt.date(2026, 10, 5)), ("20261005", None, dt.date(2026, 10, 5)),
        ("46300", "excel", dt.date(2026, 10, 5)), ("1791158400", "epoch_s", dt.date(2026, 10, 5)),
        ("1791158400000", "epoch_ms", dt.date(2026, 10, 5)),
        ("2018-10", "%Y-%m", dt.date(2018, 10, 1)),
    ],
)  # fmt: skip
def test_q31_dates_in_every_form_that_is_declared(
    folder: Folder, text: str, form: str | None, want: dt.date
) -> None:
    layer = layer_of({"name": "d", "type": "date", **({"format": form} if form else {})}, "x")
    assert take(layer, folder.text(f"d;x\n{text};1\n")).column("d") == [want]


def test_q31_days_and_months_that_cannot_be_told_apart_are_refused(folder: Folder) -> None:
    path = folder.text("d;x\n05/10/2026;1\n06/11/2026;1\n")
    with pytest.raises(SourceRefused, match=r"which number is the day; declare its `format`"):
        take(layer_of({"name": "d", "type": "date"}), path)


@pytest.mark.parametrize("hour", [22, 1])
def test_q32_local_midnights_written_in_utc_are_noticed(folder: Folder, hour: int) -> None:
    layer = layer_of({"name": "at", "type": "datetime"}, "x")
    rows = "".join(f"2026-0{n % 9 + 1}-10T{hour + n % 2:02}:00:00Z;1\n" for n in range(30))
    assert "look like local dates" in gates(layer, folder.text(f"at;x\n{rows}"))["dates"]
    other = rows.replace("00Z", "30Z", 1)
    assert "dates" not in gates(layer, folder.text(f"at;x\n{other}"))


def test_q33_a_time_and_a_text_that_disagree_are_both_kept(folder: Folder) -> None:
    layer = layer_of({"name": "at", "type": "datetime"}, "period")
    taken = take(layer, folder.text("at;period\n2026-01-01T10:00:00Z;from 1 pm\n"))
    assert taken.rows[0]["period"] == "from 1 pm"


def test_q34_an_end_before_its_start_is_withheld_and_no_end_is_open(folder: Folder) -> None:
    columns = [{"name": "a", "type": "date"}, {"name": "b", "type": "date"}]
    layer = layer_of(*columns, time={"start": "a", "end": "b"})
    path = folder.text("a;b\n2026-01-02;2026-01-01\n2026-01-02;\n2026-01-02;2026-01-02\n")
    [batch] = [Sieve(layer, None).sift(batch) for batch in read(layer, [path])]
    assert ([r.line for r in batch.refusals], batch.rows.num_rows) == ([2], 2)


def test_q35_a_clock_that_means_nothing_is_left_out_by_the_type(folder: Folder) -> None:
    layer = layer_of({"name": "d", "type": "date"}, "x")
    taken = take(layer, folder.text("d;x\n2026-10-05 08:15:03;1\n"))
    assert taken.column("d") == [dt.date(2026, 10, 5)]
    assert taken.notes["d.dates_with_time"] == 1


def test_q36_several_values_in_one_cell_become_a_list(folder: Folder) -> None:
    layer = layer_of({"name": "days", "type": "json", "separator": "#"}, "x")
    taken = take(layer, folder.text("days;x\nMo#Tu # We;1\nSu;1\n;1\n"))
    assert taken.column("days") == ['["Mo","Tu","We"]', '["Su"]', None]


def test_q37_a_state_is_kept_beside_the_dates_that_contradict_it(folder: Folder) -> None:
    layer = layer_of("state", {"name": "start", "type": "date"}, time="start")
    taken = take(layer, folder.text("state;start\nen cours;2030-01-01\n"))
    assert taken.rows[0]["state"] == "en cours"


def test_q38_keys_that_are_numbers_of_rows_are_noticed() -> None:
    layer = placed("id", key="id")
    assert keys_finding(layer, 100, 90) is not None


def test_q39_a_row_is_named_by_several_columns_or_by_its_content(folder: Folder) -> None:
    path = folder.text("tunnel;start\nA|B;1\nA;B|1\n")
    keys = take(layer_of("tunnel", "start", key=["tunnel", "start"]), path).column("source_key")
    assert len(set(keys)) == 2
    content = take(layer_of("tunnel", "start"), path).column("source_key")
    assert content == take(layer_of("tunnel", "start"), path).column("source_key")


def test_q40_equal_rows_are_all_read(folder: Folder) -> None:
    assert len(take(layer_of("a", "b"), folder.text("a;b\n1;2\n1;2\n")).rows) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<html><head><title>Login</title>", "web page titled 'Login'"),
        ('{"error":{"code":499}}', "this is an error message"),
    ],
)
def test_q42_an_answer_that_is_no_data_is_refused(folder: Folder, text: str, said: str) -> None:
    with pytest.raises(SourceRefused, match=said):
        take(NAMED, folder.text(text))


def test_q44_what_was_cut_short_is_refused(folder: Folder) -> None:
    whole = json.dumps(collection(*[feature(point(2, 48), {"name": "a"})] * 50))
    with pytest.raises(SourceRefused, match=r"cut short"):
        take(NAMED, folder.text(whole[:-30]))
    packed = folder.gz(b"name;x\n" + b"a;1\n" * 9999)
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(SourceRefused, match=r"damaged or cut short"):
        take(layer_of("name"), packed)


def test_q45_far_fewer_rows_than_yesterday_stop(folder: Folder) -> None:
    path = folder.text("a;b\n" + "1;2\n" * 10)
    assert (
        "10 rows, where the last load had 100"
        in gates(layer_of("a"), path, Profile(rows=100))["shrink"]
    )


def test_q46_columns_that_come_and_go(folder: Folder) -> None:
    path = folder.text("a;new\n" + "1;2\n" * 30)
    told = gates(layer_of("a"), path, Profile(rows=30, headers=["a", "old"]))
    assert told["columns"] == "columns of the source: old went; new came"
    with pytest.raises(SourceRefused, match=r"no column for 'old'"):
        take(layer_of("a", "old"), path)


def test_q47_typing_errors_of_an_official_list_have_aliases(folder: Folder) -> None:
    column = {
        "name": "a",
        "aliases": {"AMENAGEMENT MIXTE": "mixed", "ACCOTEMENT REVENTU": "shoulder"},
    }
    path = folder.text("a;x\nAménagement mixte;1\nACCOTEMENT REVENTU;1\nother;1\n")
    assert take(layer_of(column), path).column("a") == ["mixed", "shoulder", "other"]


def test_q48_texts_are_composed_and_trimmed(folder: Folder) -> None:
    path = folder.text("a;b\n JU\u0308CHEN\u00a0;1\n")
    assert take(layer_of("a"), path).column("a") == ["JÜCHEN"]


def test_q49_markup_and_formulas_are_kept_as_text(folder: Folder) -> None:
    path = folder.text('a;b\n"<script>alert(1)</script>";"=cmd()"\n')
    assert take(layer_of("a", "b"), path).rows[0]["b"] == "=cmd()"


def test_q50_a_column_that_names_people_is_noticed(folder: Folder) -> None:
    path = folder.text("maitre_ouvrage;x\n" + "M. Jean Dupont;1\nVille de Paris;1\n" * 15)
    told = gates(layer_of("maitre_ouvrage"), path)["personal"]
    assert "maitre_ouvrage: name of a person in 15 rows" in told


def test_q51_coded_values_are_decoded_and_kept(folder: Folder) -> None:
    domain = {"type": "codedValue", "codedValues": [{"code": 70, "name": "Bus lane"}]}
    path = folder.json(
        {"fields": [{"name": "k", "domain": domain}], "features": [{"attributes": {"k": 70}}]}
    )
    taken = take(layer_of("k", "k_code"), path)
    assert (taken.column("k"), taken.column("k_code")) == (["Bus lane"], ["70"])


def test_q55_newlines_open_quotes_comments_and_totals(folder: Folder) -> None:
    path = folder.text('# made by X\nid;name\n1;"two\nlines"\n2;5" pipe\n;Total\n')
    taken = take(layer_of("id", "name", key="id", source={"header": 2}), path)
    assert taken.column("name") == ["two\nlines", '5" pipe']
    assert [refusal.line for refusal in taken.withheld] == [6]
    with pytest.raises(SourceRefused, match=r"a quote opened in the record that starts on line 2"):
        take(layer_of("id"), folder.text('id;name\n1;"open\n2;x\n'))


def test_q56_local_times_and_utc_in_one_column_are_counted(folder: Folder) -> None:
    layer = layer_of({"name": "at", "type": "datetime"}, "x", time_zone="Europe/Paris")
    taken = take(layer, folder.text("at;x\n2026-01-01T00:25:44Z;1\n2026-01-01 22:16:00;1\n"))
    assert [at.hour for at in taken.column("at")] == [0, 21]
    assert (taken.notes["at.with_offset"], taken.notes["at.local_times"]) == (1, 1)


def test_q57_points_that_were_snapped_stay_where_they_are(folder: Folder) -> None:
    path = folder.text("name;lon;lat\n" + "a;2;48\n" * 100)
    assert set(take(placed(), path).shapes) == {POINT}


def test_q58_columns_are_known_by_their_names(folder: Folder) -> None:
    one, two = folder.text("a;b\n1;2\n", "1.csv"), folder.text("b;a\n2;1\n", "2.csv")
    assert take(layer_of("a", "b"), one, two).column("a") == ["1", "1"]


def test_q59_bombs_and_monsters_are_refused(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = ";".join(f"c{n}" for n in range(10_000))
    with pytest.raises(SourceRefused, match=r"10000 columns; at most 2000"):
        take(layer_of("c1"), folder.text(f"{wide}\n"))
    monkeypatch.setattr(archive, "RATIO_FROM_BYTES", 1000)
    with pytest.raises(SourceRefused, match=r"zip bomb"):
        take(layer_of("a"), folder.zip({"a.csv": b"a" * 5_000_000}))
    with pytest.raises(SourceRefused, match=r"archive in an archive"):
        take(layer_of("a"), folder.zip({"b.zip": b"PK"}))


def test_q60_a_layer_without_a_licence_is_not_loaded(folder: Folder) -> None:
    layer = layer_of("a").model_copy(update={"licence": "unknown"})
    assert "licence" in gates(layer, folder.text("a;b\n1;2\n"))
