"""Tables to files, in the formats that cities publish; each file appears whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import shapely

from data.sample_city.space import DECIMALS, Coords, Lines, Mask, degrees

TOO_LONG = re.compile(r"\d+\.\d{8,}")  # GEOS does not always print the shortest number


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One file. The format follows from its name; `shapes` are in metres, and go into GeoJSON."""

    file: str
    header: tuple[str, ...]
    rows: Sequence[Sequence[object]]
    shapes: Lines | None = None
    delimiter: str = ";"


def write_table(table: Table, folder: Path) -> Path:
    """Write the table's file into the folder.

    The same table gives the same bytes; in a .gz, as far as zlib is the same.
    """
    if table.file.endswith(".geojson"):
        data = _collection(table).encode()
    elif table.file.endswith(".geojsonl"):
        data = "".join(f"{feature}\n" for feature in _features(table)).encode()
    elif table.file.endswith(".csv.gz"):
        data = gzip.compress(_csv(table, "\n").encode(), compresslevel=6, mtime=0)
    else:
        data = _csv(table, "\r\n").encode("utf-8-sig" if table.delimiter == ";" else "utf-8")
    path = folder / table.file
    replace(path, data)
    return path


def replace(path: Path, data: bytes) -> None:
    """Put the bytes where the path says, in one step."""
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_bytes(data)
    unfinished.replace(path)


def geojson(shapes: Lines) -> list[str]:
    """Geometries given in metres as GeoJSON text in degrees."""
    moved = shapely.transform(shapely.orient_polygons(shapes), degrees)
    torn = ~shapely.is_valid(moved)  # by rounding: a sliver thinner than a centimetre
    moved[torn] = shapely.set_precision(moved[torn], 10**-DECIMALS)
    return [TOO_LONG.sub(_shorter, str(text)) for text in shapely.to_geojson(moved)]


def _shorter(number: re.Match[str]) -> str:
    return repr(round(float(number[0]), DECIMALS))


def geo_points(at: Coords) -> list[str]:
    """Points given in metres as "latitude, longitude"."""
    return [f"{lat:.7f}, {lon:.7f}" for lon, lat in degrees(at).tolist()]


def blanked(values: Sequence[object], where: Mask) -> list[object]:
    """The values, with nothing where the mask says so: registers have gaps."""
    return [None if gap else value for value, gap in zip(values, where.tolist(), strict=True)]


def _features(table: Table) -> list[str]:
    assert table.shapes is not None, table.file
    texts = []
    for row, shape in zip(table.rows, geojson(table.shapes), strict=True):
        said = json.dumps(
            dict(zip(table.header, row, strict=True)), ensure_ascii=False, separators=(",", ":")
        )
        texts.append(f'{{"type":"Feature","properties":{said},"geometry":{shape}}}')
    return texts


def _collection(table: Table) -> str:
    features = ",\n".join(_features(table))
    return f'{{"type":"FeatureCollection","features":[\n{features}\n]}}\n'


def _csv(table: Table, end: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=table.delimiter, lineterminator=end)
    writer.writerow(table.header)
    writer.writerows(table.rows)
    return text.getvalue()
