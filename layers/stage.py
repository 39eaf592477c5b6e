"""Tables of one run in `city_stage`, filled with Arrow batches by COPY; nobody reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from layers import merge_sql as merge
from layers.columns import ColumnType
from layers.model import Layer
from layers.sql import ident
from layers.tables import type_name

ROW, LINE = "#row", "#line"  # of a stage; no declared column can have such a name


class ArrowConnection(Protocol):
    """What ADBC's DBAPI connection can do for us."""

    def cursor(self) -> Any: ...
    def commit(self) -> None: ...
    def close(self) -> None: ...


class Stage:
    """A table of one run in `city_stage`, on its way to be filled."""

    def __init__(self, arrow: ArrowConnection, table: str) -> None:
        self._arrow = arrow
        self._table = table
        self._cursor = arrow.cursor()

    def append(self, rows: Any) -> None:
        """Add a pyarrow RecordBatch, whose columns are the table's."""
        self._cursor.adbc_ingest(self._table, rows, mode="append", db_schema_name="city_stage")

    def close(self) -> None:
        self._arrow.commit()
        self._cursor.close()


def _stage_ddl(layer: Layer, run_id: int) -> str:
    columns = [f"{ident(ROW)} bigint", f"{ident(LINE)} bigint", 'source_key text COLLATE "C"']
    for column in layer.columns:
        kind = "text" if column.type is ColumnType.JSON else type_name(column.type)
        columns.append(f"{ident(column.name)} {kind}")
    if layer.has_geometry:
        columns.append("geom geometry(Geometry, 4326)")
    return f"CREATE UNLOGGED TABLE {merge.stage_name(run_id)} ({', '.join(columns)})"


@contextmanager
def stage(arrow: ArrowConnection, layer: Layer, run_id: int) -> Iterator[Stage]:
    """A stage that takes `#row`, `#line`, `source_key`, the columns and `geom`; ready to be
    published when the block ends.
    """
    with arrow.cursor() as cursor:
        cursor.execute(_stage_ddl(layer, run_id))
    arrow.commit()
    staged = Stage(arrow, f"run_{run_id}")
    yield staged
    staged.close()
