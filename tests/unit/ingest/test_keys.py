from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.keys import declared_keys
from tests.unit.ingest.making import Folder, collection, feature, layer_of, point, take

COLUMNS: list[str | dict[str, object]] = [
    "name",
    {"name": "n", "type": "integer"},
    {"name": "x", "type": "number"},
    {"name": "ok", "type": "boolean"},
    {"name": "day", "type": "date"},
    {"name": "at", "type": "datetime"},
]
LAYER = layer_of(*COLUMNS, geometry="point")
ROWS = [
    ("oak", 1, 0.1, True, "2026-01-02", "2026-01-02T03:04:05Z", 2.3522, 48.8566),
    ("elm", -2, 1e-7, False, "1999-12-31", "2026-06-02T05:04:05+02:00", -99.1332, 19.4326),
    (None, None, None, None, None, None, None, None),
    ("été", 3, 12345.678, None, None, None, 13.0, 52.0),
]


def as_csv(order: list[int]) -> str:
    names = ["name", "n", "x", "ok", "day", "at", "longitude", "latitude"]
    lines = [[names[index] for index in order]]
    lines += [["" if row[index] is None else str(row[index]) for index in order] for row in ROWS]
    return "\n".join(";".join(line) for line in lines) + "\n"


def as_geojson() -> dict[str, object]:
    names = ["name", "n", "x", "ok", "day", "at"]
    return collection(
        *(
            feature(row[6] and point(row[6], row[7]), dict(zip(names, row, strict=False)))
            for row in ROWS
        )
    )


def test_a_row_has_the_same_key_in_every_format_and_column_order(folder: Folder) -> None:
    layer = layer_of(*COLUMNS, geometry="point", source={"geometry": None})
    keys = take(layer, folder.text(as_csv([0, 1, 2, 3, 4, 5, 6, 7]))).column("source_key")
    turned = take(LAYER, folder.text(as_csv([7, 3, 1, 0, 6, 5, 2, 4]))).column("source_key")
    json = take(LAYER, folder.json(as_geojson())).column("source_key")
    assert keys == turned == json
    assert all(len(key) == 32 for key in keys)
    assert len(set(keys)) == 4


def test_equal_rows_have_equal_keys(folder: Folder) -> None:
    keys = take(layer_of("a", "b"), folder.text("a,b\n1,2\n1,2\n1,3\n")).column("source_key")
    assert keys[0] == keys[1] != keys[2]


def test_an_empty_cell_is_not_its_neighbour(folder: Folder) -> None:
    keys = take(layer_of("a", "b"), folder.text("a,b\nx,\n,x\n")).column("source_key")
    assert keys[0] != keys[1]


def test_the_key_of_a_row_stays_what_it_was(folder: Folder) -> None:
    layer = layer_of("a", {"name": "n", "type": "integer"})
    taken = take(layer, folder.text("a,n\nx,1\n"))
    assert taken.column("source_key") == ["63b809004acd2bf383881e8102ee0332"]


def test_declared_keys_are_readable(folder: Folder) -> None:
    columns: list[dict[str, object]] = [
        {"name": "a"},
        {"name": "n", "type": "integer"},
        {"name": "d", "type": "date"},
    ]
    taken = take(layer_of(*columns, key=["a", "n", "d"]), folder.text("a,n,d\n01,007,20260102\n"))
    assert taken.column("source_key") == ["01|7|2026-01-02"]


def test_one_key_column_is_the_key(folder: Folder) -> None:
    assert take(layer_of("a", key="a"), folder.text("a,b\nx|y,1\n")).column("source_key") == ["x|y"]


def test_a_row_without_its_key_is_withheld(folder: Folder) -> None:
    taken = take(layer_of("a", "b", key="a"), folder.text("a,b\nx,1\n,2\ny,3\n"))
    assert taken.column("source_key") == ["x", "y"]
    assert taken.withheld[0].reason == "a is empty; it is a key and needs a value"
    assert taken.withheld[0].key is None


@given(st.lists(st.text(st.sampled_from("a|\\"), max_size=4), min_size=4, max_size=4))
def test_different_values_never_share_a_key(parts: list[str]) -> None:
    columns = [pa.array([parts[0], parts[2]]), pa.array([parts[1], parts[3]])]
    one, other = declared_keys(columns).to_pylist()
    assert (one == other) == (parts[:2] == parts[2:])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(1, 6))
def test_keys_do_not_depend_on_batches(numbers: list[int], batch: int) -> None:
    layer = layer_of({"name": "n", "type": "integer"}, geometry="point")
    text = "n,lon,lat\n" + "".join(f"{n},{n},4{n}\n" for n in numbers)
    with tempfile.TemporaryDirectory() as folder:
        path = Folder(Path(folder)).text(text)
        whole, parts = take(layer, path), take(layer, path, batch_rows=batch)
    assert whole.column("source_key") == parts.column("source_key")


@pytest.mark.parametrize("crs", ["EPSG:2154", "EPSG:3857"])
def test_the_same_place_in_one_crs_has_one_key(folder: Folder, crs: str) -> None:
    layer = layer_of(geometry="point", source={"crs": crs})
    text = "x,y\n262221.5,6250821.25\n262221.5,6250821.25\n"
    one = take(layer, folder.text(text)).column("source_key")
    assert one == take(layer, folder.text(text), batch_rows=1).column("source_key")
