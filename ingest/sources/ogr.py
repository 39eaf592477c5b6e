"""Whatever GDAL reads in Arrow batches, from a folder of our own: GeoPackage, FlatGeobuf, KML,
GPX, OpenStreetMap, shapefiles.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
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
from layers.columns import GeometryType
from layers.model import Layer

CURVES = frozenset(range(8, 15))  # WKB kinds that GEOS does not draw
ENDINGS = {"geopackage": "gpkg", "flatgeobuf": "fgb", "kml": "kml", "gpx": "gpx", "osm": "osm.pbf"}
USUAL: dict[str, dict[GeometryType, str]] = {  # the layer meant where none is declared
    "gpx": {GeometryType.POINT: "waypoints", GeometryType.LINE: "tracks"},
    "osm": {
        GeometryType.POINT: "points",
        GeometryType.LINE: "lines",
        GeometryType.POLYGON: "multipolygons",
    },
}
OSM_OWN = frozenset({"osm_id", "osm_way_id", "other_tags"})
OSM_TAGS = (  # that are columns where the layer declares none
    *("name", "ref", "highway", "cycleway", "bicycle", "surface", "oneway", "maxspeed", "lit"),
    *("amenity", "building", "landuse", "leisure", "natural", "waterway", "railway", "shop"),
    *("tourism", "boundary", "admin_level", "place", "access", "operator", "website"),
)
OSM_IGNORED = (  # as GDAL does: tags of the mapping, which make no feature of a node
    "unsignificant=created_by,converted_by,source,time,ele,attribution\n"
    "ignore=created_by,converted_by,source,time,ele,note,todo,openGeoDB:,fixme,FIXME\n"
)
GPX_LAYERS = ("waypoints", "routes", "tracks")
OSM_AREAS = (  # tags of a closed way that is an area
    *("aeroway", "amenity", "boundary", "building", "craft", "geological", "historic", "landuse"),
    *("leisure", "military", "natural", "office", "place", "shop", "sport", "tourism"),
    *("highway=platform", "public_transport=platform"),
)
OUR_PATH = re.compile(r"'?/\S*/source\.[\w.]+'?")
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
    options: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, object] = field(default_factory=dict)
    sparse: bool = False
    delimiter: str | None = None

    @property
    def empty(self) -> bool:
        return not self.rows

    def chunks(self, headers: Sequence[str], rows: int) -> Iterator[Chunk]:
        """Yield all features; a feature's line is its number in the file."""
        read = 0
        with told(self.name), ExitStack() as stack:
            with quiet():
                meta, batches = stack.enter_context(
                    pyogrio.raw.open_arrow(
                        self.path,
                        layer=self.sublayer,
                        batch_size=rows,
                        use_pyarrow=True,
                        datetime_as_string=True,
                        encoding=self.given_encoding,
                        **self.options,
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
        with quiet():
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
    given = np.array([bool(value) for value in wkb])
    wkb = wkb.copy()
    wkb[~given] = None
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
def told(name: str) -> Iterator[None]:
    try:
        yield
    except GDAL_ERRORS as exc:
        said = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        said = OUR_PATH.sub("the file", said)
        raise SourceRefused(name, f"it is damaged or not what it seems ({said})") from exc


@contextmanager
def quiet() -> Iterator[None]:
    """Without GDAL's warnings that heights and measures are dropped, which is counted here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def place(member: Member, target: Path) -> Path:
    """Where GDAL finds the member: under a name of ours, since names can mean something to GDAL."""
    if member.packed == "no":
        target.symlink_to(member.path.resolve())
    else:
        member.extract(target)
    return target


def open_dataset(layer: Layer, member: Member, kind: str, folder: Path) -> OgrTable:
    """Choose the layer of a file that GDAL reads, and survey it."""
    home = Path(mkdtemp(dir=folder))
    path = place(member, home / f"source.{ENDINGS[kind]}")
    options = {"CONFIG_FILE": str(_osm_attributes(layer, home))} if kind == "osm" else {}
    with told(member.name), quiet():
        listed = [(str(name), shape is not None) for name, shape in pyogrio.list_layers(path)]
        if kind == "gpx":
            listed = [(name, True) for name in GPX_LAYERS if _holds_any(path, name)]
    chosen = _chosen(layer, member.name, kind, listed)
    table = survey(member, path, chosen, options=options)
    return replace(table, format=kind)


def _holds_any(path: Path, sublayer: str) -> bool:
    return int(pyogrio.read_info(path, layer=sublayer, force_feature_count=True)["features"]) > 0


def _chosen(layer: Layer, file: str, kind: str, listed: Sequence[tuple[str, bool]]) -> str:
    """The declared layer, or the only one that it can be."""
    wanted = layer.source.sublayer
    names = [name for name, _ in listed]
    located = [name for name, has_geometry in listed if has_geometry]
    usual = USUAL.get(kind, {}).get(layer.geometry)
    if wanted is not None and wanted in names:
        return wanted
    if wanted is None and usual in names:
        return str(usual)
    if len(names) == 1:
        return names[0]
    if layer.has_geometry and len(located) == 1 and wanted is None:
        return located[0]
    if not names:
        raise SourceRefused(file, "it holds no layer; fetch it again")
    said = f"there is no layer {wanted!r}" if wanted else "it holds several layers"
    raise SourceRefused(file, f"{said}; declare source.sublayer as one of: {', '.join(names)}")


def _osm_attributes(layer: Layer, home: Path) -> Path:
    """GDAL's configuration that makes a column of each tag the layer declares."""
    declared = [column.header for column in layer.columns] or [*OSM_TAGS, "other_tags"]
    tags = [tag for tag in declared if tag not in OSM_OWN]
    rest = "yes" if "other_tags" in declared else "no"
    listed = ",".join(tag for tag in tags if "," not in tag and tag.isprintable())
    layers = "".join(
        f"[{name}]\n{OSM_IGNORED}osm_id=yes\nother_tags={rest}\nattributes={listed}\n"
        for name in ("points", "lines", "multipolygons", "multilinestrings", "other_relations")
    )
    path = home / "osm.ini"
    path.write_text(
        f"closed_ways_are_polygons={','.join(OSM_AREAS)}\nattribute_name_laundering=no\n{layers}",
        encoding="utf-8",
    )
    return path


def survey(
    member: Member,
    path: Path,
    sublayer: str,
    *,
    size: int | None = None,
    options: Mapping[str, str] = {},
) -> OgrTable:
    """What a layer holds; GDAL opens it with the driver's `options`."""
    with told(member.name), quiet():
        info = pyogrio.read_info(path, layer=sublayer, force_feature_count=True, **options)
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
        options=options,
    )
