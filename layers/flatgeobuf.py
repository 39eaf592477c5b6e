"""Features as a FlatGeobuf file, written by GDAL from Arrow batches while rows are read."""

from __future__ import annotations

import asyncio
import queue
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from layers.columns import ColumnType, GeometryType
from layers.feature_query import FeatureQuery
from layers.feature_sql import rows_statement
from layers.read import reading_rows
from layers.row_text import shape_of
from layers.sql import ident
from layers.store import Store

PIECE = 1 << 20
AHEAD = 2  # batches that wait for GDAL
AS_TEXT = (ColumnType.TIME, ColumnType.JSON)  # FlatGeobuf has no types for them
SHAPE = "geometry"


async def write_flatgeobuf(
    store: Store,
    query: FeatureQuery,
    begun: Callable[[int], object],
    write: Callable[[bytes], Awaitable[None]],
) -> None:
    """Say the revision to `begun`, and the file to `write`, piece by piece."""
    statement = rows_statement(query, _columns(query))
    if query.limit is not None:
        statement = statement._replace(sql=f"{statement.sql} LIMIT {query.limit}")
    with tempfile.TemporaryDirectory(prefix="quartier-export-") as folder:
        path = Path(folder) / f"{query.layer.id}.fgb"
        async with reading_rows(store, query, statement) as (revision, batches):
            begun(revision)
            waiting: queue.Queue[Sequence[Any] | None] = queue.Queue(AHEAD)
            writing = asyncio.create_task(asyncio.to_thread(_write, path, query, waiting))
            try:
                async for rows in batches:
                    await _put(waiting, rows, writing)
            finally:
                await _put(waiting, None, writing)
                await writing
        with path.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, PIECE):
                await write(piece)


async def _put(
    waiting: queue.Queue[Sequence[Any] | None], rows: Sequence[Any] | None, writing: Any
) -> None:
    """Hand a batch on as soon as there is room, unless nobody takes it any more."""
    while not writing.done():
        try:
            waiting.put_nowait(rows)
        except queue.Full:
            await asyncio.sleep(0.01)
        else:
            return


def _columns(query: FeatureQuery) -> str:
    kinds = {column.name: column.type for column in query.layer.columns}
    found = ["t.fid"]
    for name in query.names:
        value = f"t.{ident(name)}"
        found.append(f"{value}::text" if kinds[name] in AS_TEXT else value)
    shape = f"ST_AsBinary({_unflipped(query)})" if query.has_geometry else "NULL::bytea"
    return ", ".join([*found, shape])


def _unflipped(query: FeatureQuery) -> str:
    """Files keep x and y in the order of maps, whatever an authority says."""
    shape = shape_of(query)
    return f"ST_FlipCoordinates({shape})" if query.crs.is_flipped else shape


def _write(path: Path, query: FeatureQuery, waiting: queue.Queue[Sequence[Any] | None]) -> None:
    import pyarrow as pa
    import pyogrio.raw  # both take long to import, and a server may never need them

    schema = _schema(query)

    def taken() -> Iterator[pa.RecordBatch]:
        while (rows := waiting.get()) is not None:
            columns = [
                pa.array([row[n] for row in rows], field.type) for n, field in enumerate(schema)
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    reader = pa.RecordBatchReader.from_batches(schema, taken())
    pyogrio.raw.write_arrow(
        reader,
        str(path),
        layer=query.layer.id,
        driver="FlatGeobuf",
        geometry_name=SHAPE,
        geometry_type="Point" if query.layer.geometry is GeometryType.POINT else "Unknown",
        crs=f"EPSG:{query.crs.srid}",
        SPATIAL_INDEX="NO",  # else GDAL keeps the place of every feature in memory
    )


def _schema(query: FeatureQuery) -> Any:
    import pyarrow as pa

    types = {
        ColumnType.INTEGER: pa.int64(), ColumnType.NUMBER: pa.float64(),
        ColumnType.BOOLEAN: pa.bool_(), ColumnType.DATE: pa.date32(),
        ColumnType.DATETIME: pa.timestamp("us", tz="UTC"),
    }  # fmt: skip
    kinds = {column.name: column.type for column in query.layer.columns}
    fields = [pa.field("fid", pa.int64())]
    fields += [pa.field(name, types.get(kinds[name], pa.string())) for name in query.names]
    return pa.schema([*fields, pa.field(SHAPE, pa.binary())])
