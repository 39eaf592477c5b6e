"""Rows of a first load, copied straight into the table that then takes an empty layer's place.

Nobody reads that table before: it is made, filled and indexed in `city_stage`, where a killed run
leaves it to the next. So rows are written once, while others are still being read, and two indexes
are made at a time. All but plain points and tables without geometry go by way of a stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from layers import build
from layers import merge_sql as merge
from layers.columns import ColumnType, GeometryType
from layers.engine import run_ddl, sqlstate
from layers.model import Layer
from layers.runs import check_published
from layers.sql import ident
from layers.stage import ArrowConnection, Stage
from layers.tables import CITY
from layers.write import (
    IN_THE_WAY,
    LayerMoved,
    Merged,
    begin_publishing,
    finished,
    lock,
    retrying,
    revision_of,
)

UNIQUE_VIOLATION = "23505"


def fits(connection: sa.Connection, layer: Layer) -> bool:
    """Whether rows of the layer can be copied as they are, and its table can be replaced now."""
    plain = (
        layer.geometry in (GeometryType.POINT, GeometryType.NONE)
        and layer.privacy is None
        and layer.partitions is None
        and all(column.type is not ColumnType.JSON for column in layer.columns)
    )
    return plain and build.can_be_replaced(connection, layer)


@contextmanager
def copying(arrow: ArrowConnection, layer: Layer, run_id: int) -> Iterator[Stage]:
    """A table that takes the rows: `source_key`, the columns, `geom`, and `since`."""
    name = merge.build_table(run_id)
    with arrow.cursor() as cursor:
        for statement in build.table_statements(layer, name):
            cursor.execute(statement)
        arrow.commit()  # which lets go of the layer's own table
        # What is written in the transaction that emptied a table needs no log of it.
        cursor.execute(f"TRUNCATE {merge.build_name(run_id)}")
    copied = Stage(arrow, name)
    yield copied
    copied.close()


def publish(engine: sa.Engine, layer: Layer, run_id: int, *, at: int) -> Merged:
    """Put the table in the layer's place; all of it or, on any error, nothing. `at` is the revision
    that the layer had when copying began. Where a reader stays in the way, the rows are put into
    the table that is there.

    Raises LayerMoved where the layer has other rows by now, and where two rows have one declared
    key: a stage can do what this cannot.
    """
    try:
        _index(engine, layer, run_id)
        try:
            return retrying(engine, partial(_take_place, layer=layer, run_id=run_id, at=at))
        except (DBAPIError, psycopg.Error) as exc:
            if sqlstate(exc) not in IN_THE_WAY:
                raise
        return retrying(engine, partial(_put_in, layer=layer, run_id=run_id, at=at))
    except (DBAPIError, psycopg.Error) as exc:
        if layer.key and sqlstate(exc) == UNIQUE_VIOLATION:
            raise LayerMoved(layer.id) from exc
        raise


def _index(engine: sa.Engine, layer: Layer, run_id: int) -> None:
    """The index of places takes as long as those of both keys: one on each of two connections."""
    places, keys = build.index_statements(
        layer, merge.build_name(run_id), merge.build_table(run_id)
    )

    def run(statements: list[str]) -> None:
        with engine.begin() as connection:
            run_ddl(connection, "SET LOCAL maintenance_work_mem = '512MB'")
            for statement in statements:
                run_ddl(connection, statement)

    with ThreadPoolExecutor(max_workers=2) as workers:
        for made in [workers.submit(run, statements) for statements in (places, keys)]:
            made.result()


def _begin(connection: sa.Connection, layer: Layer, run_id: int, at: int) -> None:
    begin_publishing(connection, run_id)
    lock(connection, layer)
    check_published(connection, layer)
    if revision_of(connection, layer) != at or not build.can_be_replaced(connection, layer):
        raise LayerMoved(layer.id)


def _take_place(connection: sa.Connection, *, layer: Layer, run_id: int, at: int) -> Merged:
    _begin(connection, layer, run_id, at)
    rows = connection.scalar(sa.text(f"SELECT count(*) FROM {merge.build_name(run_id)}"))
    if rows:
        build.take_place(connection, layer, run_id, since=at + 1, published=rows, is_indexed=True)
    return finished(connection, layer, Merged(inserted=int(rows or 0), revision=at))


def _put_in(connection: sa.Connection, *, layer: Layer, run_id: int, at: int) -> Merged:
    _begin(connection, layer, run_id, at)
    put_in = sa.text(merge.insert_all(layer, merge.build_name(run_id)))
    rows = connection.execute(put_in).rowcount
    connection.execute(sa.text(f"ANALYZE {CITY}.{ident(layer.id)}"))
    return finished(connection, layer, Merged(inserted=rows, revision=at))
