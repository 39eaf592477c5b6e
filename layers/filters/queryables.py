"""What a filter of a layer may speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from difflib import get_close_matches
from zoneinfo import ZoneInfo

from layers.columns import ColumnType
from layers.filters.errors import FilterRefused
from layers.filters.nodes import Kind, Property
from layers.model import Layer

FID, GEOM, GEOMETRY = "fid", "geom", "geometry"
KINDS = {
    ColumnType.TEXT: Kind.TEXT,
    ColumnType.INTEGER: Kind.INTEGER,
    ColumnType.NUMBER: Kind.NUMBER,
    ColumnType.BOOLEAN: Kind.BOOLEAN,
    ColumnType.DATE: Kind.DATE,
    ColumnType.DATETIME: Kind.INSTANT,
    ColumnType.TIME: Kind.TIME,
    ColumnType.JSON: Kind.ARRAY,
}


@dataclass(frozen=True, slots=True)
class Queryables:
    """The properties of a layer, its time zone, and the day it is there."""

    properties: Mapping[str, Property]
    zone: ZoneInfo
    today: date
    start: str | None = None  # the column that tells when a feature was or began
    end: str | None = None  # and when it ended

    @classmethod
    def of(cls, layer: Layer, now: datetime | None = None) -> Queryables:
        """Of a layer as it is published: its columns, `fid`, and `geom` where it has places."""
        found = {
            column.name: Property(column.name, KINDS[column.type])
            for column in layer.as_published().columns
        }
        found[FID] = Property(FID, Kind.INTEGER)
        if layer.has_geometry:
            found[GEOM] = Property(GEOM, Kind.GEOMETRY)
            found.setdefault(GEOMETRY, found[GEOM])
        zone = ZoneInfo(layer.time_zone)
        today = (now or datetime.now(UTC)).astimezone(zone).date()
        start, end = (layer.time.start, layer.time.end) if layer.time else (None, None)
        return cls(found, zone, today, start, end)

    def named(self, name: str) -> Property:
        """The property of this name; raises FilterRefused with those that are like it."""
        if (found := self.properties.get(name)) is not None:
            return found
        near = get_close_matches(name.lower(), self.properties, n=1)
        known = ", ".join(each for each in self.properties if each != GEOMETRY)
        hint = f"did you mean {near[0]}? " if near else ""
        raise FilterRefused(f"there is no property {name[:60]!r}; {hint}properties are {known}")
