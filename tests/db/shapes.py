"""Overviews of lines and polygons as tests look at them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

import mapbox_vector_tile
import sqlalchemy as sa

from layers.changes import ChangeLog
from layers.engine import run_ddl
from layers.model import Layer
from layers.shape_sql import rebuild_statements
from layers.shapes import names_of
from tests.conftest import Database
from tests.examples import layer
from tiles.address import TileAddress
from tiles.label_query import label_query
from tiles.query import TileQuery, tile_query
from tiles.shape_query import shape_query

LINES = layer(
    id="lines",
    geometry="line",
    columns=[{"name": "kind"}, {"name": "rank", "type": "integer"}, {"name": "note"}],
    tile=["kind", "note"],
)
TOLD = {"columns": [{"name": "kind"}, {"name": "note"}], "tile": ["kind", "note"]}
AREAS = layer(id="areas", geometry="polygon", **TOLD)
MIXED = layer(id="mixed", geometry="mixed", **TOLD)
CHAINED = LINES.model_copy(
    update={"id": "chained", "overview": LINES.overview.model_copy(update={"merge_by": ("kind",)})}
)
COVERED = AREAS.model_copy(
    update={"id": "covered", "overview": AREAS.overview.model_copy(update={"coverage": True})}
)


def kept(database: Database, of: Layer) -> list[tuple[Any, ...]]:
    """Every row of a layer's overview, byte for byte."""
    rows: list[tuple[Any, ...]] = []
    for name in names_of(of):
        rows += database.run(f'SELECT t::text FROM city_overview."{name}" t ORDER BY 1')
    return rows


def rebuild(database: Database, of: Layer) -> None:
    with database.transaction() as connection:
        for statement in rebuild_statements(of):
            run_ddl(connection, statement.replace("@postgis@", "public"))


def answer(database: Database, query: TileQuery) -> tuple[int, bytes, int]:
    """The revision, bytes and number of features that a tile statement answers the web."""
    revision, tile, features = database.run(_bound(query), role="web")[0][:3]
    return revision, bytes(tile or b""), features


def tiles_of(database: Database, of: Layer, at: Iterable[TileAddress]) -> dict[TileAddress, bytes]:
    return dict(_asked(database, ((address, query_of(of, address)) for address in at)))


def _asked(
    database: Database, queries: Iterable[tuple[TileAddress, TileQuery]]
) -> Iterator[tuple[TileAddress, bytes]]:
    """The bytes of many tiles, over one connection."""
    with database.connect("web") as connection:
        for address, query in queries:
            row = connection.execute(sa.text(_bound(query))).one()
            yield address, bytes(row[1] or b"")


def _bound(query: TileQuery) -> str:
    sql = query.sql
    for number, value in enumerate(query.args, start=1):
        sql = sql.replace(f"${number}", str(value))
    return sql


def query_of(of: Layer, at: TileAddress) -> TileQuery:
    return shape_query(of, of.id, at) or tile_query(of, of.id, at)


def features(tile: bytes) -> list[dict[str, Any]]:
    layers = mapbox_vector_tile.decode(tile, {"y_coord_down": True}) if tile else {}
    return [feature for found in layers.values() for feature in found["features"]]


def labels(database: Database, of: Layer, at: TileAddress) -> list[dict[str, Any]]:
    return features(answer(database, label_query(of, f"{of.id}:labels", at))[1])


def labels_in(database: Database, of: Layer, at: Iterable[TileAddress]) -> list[dict[str, Any]]:
    """The labels of all these tiles."""
    queries = ((address, label_query(of, f"{of.id}:labels", address)) for address in at)
    return [label for _, tile in _asked(database, queries) for label in features(tile)]


def log_of(database: Database, of: Layer) -> ChangeLog:
    """The layer's change log as a worker holds it."""
    (state,) = database.run(
        "SELECT revision, base_revision, log_epoch FROM quartier.layer_state WHERE layer_id = :id",
        id=of.id,
    )
    log = ChangeLog(revision=state[0], base=state[1], epoch=state[2])
    log.touch(
        database.run(
            "SELECT z, cell, revision, parts FROM quartier.public_changes WHERE layer_id = :id",
            id=of.id,
        )
    )
    return log


def random_line(dice: random.Random, size: float) -> str:
    """A wandering line of about this many degrees, as WKT."""
    x, y = 4.8 + dice.random() * 0.2, 45.1 + dice.random() * 0.2
    step = size / 10
    points = []
    for _ in range(dice.randint(2, 12)):
        points.append(f"{x:.7f} {y:.7f}")
        x, y = x + dice.uniform(-step, step * 2), y + dice.uniform(-step, step)
    return f"LINESTRING({', '.join(points)})"


def random_area(dice: random.Random, size: float) -> str:
    """A polygon with some bites, a hole or an island at times, as WKT."""
    x, y = 4.8 + dice.random() * 0.2, 45.1 + dice.random() * 0.2
    wide, high = size * dice.uniform(0.05, 1), size * dice.uniform(0.05, 1)
    outside = f"({_ring(x, y, wide, high, dice)})"
    hole = f"({_ring(x + wide / 3, y + high / 3, wide / 6, high / 6, None)})"
    if dice.random() < 0.2:
        island = f"({_ring(x + wide * 2, y, wide / 8, high / 8, None)})"
        return f"MULTIPOLYGON(({outside}, {hole}), ({island}))"
    return f"POLYGON({outside}{f', {hole}' if dice.random() < 0.3 else ''})"


def _ring(x: float, y: float, wide: float, high: float, dice: random.Random | None) -> str:
    bite = dice.uniform(0, high / 4) if dice else 0
    corners = [
        (x, y), (x + wide / 2, y + bite), (x + wide, y), (x + wide, y + high),
        (x + wide / 2, y + high - bite), (x, y + high), (x, y),
    ]  # fmt: skip
    return ", ".join(f"{a:.7f} {b:.7f}" for a, b in corners)
