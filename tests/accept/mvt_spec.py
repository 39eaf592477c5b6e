"""A reader of vector tiles as their specification (2.1) has them, and its rules as assertions.

The schema is that of `vector_tile.proto`; protobuf's own runtime parses by it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import shapely
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, unknown_fields

Point = tuple[int, int]
Path = list[Point]
FIELD = descriptor_pb2.FieldDescriptorProto
TYPES = {1: "point", 2: "line", 3: "polygon"}
MOVE_TO, LINE_TO, CLOSE_PATH = 1, 2, 7
VALUES = ("string", "float", "double", "int", "uint", "sint", "bool")
BUFFER = 64


def _schema() -> Any:
    """The message Tile. Fields: name, number, kind and, where it is repeated, `packed` or not."""
    kinds = {
        "string": FIELD.TYPE_STRING, "float": FIELD.TYPE_FLOAT, "double": FIELD.TYPE_DOUBLE,
        "int64": FIELD.TYPE_INT64, "uint64": FIELD.TYPE_UINT64, "sint64": FIELD.TYPE_SINT64,
        "bool": FIELD.TYPE_BOOL, "uint32": FIELD.TYPE_UINT32,
    }  # fmt: skip
    messages: dict[str, list[tuple[str, int, str, bool]]] = {
        "Value": [
            (f"{name}_value", number, kind, False)
            for number, (name, kind) in enumerate(
                zip(VALUES, ("string", "float", "double", "int64", "uint64", "sint64", "bool"),
                    strict=True), start=1)
        ],
        "Feature": [("id", 1, "uint64", False), ("tags", 2, "uint32", True),
                    ("type", 3, "uint32", False), ("geometry", 4, "uint32", True)],
        "Layer": [("name", 1, "string", False), ("features", 2, "Feature", True),
                  ("keys", 3, "string", True), ("values", 4, "Value", True),
                  ("extent", 5, "uint32", False), ("version", 15, "uint32", False)],
        "Tile": [("layers", 3, "Layer", True)],
    }  # fmt: skip
    file = descriptor_pb2.FileDescriptorProto(name="spec.proto", package="spec", syntax="proto2")
    for message, fields in messages.items():
        made = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            label = FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL
            field = made.field.add(name=name, number=number, label=label)
            if kind in kinds:
                field.type = kinds[kind]
                field.options.packed = repeated and kind == "uint32"
            else:
                field.type, field.type_name = FIELD.TYPE_MESSAGE, f".spec.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("spec.Tile"))


TILE = _schema()


def read(data: bytes) -> list[dict[str, Any]]:
    """The layers of a tile. Raises AssertionError where it breaks a rule of the specification."""
    tile = TILE.FromString(data)
    names = [layer.name for layer in tile.layers]
    assert len(set(names)) == len(names), f"layers named twice: {names}"
    assert len(unknown_fields.UnknownFieldSet(tile)) == 0
    return [_layer(layer) for layer in tile.layers]


def _layer(layer: Any) -> dict[str, Any]:
    assert layer.HasField("version")
    assert layer.version == 2
    assert layer.name
    assert layer.HasField("extent")
    assert layer.features, "a layer SHOULD hold a feature"
    assert len(set(layer.keys)) == len(layer.keys)
    values = [_value(value) for value in layer.values]
    features = [_feature(feature, layer.keys, values, layer.extent) for feature in layer.features]
    ids = [each["id"] for each in features if each["id"] is not None]
    assert len(set(ids)) == len(ids), "ids SHOULD be unique in a layer"
    return {
        "name": layer.name, "version": layer.version, "extent": layer.extent, "features": features,
    }  # fmt: skip


def _value(value: Any) -> Any:
    found = [name for name in VALUES if value.HasField(f"{name}_value")]
    assert len(found) == 1, "a value MUST have exactly one type"
    return getattr(value, f"{found[0]}_value")


def _feature(feature: Any, keys: Sequence[str], values: list[Any], extent: int) -> dict[str, Any]:
    tags = list(feature.tags)
    assert len(tags) % 2 == 0
    named = [keys[index] for index in tags[::2]]
    assert len(set(named)) == len(named), "a key MUST NOT be given twice"
    assert feature.HasField("type")
    kind = TYPES[feature.type]
    paths = list(_paths(list(feature.geometry), kind))
    assert paths, "a feature MUST have a geometry"
    _check_geometry(kind, paths, extent)
    return {
        "id": feature.id if feature.HasField("id") else None,
        "type": kind,
        "paths": paths,
        "properties": dict(zip(named, [values[index] for index in tags[1::2]], strict=True)),
    }


def _paths(geometry: list[int], kind: str) -> Iterator[Path]:
    """The parts of a geometry; a ring ends where it began."""
    at, x, y, path = 0, 0, 0, list[Point]()
    while at < len(geometry):
        command, count = geometry[at] & 7, geometry[at] >> 3
        at += 1
        if command == CLOSE_PATH:
            assert (kind, count) == ("polygon", 1)
            assert len(path) >= 3
            assert path[-1] != path[0], "ClosePath closes a ring, and no LineTo does"
            yield [*path, path[0]]
            path = []
            continue
        assert command in (MOVE_TO, LINE_TO)
        assert count > 0
        if command == MOVE_TO:
            assert count == 1 or kind == "point"
            assert kind != "polygon" or not path, "a ring MUST be closed"
            assert kind != "line" or len(path) != 1
            if path:
                yield path
            path = []
        else:
            assert kind != "point"
            assert path, "LineTo follows MoveTo"
        for _ in range(count):
            dx, dy = (_signed(number) for number in geometry[at : at + 2])
            assert command == MOVE_TO or (dx, dy) != (0, 0), "LineTo SHOULD go somewhere"
            at, x, y = at + 2, x + dx, y + dy
            path.append((x, y))
    if path:
        assert kind != "polygon"
        assert kind != "line" or len(path) > 1
        yield path


def _signed(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


def _check_geometry(kind: str, paths: list[Path], extent: int) -> None:
    assert extent == 4096
    for path in paths:
        for x, y in path:
            assert -BUFFER <= x <= extent + BUFFER
            assert -BUFFER <= y <= extent + BUFFER
    if kind == "polygon":
        for polygon in polygons(paths):
            assert polygon.is_valid, shapely.is_valid_reason(polygon)
    if kind == "point":
        assert len(paths) == 1


def polygons(rings: list[Path]) -> list[shapely.Polygon]:
    """Rings as polygons: one that turns clockwise on the screen begins another."""
    found: list[list[Path]] = []
    for ring in rings:
        area = sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(ring)) / 2
        assert area != 0
        if area > 0:
            found.append([ring])
        else:
            assert found, "the first ring MUST be an outer one"
            found[-1].append(ring)
    return [shapely.Polygon(rings[0], rings[1:]) for rings in found]
