"""Tiles where the points are, drawn the same way every time."""

from __future__ import annotations

import random

import psycopg

from benchmarks.city import City
from benchmarks.ours import tile_path
from layers.sql import ident
from layers.tables import CITY
from tiles.address import TileAddress

HALF_WORLD_M = 20_037_508.342789244


def drawn(city: City, zooms: dict[int, int], seed: int = 7) -> dict[int, list[TileAddress]]:
    """For each zoom at most that many different tiles; a denser place is drawn sooner."""
    points = places(city, 100)
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


def places(city: City, one_of: int) -> list[tuple[float, float]]:
    """Where one of so many rows lies, in EPSG:3857."""
    city.load()
    with psycopg.connect(city.urls.web) as connection:
        return connection.execute(
            f"SELECT ST_X(tile_geom), ST_Y(tile_geom) FROM {CITY}.{ident(city.layer.id)}"
            f" WHERE hashtextextended(source_key, 3) % {one_of} = 0 ORDER BY source_key".encode()
        ).fetchall()


def path_of(city: City, at: TileAddress) -> str:
    return tile_path(city.layer, at)
