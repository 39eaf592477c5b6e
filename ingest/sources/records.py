"""Delimited text cut into whole records, each with the line it starts on.

A record ends at a line end outside quotes. A quote opens only at the start of a cell, so the
inch mark in `5" pipe` is a character like any other; this is the rule Arrow's reader has, and
both must agree on every record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ingest.errors import SourceRefused
from ingest.rows import Ints

MAX_RECORD_BYTES = 64 << 20  # a longer one is a quote that was never closed
MAX_BLOCK_BYTES = 32 << 20
NEWLINE, RETURN, QUOTE = 10, 13, 34

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Block:
    """Records that lie one after the other in `data`, blank lines between them left out."""

    data: bytes
    starts: Ints
    ends: Ints
    lines: Ints

    def __len__(self) -> int:
        return len(self.starts)

    def text(self, record: int) -> bytes:
        return self.data[self.starts[record] : self.ends[record]].rstrip(b"\r\n")


class Records:
    """The records of a stream of UTF-8 text, taken block by block."""

    def __init__(self, name: str, chunks: Iterator[bytes], delimiter: str) -> None:
        self._name = name
        self._chunks = chunks
        self._delimiter = delimiter.encode()
        self._data = b""
        self._at = 0  # how much of _data has been taken
        self._line = 1  # of the first byte not taken
        self._ends: Ints = np.empty(0, np.int64)  # of the whole records not taken
        self._done = False
        self._held = b""  # a carriage return whose line feed may be in the next chunk

    def take(self, count: int) -> Block:
        """The next `count` records, or fewer where they are large or the text ends."""
        while True:
            while not self._done and self._wants_more(count):
                self._fill()
            if not len(self._ends):
                return Block(b"", self._ends, self._ends, self._ends)
            if len(block := self._cut(count)):
                return block

    def _wants_more(self, count: int) -> bool:
        waiting = len(self._ends)
        return not waiting or (waiting < count and len(self._data) - self._at < MAX_BLOCK_BYTES)

    def _cut(self, count: int) -> Block:
        ends, self._ends = self._ends[:count], self._ends[count:]
        cut = int(ends[-1])
        data = self._data[self._at : cut]
        block, newlines = _block(data, ends - self._at, self._line)
        self._line += newlines
        self._at = cut
        return block

    def _fill(self) -> None:
        chunk = next(self._chunks, b"")
        self._done = not chunk
        self._ends = self._ends - self._at
        self._data = self._data[self._at :] + self._one_kind_of_line_end(chunk)
        self._at = 0
        whole = int(self._ends[-1]) if len(self._ends) else 0
        rest = self._data[whole:]
        found = record_ends(rest, self._delimiter, final=self._done)
        cut = int(found[-1]) if len(found) else 0
        if (self._done and cut < len(rest)) or len(rest) - cut > MAX_RECORD_BYTES:
            self._refuse_open_quote(whole + cut)
        self._ends = np.concatenate([self._ends, found + whole])

    def _one_kind_of_line_end(self, chunk: bytes) -> bytes:
        """Lone carriage returns end no record: they become line ends where there are no others,
        blanks where there are."""
        chunk = self._held + chunk
        self._held = b"\r" if chunk.endswith(b"\r") and not self._done else b""
        chunk = chunk.removesuffix(self._held)
        if b"\r" not in chunk:
            return chunk
        text = np.frombuffer(chunk + b" ", np.uint8)
        if (text[np.flatnonzero(text == RETURN) + 1] == NEWLINE).all():
            return chunk
        return re.sub(rb"\r(?!\n)", b" " if b"\n" in chunk else b"\n", chunk)

    def _refuse_open_quote(self, start: int) -> None:
        line = self._line + self._data[:start].count(b"\n")
        raise SourceRefused(
            self._name,
            f"a quote opened in the record that starts on line {line} is never closed; "
            'close it, or write "" for a quote inside a quoted cell',
        )


def _block(data: bytes, ends: Ints, first_line: int) -> tuple[Block, int]:
    """The block of these records, and how many lines its data has."""
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    text = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(text == NEWLINE)
    lines = first_line + np.searchsorted(newlines, starts)
    length = ends - starts
    first = text[starts]
    blank = (length == 1) & (first == NEWLINE) | (length == 2) & (first == RETURN)
    if blank.any():
        starts, ends, lines = starts[~blank], ends[~blank], lines[~blank]
    return Block(data, starts, ends, lines), len(newlines)


def record_ends(data: bytes, delimiter: bytes, *, final: bool) -> Ints:
    """Where each whole record of `data` ends; with `final`, the last may lack its line end."""
    text = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(text == NEWLINE)
    if b'"' not in data:
        ends = newlines + 1
        opened = False
    else:
        quotes = np.flatnonzero(text == QUOTE)
        if not _well_quoted(text, quotes, delimiter):
            return _ends_one_by_one(data, delimiter, final)
        before = np.searchsorted(quotes, newlines)
        ends = newlines[before % 2 == 0] + 1
        opened = len(quotes) % 2 == 1
    if final and not opened and len(data) and (not len(ends) or ends[-1] != len(data)):
        ends = np.append(ends, len(data))
    return ends.astype(np.int64)


def _well_quoted(text: Bytes, quotes: npt.NDArray[np.intp], delimiter: bytes) -> bool:
    """Whether every quote opens, closes or doubles, so that counting them is enough."""
    opening, closing = quotes[0::2], quotes[1::2]
    around = np.array([delimiter[0], NEWLINE, QUOTE], np.uint8)
    before = text[opening[opening > 0] - 1]
    after = text[closing[closing < len(text) - 1] + 1]
    return bool(np.isin(before, around).all() and np.isin(after, [*around, RETURN]).all())


def _ends_one_by_one(data: bytes, delimiter: bytes, final: bool) -> Ints:
    ends = []
    position = 0
    cell = _cell(delimiter)
    while position < len(data):
        found = cell.match(data, position)
        if found is None:  # a quote that opens here is not closed in what has been read
            break
        position = found.end()
        if found[4] == b"\n" or (final and not found[4]):
            ends.append(position)
        if not found[4]:
            break
    return np.array(ends, np.int64)


def _cell(delimiter: bytes) -> re.Pattern[bytes]:
    """One cell: what was quoted and what follows it, or what is bare; then what ends it."""
    mark = re.escape(delimiter)
    bare = rb"[^%b\n]*+" % mark
    quoted = rb'"([^"]*+(?:""[^"]*+)*+)"'
    return re.compile(rb'(?:%b(%b)|((?!")%b))(%b|\n|\Z)' % (quoted, bare, bare, mark))


def split(record: bytes, delimiter: str) -> list[str]:
    """The cells of one record. Bytes that are not UTF-8 show as U+FFFD."""
    cells = []
    position = 0
    cell = _cell(delimiter.encode())
    while found := cell.match(record, position):
        quoted = (found[1] or b"").replace(b'""', b'"')
        cells.append((quoted + (found[2] or found[3] or b"")).decode("utf-8", "replace"))
        position = found.end()
        if not found[4]:
            break
    return cells
