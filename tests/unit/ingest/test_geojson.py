from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import SourceRefused
from ingest.sources.items import Items, find_layout
from tests.unit.ingest.making import Folder, collection, feature, layer_of, lines_of, point, take

NAMED = layer_of("name", geometry="point")
PLACES = layer_of(geometry="mixed")
ONE = feature(point(2, 48), {"name": "x"})
TWO = feature(point(3, 49), {"name": "y"})


def test_a_collection_is_read(folder: Folder) -> None:
    taken = take(NAMED, folder.json(collection(ONE, TWO)))
    assert taken.column("name") == ["x", "y"]
    assert taken.shapes == ["POINT (2 48)", "POINT (3 49)"]
    assert taken.facts[0].format == "geojson"


def test_features_may_come_before_type(folder: Folder) -> None:
    text = json.dumps(
        {"a": {"features": [1]}, "features": [ONE, TWO], "b": [[]], "type": "FeatureCollection"}
    )
    assert take(NAMED, folder.text(text)).read == 2


@pytest.mark.parametrize(
    "text",
    [
        "{0}\n{1}\n",
        "{0}{1}",
        "{0},\n{1},\n",
        "\x1e{0}\n\x1e{1}\n",
        "\ufeff{0}\r\n\r\n{1}",
        "[{0}, {1}]",
        '\x1e{{"type":"FeatureCollection","features":[{0}]}}\n{{"features":[{1}]}}',
    ],
)
def test_features_may_follow_one_another_in_every_way(folder: Folder, text: str) -> None:
    for indent in (None, 2):
        one, two = (json.dumps(value, indent=indent) for value in (ONE, TWO))
        assert take(NAMED, folder.text(text.format(one, two))).column("name") == ["x", "y"]


def test_a_single_feature_and_a_bare_geometry_are_one_row(folder: Folder) -> None:
    assert take(NAMED, folder.json(ONE)).column("name") == ["x"]
    assert take(PLACES, folder.json(point(1, 2))).shapes == ["POINT (1 2)"]


def test_lines_are_those_where_features_begin(folder: Folder) -> None:
    text = '{"type": "FeatureCollection",\n"features": [\n\n' + json.dumps(ONE, indent=1)
    text += ",\n" + json.dumps(TWO) + "\n]\n}\n"
    assert take(NAMED, folder.text(text)).column("line") == [
        4,
        4 + json.dumps(ONE, indent=1).count("\n") + 1,
    ]


@pytest.mark.parametrize("nothing", [None, {}, [], "null", ""])
def test_no_geometry_is_no_place(folder: Folder, nothing: object) -> None:
    taken = take(NAMED, folder.json(collection(feature(nothing, {"name": "x"}), TWO)))
    assert taken.shapes == [None, "POINT (3 49)"]
    assert taken.notes["without_place"] == 1


def test_braces_quotes_and_slashes_in_texts_are_no_structure(folder: Folder) -> None:
    names = ['a"}]', "b\\", '\\"{', "[[[", '\\\\"']
    path = folder.json(collection(*(feature(None, {"name": name}) for name in names)))
    assert take(NAMED, path).column("name") == names


def test_properties_may_be_absent(folder: Folder) -> None:
    layer = layer_of("name", {"name": "n", "type": "integer"}, geometry="point")
    path = folder.json(collection(feature(None, {"name": "x"}), feature(None, {"n": 3}), feature()))
    taken = take(layer, path)
    assert taken.column("name") == ["x", None, None]
    assert taken.column("n") == [None, 3, None]


def test_a_column_no_feature_has_is_refused(folder: Folder) -> None:
    with pytest.raises(SourceRefused, match=r"no column for 'naem'; did you mean 'name'"):
        take(layer_of("naem", geometry="point"), folder.json(collection(ONE)))
    optional = layer_of({"name": "naem", "optional": True}, geometry="point")
    assert take(optional, folder.json(collection(ONE))).column("naem") == [None]


def test_a_column_needs_to_be_in_one_file_of_several(folder: Folder) -> None:
    one = folder.json(collection(ONE), "one.json")
    two = folder.json(collection(feature(None, {"other": 1})), "two.json")
    none = folder.json(collection(), "none.json")
    assert take(NAMED, none, two, one).column("name") == [None, "x"]


def test_the_id_of_a_feature_is_a_column(folder: Folder) -> None:
    layer = layer_of("id", geometry="point")
    path = folder.json(collection(feature(None, {}, id=7), feature(None, {}, id="a-8")))
    assert take(layer, path).column("id") == ["7", "a-8"]
    own = folder.json(collection(feature(None, {"id": "p"}, id=7)))
    assert take(layer, own).column("id") == ["p"]


def test_nested_values_become_json(folder: Folder) -> None:
    layer = layer_of("tags", {"name": "more", "type": "json"}, geometry="point")
    values = {"tags": ["a", {"b": 1}], "more": {"z": [1, 2.5], "a": None}}
    taken = take(layer, folder.json(collection(feature(None, values))))
    assert json.loads(taken.column("tags")[0]) == values["tags"]
    assert taken.column("more") == ['{"a":null,"z":[1,2.5]}']


def test_values_of_several_kinds_are_told_apart_by_the_column(folder: Folder) -> None:
    layer = layer_of("name", {"name": "n", "type": "number"}, geometry="point")
    values = [1, 2.5, "3", True, 12345678901234567890, None]
    path = folder.json(collection(*(feature(None, {"name": v, "n": v}) for v in values)))
    taken = take(layer, path)
    assert taken.column("name") == ["1", "2.5", "3", "true", "12345678901234567890", None]
    assert taken.column("n") == [1, 2.5, 3, None, 12345678901234567890.0, None]
    assert [refusal.column for refusal in taken.refusals] == ["n"]


@pytest.mark.parametrize(
    ("name", "crs"),
    [
        ("urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326"),
        ("urn:ogc:def:crs:EPSG::4326", "EPSG:4326"),
        ("EPSG:4326", "EPSG:4326"),
        ("urn:ogc:def:crs:EPSG::2154", "EPSG:2154"),
    ],
)
def test_the_crs_member_of_older_geojson_is_honoured(folder: Folder, name: str, crs: str) -> None:
    said = {"type": "name", "properties": {"name": name}}
    where = point(652709, 6862305) if crs == "EPSG:2154" else point(2.35, 48.86)
    for members in (
        {"crs": said, "features": [feature(where)]},
        {"features": [feature(where)], "crs": said},
    ):
        taken = take(PLACES, folder.json({"type": "FeatureCollection", **members}))
        assert taken.facts[0].crs == crs
        assert "POINT (2.3" in str(taken.shapes[0])


def test_a_crs_that_is_not_known_is_refused(folder: Folder) -> None:
    said = {"type": "name", "properties": {"name": "MOON:1"}}
    with pytest.raises(SourceRefused, match=r"'MOON:1' is no coordinate reference system"):
        take(PLACES, folder.json(collection(ONE, crs=said)))


def test_what_is_no_feature_is_withheld(folder: Folder) -> None:
    strange: list[object] = [
        None,
        5,
        "x",
        [{}],
        {"type": "Featre"},
        {"type": "Feature", "properties": []},
    ]
    good = [ONE] * 7
    taken = take(NAMED, folder.json(collection(*good, *strange)))
    assert (len(taken.rows), len(taken.withheld), taken.read) == (7, 6, 13)
    assert "null stands where a feature should" in taken.refusals[0].reason
    assert 'type "Featre" should be Feature' in taken.refusals[4].reason


def test_a_geometry_that_cannot_be_is_withheld_with_its_reason(folder: Folder) -> None:
    bad = [
        point("2", 48),
        point(2, None),
        {"type": "Point"},
        {"type": "LineString", "coordinates": [[1, 2]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 1]]]},
        {"type": "Ball", "coordinates": [1, 2]},
    ]
    taken = take(PLACES, folder.json(collection(*[ONE] * 7, *(feature(shape) for shape in bad))))
    assert len(taken.rows) == 7
    assert all("cannot be read" in refusal.reason for refusal in taken.withheld)
    assert "a ring is not closed" in taken.withheld[4].reason


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.99])
def test_a_file_cut_short_is_refused_before_any_row(folder: Folder, kept: float) -> None:
    text = json.dumps(collection(*[ONE] * 50))
    with pytest.raises(SourceRefused, match=r"cut short|not GeoJSON"):
        take(NAMED, folder.text(text[: int(len(text) * kept)]), batch_rows=1)


def test_a_sequence_cut_short_is_refused(folder: Folder) -> None:
    text = "\n".join([json.dumps(ONE)] * 5)
    with pytest.raises(SourceRefused, match=r"middle of what begins on line 5"):
        take(NAMED, folder.text(text[:-3]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"features":[{"type":"Feature" "properties":{}}]}', r"line 1, column 32: "),
        ('{"features":[\n {\n"type":"Feature" "properties":{}}]}', r"line 3, column 18: "),
        ('{"features":[{"type":"Feature"},junk]}', r"'junk' is not JSON"),
        ('{"type":"FeatureCollection","features":[]}}', r"closes what was not opened"),
        ('{"type":"FeatureCollection","features":[]} junk', r"is not JSON"),
        ('{"type":"FeatureCollection","features":{}}', r"no array of features"),
        ('{"type":"Point","features":[]}', r"should be a FeatureCollection"),
        ('{"error":{"code":499,"message":"Token Required"}}', r"error message, not data: .*Token"),
        ('{"data":{"places":[]},"ttl":5}', r"JSON but not GeoJSON; its members are data, ttl"),
        ('[{"error":1},{"error":2}]', r"error message, not data: 1"),
    ],
)
def test_what_is_not_geojson_is_refused(folder: Folder, text: str, said: str) -> None:
    with pytest.raises(SourceRefused, match=said):
        take(NAMED, folder.text(text))


def test_geojson_in_another_encoding_is_read(folder: Folder) -> None:
    text = json.dumps(collection(feature(None, {"name": "Orée"})), ensure_ascii=False)
    for encoding in ("utf-8-sig", "utf-16", "cp1252"):
        assert take(NAMED, folder.text(text, encoding=encoding)).column("name") == ["Orée"]


def test_a_declared_column_is_the_place_instead_of_the_geometry(folder: Folder) -> None:
    layer = layer_of(geometry="point", source={"geometry": {"column": "xy"}})
    path = folder.json(
        collection(
            feature(point(1, 1), {"xy": [48.5, 2.5]}), feature(None, {"xy": {"lon": 3, "lat": 4}})
        )
    )
    assert take(layer, path).shapes == ["POINT (2.5 48.5)", "POINT (3 4)"]


texts = st.text(st.sampled_from('ab{}[]",:\\\n\u00e9'), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(
    features=st.lists(st.dictionaries(texts, values, max_size=3), max_size=6),
    around=st.dictionaries(texts, values, max_size=2),
    indent=st.sampled_from([None, 0, 2]),
    size=st.integers(1, 60),
)
def test_features_are_cut_out_whole_wherever_the_chunks_end(
    features: list[object], around: dict[str, object], indent: int | None, size: int
) -> None:
    text = json.dumps({**around, "features": features, "z": around}, indent=indent).encode()
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    items = Items("t", find_layout(iter(pieces)), iter(pieces))
    found = list(items)
    assert items.layout == "collection"
    assert [json.loads(item.text) for item in found] == features
    assert json.loads(bytes(items.envelope)) == {**around, "features": [], "z": around}
    for item in found:
        line = text.splitlines(keepends=True)[item.line - 1 :]
        assert b"".join(line)[item.column - 1 :].startswith(item.text)


@settings(max_examples=20, deadline=None)
@given(names=st.lists(st.none() | texts, min_size=1, max_size=12), batch=st.integers(1, 5))
def test_batches_change_nothing(names: list[str | None], batch: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Folder(Path(folder)).json(
            collection(*(feature(None, {"name": name}) for name in names))
        )
        whole, parts = take(NAMED, path), take(NAMED, path, batch_rows=batch)
    assert (whole.rows, whole.read, lines_of(whole.refusals)) == (parts.rows, parts.read, [])
