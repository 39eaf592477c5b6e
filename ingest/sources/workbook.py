"""Excel workbooks (.xlsx): one sheet, row by row; titles above the header are passed over."""

from __future__ import annotations

import itertools
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
import openpyxl
import pyarrow as pa
from openpyxl.utils.exceptions import InvalidFileException
from pyproj import CRS

from ingest.archive import Member
from ingest.errors import SourceRefused
from ingest.rows import Broken, Chunk, Content
from ingest.sources.ogr import place
from layers.model import Layer

MAX_COLUMNS = 2_000
MAX_SHARED_BYTES = 256 << 20  # of all distinct texts, which lie in memory
HEADER_ROWS = 50  # among which the header is looked for
ERRORS = frozenset({"#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!"})
DAMAGED = (
    *(InvalidFileException, zipfile.BadZipFile, zlib.error, EOFError, ParseError),
    *(KeyError, ValueError, TypeError, AttributeError, IndexError, OSError),
)
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetTable:
    """One sheet of a workbook; `header` is the number of its header's row."""

    name: str
    size: int
    path: Path
    sheet: str
    header: int
    headers: tuple[str, ...]
    empty: bool
    notes: Mapping[str, object] = field(default_factory=dict)
    format: str = "xlsx"
    encoding: str | None = None
    delimiter: str | None = None
    located: bool = False
    sparse: bool = False
    crs: CRS | None = None

    def chunks(self, headers: Sequence[str], rows: int) -> Iterator[Chunk]:
        """Yield all rows below the header that hold anything; a row's line is its number."""
        with _told(self.name), _rows(self.path, self.sheet) as sheet:
            below = ((at, row) for at, row in enumerate(sheet, 1) if at > self.header)
            filled = ((at, row) for at, row in below if any(map(_is_filled, row)))
            while taken := list(itertools.islice(filled, rows)):
                yield self._chunk(taken, headers)

    def _chunk(self, taken: list[tuple[int, Row]], headers: Sequence[str]) -> Chunk:
        width = len(self.headers)
        sound = [at for at, (_, row) in enumerate(taken) if not any(map(_is_filled, row[width:]))]
        broken = [
            Broken(
                at=at,
                line=taken[at][0],
                reason=f"the row has {len(taken[at][1])} cells where the header has {width}",
                content={"cells": [_text(value) for value in taken[at][1]]},
            )
            for at in sorted(set(range(len(taken))) - set(sound))
        ]
        places = {header: self.headers.index(header) for header in headers}
        return Chunk(
            count=len(taken),
            at=np.array(sound, np.int64),
            lines=np.array([taken[at][0] for at in sound], np.int64),
            columns={
                header: pa.array([_cell(taken[at][1], place_) for at in sound], pa.string())
                for header, place_ in places.items()
            },
            broken=tuple(broken),
            content=lambda row: self._content(taken[sound[row]][1]),
            bytes_read=0,
        )

    def _content(self, row: Row) -> Content:
        return {name: _cell(row, at) for at, name in enumerate(self.headers)}


def _cell(row: Row, at: int) -> str | None:
    return _text(row[at]) if at < len(row) else None


def _is_filled(value: Any) -> bool:
    return value is not None and value != ""


def _text(value: Any) -> str | None:
    """A cell as a CSV file would have it: whole numbers without a point, dates in ISO 8601."""
    if value is None or value in ERRORS:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime):
        midnight = value.time() == time()
        return value.date().isoformat() if midnight else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return str(value)


def open_workbook(layer: Layer, member: Member, folder: Path) -> SheetTable:
    """Choose the sheet and find its header."""
    path = place(member, Path(mkdtemp(dir=folder)) / "source.xlsx")
    with _told(member.name):
        _check_size(member.name, path)
        sheet = _sheet(layer, member.name, path)
        with _rows(path, sheet) as rows:
            first = list(itertools.islice(rows, HEADER_ROWS + 1))
    header = layer.source.header or _header_row(first)
    if header > len(first) or not any(map(_is_filled, first[header - 1])):
        raise SourceRefused(member.name, f"sheet {sheet!r} has no header in row {header}")
    names = [" ".join((_text(value) or "").split()) for value in first[header - 1]]
    while names and not names[-1]:
        names.pop()
    if len(names) > MAX_COLUMNS:
        raise SourceRefused(member.name, f"{len(names)} columns; at most {MAX_COLUMNS} are read")
    notes = {"sheet": sheet} | ({"header_row": header} if header > 1 else {})
    return SheetTable(
        name=member.name,
        size=member.size,
        path=path,
        sheet=sheet,
        header=header,
        headers=tuple(names),
        empty=not any(any(map(_is_filled, row)) for row in first[header:]),
        notes=notes,
    )


def _check_size(name: str, path: Path) -> None:
    with zipfile.ZipFile(path) as packed:
        for info in packed.infolist():
            if info.filename == "xl/sharedStrings.xml" and info.file_size > MAX_SHARED_BYTES:
                limit = MAX_SHARED_BYTES >> 20
                raise SourceRefused(name, f"more than {limit} MB of texts; save it as CSV")


def _sheet(layer: Layer, name: str, path: Path) -> str:
    """The declared sheet, or the only one that is shown and holds anything."""
    with closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
        sheets = {sheet.title: sheet for sheet in book.worksheets}
        if (wanted := layer.source.sublayer) is not None:
            if wanted in sheets:
                return wanted
            listed = ", ".join(sheets)
            raise SourceRefused(
                name, f"there is no sheet {wanted!r}; declare source.sublayer as one of: {listed}"
            )
        filled = [
            title
            for title, sheet in sheets.items()
            if sheet.sheet_state == "visible" and _holds_anything(sheet)
        ]
    if not filled:
        raise SourceRefused(name, "the workbook holds no rows")
    if len(filled) > 1:
        raise SourceRefused(
            name, f"several sheets; declare source.sublayer as one of: {', '.join(filled)}"
        )
    return filled[0]


def _holds_anything(sheet: Any) -> bool:
    sheet.reset_dimensions()  # what a file says of them is often wrong
    rows = itertools.islice(sheet.iter_rows(values_only=True), HEADER_ROWS)
    return any(any(map(_is_filled, row)) for row in rows)


@contextmanager
def _rows(path: Path, title: str) -> Iterator[Iterator[Row]]:
    with closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
        sheet = book[title]
        sheet.reset_dimensions()
        yield sheet.iter_rows(values_only=True)


def _header_row(first: Sequence[Row]) -> int:
    """The first row of texts alone that is about as wide as the widest row below."""
    filled = [sum(map(_is_filled, row)) for row in first]
    widest = max(filled, default=0)
    for at, row in enumerate(first):
        words = all(isinstance(value, str) for value in row if _is_filled(value))
        if filled[at] * 5 >= widest * 4 and words:
            return at + 1
    return next((at + 1 for at, count in enumerate(filled) if count), 1)


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except SourceRefused:
        raise
    except DAMAGED as exc:
        said = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise SourceRefused(name, f"it is damaged or not what it seems ({said})") from exc
