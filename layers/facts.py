"""What is found by looking at every row of a layer: how many there are, where, and when.

One scan a revision tells all of it. Times outside the years that a `datetime` can hold in every
time zone are passed over; PostgreSQL has them, and `infinity` too.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from layers.catalog import Bounds, Interval
from layers.columns import ColumnType
from layers.model import Layer
from layers.sql import ident
from layers.tables import CITY

DATED = (ColumnType.DATE, ColumnType.DATETIME)
HOLDABLE = "BETWEEN '0002-01-01' AND '9998-12-31'"
LAST_SECOND = time(23, 59, 59)


class Facts(NamedTuple):
    """Figures of a layer as it was at `revision`."""

    revision: int
    rows: int
    extent: Bounds | None
    interval: Interval | None

    @classmethod
    def of(cls, layer: Layer, revision: int, row: Any) -> Facts:
        """The facts that a row of `facts_query` tells."""
        corners = [row[name] for name in ("west", "south", "east", "north")]
        return cls(
            revision,
            row["n"],
            Bounds(*corners) if corners[0] is not None else None,
            _interval(layer, row),
        )


def facts_query(layer: Layer) -> str:
    """The statement, of one row: `n`, the corners, the first and the last time, and whether a
    row begins or ends in the open.
    """
    rows = f"FROM {CITY}.{ident(layer.id)}"
    if not layer.has_geometry:
        nowhere = "NULL AS west, NULL AS south, NULL AS east, NULL AS north"
        return f"SELECT count(*) AS n, {nowhere}, {_times(layer)} {rows}"
    return f"""
        SELECT n, ST_XMin(e) AS west, ST_YMin(e) AS south, ST_XMax(e) AS east,
               ST_YMax(e) AS north, first, last, is_open_before, is_open_after
        FROM (SELECT count(*) AS n, ST_Extent(geom) AS e, {_times(layer)} {rows}) f"""


def _times(layer: Layer) -> str:
    named = _dated_columns(layer)
    if named is None:
        return "NULL AS first, NULL AS last, false AS is_open_before, false AS is_open_after"
    start, end = (ident(name) for name in named)
    first = f"min({start}) FILTER (WHERE {start} {HOLDABLE}) AS first"
    last = f"max({end}) FILTER (WHERE {end} {HOLDABLE}) AS last"
    if start == end:
        return f"{first}, {last}, false AS is_open_before, false AS is_open_after"
    return f"""{first}, {last},
            coalesce(bool_or({start} IS NULL AND {end} IS NOT NULL), false) AS is_open_before,
            coalesce(bool_or({end} IS NULL AND {start} IS NOT NULL), false) AS is_open_after"""


def _dated_columns(layer: Layer) -> tuple[str, str] | None:
    """The columns that say when features begin and end, where both hold dates or instants."""
    if layer.time is None:
        return None
    start, end = layer.time.start, layer.time.end or layer.time.start
    dated = all(layer.column(name).type in DATED for name in (start, end))
    return (start, end) if dated else None


def _interval(layer: Layer, row: Any) -> Interval | None:
    if row["first"] is None and row["last"] is None:
        return None
    zone = ZoneInfo(layer.time_zone)
    start = None if row["is_open_before"] else _beginning(row["first"], zone)
    end = None if row["is_open_after"] else _end(row["last"], zone)
    return None if start is None and end is None else Interval(start, end)


def _beginning(at: date | datetime | None, zone: ZoneInfo) -> datetime | None:
    """The instant, without what is below a second; of a day, the first one in the zone."""
    if at is None:
        return None
    if not isinstance(at, datetime):
        at = datetime.combine(at, time(), zone)
    return at.astimezone(UTC).replace(microsecond=0)


def _end(at: date | datetime | None, zone: ZoneInfo) -> datetime | None:
    """The instant, up to the next full second; of a day, its last second in the zone."""
    if at is None:
        return None
    if not isinstance(at, datetime):
        at = datetime.combine(at, LAST_SECOND, zone)
    return (at.astimezone(UTC) + timedelta(microseconds=999_999)).replace(microsecond=0)
