"""Coordinate reference systems: what a file says, what is declared, and the way to degrees."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from ingest.errors import SourceRefused
from ingest.rows import Floats, Shapes

DEGREES = CRS.from_epsg(4326)
SAME_AS_DEGREES = {"EPSG:4326", "EPSG:4979", "WGS 84 (CRS84)"}
LEGACY = re.compile(r"urn:ogc:def:crs:(?P<authority>\w+):[^:]*:(?P<code>\w+)$", re.I)
WKIDS = {"102100": "3857", "102113": "3857", "102110": "2154", "900913": "3857"}


def parse_crs(file: str, text: str) -> CRS:
    """The system a text names: EPSG:2154, a bare code, CRS84, a URN or a whole definition."""
    wanted = text.strip()
    if legacy := LEGACY.match(wanted):
        wanted = f"{legacy['authority']}:{legacy['code']}"
    wanted = wanted.removeprefix("EPSG::").removeprefix("http://www.opengis.net/def/crs/EPSG/0/")
    if wanted.upper().replace("OGC:", "") in ("CRS84", "1.3:CRS84"):
        return DEGREES
    code = wanted.upper().removeprefix("EPSG:").removeprefix("ESRI:")
    code = WKIDS.get(code, code)
    try:
        return CRS.from_epsg(int(code)) if code.isdigit() else CRS.from_user_input(wanted)
    except CRSError as exc:
        raise SourceRefused(
            file, f"{text!r} is no coordinate reference system known; write one like EPSG:2154"
        ) from exc


def name_of(crs: CRS) -> str:
    """EPSG:2154 where the system has a code, else its name."""
    code = crs.to_epsg(min_confidence=70)
    return f"EPSG:{code}" if code else crs.name


def agreed_crs(file: str, read: CRS | None, declared: str | None) -> CRS | None:
    """The system to read a file in; what it says and what is declared must not differ."""
    if declared is None:
        return read
    said = parse_crs(file, declared)
    if read is not None and not _same(read, said):
        raise SourceRefused(
            file,
            f"the file says {name_of(read)}, source.crs says {name_of(said)}; "
            "remove source.crs, or correct the file",
        )
    return said


def _same(one: CRS, other: CRS) -> bool:
    if is_degrees(one) and is_degrees(other):
        return True
    return one.equals(other, ignore_axis_order=True) or name_of(one) == name_of(other)


def is_degrees(crs: CRS | None) -> bool:
    """Whether coordinates in it are longitudes and latitudes as they are stored."""
    return crs is None or crs == DEGREES or name_of(crs) in SAME_AS_DEGREES


Transform = Callable[[Floats, Floats], tuple[Floats, Floats]]


def to_degrees(file: str, crs: CRS) -> Transform:
    """The function that turns x and y of `crs` into longitude and latitude, inf where it cannot."""
    try:
        transformer = Transformer.from_crs(crs, DEGREES, always_xy=True)
    except ProjError as exc:
        raise SourceRefused(file, f"{name_of(crs)} cannot be turned into degrees: {exc}") from exc

    def transform(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        longitude, latitude = transformer.transform(x, y)
        return np.asarray(longitude, np.float64), np.asarray(latitude, np.float64)

    return transform


def reproject(shapes: Shapes, transform: Transform) -> Shapes:
    """The shapes with every coordinate transformed."""

    def moved(coordinates: Floats) -> Floats:
        return np.column_stack(transform(coordinates[:, 0], coordinates[:, 1]))

    return shapely.transform(shapes, moved)


def guess(x: float, y: float) -> str:
    """A system in which such coordinates would lie in a city; a hint, no more."""
    if 0 < x < 1_300_000 and 6_000_000 < y < 7_200_000:
        return "EPSG:2154"
    if 160_000 < x < 840_000 and 0 < y < 10_000_000:
        return "the EPSG code of your UTM zone, such as EPSG:32631"
    if 1_000_000 < max(abs(x), abs(y)) < 20_037_509:
        return "EPSG:3857"
    return "EPSG:2154"
