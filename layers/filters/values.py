"""Literals of a filter: dates, instants, shapes, each checked when it is read."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import shapely
from shapely.geometry.base import BaseGeometry

from layers.crs import CRS84, Crs
from layers.filters.errors import FilterRefused
from layers.filters.nodes import Kind, Literal, Shape

DATE = re.compile(r"\d{4}-\d\d-\d\dT?", re.A)  # as GDAL writes a day
INSTANT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?P<fraction>\.\d+)?(?P<zone>Z|[+-]\d\d:\d\d)?", re.A | re.I
)
TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.A)
SMALLEST = timedelta(microseconds=1)
MOST_POINTS = 100_000
BOX_PIECES = 16  # of each side of a box that is carried over from another system
WEB_MERCATOR = 3857
EARTH_M = 6_378_137.0
HALF_WORLD_M = math.pi * EARTH_M
POLE_M = 10 * HALF_WORLD_M  # from the equator: as good as at the pole, which has no number


def text(value: str) -> Literal:
    """A text that the database can hold: no NUL, and no half of a letter."""
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise FilterRefused("a text holds a character that no text in the database can hold")
    return Literal(value, Kind.TEXT)


def number(value: int | float) -> Literal:
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return Literal(value, Kind.INTEGER)
        value = float(value) if abs(value) < 10**300 else math.inf
    if not math.isfinite(value):
        raise FilterRefused("a number is larger than can be compared with; write a smaller one")
    return Literal(value, Kind.NUMBER)


def day(said: str) -> Literal:
    try:
        if DATE.fullmatch(said):
            return Literal(date.fromisoformat(said[:10]), Kind.DATE)
    except ValueError:
        pass
    raise FilterRefused(f"{said[:40]!r} is no date; write one like '2026-03-01'")


def instant(said: str) -> Literal:
    fix = "write one like '2026-03-01T14:30:00Z'"
    found = INSTANT.fullmatch(said)
    if found is None:
        raise FilterRefused(f"{said[:40]!r} is no instant; {fix}")
    if found["zone"] is None:
        raise FilterRefused(f"{said[:40]!r} does not say its time zone, such as Z or +02:00")
    try:
        at = datetime.fromisoformat(_microseconds(said, found["fraction"]).upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise FilterRefused(f"{said[:40]!r} never was; {fix}") from None
    return Literal(at, Kind.INSTANT)


def _microseconds(said: str, fraction: str | None) -> str:
    return said if fraction is None else said.replace(fraction, f"{fraction[:7]:0<7}", 1)


def clock(said: str) -> Literal:
    try:
        if TIME.fullmatch(said):
            return Literal(time.fromisoformat(said), Kind.TIME)
    except ValueError:
        pass
    raise FilterRefused(f"{said[:40]!r} is no time of day; write one like '14:30:00'")


def moment(said: str) -> Literal:
    """A date or an instant, by its form."""
    return day(said) if DATE.fullmatch(said) else instant(said)


def first_moment(on: date, zone: ZoneInfo) -> Literal:
    """When a day begins where the layer is; a day that begins twice begins the first time."""
    try:
        begun = datetime.combine(on, time(), zone).astimezone(UTC)
    except OverflowError:
        begun = datetime.max.replace(tzinfo=UTC) if on.year > 1 else datetime.min.replace(
            tzinfo=UTC
        )  # fmt: skip
    return Literal(begun, Kind.INSTANT)


def last_moment(on: date, zone: ZoneInfo) -> Literal:
    """The last microsecond of a day where the layer is."""
    if on == date.max:
        return Literal(datetime.max.replace(tzinfo=UTC), Kind.INSTANT)
    following = first_moment(on + timedelta(days=1), zone).value
    assert isinstance(following, datetime)
    return Literal(following - SMALLEST, Kind.INSTANT)


def day_of(at: datetime, zone: ZoneInfo) -> Literal:
    return Literal(at.astimezone(zone).date(), Kind.DATE)


# Shapes ------------------------------------------------------------------------------------------


def geojson(tree: Any, crs: Crs) -> Shape:
    """A GeoJSON geometry, whose coordinates are in `crs`."""
    from shapely.geometry import shape as of_mapping

    try:
        found = of_mapping(tree)
    except (
        ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError,
        shapely.errors.ShapelyError, shapely.errors.GEOSException,
    ) as exc:  # fmt: skip
        said = str(exc)[:120]
        raise FilterRefused(f"a geometry cannot be read as GeoJSON: {said}") from None
    return shape(found, crs)


def shape(found: BaseGeometry, crs: Crs) -> Shape:
    """A geometry in `crs` (its own order of axes), checked and brought to CRS84."""
    if found.is_empty:
        raise FilterRefused("a geometry is empty, so nothing can lie in it")
    if shapely.get_num_coordinates(found) > MOST_POINTS:
        raise FilterRefused(f"a geometry has more than {MOST_POINTS} points; simplify it")
    placed = _in_crs84(shapely.force_2d(found), crs)
    west, south, east, north = (float(edge) for edge in placed.bounds)
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise FilterRefused(
            "a geometry lies outside of the world: longitude comes first, from -180 to 180;"
            " for another system say filter-crs"
        )
    if not shapely.is_valid(placed):
        reason = shapely.is_valid_reason(placed)
        raise FilterRefused(f"a geometry is not valid ({reason}); mend it first")
    bounds = (west, south, east, north)
    return Shape(shapely.to_wkb(placed), bounds, is_box=_is_box(placed, bounds))


def _is_box(found: BaseGeometry, bounds: tuple[float, float, float, float]) -> bool:
    if found.geom_type != "Polygon" or shapely.get_num_coordinates(found) != 5:
        return found.geom_type == "Point"
    return bool(shapely.normalize(found) == shapely.normalize(shapely.box(*bounds)))


def _in_crs84(found: BaseGeometry, crs: Crs) -> BaseGeometry:
    if not _is_finite(found):
        raise FilterRefused("a geometry holds a coordinate that is no number")
    if crs.is_flipped:
        found = shapely.transform(found, lambda places: places[:, ::-1])
    if crs.srid == CRS84.srid:
        return found
    placed = shapely.transform(found, _to_degrees(crs.srid), interleaved=False)
    if not _is_finite(placed):
        raise FilterRefused(f"a geometry lies where {crs.uri} has no places")
    return placed


def _is_finite(found: BaseGeometry) -> bool:
    return bool(all(map(math.isfinite, shapely.get_coordinates(found).ravel().tolist())))


@cache
def _to_degrees(srid: int) -> Any:
    import pyproj  # takes long to import

    return pyproj.Transformer.from_crs(srid, 4326, always_xy=True).transform


def box(numbers: Sequence[object], crs: Crs) -> Shape:
    """`west,south,east,north`, or six numbers with heights that are left out, in the order of
    axes of `crs`. West may be greater than east in degrees: the box crosses 180°.
    """
    fix = "write west,south,east,north"
    if len(numbers) not in (4, 6) or not all(_is_number(each) for each in numbers):
        raise FilterRefused(f"a bbox has four numbers or six; {fix}")
    plain = [float(each) for each in numbers]  # type: ignore[arg-type]
    if not all(map(math.isfinite, plain)):
        raise FilterRefused(f"a bbox holds what is no number; {fix}")
    half = len(plain) // 2
    (left, bottom), (right, top) = plain[:2], plain[half : half + 2]
    if crs.is_flipped:
        left, bottom, right, top = bottom, left, top, right
    if bottom > top:
        raise FilterRefused(f"a bbox begins in the south: {bottom} is more than {top}; {fix}")
    if crs.srid != CRS84.srid:
        return _carried_over(left, bottom, right, top, crs)
    if left <= right:
        return shape(_rectangle(left, bottom, right, top), CRS84)
    parts = (_rectangle(left, bottom, 180.0, top), _rectangle(-180.0, bottom, right, top))
    return shape(shapely.union(*parts), CRS84)


def _carried_over(left: float, bottom: float, right: float, top: float, crs: Crs) -> Shape:
    if left > right:
        raise FilterRefused(f"a bbox begins in the west: {left} is more than {right}")
    if crs.srid == WEB_MERCATOR:
        return _from_web_mercator(left, bottom, right, top)
    sides = _rectangle(left, bottom, right, top)
    piece = max(right - left, top - bottom) / BOX_PIECES
    if 0 < piece < math.inf:
        sides = shapely.segmentize(sides, piece)
    return shape(sides, Crs(crs.uri, crs.srid))


def _from_web_mercator(left: float, bottom: float, right: float, top: float) -> Shape:
    """A box is one in degrees, too. Maps that show the whole world ask for more than there is."""
    if left > HALF_WORLD_M or right < -HALF_WORLD_M:
        raise FilterRefused("a bbox lies outside of the world")
    west, east = (max(-180.0, min(180.0, math.degrees(x / EARTH_M))) for x in (left, right))
    held = (max(-POLE_M, min(POLE_M, y)) for y in (bottom, top))
    south, north = (math.degrees(math.atan(math.sinh(y / EARTH_M))) for y in held)
    return shape(_rectangle(west, south, east, north), CRS84)


def _rectangle(left: float, bottom: float, right: float, top: float) -> BaseGeometry:
    """A polygon, or the line or point that a box without an area is."""
    if left == right and bottom == top:
        return shapely.Point(left, bottom)
    if left == right or bottom == top:
        return shapely.LineString([(left, bottom), (right, top)])
    return shapely.box(left, bottom, right, top)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
