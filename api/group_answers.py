"""Answers that hold groups of features, as JSON, CSV and GeoJSON."""

from __future__ import annotations

import csv
import io
from typing import Any

import orjson

from layers.aggregate import Group, Groups, centre, outline
from layers.grouping import GroupQuery

FORMS = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "geojson": "application/geo+json",
}
PLACE = ("longitude", "latitude")


def as_csv(query: GroupQuery, found: Groups) -> bytes:
    """A line for each group, its cell told by its middle. A missing value is nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*query.outputs, *(PLACE if query.grid is not None else ())])
    for group in found.groups:
        row = [_in_csv(value) for value in _values(query, group)]
        if query.grid is not None:
            row += centre(query.grid, group.cell) if group.cell is not None else ("", "")
        writer.writerow(row)
    return text.getvalue().encode()


def _in_csv(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _values(query: GroupQuery, group: Group) -> list[Any]:
    """In the order of the query's outputs."""
    cell = [] if query.grid is None else [_name_of(group)]
    return [*group.values, *cell, group.count, *group.measures]


def _name_of(group: Group) -> str | None:
    return None if group.cell is None else f"{group.cell[0]}/{group.cell[1]}"


def as_json(query: GroupQuery, found: Groups, links: list[dict[str, Any]]) -> bytes:
    groups = []
    for group in found.groups:
        told = dict(zip(query.outputs, _values(query, group), strict=True))
        if query.grid is not None and group.cell is not None:
            told["center"] = centre(query.grid, group.cell)
        groups.append(told)
    return orjson.dumps({**_around(query, found, links), "groups": groups})


def as_geojson(query: GroupQuery, found: Groups, links: list[dict[str, Any]]) -> bytes:
    """A feature for each group, whose shape is its cell's; null where it has none."""
    features = [
        {
            "type": "Feature",
            "geometry": _shape(query, group),
            "properties": dict(zip(query.outputs, _values(query, group), strict=True)),
        }
        for group in found.groups
    ]
    around = {"type": "FeatureCollection", **_around(query, found, links)}
    return orjson.dumps({**around, "features": features})


def _shape(query: GroupQuery, group: Group) -> dict[str, Any] | None:
    if query.grid is None or group.cell is None:
        return None
    return {"type": "Polygon", "coordinates": [outline(query.grid, group.cell)]}


def _around(query: GroupQuery, found: Groups, links: list[dict[str, Any]]) -> dict[str, Any]:
    """What is told of all groups: `numberMatched` is the sum of their counts, whether or not all
    of them are on the page.
    """
    told: dict[str, Any] = {
        "revision": found.revision,
        "numberMatched": found.matched,
        "numberGroups": found.total,
        "numberReturned": len(found.groups),
        "links": links,
    }
    if query.grid is not None:
        told["grid"] = {
            "shape": query.grid.shape, "side_m": query.grid.side_m, "latitude": query.grid.latitude,
        }  # fmt: skip
    return told
