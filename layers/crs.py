"""The coordinate reference systems that answers may be asked in (OGC API Features, Part 2).

Rows are stored in CRS84 order (longitude, latitude). In any other system coordinates come in the
order that its authority says, which for EPSG:4326 is latitude first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from layers.catalog import Bounds
from layers.errors import QueryRefused

EPSG_URI = "http://www.opengis.net/def/crs/EPSG/0/"
EVERYWHERE = (4326, 3857)
# What the mapping agencies of whole countries publish in; offered where a layer lies in their area.
NATIONAL = (
    2154, 2180, 3035, 3006, 3067, 3346, 3763, 3765, 3857, 4258, 4269, 5514, 7415, 7844,
    25828, 25829, 25830, 25831, 25832, 25833, 25834, 25835, 27700, 28992, 2056, 2157, 31287,
    31370, 3979, 5070, 6372, 31983, 6933,
)  # fmt: skip
EPSG_CODE = re.compile(
    r"(?:https?://www\.opengis\.net/def/crs/EPSG/[0-9.]+/|urn:ogc:def:crs:EPSG:[0-9.]*:|EPSG:)"
    r"(?P<code>[0-9]{4,6})",
    re.I,
)
CRS84_NAMES = re.compile(
    r"(?:https?://www\.opengis\.net/def/crs/OGC/(?:1\.3|0)/|urn:ogc:def:crs:OGC:(?:1\.3)?:|OGC:)"
    r"CRS84",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Crs:
    """A system, its URI, the SRID that PostGIS knows it by, and whether y or latitude is first."""

    uri: str
    srid: int
    is_flipped: bool = False

    @property
    def is_stored(self) -> bool:
        """Whether coordinates are as they are stored."""
        return self.srid == 4326 and not self.is_flipped


CRS84 = Crs("http://www.opengis.net/def/crs/OGC/1.3/CRS84", 4326)


@cache
def epsg(code: int) -> Crs:
    """The system of an EPSG code, in the order of axes of its authority."""
    import pyproj  # takes long to import; most questions are asked in CRS84

    first = pyproj.CRS.from_epsg(code).axis_info[0].direction
    return Crs(f"{EPSG_URI}{code}", code, is_flipped=first in ("north", "south"))


@cache
def offered(extent: Bounds | None) -> tuple[Crs, ...]:
    """Those that a layer of this extent may be asked in, CRS84 first: world-wide ones, those of
    the countries it lies in, and its UTM zone.
    """
    codes = dict.fromkeys(EVERYWHERE)
    if extent is not None and extent.west <= extent.east:
        codes |= dict.fromkeys(code for code in NATIONAL if _covers(code, extent))
        if (zone := _utm(extent)) is not None:
            codes[zone] = None
    return CRS84, *(epsg(code) for code in codes)


@cache
def _area(code: int) -> tuple[float, float, float, float] | None:
    import pyproj

    area = pyproj.CRS.from_epsg(code).area_of_use
    return area.bounds if area else None


def _covers(code: int, extent: Bounds) -> bool:
    area = _area(code)
    if area is None or area[0] > area[2]:
        return False
    west, south, east, north = area
    return west <= extent.west and extent.east <= east and south <= extent.south <= north


def _utm(extent: Bounds) -> int | None:
    """The UTM zone of an extent that lies in one, as EPSG counts them."""
    middle = (extent.west + extent.east) / 2
    if extent.east - extent.west > 6 or not -80 <= extent.south <= extent.north <= 84:
        return None
    zone = min(60, int((middle + 180) // 6) + 1)
    return (32600 if extent.north > 0 else 32700) + zone


def parse_crs(parameter: str, text: str, known: tuple[Crs, ...]) -> Crs:
    """The system that a URI, URN, CURIE or `EPSG:2154` names, of those `known`; QueryRefused."""
    name = text.strip().removeprefix("[").removesuffix("]").strip("<>")
    if CRS84_NAMES.fullmatch(name):
        return CRS84
    if (found := EPSG_CODE.fullmatch(name)) is not None:
        wanted = int(found["code"])
        for crs in known:
            if crs.srid == wanted and crs is not CRS84:
                return crs
    systems = ", ".join(crs.uri for crs in known)
    raise QueryRefused(parameter, text, f"write one of {systems}")
