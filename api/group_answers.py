"""Answers that hold groups of features, as JSON, CSV and GeoJSON."""

from __future__ import annotations

from typing import Any

import orjson

from layers.aggregate import Group, Groups, centre, outline
from layers.grouping import PLACE, GroupQuery

FORMS = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "geojson": "application/geo+json",
}
QUOTED = frozenset('",\r\n')


def as_csv(query: GroupQuery, found: Groups) -> bytes:
    """A line for each group (RFC 4180). A missing value is nothing, an empty text is ""."""
    rows = [_names(query), *(_values(query, group) for group in found.groups)]
    return "".join(f"{','.join(map(_cell, row))}\n" for row in rows).encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if text and QUOTED.isdisjoint(text):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def as_json(query: GroupQuery, found: Groups, links: list[dict[str, Any]]) -> bytes:
    names = _names(query)
    groups = [dict(zip(names, _values(query, group), strict=True)) for group in found.groups]
    return orjson.dumps({**_around(query, found, links), "groups": groups})


def _names(query: GroupQuery) -> tuple[str, ...]:
    return (*query.outputs, *(PLACE if query.grid is not None else ()))


def _values(query: GroupQuery, group: Group) -> list[Any]:
    """Of a group's outputs, and where its cell's middle is."""
    told = _outputs(query, group)
    if query.grid is None:
        return told
    return [*told, *((None, None) if group.cell is None else centre(query.grid, group.cell))]


def _outputs(query: GroupQuery, group: Group) -> list[Any]:
    cell = [] if query.grid is None else [_name_of(group)]
    return [*group.values, *cell, group.count, *group.measures]


def _name_of(group: Group) -> str | None:
    return None if group.cell is None else f"{group.cell[0]}/{group.cell[1]}"


def as_geojson(query: GroupQuery, found: Groups, links: list[dict[str, Any]]) -> bytes:
    """A feature for each group, whose shape is its cell's; null where it has none."""
    features = [
        {
            "type": "Feature",
            "geometry": _shape(query, group),
            "properties": dict(zip(query.outputs, _outputs(query, group), strict=True)),
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
