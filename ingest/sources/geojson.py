"""GeoJSON of every layout: surveyed once from end to end, then read feature by feature."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import shapely
from pyproj import CRS

from ingest.archive import Member
from ingest.crs import parse_crs
from ingest.errors import SourceRefused
from ingest.places import read_geojson
from ingest.rows import Broken, Chunk, Content, Shapes
from ingest.sources.items import BETWEEN, Item, Items, Layout, find_layout
from ingest.text import Encoding, find_encoding, utf8
from layers.model import Source

CHUNK_BYTES = 8 << 20  # of feature text in one chunk; parsed, it is ten times as large
SHAPES = frozenset(
    ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon")
) | {"GeometryCollection"}
EXACT = 2**53  # whole numbers below it are the same as floating point
Feature = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoJsonTable:
    """A GeoJSON file that is known to be whole. `ids` says that `id` is a feature's own member."""

    member: Member
    encoded: Encoding
    layout: Layout
    headers: tuple[str, ...]
    empty: bool
    ids: bool
    crs: CRS | None
    notes: Mapping[str, object] = field(default_factory=dict)
    located: bool = True
    sparse: bool = True
    delimiter: str | None = None

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def size(self) -> int:
        return self.member.size

    @property
    def format(self) -> str:
        return "geojsonseq" if self.layout == "sequence" else "geojson"

    @property
    def encoding(self) -> str:
        return self.encoded.name

    def chunks(self, headers: Sequence[str], rows: int) -> Iterator[Chunk]:
        """Yield all features; what is no feature is broken."""
        with self.member.open() as stream:
            items = Items(self.name, self.layout, utf8(self.name, stream.chunks(), self.encoded))
            waiting: list[Item] = []
            size = 0
            for item in items:
                waiting.append(item)
                size += len(item.text)
                if len(waiting) >= rows or size >= CHUNK_BYTES:
                    yield self._chunk(waiting, headers, stream.consumed)
                    waiting, size = [], 0
            if waiting:
                yield self._chunk(waiting, headers, stream.consumed)

    def _chunk(self, items: list[Item], headers: Sequence[str], consumed: int) -> Chunk:
        features: list[Feature] = []
        at: list[int] = []
        broken: list[Broken] = []
        for place, item in enumerate(items):
            feature = _feature(self.name, item)
            if isinstance(feature, str):
                content: Content = {"text": item.text.decode("utf-8", "replace")}
                broken.append(Broken(at=place, line=item.line, reason=feature, content=content))
            else:
                features.append(feature)
                at.append(place)
        shapes, shapeless = _shapes([feature.get("geometry") for feature in features])
        return Chunk(
            count=len(items),
            at=np.array(at, np.int64),
            lines=np.array([items[place].line for place in at], np.int64),
            columns={header: self._column(features, header) for header in headers},
            shapes=shapes,
            shapeless=shapeless,
            broken=tuple(broken),
            content=lambda row: features[row],
            bytes_read=consumed,
        )

    def _column(self, features: list[Feature], header: str) -> pa.Array:
        if self.ids and header == "id":
            return column_of([feature.get("id") for feature in features])
        return column_of([feature["properties"].get(header) for feature in features])


def _feature(file: str, item: Item) -> Feature | str:
    """The feature with its properties as an object, or why it is none."""
    try:
        value = orjson.loads(item.text)
    except orjson.JSONDecodeError as exc:
        try:
            item.text.decode()
        except UnicodeDecodeError:
            return "the feature holds bytes that are not UTF-8 like the rest"
        line = item.line + exc.lineno - 1
        column = exc.colno + (item.column - 1 if exc.lineno == 1 else 0)
        raise SourceRefused(file, f"line {line}, column {column}: {exc.msg}") from exc
    if not isinstance(value, dict):
        return f"{_shown(value)} stands where a feature should"
    kind = value.get("type")
    if isinstance(kind, str) and kind in SHAPES:
        return {"type": "Feature", "properties": {}, "geometry": value}
    if kind != "Feature":
        return f"type {_shown(kind)} should be Feature"
    properties = value.get("properties")
    if properties is None:
        value["properties"] = {}
    elif not isinstance(properties, dict):
        return f"properties {_shown(properties)} should be an object"
    return value


def _shown(value: object) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 40 else text[:40] + "…"


def _shapes(geometries: list[Any]) -> tuple[Shapes, dict[int, str]]:
    """Shapes of the geometries, None for those that are nothing, and why others cannot be read."""
    shapes: Shapes = np.full(len(geometries), None, dtype=object)
    rows = [row for row, value in enumerate(geometries) if value not in (None, {}, [], "null", "")]
    points = _all_points([geometries[row] for row in rows])
    if points is not None:
        shapes[rows] = points
        return shapes, {}
    read, reasons = read_geojson([orjson.dumps(geometries[row]).decode() for row in rows])
    shapes[rows] = read
    return shapes, {rows[index]: reason for index, reason in reasons.items()}


def _all_points(geometries: list[Any]) -> Shapes | None:
    """Points made at once, where every geometry is one of two finite coordinates."""
    try:
        if any(value["type"] != "Point" for value in geometries):
            return None
        coordinates = np.array([value["coordinates"] for value in geometries])
    except (TypeError, KeyError, ValueError):
        return None
    if coordinates.ndim != 2 or coordinates.shape[1] != 2 or coordinates.dtype.kind not in "if":
        return None
    return np.asarray(shapely.points(coordinates.astype(np.float64)), dtype=object)


def column_of(values: list[Any]) -> pa.Array:
    """A column of JSON values: typed where they are all of one kind, else their texts."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {str}:
        return pa.array(values, pa.string())
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds <= {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pa.array(values, pa.int64())
    if kinds <= {int, float} and all(abs(value or 0) < EXACT for value in values):
        return pa.array(values, pa.float64())
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        text: str = pa.scalar(value, pa.float64()).cast(pa.string()).as_py()
        return text
    return orjson.dumps(value).decode() if not isinstance(value, int) else _whole(value)


def _whole(value: int) -> str:
    return str(value).lower()  # True and False are whole numbers too


def open_geojson(member: Member, source: Source) -> GeoJsonTable:
    """Survey a GeoJSON file from end to end: it is whole, it is GeoJSON, and these are its keys."""
    encoding = find_encoding(member.name, member.chunks(), source.encoding)
    with member.open() as stream:
        layout = find_layout(utf8(member.name, stream.chunks(), encoding))
    with member.open() as stream:
        items = Items(member.name, layout, utf8(member.name, stream.chunks(), encoding))
        seen = _survey(member.name, items)
    crs = _crs(member.name, items)
    own_ids = seen.ids and "id" not in seen.keys
    return GeoJsonTable(
        member=member,
        encoded=encoding,
        layout=layout,
        headers=(*seen.keys, "id") if own_ids else tuple(seen.keys),
        empty=not seen.features,
        ids=own_ids,
        crs=crs,
    )


@dataclass(slots=True)
class _Seen:
    keys: dict[str, None] = field(default_factory=dict)
    ids: bool = False
    features: int = 0
    others: int = 0


def _survey(name: str, items: Items) -> _Seen:
    seen = _Seen()
    for item in items:
        feature = _feature(name, item)
        if isinstance(feature, str):
            if not seen.features + seen.others:
                _refuse_other_json(name, item)
            seen.others += 1
            continue
        seen.features += 1
        seen.ids = seen.ids or "id" in feature
        for key in feature["properties"]:
            if key not in seen.keys:
                seen.keys[key] = None
    return seen


def _refuse_other_json(name: str, item: Item) -> None:
    """Refuse JSON that was never meant as GeoJSON: an error message, or another kind of data."""
    value = orjson.loads(item.text)
    if not isinstance(value, dict) or ("type" in value and "properties" in value):
        return
    for key in ("error", "errors", "exception", "message"):
        if key in value:
            raise SourceRefused(name, f"this is an error message, not data: {_shown(value[key])}")
    if value.get("type") == "FeatureCollection":
        raise SourceRefused(name, "the FeatureCollection has no array of features")
    members = ", ".join(list(value)[:10])
    raise SourceRefused(name, f"this is JSON but not GeoJSON; its members are {members}")


def _crs(name: str, items: Items) -> CRS | None:
    """What collections say of their CRS, in the member that older GeoJSON had."""
    if items.layout == "sequence":
        return None
    said = {named for root in _roots(name, items) if (named := _named_crs(name, root))}
    if len(said) > 1:
        raise SourceRefused(name, f"the collections name several CRS: {', '.join(sorted(said))}")
    return parse_crs(name, said.pop()) if said else None


def _roots(name: str, items: Items) -> Iterator[Feature]:
    """The collections of the file without their features."""
    text = bytes(items.envelope).decode("utf-8", "replace")
    decoder = json.JSONDecoder()
    at = 0
    while text[at:].strip(BETWEEN.decode()):
        at += len(text[at:]) - len(text[at:].lstrip(BETWEEN.decode()))
        try:
            root, at = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as exc:
            problem = f"what stands around the features is not JSON: {exc}"
            raise SourceRefused(name, problem) from exc
        if isinstance(root, list) and items.layout == "array":
            continue
        kind = root.get("type", "FeatureCollection") if isinstance(root, dict) else None
        if kind != "FeatureCollection" or "features" not in root:
            raise SourceRefused(name, f"{_shown(root)} should be a FeatureCollection with features")
        yield root


def _named_crs(name: str, root: Feature) -> str | None:
    if not isinstance(said := root.get("crs"), dict):
        return None
    properties = said.get("properties") or {}
    named = properties.get("name") or properties.get("code")
    if not named and properties:
        raise SourceRefused(name, f"crs {_shown(said)} names no CRS; declare source.crs")
    return str(named) if named else None
