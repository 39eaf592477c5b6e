"""What stands for a feature in each kind of JSON: GeoJSON, Esri's, or a plain object.

Each way of reading turns one parsed value into a feature: `properties`, `geometry` as GeoJSON has
it or None, and perhaps `id`; or into the reason why it is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import orjson
import shapely

Feature = dict[str, Any]
Kind = Literal["geojson", "esrijson", "json"]
ReadFeature = Callable[[Any], Feature | str]

SHAPES = frozenset(
    ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon")
) | {"GeometryCollection"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ERRORS = ("error", "errors", "exception", "message")


def shown(value: object) -> str:
    """The value as JSON, cut to what a message can hold."""
    text = orjson.dumps(value).decode()
    return text if len(text) <= 40 else text[:40] + "…"


def kind_of(value: Any) -> Kind | None:
    """Which kind of JSON a first value belongs to; None where it is no feature of any."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("attributes"), dict) and "type" not in value:
        return "esrijson"
    kind = value.get("type")
    if (isinstance(kind, str) and kind in SHAPES | {"Feature"}) or "properties" in value:
        return "geojson"
    return "json"


def read_geojson_feature(value: Any) -> Feature | str:
    """A Feature, or a bare geometry."""
    if not isinstance(value, dict):
        return f"{shown(value)} stands where a feature should"
    kind = value.get("type")
    if isinstance(kind, str) and kind in SHAPES:
        return {"type": "Feature", "properties": {}, "geometry": value}
    if kind != "Feature":
        return f"type {shown(kind)} should be Feature"
    properties = value.get("properties")
    if properties is None:
        value["properties"] = {}
    elif not isinstance(properties, dict):
        return f"properties {shown(properties)} should be an object"
    return value


def read_record(value: Any) -> Feature | str:
    """A plain object: all of its members are properties."""
    if not isinstance(value, dict):
        return f"{shown(value)} stands where an object should"
    return {"properties": value, "geometry": None}


@dataclass(frozen=True, slots=True)
class EsriReader:
    """What an ArcGIS server's answer says of its fields: their coded values, and which are dates.

    A coded value is read as its name; the code stays beside it as `<field>_code`.
    """

    domains: Mapping[str, Mapping[Any, str]] = field(default_factory=dict)
    dates: frozenset[str] = frozenset()

    @classmethod
    def of(cls, root: Feature) -> EsriReader:
        """Read `fields` of an answer, or of a layer's description."""
        domains: dict[str, Mapping[Any, str]] = {}
        dates = set()
        for said in root.get("fields") or ():
            if not isinstance(said, dict) or not isinstance(name := said.get("name"), str):
                continue
            if said.get("type") == "esriFieldTypeDate":
                dates.add(name)
            if isinstance(domain := said.get("domain"), dict) and domain.get("codedValues"):
                domains[name] = {
                    each["code"]: str(each["name"])
                    for each in domain["codedValues"]
                    if isinstance(each, dict)
                    and {"code", "name"} <= each.keys()
                    and isinstance(each["code"], str | int | float)
                }
        return cls(domains, frozenset(dates))

    def __call__(self, value: Any) -> Feature | str:
        if not isinstance(value, dict) or not isinstance(value.get("attributes"), dict):
            return f"{shown(value)} has no attributes"
        properties: dict[str, Any] = {}
        for name, given in value["attributes"].items():
            properties[name] = self._read(name, given)
            if name in self.domains:
                properties[f"{name}_code"] = given
        return {"properties": properties, "geometry": esri_geometry(value.get("geometry"))}

    def _read(self, name: str, given: Any) -> Any:
        if name in self.domains and isinstance(given, str | int | float):
            return self.domains[name].get(given, given)
        if name in self.dates and isinstance(given, int | float):
            return instant(given / 1000)
        return given


def instant(seconds: float) -> str | float:
    """ISO 8601 of seconds since 1970; the number itself where no calendar reaches so far."""
    try:
        return (EPOCH + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return seconds


def esri_geometry(value: Any) -> dict[str, Any] | None:
    """Esri's geometry as GeoJSON. A kind that is not known is left for the reader to refuse."""
    if not isinstance(value, dict):
        return None
    flat = bool(value.get("hasM")) and not value.get("hasZ")
    if "x" in value:
        x, y = value.get("x"), value.get("y")
        nowhere = x is None or y is None or x == "NaN" or y == "NaN"
        return None if nowhere else {"type": "Point", "coordinates": [x, y]}
    for name, kind in (("points", "MultiPoint"), ("paths", "MultiLineString")):
        if name in value:
            parts = value[name]
            return {"type": kind, "coordinates": _flat(parts) if flat else parts} if parts else None
    if "rings" in value:
        return _polygons(value["rings"], flat) if value["rings"] else None
    return {"type": f"Esri {', '.join(sorted(value))[:60]}", "coordinates": []} if value else None


def _polygons(rings: Any, flat: bool) -> dict[str, Any]:
    """The rings put together; as they are where they are none, so that the reader says why."""
    try:
        made = polygons_of(_flat(rings) if flat else rings)
    except (TypeError, ValueError, IndexError, shapely.errors.ShapelyError):
        made = [[ring] for ring in rings] if isinstance(rings, list) else rings
    return {"type": "MultiPolygon", "coordinates": made}


def _flat(positions: Any) -> Any:
    """The positions without the measure that stands in the place of a height."""
    if positions and isinstance(positions[0], list):
        return [_flat(each) for each in positions]
    return positions[:2]


def polygons_of(rings: list[Any]) -> list[list[Any]]:
    """Rings in no order as polygons: a clockwise ring is a shell, any other a hole of the
    smallest shell around it. Where no ring is clockwise, each is a shell.
    """
    usable = [ring for ring in rings if isinstance(ring, list) and len(ring) >= 4]
    if len(usable) < len(rings):
        return [[ring] for ring in rings]  # the reader says what is wrong with them
    if not all(np.isfinite(np.array([p[:2] for p in ring], np.float64)).all() for ring in usable):
        raise ValueError("a position is no pair of finite numbers")
    linear = [shapely.LinearRing([position[:2] for position in ring]) for ring in usable]
    clockwise = np.array([not each.is_ccw for each in linear])
    if clockwise.all() or not clockwise.any():
        return [[ring] for ring in usable]
    shells = sorted(np.flatnonzero(clockwise), key=lambda at: shapely.Polygon(linear[at]).area)
    made: dict[int, list[Any]] = {int(at): [usable[at]] for at in shells}
    for at in np.flatnonzero(~clockwise):
        corner = shapely.Point(usable[at][0][:2])
        around = (int(s) for s in shells if shapely.Polygon(linear[s]).covers(corner))
        made.setdefault(next(around, int(at)), []).append(usable[at])
    return list(made.values())
