"""Tiles where the points are, drawn the same way every time."""

from __future__ import annotations

import random

import psycopg

from benchmarks.city import City
from layers.sql import ident
from layers.tables import CITY
from tiles.address import TileAddress

HALF_WORLD_M = 20_037_508.342789244


def drawn(city: City, zooms: dict[int, int], seed: int = 7) -> dict[int, list[TileAddress]]:
    """For each zoom at most that many different tiles; a denser place is drawn sooner."""
    points = _sample(city)
    chance = random.Random(seed)
    found: dict[int, list[TileAddress]] = {}
    for z, count in zooms.items():
        chance.shuffle(points)
        tiles: dict[TileAddress, None] = {}
        for x, y in points:
            tiles[_tile(z, x, y)] = None
            if len(tiles) == count:
                break
        found[z] = list(tiles)
    return found


def _tile(z: int, x: float, y: float) -> TileAddress:
    scale = 2**z / (2 * HALF_WORLD_M)
    return TileAddress(z, int((x + HALF_WORLD_M) * scale), int((HALF_WORLD_M - y) * scale))


def _sample(city: City) -> list[tuple[float, float]]:
    table = f"{CITY}.{ident(city.layer.id)}"
    with psycopg.connect(city.urls.web) as connection:
        return connection.execute(
            f"SELECT ST_X(tile_geom), ST_Y(tile_geom) FROM {table}"
            " TABLESAMPLE BERNOULLI (1) REPEATABLE (3) WHERE tile_geom IS NOT NULL ORDER BY fid"
        ).fetchall()


def path_of(city: City, at: TileAddress) -> str:
    return f"/tiles/{city.layer.id}/{at.z}/{at.x}/{at.y}.mvt"
