"""What the batch of an overview reads from a layer, and how its results come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import shapely
import sqlalchemy as sa
from numpy.typing import NDArray

from layers.model import Layer
from layers.sql import ident, literal
from layers.tables import CITY
from layers.triggers import LOG_BOUND

MOST_PLACES = 10_000  # logged one by one; beyond, everything counts as touched
Geometries = NDArray[np.object_]


def geometries(
    connection: sa.Connection, layer: Layer, condition: str
) -> tuple[NDArray[np.int64], Geometries]:
    fids, found, _ = geometries_and(connection, layer, condition, "''")
    return fids, found


def geometries_and(
    connection: sa.Connection, layer: Layer, condition: str, text: str
) -> tuple[NDArray[np.int64], Geometries, NDArray[np.int64]]:
    """Fids in their order, geometries, and a number that stands for each value of `text`."""
    query = (
        f"SELECT fid, ST_AsBinary(tile_geom), {text} FROM {CITY}.{ident(layer.id)}"
        f" WHERE {condition} ORDER BY fid"
    )
    rows = connection.execute(sa.text(query)).all()
    numbers: dict[str, int] = {}
    return (
        np.array([row[0] for row in rows], np.int64),
        shapely.from_wkb(np.array([bytes(row[1]) for row in rows], object)),
        np.array([numbers.setdefault(row[2], len(numbers)) for row in rows], np.int64),
    )


def make_table(connection: sa.Connection, columns: str) -> None:
    said = columns.replace("@geometry", "geometry(Geometry, 3857)")
    connection.execute(sa.text(f"CREATE TEMP TABLE {said} ON COMMIT DROP"))


def copy_rows(connection: sa.Connection, into: str, rows: list[tuple[Any, ...]]) -> None:
    """COPY rows to a temporary table; bytes are WKB of geometries (EPSG:3857)."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    with driver.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN".encode()) as copy:
        for row in rows:
            copy.write_row([_ewkb(v) if isinstance(v, bytes) else v for v in row])


def _ewkb(wkb: bytes) -> str:
    return shapely.to_wkb(shapely.set_srid(shapely.from_wkb(wkb), 3857), True, include_srid=True)


def touch(connection: sa.Connection, layer: Layer, places: str) -> None:
    """Make a revision, and log these geometries with it."""
    count = int(connection.scalar(sa.text(f"SELECT count(*) FROM ({places}) p")) or 0)
    if not count:
        return
    key = literal(layer.id)
    revision = f"quartier.allocate_revision({key}, 0, 0, 0)"
    if count > MOST_PLACES:
        statement = f"SELECT quartier.touch_everything({key}, {revision})"
    else:
        statement = f"SELECT quartier.touch_places({key}, {revision}, ARRAY({places}), {LOG_BOUND})"
    connection.execute(sa.text(statement))
