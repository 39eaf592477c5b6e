"""JSON of every layout: surveyed once from end to end, then read feature by feature."""

from __future__ import annotations

import itertools
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
from ingest.sources.dialects import (
    ERRORS,
    EsriReader,
    Feature,
    Kind,
    ReadFeature,
    kind_of,
    read_geojson_feature,
    read_record,
    shown,
)
from ingest.sources.items import BETWEEN, Item, Items, Layout, find_layout
from ingest.text import Encoding, find_encoding, utf8
from layers.source import Source

MAX_COLUMNS = 2_000
CHUNK_BYTES = 8 << 20  # of feature text in one chunk; parsed, it is ten times as large
EXACT = 2**53  # whole numbers below it are the same as floating point


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonTable:
    """A JSON file that is known to be whole. `ids` says that `id` is a feature's own member."""

    member: Member
    encoded: Encoding
    layout: Layout
    kind: Kind
    read: ReadFeature
    headers: tuple[str, ...]
    empty: bool
    ids: bool
    crs: CRS | None
    notes: Mapping[str, object] = field(default_factory=dict)
    sparse: bool = True
    delimiter: str | None = None

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def size(self) -> int:
        return self.member.size

    @property
    def located(self) -> bool:
        return self.kind != "json"

    @property
    def format(self) -> str:
        return "geojsonseq" if (self.layout, self.kind) == ("sequence", "geojson") else self.kind

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
            feature = _feature(self.name, item, self.read)
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


def _feature(file: str, item: Item, read: ReadFeature) -> Feature | str:
    """The feature with its properties as an object, or why it is none."""
    try:
        return read(orjson.loads(item.text))
    except orjson.JSONDecodeError as exc:
        try:
            item.text.decode()
        except UnicodeDecodeError:
            return "the feature holds bytes that are not UTF-8 like the rest"
        line = item.line + exc.lineno - 1
        column = exc.colno + (item.column - 1 if exc.lineno == 1 else 0)
        raise SourceRefused(file, f"line {line}, column {column}: {exc.msg}") from exc


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


def open_json(member: Member, source: Source) -> JsonTable:
    """Survey a JSON file from end to end: it is whole, of one kind, and these are its keys."""
    encoding = find_encoding(member.name, member.chunks(), source.encoding)
    with member.open() as stream:
        layout = find_layout(utf8(member.name, stream.chunks(), encoding))
    kind = _kind(member, encoding, layout, declared=source.format)
    with member.open() as stream:
        items = Items(member.name, layout, utf8(member.name, stream.chunks(), encoding))
        seen = _survey(member.name, items, kind)
    roots = [] if layout == "sequence" or kind == "json" else list(_roots(member.name, items))
    esri = roots[0] if roots and kind == "esrijson" else {}
    reader = EsriReader.of(esri)
    if len(seen.keys) > MAX_COLUMNS:
        raise SourceRefused(member.name, f"{len(seen.keys)} keys; at most {MAX_COLUMNS} are read")
    keys = [*seen.keys, *(f"{name}_code" for name in reader.domains)]
    own_ids = seen.ids and "id" not in seen.keys
    return JsonTable(
        member=member,
        encoded=encoding,
        layout=layout,
        kind=kind,
        read=_reader(kind, reader),
        headers=(*keys, "id") if own_ids else tuple(keys),
        empty=not seen.features,
        ids=own_ids,
        crs=_esri_crs(member.name, esri) if esri else _crs(member.name, items),
        notes={"incomplete": missing} if (missing := _left_out(roots)) else {},
    )


@dataclass(slots=True)
class _Seen:
    keys: dict[str, None] = field(default_factory=dict)
    ids: bool = False
    features: int = 0


def _kind(member: Member, encoding: Encoding, layout: Layout, *, declared: str | None) -> Kind:
    """What the first values of the file are; what is declared decides for plain objects."""
    with member.open() as stream:
        items = Items(member.name, layout, utf8(member.name, stream.chunks(), encoding))
        firsts = list(itertools.islice(items, 2))
    first = next((item for item in firsts if item.is_object), None)
    if first is None:
        return "geojson"
    try:
        value = orjson.loads(first.text)
    except orjson.JSONDecodeError:
        return "geojson"  # whose reader says where the error is
    kind = kind_of(value)
    if kind == "json" and declared != "json":
        several = layout == "array" or (layout == "sequence" and len(firsts) > 1)
        if not several or any(key in value for key in ERRORS):
            _refuse_other_json(member.name, value)
            return "geojson"
    return kind or "geojson"


def _reader(kind: Kind, esri: EsriReader) -> ReadFeature:
    if kind == "esrijson":
        return esri
    return read_geojson_feature if kind == "geojson" else read_record


def _survey(name: str, items: Items, kind: Kind) -> _Seen:
    read = _reader(kind, EsriReader())
    seen = _Seen()
    for item in items:
        feature = _feature(name, item, read)
        if isinstance(feature, str):
            continue
        seen.features += 1
        seen.ids = seen.ids or "id" in feature
        for key in feature["properties"]:
            if key not in seen.keys:
                seen.keys[key] = None
    return seen


def _refuse_other_json(name: str, value: Feature) -> None:
    """Refuse JSON that was never meant as data: an error message, or another kind of document."""
    for key in ERRORS:
        if key in value:
            raise SourceRefused(name, f"this is an error message, not data: {shown(value[key])}")
    if value.get("type") == "FeatureCollection":
        raise SourceRefused(name, "the FeatureCollection has no array of features")
    if "type" in value and "features" not in value:
        return  # the reader says of each what it should be
    members = ", ".join(list(value)[:10])
    raise SourceRefused(
        name,
        f"this is JSON but not GeoJSON; its members are {members}. Declare source.format: json "
        "where it is one row",
    )


def _left_out(roots: Sequence[Feature]) -> str:
    """What collections say themselves of features that they leave out."""
    for root in roots:
        more = root.get("properties")
        if root.get("exceededTransferLimit") or (
            isinstance(more, dict) and more.get("exceededTransferLimit")
        ):
            return "exceededTransferLimit"
        returned, matched = root.get("numberReturned"), root.get("numberMatched")
        if not isinstance(returned, int) or not isinstance(matched, int):
            continue
        if len(roots) == 1 and returned < matched:
            return f"numberReturned {returned} of numberMatched {matched}"
    return ""


def _esri_crs(name: str, root: Feature) -> CRS | None:
    said = root.get("spatialReference")
    if not isinstance(said, dict):
        return None
    named = said.get("latestWkid") or said.get("wkid") or said.get("wkt")
    return parse_crs(name, str(named)) if named else None


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
            raise SourceRefused(name, f"{shown(root)} should be a FeatureCollection with features")
        yield root


def _named_crs(name: str, root: Feature) -> str | None:
    if not isinstance(said := root.get("crs"), dict):
        return None
    properties = said.get("properties") or {}
    named = properties.get("name") or properties.get("code")
    if not named and properties:
        raise SourceRefused(name, f"crs {shown(said)} names no CRS; declare source.crs")
    return str(named) if named else None
