"""Shapefiles and GeoPackages, read by GDAL in Arrow batches from a folder of our own."""

from __future__ import annotations

import itertools
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pyarrow as pa
import pyogrio
import pyogrio.raw
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError
from pyproj import CRS

from ingest.archive import Member
from ingest.crs import parse_crs
from ingest.errors import SourceRefused
from ingest.rows import Chunk, Content, Mask, Shapes, as_json
from ingest.text import find_encoding
from layers.model import Layer

CURVES = frozenset(range(8, 15))  # WKB kinds that GEOS does not draw
SHAPEFILE = ("shp", "shx", "dbf", "prj", "cpg")
GDAL_ERRORS = (
    *(DataSourceError, DataLayerError, FeatureError, FieldError, GeometryError),
    *(pa.ArrowException, UnicodeDecodeError, OSError, RuntimeError),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OgrTable:
    """One layer of a file that GDAL reads; `path` is where it lies on disk for GDAL."""

    name: str
    format: str
    size: int
    path: Path
    sublayer: str
    headers: tuple[str, ...]
    rows: int
    located: bool
    crs: CRS | None
    encoding: str | None = None
    given_encoding: str | None = None  # what GDAL is told, where the file does not say
    notes: Mapping[str, object] = field(default_factory=dict)
    sparse: bool = False
    delimiter: str | None = None

    @property
    def empty(self) -> bool:
        return not self.rows

    def chunks(self, headers: Sequence[str], rows: int) -> Iterator[Chunk]:
        """Yield all features; a feature's line is its number in the file."""
        read = 0
        with _told(self.name), ExitStack() as stack:
            with _quiet():
                meta, batches = stack.enter_context(
                    pyogrio.raw.open_arrow(
                        self.path,
                        layer=self.sublayer,
                        batch_size=rows,
                        use_pyarrow=True,
                        datetime_as_string=True,
                        encoding=self.given_encoding,
                    )
                )
            geometry = meta["geometry_name"] or "wkb_geometry"
            for batch in _split(batches, rows):
                batch.validate(full=True)
                yield self._chunk(batch, geometry, headers, read)
                read += batch.num_rows
        if read != self.rows:
            raise SourceRefused(
                self.name, f"{read} of {self.rows} features could be read; fetch it again"
            )

    def _chunk(
        self, batch: pa.RecordBatch, geometry: str, headers: Sequence[str], before: int
    ) -> Chunk:
        count = batch.num_rows
        shapes: Shapes | None = None
        shapeless: dict[int, str] = {}
        if self.located:
            wkb = batch.column(geometry).to_numpy(zero_copy_only=False)
            shapes, shapeless = _shapes(wkb, lambda: self._straightened(before, count))
        return Chunk(
            count=count,
            at=np.arange(count),
            lines=np.arange(before + 1, before + count + 1),
            columns={header: batch.column(header) for header in headers},
            shapes=shapes,
            shapeless=shapeless,
            content=lambda row: _content(batch, geometry, row),
            bytes_read=self.size * (before + count) // max(self.rows, 1),
        )

    def _straightened(self, skip: int, count: int) -> Shapes:
        """The same features again, their arcs turned into short straight pieces by GDAL."""
        with _quiet():
            read = pyogrio.raw.read(
                self.path, layer=self.sublayer, skip_features=skip, max_features=count, columns=[]
            )
        wkb: Shapes = read[2]
        return wkb


def _split(batches: Any, rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


def _shapes(wkb: Shapes, straightened: Callable[[], Shapes]) -> tuple[Shapes, dict[int, str]]:
    given = np.array([value is not None for value in wkb])
    if any(_kind(value) in CURVES for value in wkb[given]):
        wkb = straightened()
    shapes: Shapes = shapely.from_wkb(wkb, on_invalid="ignore")
    lost: Mask = given & shapely.is_missing(shapes)
    return shapes, dict.fromkeys(
        np.flatnonzero(lost).tolist(), "the geometry cannot be read: it is damaged"
    )


def _kind(wkb: bytes) -> int:
    """The kind of shape that WKB holds, whatever its number of dimensions."""
    kind: int = struct.unpack_from("<I" if wkb[0] else ">I", wkb, 1)[0]
    return (kind & 0x0FFFFFFF) % 1000


def _content(batch: pa.RecordBatch, geometry: str, row: int) -> Content:
    values = batch.slice(row, 1).to_pylist()[0]
    wkb = values.pop(geometry, None)
    if wkb is not None:
        values["geometry"] = wkb.hex()
    return {name: as_json(value) for name, value in values.items()}


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except GDAL_ERRORS as exc:
        said = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise SourceRefused(name, f"it is damaged or not what it seems ({said})") from exc


@contextmanager
def _quiet() -> Iterator[None]:
    """Without GDAL's warnings that heights and measures are dropped, which is counted here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _place(member: Member, target: Path) -> Path:
    """Where GDAL finds the member: under a name of ours, since names can mean something to GDAL."""
    if member.packed == "no":
        target.symlink_to(member.path.resolve())
    else:
        member.extract(target)
    return target


def open_geopackage(layer: Layer, member: Member, folder: Path) -> OgrTable:
    """Choose the layer of a GeoPackage and survey it."""
    path = _place(member, Path(mkdtemp(dir=folder)) / "source.gpkg")
    with _told(member.name), _quiet():
        listed = [(str(name), kind is not None) for name, kind in pyogrio.list_layers(path)]
    wanted = layer.source.sublayer
    names = [name for name, _ in listed]
    located = [name for name, has_geometry in listed if has_geometry]
    if wanted is not None and wanted in names:
        chosen = wanted
    elif len(names) == 1:
        chosen = names[0]
    elif layer.has_geometry and len(located) == 1 and wanted is None:
        chosen = located[0]
    else:
        said = f"there is no layer {wanted!r}" if wanted else "it holds several layers"
        raise SourceRefused(
            member.name, f"{said}; declare source.sublayer as one of: {', '.join(names)}"
        )
    return _survey(member, path, chosen)


def _survey(member: Member, path: Path, sublayer: str, size: int | None = None) -> OgrTable:
    with _told(member.name), _quiet():
        info = pyogrio.read_info(path, layer=sublayer, force_feature_count=True)
    located = info["geometry_type"] is not None
    crs = parse_crs(member.name, info["crs"]) if info["crs"] else None
    return OgrTable(
        name=member.name,
        format="geopackage",
        size=member.size if size is None else size,
        path=path,
        sublayer=sublayer,
        headers=tuple(str(name) for name in info["fields"]),
        rows=int(info["features"]),
        located=located,
        crs=crs,
        encoding=info["encoding"].lower(),
        notes={"sublayer": sublayer},
    )


def open_shapefile(
    layer: Layer, member: Member, beside: Sequence[Member], folder: Path
) -> OgrTable:
    """Gather the files that make a shapefile and survey it; `beside` are those of its zip."""
    parts = _parts(member, beside)
    _check_parts(layer, member, parts)
    home = Path(mkdtemp(dir=folder))
    for suffix, part in parts.items():
        _place(part, home / f"source.{suffix}")
    _check_length(member.name, home / "source.shp")
    if "shx" not in parts:
        _rebuild_shx(member.name, home / "source.shp")
    encoding = _dbf_encoding(layer, member.name, parts)
    size = sum(part.size for part in parts.values())
    table = _survey(member, home / "source.shp", "source", size)
    return replace(
        table,
        format="shapefile",
        encoding=encoding or table.encoding,
        given_encoding=encoding,
        notes={"shx_rebuilt": True} if "shx" not in parts else {},
    )


def _rebuild_shx(name: str, path: Path) -> None:
    pyogrio.set_gdal_config_options({"SHAPE_RESTORE_SHX": True})
    try:
        with _told(name), _quiet():
            pyogrio.read_info(path)
    finally:
        pyogrio.set_gdal_config_options({"SHAPE_RESTORE_SHX": None})


def _parts(member: Member, beside: Sequence[Member]) -> dict[str, Member]:
    """The files of a shapefile by suffix: in its zip, or beside it on disk."""
    if member.packed == "no":
        near = member.path.parent.iterdir()
        beside = [
            Member(name=path.name, path=path, size=path.stat().st_size)
            for path in near
            if path.stem == member.path.stem and path.is_file()
        ]
    own = PurePosixPath(member.inside or member.path.name).with_suffix("")
    found = {"shp": member}
    for part in beside:
        path = PurePosixPath(part.inside or part.path.name)
        suffix = path.suffix.lower().removeprefix(".")
        if path.with_suffix("") == own and suffix in SHAPEFILE:
            found[suffix] = part
    return found


def _check_parts(layer: Layer, member: Member, parts: Mapping[str, Member]) -> None:
    if "dbf" not in parts and layer.columns:
        names = ", ".join(column.name for column in layer.columns)
        raise SourceRefused(
            member.name, f"its .dbf is missing, so {names} cannot be read; give the whole set"
        )
    if "prj" not in parts and layer.source.crs is None and layer.has_geometry:
        raise SourceRefused(
            member.name, "its .prj is missing; declare source.crs, for example EPSG:2154"
        )


def _check_length(name: str, path: Path) -> None:
    """Refuse a .shp shorter than its own header says."""
    with path.open("rb") as file:
        words = int.from_bytes(file.read(28)[24:], "big")
    if path.stat().st_size < 2 * words:
        raise SourceRefused(name, "the .shp is cut short; fetch it again")


def _dbf_encoding(layer: Layer, name: str, parts: Mapping[str, Member]) -> str | None:
    """The encoding of the texts: declared, or said by the .cpg (None), or found in them."""
    if layer.source.encoding is not None:
        return layer.source.encoding
    if "cpg" in parts or "dbf" not in parts:
        return None
    chunks = parts["dbf"].chunks()
    first = next(chunks, b"")
    start = int.from_bytes(first[8:10], "little")
    found = find_encoding(name, itertools.chain((first[start:] or b" ",), chunks), None)
    return found.name
