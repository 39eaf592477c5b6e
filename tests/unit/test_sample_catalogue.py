"""The shipped catalogue agrees with the model and with the files that it names."""

from __future__ import annotations

import csv
import gzip
import json
import re
from datetime import datetime
from functools import cache
from pathlib import Path

import pytest
import yaml

from layers.columns import Column, ColumnType, GeometryType
from layers.map import Map
from layers.model import Layer
from tests.unit.test_sample_city import made

CATALOGUE = Path(__file__).parents[2] / "data" / "catalogue"
LAYERS = sorted((CATALOGUE / "layers").glob("*.yaml"))
MAPS = sorted((CATALOGUE / "maps").glob("*.yaml"))
LANGUAGES = {"en", "fr", "de", "es"}


@cache
def layer(path: Path) -> Layer:
    return Layer.model_validate(yaml.safe_load(path.read_text()))


def city_map(path: Path) -> Map:
    return Map.model_validate(yaml.safe_load(path.read_text()))


def read(path: Path) -> list[dict[str, object]]:
    """The rows of a file, by their headers; CSV values are text."""
    data = path.read_bytes()
    if path.suffix == ".geojsonl":
        return [json.loads(line)["properties"] for line in data.splitlines()]
    if path.suffix == ".geojson":
        return [feature["properties"] for feature in json.loads(data)["features"]]
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    delimiter = ";" if ";" in text.splitlines()[0] else ","
    return list(csv.DictReader(text.splitlines(), delimiter=delimiter))


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, object]]]:
    """The rows of every file that a layer of the catalogue names, by its name."""
    return {path.name: read(path) for path in made(tmp_path_factory.getbasetemp())}


def rows_of(path: Path, tables: dict[str, list[dict[str, object]]]) -> list[dict[str, object]]:
    (file,) = layer(path).source.files
    assert file.startswith("../../sample/"), "relative to the YAML file, in data/sample"
    return tables[Path(file).name]


by_name = pytest.mark.parametrize("path", LAYERS, ids=lambda path: path.stem)


def test_there_are_a_dozen_layers_and_four_maps() -> None:
    assert len(LAYERS) >= 12
    assert {path.stem for path in MAPS} == {"city", "bike", "safety", "works"}


@by_name
def test_a_layer_is_named_as_its_file_and_speaks_four_languages(path: Path) -> None:
    found = layer(path)
    assert found.id == path.stem
    for text in (found.title, found.description, *(column.label for column in found.columns)):
        assert isinstance(text, dict)
        assert set(text) >= LANGUAGES
    for style in found.style.classes:
        assert isinstance(style.label, str) or set(style.label or {}) >= LANGUAGES


@by_name
def test_every_column_stands_in_the_file(
    path: Path, tables: dict[str, list[dict[str, object]]]
) -> None:
    headers = set(rows_of(path, tables)[0])
    assert {column.header for column in layer(path).columns} <= headers
    if place := layer(path).source.geometry:
        named = {place.longitude, place.latitude, place.column} - {None}
        assert named <= headers


@by_name
def test_the_key_names_every_row_once(
    path: Path, tables: dict[str, list[dict[str, object]]]
) -> None:
    found = layer(path)
    headers = [found.column(name).header for name in found.key]
    keys = [tuple(row[header] for header in headers) for row in rows_of(path, tables)]
    assert headers
    assert len(set(keys)) == len(keys)


@by_name
def test_every_class_of_the_style_occurs(
    path: Path, tables: dict[str, list[dict[str, object]]]
) -> None:
    found = layer(path)
    if not found.style.classes:
        return
    assert found.category is not None
    header = found.column(found.category).header
    values = {row[header] for row in rows_of(path, tables)}
    assert {style.value for style in found.style.classes} <= values


def reads(column: Column, value: object) -> bool:
    """Whether a value of the file is what the column declares."""
    match column.type:
        case ColumnType.INTEGER:
            return re.fullmatch(r"-?\d+", str(value)) is not None
        case ColumnType.NUMBER:
            return re.fullmatch(r"-?\d+(\.\d+)?", str(value)) is not None
        case ColumnType.BOOLEAN:
            return str(value).lower() in column.true_values + column.false_values
        case ColumnType.DATE | ColumnType.DATETIME:
            form = column.format or (
                "%Y-%m-%d" if column.type is ColumnType.DATE else "%Y-%m-%dT%H:%M"
            )
            return datetime.strptime(str(value), form).year > 1800
        case _:
            return isinstance(value, str)


@by_name
def test_every_value_is_of_its_declared_type(
    path: Path, tables: dict[str, list[dict[str, object]]]
) -> None:
    rows = rows_of(path, tables)
    for column in layer(path).columns:
        values = {row[column.header] for row in rows[:: max(1, len(rows) // 3000)]} - {None, ""}
        assert values, column.name
        assert [value for value in values if not reads(column, value)] == []
        if column.required:
            assert all(row[column.header] not in (None, "") for row in rows)


@pytest.mark.parametrize("path", MAPS, ids=lambda path: path.stem)
def test_a_map_names_layers_that_can_be_drawn(path: Path) -> None:
    found = city_map(path)
    assert found.id == path.stem
    drawn = {layer(other).id for other in LAYERS if layer(other).geometry is not GeometryType.NONE}
    ids = [item.id for item in found.layers]
    assert set(ids) <= drawn
    assert len(ids) == len(set(ids))
    if path.stem == "city":
        assert set(ids) == drawn
