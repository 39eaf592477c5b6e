"""Layers and files for the tests of reading, and what reading them gave."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import shapely

from ingest.read import read
from ingest.rows import Facts, Refusal
from layers.model import Layer


def layer_of(*columns: str | Mapping[str, object], geometry: str = "none", **more: Any) -> Layer:
    """A layer of these columns; a bare name is a column of text."""
    listed = [{"name": column} if isinstance(column, str) else column for column in columns]
    return Layer.model_validate(
        {
            "id": "things",
            "title": "Things",
            "publisher": "City",
            "licence": "CC0-1.0",
            "attribution": "City",
            "geometry": geometry,
            "columns": listed,
            **more,
        }
    )


@dataclass(frozen=True)
class Taken:
    """Everything one reading gave."""

    rows: list[dict[str, Any]]
    refusals: list[Refusal]
    read: int
    facts: list[Facts]
    schema: pa.Schema
    progress: list[int]
    total_bytes: int

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]

    @property
    def shapes(self) -> list[str | None]:
        """The geometry of each row as WKT."""
        return [
            None if row["geom"] is None else shapely.from_wkb(row["geom"]).wkt for row in self.rows
        ]

    @property
    def withheld(self) -> list[Refusal]:
        return [refusal for refusal in self.refusals if refusal.column is None]

    @property
    def notes(self) -> dict[str, object]:
        return self.facts[0].notes


def take(layer: Layer, *files: Path, batch_rows: int = 65_536) -> Taken:
    """Read the files to the end."""
    reading = read(layer, files, batch_rows=batch_rows)
    batches = list(reading)
    return Taken(
        rows=[row for batch in batches for row in batch.rows.to_pylist()],
        refusals=[refusal for batch in batches for refusal in batch.refusals],
        read=sum(batch.read for batch in batches),
        facts=reading.facts,
        schema=batches[0].rows.schema if batches else pa.schema([]),
        progress=[batch.bytes_read for batch in batches],
        total_bytes=reading.total_bytes,
    )


class Folder:
    """A folder of made files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def text(self, text: str, name: str = "things.csv", encoding: str = "utf-8") -> Path:
        return self.data(text.encode(encoding), name)

    def data(self, data: bytes, name: str = "things.csv") -> Path:
        path = self.path / name
        path.write_bytes(data)
        return path

    def gz(self, data: bytes, name: str = "things.csv.gz") -> Path:
        return self.data(gzip.compress(data), name)

    def zip(self, members: Mapping[str, bytes], name: str = "things.zip") -> Path:
        path = self.path / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for inside, data in members.items():
                archive.writestr(inside, data)
        return path

    def json(self, value: object, name: str = "things.geojson") -> Path:
        return self.text(json.dumps(value), name)


def feature(
    geometry: object = None, properties: object = None, **more: object
) -> dict[str, object]:
    return {"type": "Feature", "properties": properties, "geometry": geometry, **more}


def collection(*features: object, **more: object) -> dict[str, object]:
    return {"type": "FeatureCollection", "features": list(features), **more}


def point(x: object, y: object) -> dict[str, object]:
    return {"type": "Point", "coordinates": [x, y]}


def lines_of(refusals: Sequence[Refusal]) -> list[int]:
    return [refusal.line for refusal in refusals]
