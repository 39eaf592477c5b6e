from __future__ import annotations

import gc
import tempfile

import pytest

from ingest.errors import IngestError, SourceRefused
from ingest.read import read
from tests.unit.ingest.making import Folder, collection, feature, layer_of, point, take

AB = layer_of("a", "b")


def test_a_reading_that_is_left_leaves_nothing_behind(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder.path))
    path = folder.text("a,b\n1,2\n3,4\n")
    read(AB, [path])
    with read(AB, [path], batch_rows=1) as reading:
        next(iter(reading))
    iter(read(AB, [path]))
    gc.collect()
    assert list(folder.path.iterdir()) == [path]


def test_the_whole_size_is_known_before_reading(folder: Folder) -> None:
    path = folder.text("a,b\n1,2\n")
    assert read(AB, [path, path]).total_bytes == 2 * path.stat().st_size


def test_a_declared_format_does_not_make_a_web_page_data(folder: Folder) -> None:
    layer = layer_of("a", source={"format": "csv"})
    with pytest.raises(SourceRefused, match=r"web page titled 'Login'"):
        take(layer, folder.text("<html><title>Login</title></html>"))


def test_a_declared_format_wins_over_what_the_text_looks_like(folder: Folder) -> None:
    path = folder.text("[a],b\n1,2\n")
    layer = layer_of("a", "b", source={"format": "csv"})
    assert take(layer, path).column("a") == ["1"]


@pytest.mark.parametrize("declared", ["shapefile", "geopackage"])
def test_a_declared_format_that_cannot_be_is_refused(folder: Folder, declared: str) -> None:
    layer = layer_of("a", source={"format": declared})
    with pytest.raises(SourceRefused, match=rf"says {declared}, but this is csv"):
        take(layer, folder.text("a,b\n1,2\n"))


@pytest.mark.parametrize("delimiter", ['"', "\n", "·"])
def test_a_delimiter_that_cannot_part_cells_is_refused(folder: Folder, delimiter: str) -> None:
    with pytest.raises(SourceRefused, match=r"cannot part cells"):
        take(layer_of("a", source={"delimiter": delimiter}), folder.text("a\n1\n"))


def test_collections_of_different_things_in_a_zip_need_a_sublayer(folder: Folder) -> None:
    trees = folder.json(collection(feature(point(1, 2), {"height": 3})), "t").read_bytes()
    banks = folder.json(collection(feature(point(1, 2), {"colour": 3})), "b").read_bytes()
    packed = folder.zip({"trees.geojson": trees, "banks.geojson": banks})
    with pytest.raises(SourceRefused, match=r"source.sublayer as one of: trees, banks"):
        take(layer_of("height", geometry="point"), packed)
    layer = layer_of("height", geometry="point", source={"sublayer": "trees"})
    assert take(layer, packed).column("height") == ["3"]


def test_json_nested_without_end_is_refused(folder: Folder) -> None:
    deep = "[" * 200_000
    for text in (deep + "]" * 200_000, '{"features":[],"a":' + deep + "]" * 200_000 + "}"):
        with pytest.raises(SourceRefused):
            take(layer_of("a", geometry="point"), folder.text(text))


def test_a_layer_without_geometry_reads_located_files(folder: Folder) -> None:
    taken = take(layer_of("a"), folder.json(collection(feature(point(1, 2), {"a": "x"}))))
    assert taken.column("a") == ["x"]
    assert "geom" not in taken.schema.names


def test_a_refusal_is_an_ingest_error_that_names_the_file(folder: Folder) -> None:
    with pytest.raises(IngestError) as refused:
        take(AB, folder.text("a\n1\n", "odd name.csv"))
    assert isinstance(refused.value, SourceRefused)
    assert refused.value.file == "odd name.csv"
    assert str(refused.value).startswith("odd name.csv: ")
