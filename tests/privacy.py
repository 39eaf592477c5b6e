"""A city whose crimes are published by policies, for tests of what the public learns of them."""

from __future__ import annotations

from typing import Any

from layers.model import Layer
from tests.conftest import Database
from tests.examples import layer

DISTRICTS = layer(id="districts", geometry="polygon", columns=[{"name": "code"}])
CORNERS = layer(id="corners", geometry="point")
KINDS = ("assault", "burglary", "theft", "murder", "noise")
POLICIES: dict[str, Any] = {
    "by": "kind",
    "areas": {"layer": "districts", "code": "code"},
    "anchors": "corners",
    "policies": [
        {"values": ["assault"], "location": "area", "k": 4, "hide": ["street"]},
        {"values": ["burglary"], "location": "grid", "cell_m": 500, "k": 3},
        {"values": ["theft"], "location": "exact"},
        {"values": ["murder"], "location": "withhold"},
    ],
    "otherwise": {"location": "snap", "time": "hour"},
}
COLUMNS = [
    {"name": "number"},
    {"name": "kind"},
    {"name": "street"},
    {"name": "at", "type": "datetime"},
    {"name": "day", "type": "date"},
    {"name": "clock", "type": "time"},
]


def crimes(**declared: Any) -> Layer:
    """Crimes of five kinds, of which each has a policy of its own."""
    told: dict[str, Any] = {
        "id": "crimes",
        "geometry": "point",
        "key": "number",
        "columns": COLUMNS,
    }
    told |= {"privacy": POLICIES, "time_zone": "Europe/Paris"}
    return layer(**told | declared)


CRIMES = crimes()
PUBLIC_CRIMES = crimes(privacy=None)


def surround(database: Database, *others: Layer) -> None:
    """Two districts side by side, and a corner of streets about every 220 m."""
    database.declare(DISTRICTS, CORNERS, *others)
    database.run(
        "INSERT INTO city.districts (code, geom) VALUES"
        " ('west', ST_MakeEnvelope(2.30, 48.80, 2.35, 48.90, 4326)),"
        " ('east', ST_MakeEnvelope(2.35, 48.80, 2.40, 48.90, 4326))"
    )
    database.run(
        "INSERT INTO city.corners (geom) SELECT ST_Point(2.3 + x * 0.003, 48.8 + y * 0.002, 4326)"
        " FROM generate_series(0, 33) x, generate_series(0, 50) y"
    )


def commit_crimes(
    database: Database, rows: int, *, table: str = "city_raw.crimes", first: int = 1
) -> None:
    """So many crimes, of every kind in turn, at places that depend on their number alone."""
    database.run(
        f"INSERT INTO {table} (number, kind, street, at, day, clock, geom)"
        " SELECT 'n' || n, (CAST(:kinds AS text[]))[1 + n % 5], 'High Street ' || n,"
        " timestamptz '2026-03-04T05:06:07Z' + n * interval '37 minutes',"
        " date '2026-03-04' + n % 300, time '05:06:07' + n * interval '37 minutes',"
        " ST_Point(2.3 + 0.1 * mod(n * 0.618033988749895, 1),"
        " 48.8 + 0.1 * mod(n * 0.7548776662, 1), 4326)"
        " FROM generate_series(CAST(:first AS int), CAST(:last AS int)) n",
        kinds=list(KINDS), first=first, last=first + rows - 1,
    )  # fmt: skip
