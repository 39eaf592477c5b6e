"""Where a table's rows lie: which columns say so, and what they say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from ingest.cells import as_text, clean, read_numbers
from ingest.errors import SourceRefused
from ingest.headers import Headers, fold
from ingest.rows import Floats, Shapes, Table
from layers.model import Layer

SHAPE_NAMES = ("geo_shape", "geometry", "geom", "the_geom", "wkt", "wkb_geometry", "geojson")
PAIR_NAMES = (
    ("longitude", "latitude"),
    ("lon", "lat"),
    ("lng", "lat"),
    ("long", "lat"),
    ("longitud", "latitud"),
    ("lon", "latitude"),
    ("stop_lon", "stop_lat"),
)
POINT_NAMES = ("geo_point_2d", "geopoint", "geo_point", "coordonnees", "coordinates")
LAT_LON = r"^\(?\s*(?P<lat>[+-]?\d+(?:\.\d+)?)\s*[,;]\s*(?P<lon>[+-]?\d+(?:\.\d+)?)\s*\)?$"
SEXAGESIMAL = re.compile(
    r"(?P<before>[NSEW])?\s*(?P<d>[+-]?\d+(?:[.,]\d+)?)\s*[°º]\s*"
    r"(?:(?P<m>\d+(?:[.,]\d+)?)\s*['’′]\s*)?"
    r"(?:(?P<s>\d+(?:[.,]\d+)?)\s*(?:\"|”|″|''|’’|′′)\s*)?(?P<after>[NSEW])?",
    re.I,
)
EWKT = re.compile(r"SRID=(\d+);\s*(.*)", re.I | re.S)
HEX_WKB = re.compile(r"[0-9a-fA-F]{18,}")
LOOKED_AT = 1_000  # rows
LOOKS_LIKE_A_PLACE = (
    r'(?i)^\s*(\{.*"(coordinates|lat|geometry)"|(SRID=\d+;\s*)?(MULTI)?(POINT|LINESTRING|POLYGON)'
    r"\s*Z?\s*\(|[+-]?\d+\.\d{3,}\s*,\s*[+-]?\d+\.\d{3,}\s*$|01[0-9A-F]{40,}$)"
)
PARTS = re.compile(r"^\w+Exception: |Error parsing JSON: |'?\[json\.exception\.[\w.]+\] |'$")
LONGITUDES = ("lon", "lng", "long", "longitude", "x")
LATITUDES = ("lat", "latitude", "y")


@dataclass(frozen=True, slots=True)
class Where:
    """The headers that hold a row's place: x and y, or one whose content is parsed."""

    x: str | None = None
    y: str | None = None
    column: str | None = None

    @property
    def headers(self) -> tuple[str, ...]:
        return tuple(name for name in (self.x, self.y, self.column) if name)


@dataclass(slots=True)
class Places:
    """Places as read, in the file's CRS: points as x and y (NaN: none), else shapes.

    `reasons` tells, by row, why a place that is given cannot be read. `srids` tells the rows that
    name a CRS of their own.
    """

    x: Floats | None = None
    y: Floats | None = None
    shapes: Shapes | None = None
    reasons: dict[int, str] = field(default_factory=dict)
    srids: dict[int, int] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)


def find_where(layer: Layer, table: Table) -> Where | None:
    """The columns that hold the place, declared or well known; None: rows bring a geometry."""
    headers = Headers(table.name, table.headers)
    if declared := layer.source.geometry:

        def found(wanted: str) -> str:
            if (header := headers.find(wanted)) is None:
                raise headers.missing("geometry", wanted)
            return header

        if declared.column is not None:
            return Where(column=found(declared.column))
        return Where(x=found(declared.longitude or ""), y=found(declared.latitude or ""))
    if table.located:
        return None
    where = well_known(table.headers, layer.source.crs) or _by_content(table)
    if where is not None:
        return where
    raise SourceRefused(
        table.name,
        f"no column that holds the place was found; the headers are {', '.join(table.headers)}. "
        "Declare source.geometry with longitude and latitude, or with column",
    )


def _by_content(table: Table) -> Where | None:
    """The only column whose first texts are all places, whatever it is called."""
    chunk = next(table.chunks(table.headers, LOOKED_AT), None)
    if chunk is None:
        return None
    fitting = []
    for header, values in chunk.columns.items():
        texts = clean(as_text(values)).drop_null()
        written = pc.match_substring_regex(texts, LOOKS_LIKE_A_PLACE)
        if len(texts) and pc.all(written).as_py() and not read_column(texts, header).reasons:
            fitting.append(header)
    return Where(column=fitting[0]) if len(fitting) == 1 else None


def well_known(headers: Sequence[str], crs: str | None) -> Where | None:
    named = {fold(header): header for header in reversed(headers)}
    pairs = PAIR_NAMES + ((("x", "y"),) if crs else ())
    for name in SHAPE_NAMES:
        if name in named:
            return Where(column=named[name])
    for x, y in pairs:
        if x in named and y in named:
            return Where(x=named[x], y=named[y])
    for name in POINT_NAMES:
        if name in named:
            return Where(column=named[name])
    return None


def place_headers(headers: Sequence[str]) -> set[str]:
    """All headers that hold places by their names."""
    names = {*SHAPE_NAMES, *POINT_NAMES, *(name for pair in PAIR_NAMES for name in pair)}
    return {header for header in headers if fold(header) in names}


def read_pair(x: pa.Array, y: pa.Array, where: Where) -> Places:
    """Points of two columns; a row where either is blank has no place."""
    x, y = as_text(x), as_text(y)
    eastings = read_numbers(in_degrees(clean(x)), comma=True)
    northings = read_numbers(in_degrees(clean(y)), comma=True)
    places = Places(notes=Counter(eastings.notes) + Counter(northings.notes))
    for cells, texts, header in ((eastings, x, where.x), (northings, y, where.y)):
        for row in np.flatnonzero(cells.bad).tolist():
            if not _says_nothing(texts[row].as_py()):
                places.reasons.setdefault(row, f"{header}: {texts[row].as_py()!r} is not a number")
    places.x = eastings.values.to_numpy(zero_copy_only=False)
    places.y = northings.values.to_numpy(zero_copy_only=False)
    return places


def in_degrees(values: pa.Array) -> pa.Array:
    """Degrees, minutes and seconds as decimal degrees; every other text as it is."""
    marked = pc.fill_null(pc.match_substring_regex(values, "[°º]"), False)
    if not pc.any(marked).as_py():
        return values
    texts = [_from_sexagesimal(text) if text else text for text in values.to_pylist()]
    return pa.array(texts, pa.string())


def _from_sexagesimal(text: str) -> str:
    found = SEXAGESIMAL.fullmatch(text.strip())
    if found is None:
        return text
    degrees, minutes, seconds = (
        float((found[name] or "0").replace(",", ".")) for name in ("d", "m", "s")
    )
    if minutes >= 60 or seconds >= 60:
        return text
    value = abs(degrees) + minutes / 60 + seconds / 3600
    marks = (found["before"] or found["after"] or "").upper()
    negative = found["d"].startswith("-") or marks in ("S", "W")
    return repr(-value if negative else value)


def _says_nothing(text: str) -> bool:
    return text.strip().casefold() in ("nan", "null", "none", "na", "n/a", "-", "inf", "-inf")


def read_column(texts: pa.Array, header: str) -> Places:
    """Shapes of one column: "lat, lon", WKT, hexadecimal WKB or GeoJSON, each as it is."""
    texts = clean(as_text(texts))
    places = Places(shapes=np.full(len(texts), None, dtype=object))
    assert places.shapes is not None
    pairs = pc.extract_regex(texts, LAT_LON)
    is_pair = np.asarray(pairs.is_valid())
    if is_pair.any():
        lon, lat = (pc.struct_field(pairs, name).cast(pa.float64()) for name in ("lon", "lat"))
        places.shapes[is_pair] = shapely.points(
            np.asarray(lon)[is_pair].astype(float), np.asarray(lat)[is_pair].astype(float)
        )
    rest = np.flatnonzero(np.asarray(texts.is_valid()) & ~is_pair)
    _read_texts(places, rest.tolist(), texts.take(pa.array(rest)).to_pylist(), header)
    return places


def _read_texts(places: Places, rows: list[int], texts: list[str], header: str) -> None:
    assert places.shapes is not None
    json = [(row, text) for row, text in zip(rows, texts, strict=True) if text[0] in "{["]
    read, reasons = read_geojson([text for _, text in json])
    for (row, _), shape in zip(json, read, strict=True):
        places.shapes[row] = shape
    for index, reason in reasons.items():
        places.reasons[json[index][0]] = f"{header}: {reason}"
    for row, text in zip(rows, texts, strict=True):
        if text[0] not in "{[":
            _read_wkt(places, row, text, header)


def _read_wkt(places: Places, row: int, text: str, header: str) -> None:
    assert places.shapes is not None
    if _says_nothing(text):
        return
    try:
        if HEX_WKB.fullmatch(text):
            shape = shapely.from_wkb(text)
            srid = int(shapely.get_srid(shape))
        else:
            tagged = EWKT.fullmatch(text)
            srid = int(tagged[1]) if tagged else 0
            shape = shapely.from_wkt(tagged[2] if tagged else text)
    except shapely.errors.ShapelyError as exc:
        shown = text if len(text) <= 60 else text[:60] + "…"
        places.reasons[row] = (
            f"{header}: {shown!r} is no geometry ({_first_line(exc)}); "
            'write "latitude, longitude", WKT or GeoJSON'
        )
        return
    places.shapes[row] = shape
    if srid:
        places.srids[row] = srid


def read_geojson(texts: Sequence[str | bytes]) -> tuple[Shapes, dict[int, str]]:
    """Shapes of GeoJSON geometries or Features, and by index why one could not be read."""
    reasons: dict[int, str] = {}
    shapes: Shapes = shapely.from_geojson(np.array(texts, dtype=object), on_invalid="ignore")
    for index in np.flatnonzero(shapely.is_missing(shapes)).tolist():
        try:
            shapes[index] = _loose_geojson(orjson.loads(texts[index]))
        except (ValueError, TypeError, shapely.errors.ShapelyError) as exc:
            reasons[index] = f"the geometry cannot be read: {_first_line(exc)}"
    return shapes, reasons


def _loose_geojson(value: Any) -> shapely.Geometry | None:
    """What GEOS refuses: nothing in its place, Features around it, points told by name or pair."""
    if value in (None, {}, [], "null") or (
        isinstance(value, list) and all(each is None for each in value)
    ):
        return None
    if isinstance(value, list):  # Opendatasoft's first API writes points as [lat, lon]
        latitude, longitude = map(float, value)
        return shapely.Point(longitude, latitude)
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no geometry")
    if value.get("type") == "Feature":
        return _loose_geojson(value.get("geometry"))
    if (named := _named_point(value)) is not None:
        return named
    if "type" not in value:
        raise ValueError("it has no type")
    if value.get("coordinates") is None and value.get("geometries") is None:
        raise ValueError("it has no coordinates")
    return shapely.from_geojson(orjson.dumps(value).decode())


def _named_point(value: dict[str, Any]) -> shapely.Geometry | None:
    x = next((value[name] for name in LONGITUDES if name in value), None)
    y = next((value[name] for name in LATITUDES if name in value), None)
    return None if x is None or y is None else shapely.Point(float(x), float(y))


def _first_line(exc: Exception) -> str:
    """What GEOS or a parser says, without the names of its parts."""
    text = (str(exc).strip() or type(exc).__name__).splitlines()[0]
    if "do not form a closed linestring" in text:
        return "a ring is not closed; its last position must repeat its first"
    return re.sub(
        r"^\w+Exception: |Error parsing JSON: |'?\[json\.exception\.[\w.]+\] |'$", "", text
    )
