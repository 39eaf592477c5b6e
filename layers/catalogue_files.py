"""Read the catalogue's YAML; every problem names the file, the line and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from layers.columns import GeometryType
from layers.errors import CatalogueError
from layers.map import Map
from layers.model import Layer
from layers.tilesets import Tileset

M = TypeVar("M", Layer, Map, Tileset)
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class CatalogueFiles:
    """All that a catalogue directory declares. `paths` tells where each layer and tileset was
    declared, because the files they name are relative to it.
    """

    layers: dict[str, Layer]
    maps: dict[str, Map]
    paths: dict[str, Path]
    tilesets: dict[str, Tileset] = field(default_factory=dict)


def read_catalogue(directory: Path) -> CatalogueFiles:
    """Read `layers/*.yaml`, `maps/*.yaml` and `tilesets/*.yaml`; raises CatalogueError with every
    problem found.
    """
    if not directory.is_dir():
        raise CatalogueError([f"{directory}: no such directory; set QUARTIER_CATALOGUE to one"])
    problems: list[str] = []
    layer_files = sorted((directory / "layers").glob("*.y*ml"))
    layers = _read_all(layer_files, Layer, problems)
    maps = _read_all(sorted((directory / "maps").glob("*.y*ml")), Map, problems)
    tileset_files = sorted((directory / "tilesets").glob("*.y*ml"))
    tilesets = _read_all(tileset_files, Tileset, problems)
    problems += _disagreements(directory, layers, maps)
    problems += _borders_missing(layer_files, layers)
    problems += _taken_ids(tileset_files, {**layers, **maps})
    if problems:
        raise CatalogueError(problems)
    paths = {path.stem: path for path in (*layer_files, *tileset_files)}
    return CatalogueFiles(layers, maps, paths, tilesets)


def declared_file(files: CatalogueFiles, tileset_id: str) -> Path:
    """Where the catalogue says that a tileset's file is."""
    return (files.paths[tileset_id].parent / files.tilesets[tileset_id].file).absolute()


def _read_all(paths: Sequence[Path], kind: type[M], problems: list[str]) -> dict[str, M]:
    found: dict[str, M] = {}
    for path in paths:
        try:
            declared = read_declaration(path, kind)
        except CatalogueError as exc:
            problems += exc.problems
        else:
            found[declared.id] = declared
    return found


def read_declaration(path: Path, kind: type[M]) -> M:
    """Read one file; its name must be its id."""
    try:
        text = path.read_text(encoding="utf-8")
        content, twice = _parsed(text)
    except UnicodeDecodeError as exc:
        raise CatalogueError([f"{path}: not UTF-8 text; save it as UTF-8"]) from exc
    except yaml.YAMLError as exc:
        raise CatalogueError([_yaml_problem(path, exc)]) from exc
    if not isinstance(content, dict):
        raise CatalogueError([f"{path}:1: expected `id: {path.stem}` and other fields"])
    if twice:
        raise CatalogueError([f"{path}:{line}: {said}" for line, said in twice])
    try:
        declared = kind.model_validate(content)
    except ValidationError as exc:
        node = _composed(text)
        raise CatalogueError(
            [_describe(path, node, kind, error) for error in exc.errors()]
        ) from exc
    if declared.id != path.stem:
        line = _line_of(_composed(text), ("id",))
        raise CatalogueError(
            [f"{path}:{line}: id is {declared.id!r}; name the file {declared.id}.yaml"]
        )
    return declared


def _parsed(text: str) -> tuple[object, list[tuple[int, str]]]:
    """What is written, and what stands there twice."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        twice = [] if node is None else _written_twice(node)  # before `<<` is resolved in place
        return (None if node is None else loader.construct_document(node)), twice
    finally:
        loader.dispose()


def _composed(text: str) -> yaml.Node:
    """The lines of what was parsed before."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert node is not None
    return node


def _yaml_problem(path: Path, exc: yaml.YAMLError) -> str:
    mark = getattr(exc, "problem_mark", None)
    line = mark.line + 1 if mark else 1
    return f"{path}:{line}: not YAML: {getattr(exc, 'problem', None) or exc}"


def _written_twice(node: yaml.Node) -> list[tuple[int, str]]:
    """Fields that stand twice in one place, of which YAML would silently take the later."""
    found: list[tuple[int, str]] = []
    if isinstance(node, yaml.MappingNode):
        names: set[object] = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else key
            if name in names:
                line = key.start_mark.line + 1
                found.append((line, f"{name}: stands there twice; remove one"))
            names.add(name)
            found += _written_twice(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            found += _written_twice(item)
    return found


def _line_of(node: yaml.Node, place: Place) -> int:
    """The line of the deepest part of `place` that stands in the file, counted from 1."""
    line = node.start_mark.line
    for step in place:
        if isinstance(node, yaml.MappingNode):
            match = [(k, v) for k, v in node.value if k.value == str(step)]
            if not match:
                break
            line, node = match[0][0].start_mark.line, match[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line
    return line + 1


def _describe(path: Path, node: yaml.Node, kind: type[BaseModel], error: ErrorDetails) -> str:
    place = tuple(step for step in error["loc"] if step not in ("str", "dict[str,str]"))
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = _unknown_field(str(place[-1]), kind, place)
    elif error["type"] == "missing":
        message = "is missing; add it"
    elif error["type"] == "value_error":  # our own words, which name the value
        if not place and ": " in message:
            field, message = message.split(": ", 1)
            place = tuple(field.split("."))
    else:
        message = (message[0].lower() + message[1:]).replace("tuple", "list")
        if not isinstance(error["input"], dict | list | tuple):
            message = f"{error['input']!r}: {message}"
    name = ".".join(str(step) for step in place) or "file"
    return f"{path}:{_line_of(node, place)}: {name}: {message}"


def _unknown_field(name: str, kind: type[BaseModel], place: Place) -> str:
    known = _fields_at(kind, place[:-1])
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known fields: {', '.join(sorted(known))}"
    return f"is not a field; {hint}"


def _fields_at(kind: type[BaseModel], place: Place) -> list[str]:
    for step in place:
        if isinstance(step, int) or step not in kind.model_fields:
            continue
        inner = _model_in(kind.model_fields[step].annotation)
        kind = inner or kind
    return [field.alias or name for name, field in kind.model_fields.items()]


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        if found := _model_in(part):
            return found
    return None


def _disagreements(directory: Path, layers: dict[str, Layer], maps: dict[str, Map]) -> list[str]:
    problems = []
    for map_ in maps.values():
        path = min((directory / "maps").glob(f"{map_.id}.y*ml"))
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        assert node is not None
        if map_.id in layers:
            problems.append(
                f"{path}:{_line_of(node, ('id',))}: id {map_.id!r} is a layer's too;"
                " styles need one of them renamed"
            )
        for index, shown in enumerate(map_.layers):
            if wrong := _cannot_show(shown.id, layers):
                line = _line_of(node, ("layers", index))
                problems.append(f"{path}:{line}: layers: {wrong}")
    return problems


def _borders_missing(layer_files: Sequence[Path], layers: dict[str, Layer]) -> list[str]:
    """What a layer's privacy needs of other layers, and they do not have."""
    problems = []
    for path in layer_files:
        layer = layers.get(path.stem)
        if layer is None or layer.privacy is None:
            continue
        areas, anchors = layer.privacy.areas, layer.privacy.anchors
        said = {}
        if areas is not None:
            said["areas"] = _cannot_bound(layers.get(areas.layer), areas.layer, areas.code)
        if anchors is not None:
            said["anchors"] = _cannot_anchor(layers.get(anchors), anchors)
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        for name, wrong in said.items():
            if wrong and node is not None:
                line = _line_of(node, ("privacy", name))
                problems.append(f"{path}:{line}: privacy.{name}: {wrong}")
    return problems


def _cannot_bound(layer: Layer | None, layer_id: str, code: str) -> str | None:
    if layer is None:
        return f"no layer {layer_id!r}"
    if layer.geometry is not GeometryType.POLYGON:
        return f"{layer_id!r} is of {layer.geometry}s; areas are polygons"
    if code not in [column.name for column in layer.columns]:
        return f"layer {layer_id!r} has no column {code!r}"
    return None


def _cannot_anchor(layer: Layer | None, layer_id: str) -> str | None:
    if layer is None:
        return f"no layer {layer_id!r}"
    if layer.geometry not in (GeometryType.POINT, GeometryType.LINE) or layer.privacy:
        return f"{layer_id!r} cannot be snapped to; name a layer of points or lines, not private"
    return None


def _taken_ids(tileset_files: Sequence[Path], others: dict[str, Layer | Map]) -> list[str]:
    return [
        f"{path}:1: id {path.stem!r} is a layer's or a map's too; rename one of them"
        for path in tileset_files
        if path.stem in others
    ]


def _cannot_show(layer_id: str, layers: dict[str, Layer]) -> str | None:
    """Why a map cannot show the layer, if it cannot."""
    if layer_id not in layers:
        near = difflib.get_close_matches(layer_id, layers, n=1)
        hint = f"did you mean {near[0]}?" if near else f"layers: {', '.join(sorted(layers))}"
        return f"no layer {layer_id!r}; {hint}"
    if not layers[layer_id].has_geometry:
        return f"{layer_id!r} has no geometry to draw; remove it"
    return None
