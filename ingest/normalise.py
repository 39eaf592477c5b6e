"""A file's chunks to a layer's batches: types, places, keys, and what had to be refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ingest.cells import Cells, as_text, clean, read_cells
from ingest.errors import SourceRefused
from ingest.keys import content_keys, declared_keys
from ingest.locate import Locator
from ingest.rows import Batch, Broken, Chunk, Mask, Refusal, as_json
from ingest.times import TIMES, ambiguous, read_times
from layers.columns import Column, ColumnType
from layers.model import Layer

ARROW_TYPES = {
    ColumnType.TEXT: pa.string(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.NUMBER: pa.float64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.DATE: pa.date32(),
    ColumnType.DATETIME: pa.timestamp("us", "UTC"),
    ColumnType.TIME: pa.time64("us"),
    ColumnType.JSON: pa.string(),
}
WANTED = {
    ColumnType.INTEGER: "a whole number such as 12",
    ColumnType.NUMBER: "a number such as 48.85",
    ColumnType.DATE: "a date such as 2026-10-05; declare `format` for another form",
    ColumnType.DATETIME: "a time such as 2026-10-05T14:30:00Z; declare `format` for another form",
    ColumnType.TIME: "a time of day such as 14:30; declare `format` for another form",
    ColumnType.JSON: "JSON",
}
EXAMPLES = 3
SHOWN = 80  # characters of a value that a reason quotes


def schema_of(layer: Layer) -> pa.Schema:
    """The columns of every batch of this layer."""
    fields = [("source_key", pa.string()), ("row", pa.int64()), ("line", pa.int64())]
    fields += [(column.name, ARROW_TYPES[column.type]) for column in layer.columns]
    return pa.schema(fields + ([("geom", pa.binary())] if layer.has_geometry else []))


@dataclass(slots=True)
class Normaliser:
    """Turns the chunks of one file into batches, and remembers what it saw on the way.

    `headers` maps each declared column to the header it is read from, None where it is absent.
    `first_row` is the ordinal in the run of the file's first record.
    """

    layer: Layer
    file: str
    headers: Mapping[str, str | None]
    locator: Locator | None
    first_row: int
    read: int = 0
    withheld: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    filled: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    ambiguous: Counter[str] = field(default_factory=Counter)
    odd_times: dict[str, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    def batch(self, chunk: Chunk) -> Batch:
        """The rows of the chunk that are fit to be taken, and every refusal among them."""
        columns = {column.name: self._cells(chunk, column) for column in self.layer.columns}
        withheld = self._withheld(chunk, columns)
        geom = None
        if self.locator is not None:
            geom, reasons = self.locator.locate(chunk)
            for row, reason in reasons.items():
                withheld.setdefault(row, ("geometry", reason))
        keep = np.ones(len(chunk.at), np.bool_)
        keep[list(withheld)] = False
        ordinals = self.first_row + self.read + chunk.at
        values = [columns[column.name].values for column in self.layer.columns]
        keys = self._keys(columns, values, geom)
        rows = self._rows([keys, pa.array(ordinals), pa.array(chunk.lines), *values], geom, keep)
        refusals = self._refusals(chunk, columns, withheld, keys)
        self.read += chunk.count
        self.withheld += len(withheld) + len(chunk.broken)
        return Batch(rows=rows, refusals=refusals, read=chunk.count, bytes_read=chunk.bytes_read)

    def _rows(self, columns: list[pa.Array], geom: pa.Array | None, keep: Mask) -> pa.RecordBatch:
        arrays = columns + ([geom] if geom is not None else [])
        rows = pa.RecordBatch.from_arrays(arrays, schema=schema_of(self.layer))
        return rows if keep.all() else rows.filter(pa.array(keep))

    def _cells(self, chunk: Chunk, column: Column) -> Cells:
        header = self.headers[column.name]
        count = len(chunk.at)
        if header is None or header not in chunk.columns:
            return Cells(pa.nulls(count, ARROW_TYPES[column.type]), np.zeros(count, np.bool_))
        given = chunk.columns[header]
        if given.type == ARROW_TYPES[column.type] and not pa.types.is_string(given.type):
            return Cells(given, np.zeros(count, np.bool_))
        text = clean(as_text(given), self.layer.source.null_values)
        if column.type in TIMES:
            cells = read_times(text, column, self.layer.time_zone)
        else:
            cells = read_cells(text, column, self.layer.source.decimal)
        self._remember(column, text, cells)
        return cells

    def _remember(self, column: Column, text: pa.Array, cells: Cells) -> None:
        for note, count in cells.notes.items():
            self.notes[f"{column.name}.{note}"] += count
        self.filled[column.name] += len(text) - text.null_count
        unread = int(cells.bad.sum())
        self.unread[column.name] += unread
        if unread and column.type in TIMES:
            odd = text.filter(pa.array(cells.bad))
            self.odd_times.setdefault(column.name, odd[0].as_py())
            self.ambiguous[column.name] += ambiguous(odd)

    def _withheld(self, chunk: Chunk, columns: Mapping[str, Cells]) -> dict[int, tuple[str, str]]:
        """By row, the kind of flaw and the reason why the row cannot be taken."""
        withheld: dict[int, tuple[str, str]] = {}
        for column in self.layer.columns:
            if not column.required and column.name not in self.layer.key:
                continue
            cells = columns[column.name]
            what = "a key" if column.name in self.layer.key else "required"
            for row in np.flatnonzero(np.asarray(cells.values.is_null())).tolist():
                if cells.bad[row]:
                    reason = self._cell_reason(chunk, column, row)
                else:
                    reason = f"{column.name} is empty; it is {what} and needs a value"
                withheld.setdefault(row, (column.name, reason))
        return withheld

    def _keys(
        self, columns: Mapping[str, Cells], values: list[pa.Array], geom: pa.Array | None
    ) -> pa.Array:
        if self.layer.key:
            return declared_keys([columns[name].values for name in self.layer.key])
        return content_keys(values, geom)

    def _cell_reason(self, chunk: Chunk, column: Column, row: int) -> str:
        value = as_text(chunk.columns[self.headers[column.name] or ""])[row].as_py()
        shown = value if len(value) <= SHOWN else value[:SHOWN] + "…"
        if column.type is ColumnType.BOOLEAN:
            wanted = f"one of {', '.join((*column.true_values, *column.false_values))}"
        elif column.format is not None:
            wanted = f"written as {column.format}"
        else:
            wanted = WANTED[column.type]
        return f"{column.name}: {shown!r} is not {wanted}"

    def _refusals(
        self,
        chunk: Chunk,
        columns: Mapping[str, Cells],
        withheld: Mapping[int, tuple[str, str]],
        keys: pa.Array,
    ) -> tuple[Refusal, ...]:
        found: list[Refusal] = []
        for broken in chunk.broken:
            self._count("the row cannot be read", broken.reason)
            found.append(self._broken(broken))
        for row, (kind, reason) in withheld.items():
            self._count(kind, reason)
            found.append(self._refusal(chunk, row, reason, None, keys))
        for column in self.layer.columns:
            for row in np.flatnonzero(columns[column.name].bad).tolist():
                if row not in withheld:
                    reason = self._cell_reason(chunk, column, row)
                    found.append(self._refusal(chunk, row, reason, column.name, keys))
        return tuple(sorted(found, key=lambda refusal: refusal.row))

    def _broken(self, broken: Broken) -> Refusal:
        return Refusal(
            file=self.file,
            line=broken.line,
            row=self.first_row + self.read + broken.at,
            reason=broken.reason,
            column=None,
            key=None,
            content=broken.content,
        )

    def _refusal(
        self, chunk: Chunk, row: int, reason: str, column: str | None, keys: pa.Array
    ) -> Refusal:
        content = {name: as_json(value) for name, value in chunk.content(row).items()}
        return Refusal(
            file=self.file,
            line=int(chunk.lines[row]),
            row=self.first_row + self.read + int(chunk.at[row]),
            reason=reason,
            column=column,
            key=keys[row].as_py() if self.layer.key else None,
            content=content,
        )

    def _count(self, kind: str, reason: str) -> None:
        self.kinds[kind] += 1
        self.examples.setdefault(kind, reason)

    def _check_times(self, column: Column) -> None:
        """Refuse a column of dates most of which cannot be read: it needs its `format`."""
        filled, unread = self.filled[column.name], self.unread[column.name]
        if column.type not in TIMES or filled < 2 or unread * 2 <= filled:
            return
        if column.format is not None:
            problem = f"are not written as {column.format}; correct its `format`"
        elif self.ambiguous[column.name]:
            problem = (
                "leave open which number is the day; "
                'declare its `format`, for example "%d/%m/%Y" or "%m/%d/%Y"'
            )
        else:
            return
        shown = self.odd_times[column.name]
        raise SourceRefused(
            self.file, f"{column.name}: {unread} of {filled} values, such as {shown!r}, {problem}"
        )

    def finish(self) -> None:
        """Refuse the whole file where most of it could not be read."""
        if self.locator is not None:
            self.locator.check_degrees()
        for column in self.layer.columns:
            self._check_times(column)
        if self.read >= 2 and self.withheld * 2 > self.read:
            kinds = sorted(self.kinds.items(), key=lambda item: (-item[1], item[0]))[:EXAMPLES]
            common = "; ".join(f"{count} such as: {self.examples[kind]}" for kind, count in kinds)
            raise SourceRefused(
                self.file, f"{self.withheld} of {self.read} rows would be withheld: {common}"
            )
