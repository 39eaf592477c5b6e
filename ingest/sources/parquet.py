"""Parquet: GeoParquet, Arrow's geometry types, or a plain table; read a batch of rows at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from ingest.archive import MAX_BYTES, MAX_RATIO, RATIO_FROM_BYTES, Member
from ingest.crs import DEGREES, parse_crs
from ingest.errors import SourceRefused
from ingest.rows import Chunk, Content, Shapes, as_json
from ingest.sources.ogr import place
from layers.model import Layer

MAX_COLUMNS = 2_000
MAX_GROUP_BYTES = 1 << 30  # of one row group, as it lies in memory
RAGGED = {
    "point": shapely.GeometryType.POINT,
    "linestring": shapely.GeometryType.LINESTRING,
    "polygon": shapely.GeometryType.POLYGON,
    "multipoint": shapely.GeometryType.MULTIPOINT,
    "multilinestring": shapely.GeometryType.MULTILINESTRING,
    "multipolygon": shapely.GeometryType.MULTIPOLYGON,
}


@dataclass(frozen=True, slots=True)
class GeometryColumn:
    """The column of a row's place: how it is written, and in which CRS (None: not said)."""

    name: str
    encoding: str
    crs: CRS | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetTable:
    """A Parquet file whose schema has been read."""

    name: str
    size: int
    path: Path
    headers: tuple[str, ...]
    rows: int
    geometry: GeometryColumn | None
    notes: Mapping[str, object] = field(default_factory=dict)
    format: str = "parquet"
    encoding: str | None = None
    delimiter: str | None = None
    sparse: bool = False

    @property
    def located(self) -> bool:
        return self.geometry is not None

    @property
    def crs(self) -> CRS | None:
        return self.geometry.crs if self.geometry else None

    @property
    def empty(self) -> bool:
        return not self.rows

    def chunks(self, headers: Sequence[str], rows: int) -> Iterator[Chunk]:
        """Yield all rows; a row's line is its number in the file."""
        read = 0
        with _told(self.name), pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=rows):
                yield self._chunk(batch, headers, read)
                read += batch.num_rows

    def _chunk(self, batch: pa.RecordBatch, headers: Sequence[str], before: int) -> Chunk:
        count = batch.num_rows
        shapes: Shapes | None = None
        shapeless: dict[int, str] = {}
        if self.geometry is not None:
            shapes, shapeless = _shapes(batch.column(self.geometry.name), self.geometry.encoding)
        return Chunk(
            count=count,
            at=np.arange(count),
            lines=np.arange(before + 1, before + count + 1),
            columns={header: _plain(batch.column(header)) for header in headers},
            shapes=shapes,
            shapeless=shapeless,
            content=lambda row: self._content(batch, row),
            bytes_read=self.size * (before + count) // max(self.rows, 1),
        )

    def _content(self, batch: pa.RecordBatch, row: int) -> Content:
        return {name: as_json(batch.column(name)[row].as_py()) for name in batch.schema.names}


def _plain(values: pa.Array) -> pa.Array:
    """A column whose values all have a text: instants in microseconds, bytes as text."""
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _plain(values.cast(kind.value_type))
    if pa.types.is_timestamp(kind):
        return values.cast(pa.timestamp("us", kind.tz and "UTC"), safe=False)
    if pa.types.is_time(kind):
        return values.cast(pa.time64("us"), safe=False)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.array([_text_of(value) for value in values.to_pylist()], pa.string())
    if pa.types.is_string_view(kind):
        return values.cast(pa.string())
    return values


def _text_of(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def _shapes(values: pa.Array, encoding: str) -> tuple[Shapes, dict[int, str]]:
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if encoding in RAGGED:
        return _ragged(values, RAGGED[encoding]), {}
    given = values.is_valid().to_numpy(zero_copy_only=False)
    written = values.to_numpy(zero_copy_only=False)
    read = shapely.from_wkt if encoding == "wkt" else shapely.from_wkb
    shapes: Shapes = np.asarray(read(written, on_invalid="ignore"), dtype=object)
    lost = given & shapely.is_missing(shapes)
    reason = "the geometry cannot be read: it is damaged"
    return shapes, dict.fromkeys(np.flatnonzero(lost).tolist(), reason)


def _ragged(values: pa.Array, kind: shapely.GeometryType) -> Shapes:
    """Shapes of GeoArrow's lists of coordinates."""
    valid = values.is_valid().to_numpy(zero_copy_only=False)
    inner = values.filter(pa.array(valid))
    offsets: list[Any] = []
    while pa.types.is_list(inner.type) or pa.types.is_large_list(inner.type):
        starts = inner.offsets.to_numpy()
        offsets.append(starts - starts[0])
        inner = inner.flatten()
    if pa.types.is_struct(inner.type):
        names = [name for name in ("x", "y", "z") if inner.type.get_field_index(name) >= 0]
        coordinates = np.column_stack([np.asarray(pc.struct_field(inner, name)) for name in names])
    else:
        width = inner.type.list_size
        coordinates = np.asarray(inner.flatten()).reshape(-1, width)
    shapes: Shapes = np.full(len(valid), None, dtype=object)
    shapes[valid] = shapely.from_ragged_array(kind, coordinates, tuple(reversed(offsets)) or None)
    return shapes


def open_parquet(layer: Layer, member: Member, folder: Path) -> ParquetTable:
    """Read the schema of a Parquet file, and find the column of the place."""
    path = place(member, Path(mkdtemp(dir=folder)) / "source.parquet")
    with _told(member.name), pq.ParquetFile(path) as file:
        schema, meta = file.schema_arrow, file.metadata
        groups = [meta.row_group(at).total_byte_size for at in range(meta.num_row_groups)]
        rows = meta.num_rows
    _check_size(member, len(schema.names), groups)
    if double := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise SourceRefused(member.name, f"the column {double[0]!r} stands there twice; rename one")
    geometry = _geometry_column(layer, member.name, schema)
    other = geometry.name if geometry else None
    return ParquetTable(
        name=member.name,
        size=member.size,
        path=path,
        headers=tuple(name for name in schema.names if name != other),
        rows=rows,
        geometry=geometry,
        notes={"geometry_column": geometry.name} if geometry else {},
    )


def _check_size(member: Member, columns: int, groups: Sequence[int]) -> None:
    if columns > MAX_COLUMNS:
        raise SourceRefused(member.name, f"{columns} columns; at most {MAX_COLUMNS} are read")
    whole, largest = sum(groups), max(groups, default=0)
    if whole > MAX_BYTES or (whole > RATIO_FROM_BYTES and whole > MAX_RATIO * member.size):
        raise SourceRefused(
            member.name, f"unpacks to {whole >> 20} MB, far too much for its size: a bomb?"
        )
    if largest > MAX_GROUP_BYTES:
        raise SourceRefused(
            member.name,
            f"a row group of {largest >> 20} MB; write it with row groups of at most "
            f"{MAX_GROUP_BYTES >> 20} MB",
        )


def _geometry_column(layer: Layer, file: str, schema: pa.Schema) -> GeometryColumn | None:
    """The place as GeoParquet's metadata or Arrow's types name it; several are told apart by
    `source.sublayer`.
    """
    if not layer.has_geometry:
        return None
    found = {**_arrow_columns(file, schema), **_geo_columns(file, schema)}
    wanted = layer.source.sublayer or _primary(schema)
    if wanted in found:
        return found[wanted]
    if len(found) > 1:
        raise SourceRefused(
            file, f"several geometries; declare source.sublayer as one of: {', '.join(found)}"
        )
    return next(iter(found.values()), None)


def _geo(schema: pa.Schema) -> dict[str, Any]:
    said = (schema.metadata or {}).get(b"geo")
    try:
        geo = json.loads(said) if said else {}
    except ValueError:
        geo = {}
    return geo if isinstance(geo, dict) else {}


def _primary(schema: pa.Schema) -> str | None:
    return _geo(schema).get("primary_column")


def _geo_columns(file: str, schema: pa.Schema) -> dict[str, GeometryColumn]:
    """What GeoParquet (1.0, 1.1) says. Without `crs` it is CRS84; `crs: null` says nothing."""
    columns = _geo(schema).get("columns") or {}
    found = {}
    for name, said in columns.items():
        if name not in schema.names:
            continue
        encoding = str(said.get("encoding", "WKB")).lower()
        if encoding not in (*RAGGED, "wkb"):
            raise SourceRefused(file, f"{name}: encoding {encoding!r} is not read; write WKB")
        crs = said.get("crs", "absent")
        read = DEGREES if crs == "absent" else _projjson(file, crs)
        found[name] = GeometryColumn(name, encoding, read)
    return found


def _arrow_columns(file: str, schema: pa.Schema) -> dict[str, GeometryColumn]:
    """What Arrow's extension types say, with or without GeoParquet's metadata."""
    found = {}
    for each in schema:
        meta = each.metadata or {}
        kind = meta.get(b"ARROW:extension:name", b"").decode()
        written = meta.get(b"ARROW:extension:metadata", b"")
        if isinstance(each.type, pa.ExtensionType):
            kind, written = each.type.extension_name, each.type.__arrow_ext_serialize__()
        if not kind.startswith("geoarrow."):
            continue
        try:
            said = json.loads(written or b"{}")
        except ValueError:
            said = {}
        encoding = kind.removeprefix("geoarrow.")
        if encoding in (*RAGGED, "wkb", "wkt"):
            crs = _projjson(file, said.get("crs"))
            found[each.name] = GeometryColumn(each.name, encoding, crs)
    return found


def _projjson(file: str, said: Any) -> CRS | None:
    if not said:
        return None
    return parse_crs(file, said if isinstance(said, str) else json.dumps(said))


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as exc:
        said = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise SourceRefused(name, f"it is damaged or not what it seems ({said})") from exc
