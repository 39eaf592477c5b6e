"""From files to batches: the one way in.

`read(layer, files)` opens and surveys every file first, so that what can be refused is refused
before any row is taken, and then gives the rows of all of them as one sequence of batches.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from ingest.ahead import ahead
from ingest.crs import DEGREES, agreed_crs, name_of
from ingest.errors import SourceRefused
from ingest.headers import Headers, refuse_shared
from ingest.locate import Locator
from ingest.normalise import Normaliser
from ingest.places import find_where, place_headers
from ingest.rows import Batch, Facts, Table
from ingest.scratch import scratch_folder
from ingest.sources.open import open_tables
from layers.columns import Column
from layers.model import Layer

BATCH_ROWS = 65_536
AHEAD = 3  # batches that wait for whoever takes them


class Reading:
    """The batches of some files. Iterate it once; then `facts` tells what was met on the way."""

    def __init__(self, layer: Layer, files: Sequence[Path], batch_rows: int) -> None:
        self._layer = layer
        self._files = files
        self._batch_rows = batch_rows
        self._running: Generator[Batch, None, None] | None = None
        self.total_bytes = sum(path.stat().st_size for path in files if path.exists())
        self.facts: list[Facts] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading, and remove what was unpacked."""
        if self._running is not None:
            self._running.close()

    def __iter__(self) -> Iterator[Batch]:
        """Yield every record of every file. Raises `SourceRefused`, at the latest at the end."""
        self._running = ahead(self._batches(), AHEAD)
        return self._running

    def _batches(self) -> Generator[Batch, None, None]:
        with scratch_folder("quartier-read-") as folder:
            yield from self._taken(open_tables(self._layer, self._files, folder))

    def _taken(self, tables: Sequence[Table]) -> Iterator[Batch]:
        self.total_bytes = sum(table.size for table in tables)
        _refuse_unseen(self._layer, tables)
        readers = [_reader(self._layer, table) for table in tables]
        row, done = 1, 0
        for table, reader in zip(tables, readers, strict=True):
            reader.first_row = row
            with closing(ahead(table.chunks(_wanted(reader), self._batch_rows))) as chunks:
                for chunk in chunks:
                    batch = reader.batch(chunk)
                    yield replace(batch, bytes_read=done + batch.bytes_read)
            reader.finish()
            row += reader.read
            done += table.size
            self.facts.append(_facts(self._layer, table, reader))


def read(layer: Layer, files: Sequence[Path], *, batch_rows: int = BATCH_ROWS) -> Reading:
    """Read `files` as one layer, in batches of at most `batch_rows` records."""
    return Reading(layer, files, batch_rows)


def _refuse_unseen(layer: Layer, tables: Sequence[Table]) -> None:
    """Refuse when a declared column is in no feature of files that may leave cells out."""
    sparse = [table for table in tables if table.sparse and not table.empty]
    if not sparse:
        return
    seen = list(dict.fromkeys(header for table in sparse for header in table.headers))
    headers = Headers(sparse[0].name, seen)
    for column in layer.columns:
        if not column.optional and headers.find(column.header) is None:
            raise headers.missing(column.name, column.header)


def _reader(layer: Layer, table: Table) -> Normaliser:
    headers, locator = _found_headers(layer, table), _locator(layer, table)
    where = locator.where.headers if locator and locator.where else ()
    _refuse_shown_places(layer, table, headers, where)
    return Normaliser(
        layer=layer, file=table.name, headers=headers, locator=locator, first_row=1
    )  # fmt: skip


def _refuse_shown_places(
    layer: Layer, table: Table, headers: Mapping[str, str | None], where: Iterable[str]
) -> None:
    """Refuse columns that would tell the exact place of rows whose place is made coarser."""
    if layer.privacy is None or not layer.has_geometry:
        return
    places = {*where, *place_headers(table.headers)}
    for column, header in headers.items():
        if header in places and layer.privacy.shows(column):
            raise SourceRefused(
                table.name,
                f"column {column} is read from {header!r}, which holds the exact place; hide it in"
                " every policy that is not exact, or leave it out",
            )


def _found_headers(layer: Layer, table: Table) -> dict[str, str | None]:
    headers = Headers(table.name, table.headers, cut=table.format == "shapefile")
    found: dict[str, str | None] = {}
    for column in layer.columns:
        header = headers.find(column.header) or _otherwise_called(headers, column)
        if header is None and not column.optional and not table.sparse:
            raise headers.missing(column.name, column.header)
        found[column.name] = header
    loose = {
        column.name: header
        for column in layer.columns
        if (header := found[column.name]) is not None and header != column.header
    }
    refuse_shared(table.name, loose.items())
    return found


def _otherwise_called(headers: Headers, column: Column) -> str | None:
    """The header where a source gives its technical names for once, or its labels."""
    labels = [column.label] if isinstance(column.label, str) else [*(column.label or {}).values()]
    return next(filter(None, map(headers.find, [column.name, *labels])), None)


def _locator(layer: Layer, table: Table) -> Locator | None:
    if not layer.has_geometry:
        return None
    crs = agreed_crs(table.name, table.crs, layer.source.crs)
    where = None if table.located and table.empty else find_where(layer, table)
    return Locator(table.name, layer.geometry, where, crs, layer.source.swap_axes)


def _wanted(reader: Normaliser) -> list[str]:
    places = reader.locator.where.headers if reader.locator and reader.locator.where else ()
    return list(dict.fromkeys([*filter(None, reader.headers.values()), *places]))


def _facts(layer: Layer, table: Table, reader: Normaliser) -> Facts:
    used = set(_wanted(reader))
    notes: dict[str, object] = {**table.notes, **reader.notes}
    if reader.locator is not None:
        notes |= {name: count for name, count in reader.locator.notes.items() if count}
    respelt = {
        column.name: reader.headers[column.name]
        for column in layer.columns
        if reader.headers[column.name] not in (None, column.header)
    }
    if respelt:
        notes["headers_spelt_otherwise"] = respelt
    crs = reader.locator.crs if reader.locator else None
    return Facts(
        file=table.name,
        format=table.format,
        encoding=table.encoding,
        delimiter=table.delimiter,
        crs=name_of(crs or DEGREES) if layer.has_geometry else None,
        headers=table.headers,
        ignored=tuple(header for header in table.headers if header not in used),
        rows=reader.read,
        notes=notes,
    )
