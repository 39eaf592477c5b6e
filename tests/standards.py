"""What we answer, against the schemas that the standards publish (beside the checkout)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft201909Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT201909

FEATURES, TILES = "ogcapi_features_schemas", "tms2_schemas"


def errors_of(document: object, shared: Path, standard: str, name: str) -> list[str]:
    """What the schema of this name finds wrong, each with its place."""
    files = {path.name: path for path in (shared / "standards" / standard).iterdir()}
    registry: Registry[Any] = Registry().with_resources(
        (file, Resource.from_contents(_read(path), DRAFT201909)) for file, path in files.items()
    )
    validator = Draft201909Validator(
        {"$ref": name}, registry=registry, format_checker=Draft201909Validator.FORMAT_CHECKER
    )
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def _read(path: Path) -> Any:
    if path.suffix == ".json":
        return json.loads(path.read_text())
    return _named(yaml.safe_load(path.read_text()))


def _named(schema: Any) -> Any:
    """The schema with `type: null` meant as the name of a type, which YAML reads as nothing."""
    if isinstance(schema, list):
        return [_named(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: "null" if name == "type" and value is None else _named(value)
        for name, value in schema.items()
    }
