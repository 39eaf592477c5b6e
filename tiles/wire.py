"""How rows travel from the database in one answer that numpy reads at once: what each row has of
fixed length is put together row after row, and the texts of a column one after the other.

Rows that come one by one cost the database, and Python, several times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layers.columns import Column, ColumnType
from layers.sql import ident
from tiles import spelled
from tiles.mvt import Codes
from tiles.vocabulary import Fields, Vocabulary

Rows = NDArray[Any]  # of a structured type: what each row has of fixed length
Answer = Any  # a row of the database: names to values
FLAGS = 30  # in one count
TEXTS = (ColumnType.TEXT, ColumnType.JSON)
NUMBERS = {ColumnType.INTEGER: ("int8send", ">i8"), ColumnType.NUMBER: ("float8send", ">f8")}


@dataclass(frozen=True, slots=True)
class Sent:
    """A part of each row: an expression of type bytea, and what it holds."""

    name: str
    sql: str
    kind: str


@dataclass(frozen=True, slots=True)
class Count:
    """A part of each row: an expression that is a number from 0 to 2^31 - 1."""

    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class Spelt:
    """A type whose values travel as numbers and are told as texts. `null` is the number of none."""

    send: str
    kind: str
    null: int
    tell: Callable[[NDArray[np.int64]], Fields]


SPELT = {
    ColumnType.DATE: Spelt("date_send", ">i4", -(2**31) + 1, spelled.days),
    ColumnType.DATETIME: Spelt("timestamptz_send", ">i8", -(2**63) + 1, spelled.instants),
    ColumnType.TIME: Spelt("time_send", ">i8", -1, spelled.clocks),
}


@dataclass(frozen=True, slots=True)
class Packing:
    """What of each row travels, as one value of type bytea for all of them."""

    sent: tuple[Sent, ...]
    counts: tuple[Count, ...]

    def sql(self) -> str:
        """The aggregate. Two counts are sent as one number: each call costs."""
        pieces = [each.sql for each in self.sent]
        for first, *second in (self.counts[n : n + 2] for n in range(0, len(self.counts), 2)):
            if second:
                pieces.append(f"int8send(({first.sql})::bigint << 32 | ({second[0].sql}))")
            else:
                pieces.append(f"int4send({first.sql})")
        return f"string_agg({' || '.join(pieces)}, '')"

    def read(self, packed: bytes | None) -> Rows:
        kinds = [(each.name, each.kind) for each in self.sent]
        kinds += [(each.name, ">i4") for each in self.counts]
        return np.frombuffer(packed or b"", np.dtype(kinds))


def native(numbers: NDArray[Any]) -> NDArray[Any]:
    """In the byte order of this machine."""
    return numbers.astype(numbers.dtype.newbyteorder("="))


class Carried:
    """The declared columns of a layer on their way into a tile."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self._names = {column.name: f"c{n}" for n, column in enumerate(self.columns)}
        self._flagged = [column.name for column in self.columns if column.type in NUMBERS]

    def selected(self) -> tuple[str, ...]:
        """The columns as the expressions of the others read them."""
        return tuple(
            f"{ident(column.name)}::text AS {self._sql(column)}"
            if column.type is ColumnType.JSON
            else ident(column.name)
            for column in self.columns
        )

    def sent(self) -> tuple[Sent, ...]:
        return tuple(sent for column in self.columns if (sent := self._sent(column)))

    def counts(self) -> tuple[Count, ...]:
        flags = [
            Count(f"n{start // FLAGS}", _flags(self._flagged[start : start + FLAGS]))
            for start in range(0, len(self._flagged), FLAGS)
        ]
        counts = (self._count(column) for column in self.columns)
        return (*flags, *(count for count in counts if count))

    def texts(self) -> tuple[str, ...]:
        """Aggregates that travel beside the rows."""
        return tuple(
            f"convert_to(string_agg({self._sql(column)}, ''), 'UTF8') AS \"#{name}\""
            for column in self.columns
            if column.type in TEXTS
            for name in [self._names[column.name]]
        )

    def codes(self, rows: Rows, answer: Answer, vocabulary: Vocabulary) -> Codes:
        """The number of the value of each column in each row; -1 for null."""
        found = np.empty((len(self.columns), len(rows)), np.int32)
        for place, column in enumerate(self.columns):
            codes, null = self._codes(column, rows, answer, vocabulary)
            codes[null] = -1
            found[place] = codes
        return found

    def numbers(self, name: str, rows: Rows) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """A column's values as numbers in their order, and where there is none; not of texts."""
        column = next(each for each in self.columns if each.name == name)
        values = native(rows[self._names[name]])
        if column.type in SPELT:
            return values, values == SPELT[column.type].null
        if column.type is ColumnType.BOOLEAN:
            return values, values == 0
        return values, self._is_null(name, rows)

    def _sql(self, column: Column) -> str:
        """A column as it is selected: what ORDER BY means by its own name stays as it is."""
        if column.type is ColumnType.JSON:
            return ident(f"#{self._names[column.name]}")
        return ident(column.name)

    def _sent(self, column: Column) -> Sent | None:
        name, column_name = self._names[column.name], self._sql(column)
        if column.type in NUMBERS:
            send, kind = NUMBERS[column.type]
            return Sent(name, f"{send}(coalesce({column_name}, 0))", kind)
        if column.type in SPELT:
            spelt = SPELT[column.type]
            null = spelt.null.to_bytes(int(spelt.kind[-1]), "big", signed=True).hex()
            return Sent(name, f"coalesce({spelt.send}({column_name}), '\\x{null}')", spelt.kind)
        return None

    def _count(self, column: Column) -> Count | None:
        name, column_name = self._names[column.name], self._sql(column)
        if column.type is ColumnType.BOOLEAN:
            return Count(
                name, f"CASE WHEN {column_name} THEN 2 WHEN NOT {column_name} THEN 1 ELSE 0 END"
            )
        if column.type in TEXTS:
            return Count(name, f"coalesce(octet_length({column_name}) + 1, 0)")
        return None

    def _codes(
        self, column: Column, rows: Rows, answer: Answer, vocabulary: Vocabulary
    ) -> tuple[Codes, NDArray[np.bool_]]:
        name = self._names[column.name]
        if column.type in TEXTS:
            lengths = native(rows[name])
            null = lengths == 0
            return vocabulary.texts(lengths - ~null, answer[f"#{name}"] or b""), null
        values, null = self.numbers(column.name, rows)
        if column.type in SPELT:
            return vocabulary.told(np.where(null, 0, values), SPELT[column.type].tell), null
        if column.type is ColumnType.BOOLEAN:
            return vocabulary.truths(values == 2), null
        if column.type is ColumnType.INTEGER:
            return vocabulary.whole_numbers(values), null
        return vocabulary.numbers(values), null

    def _is_null(self, name: str, rows: Rows) -> NDArray[np.bool_]:
        group, bit = divmod(self._flagged.index(name), FLAGS)
        null: NDArray[np.bool_] = (native(rows[f"n{group}"]) >> bit & 1).astype(np.bool_)
        return null


def _flags(names: Sequence[str]) -> str:
    return " | ".join(
        f"CASE WHEN {ident(name)} IS NULL THEN {1 << bit} ELSE 0 END"
        for bit, name in enumerate(names)
    )
