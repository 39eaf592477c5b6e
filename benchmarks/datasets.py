"""The city's rows as layers of several sizes, made by SQL from the rows that were ingested.

A copy is not loaded through the triggers: its rows are written with them off, its indexes are
built afterwards, and then it is counted, as a first ingest does it. Copies of a row lie apart by
a hash of its key, so that the same file always gives the same places.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from layers.model import Layer
from layers.overviews import tables_of
from layers.sql import ident, literal
from layers.tables import CITY, content_names

STEP_M = 300  # a copy lies up to so far off, times its number, to each side
METRES_A_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True)
class DataSet:
    """Rows of the city: so many copies of each, or so many of them drawn at random.

    `suffix` makes the name of the layer; `detail_zoom` is declared where it is given.
    """

    says: str
    suffix: str
    copies: int = 1
    drawn: int | None = None
    detail_zoom: int | None = None


SMALL = DataSet("100 k", "01", drawn=100_000)
WHOLE = DataSet("1.3 M", "")  # what was ingested
LARGE = DataSet("6.5 M", "6", copies=5)
FEATURES = DataSet("1.3 M, features only", "_features", detail_zoom=0)
SIZES = (SMALL, WHOLE, LARGE)
MADE = (SMALL, LARGE, FEATURES)  # from WHOLE


def make(ingest_url: str, source: Layer, layer: Layer, wanted: DataSet) -> None:
    """Fill the empty `layer` from the rows of `source`."""
    name, key = ident(layer.id), literal(layer.id)
    table = f"{CITY}.{name}"
    geom_index, key_rule = f"{layer.id}_tile_geom_idx", f"{layer.id}_source_key_key"
    with psycopg.connect(ingest_url) as connection:
        schema = _postgis_schema(connection)
        for statement in (
            f"SET LOCAL search_path = pg_catalog, {schema}",
            "SET LOCAL work_mem = '256MB'",
            f"ALTER TABLE {table} DISABLE TRIGGER USER",
            f"DROP INDEX {CITY}.{ident(geom_index)}",
            f"ALTER TABLE {table} DROP CONSTRAINT {ident(key_rule)}",
            _copied(source, layer, wanted),
            f"CREATE INDEX {ident(geom_index)} ON {table} USING gist (tile_geom)",
            f"ALTER TABLE {table} ADD CONSTRAINT {ident(key_rule)} UNIQUE (source_key)",
            f"ALTER TABLE {table} ENABLE TRIGGER USER",
            f"ANALYZE {table}",
            f"SELECT quartier.{ident(f'{layer.id}__overview')}(true)",
            f"SELECT quartier.touch_everything({key}, quartier.allocate_revision({key},"
            f" (SELECT count(*) FROM {table}), 0, 0))",
        ):
            connection.execute(statement.encode())


def vacuum(ingest_url: str, layer: Layer) -> None:
    """What autovacuum would do some time later, while something is measured."""
    with psycopg.connect(ingest_url, autocommit=True) as connection:
        for table in (f"{CITY}.{ident(layer.id)}", *tables_of(layer)):
            connection.execute(f"VACUUM (ANALYZE) {table}".encode())


def _postgis_schema(connection: psycopg.Connection[tuple[object, ...]]) -> str:
    found = connection.execute(
        "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'postgis'"
    ).fetchone()
    if found is None:
        raise RuntimeError("no PostGIS in this database")
    return str(found[0])


def _copied(source: Layer, layer: Layer, wanted: DataSet) -> str:
    """The rows of a data set in spatial order, as an ingest writes them."""
    others = [name for name in content_names(source) if name not in ("source_key", "geom")]
    columns = "".join(f"{ident(name)}, " for name in others)
    rows = f"{CITY}.{ident(source.id)}"
    if wanted.drawn is not None:
        rows = f"(SELECT * FROM {rows} ORDER BY {_hash(0)}, fid LIMIT {wanted.drawn}) drawn"
    return f"""
        INSERT INTO {CITY}.{ident(layer.id)} (source_key, {columns}geom, since)
        SELECT CASE copy WHEN 0 THEN source_key ELSE source_key || '/' || copy END, {columns}
               CASE copy WHEN 0 THEN geom ELSE ST_Translate(geom, {_off("copy * 2")}
                   / cos(radians(least(80, abs(ST_Y(geom))))), {_off("copy * 2 + 1")}) END AS place,
               1
        FROM {rows}, generate_series(0, {wanted.copies - 1}) copy
        ORDER BY place"""


def _off(seed: str) -> str:
    """Degrees of a great circle to one side or the other, the same ones for the same row."""
    share = f"(({_hash(seed)} & 65535) / 32767.5 - 1)"
    return f"copy * {STEP_M / METRES_A_DEGREE} * {share}"


def _hash(seed: int | str) -> str:
    return f"hashtextextended(source_key, {seed})"
