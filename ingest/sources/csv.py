"""Delimited text: found out on its first lines, then read by Arrow a block of records at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
from pyproj import CRS

from ingest.archive import Member
from ingest.errors import SourceRefused
from ingest.rows import Broken, Chunk, Content, Ints
from ingest.sources.records import Block, Records, record_ends, split
from ingest.text import Encoding, find_encoding, utf8
from layers.source import Source

DELIMITERS = (",", ";", "\t", "|")
SNIFFED_RECORDS = 500
SNIFFED_BYTES = 1 << 20
MAX_COLUMNS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvTable:
    """A delimited file whose encoding, delimiter and headers are known."""

    member: Member
    encoded: Encoding
    delimiter: str
    headers: tuple[str, ...]
    empty: bool
    notes: Mapping[str, object] = field(default_factory=dict)
    header: int = 1  # the number of the record that names the columns
    format: str = "csv"
    located: bool = False
    sparse: bool = False
    crs: CRS | None = None

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def size(self) -> int:
        return self.member.size

    @property
    def encoding(self) -> str:
        return self.encoded.name

    def chunks(self, headers: Sequence[str], rows: int) -> Iterator[Chunk]:
        """Yield all records; a record with too few or too many cells is broken."""
        places = [self.headers.index(header) for header in headers]
        with self.member.open() as stream:
            text = utf8(self.name, stream.chunks(), self.encoded)
            records = Records(self.name, text, self.delimiter)
            if self.header:
                records.take(self.header)
            while len(block := records.take(rows)):
                yield self._chunk(block, places, stream.consumed)

    def _chunk(self, block: Block, places: list[int], consumed: int) -> Chunk:
        flawed = self._flawed(block) if self.encoded.flaws else ()
        sound = _without(block, [broken.at for broken in flawed])
        table, ragged = self._parse(sound, places)
        broken = sorted((*flawed, *ragged), key=lambda item: item.at)
        at = np.delete(np.arange(len(block)), [item.at for item in broken])
        if len(at) != table.num_rows:
            raise SourceRefused(
                self.name, f"the records after line {block.lines[0]} cannot be told apart"
            )
        return Chunk(
            count=len(block),
            at=at,
            lines=block.lines[at],
            columns={self.headers[place]: table[str(place)].combine_chunks() for place in places},
            broken=tuple(broken),
            content=lambda row: self._content(block, int(at[row])),
            bytes_read=consumed,
        )

    def _parse(self, sound: _Sound, places: list[int]) -> tuple[pa.Table, list[Broken]]:
        """The columns asked for, and the records whose number of cells is wrong."""
        ragged: list[Broken] = []

        def skip(row: arrow_csv.InvalidRow) -> str:
            ragged.append(self._ragged(sound, row.number - 1, row.actual_columns))
            return "skip"

        names = [str(place) for place in range(len(self.headers))]
        wanted = [str(place) for place in dict.fromkeys(places)] or names[:1]
        if not sound.data:
            return pa.table({name: pa.array([], pa.string()) for name in wanted}), ragged
        table = arrow_csv.read_csv(
            pa.BufferReader(sound.data),
            read_options=arrow_csv.ReadOptions(
                column_names=names, use_threads=False, block_size=len(sound.data) + 1
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=skip
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=wanted,
                strings_can_be_null=False,
                check_utf8=False,
            ),
        )
        return table, ragged

    def _ragged(self, sound: _Sound, record: int, cells: int) -> Broken:
        at = int(sound.at[record])
        return Broken(
            at=at,
            line=int(sound.block.lines[at]),
            reason=f"the row has {cells} cells where the header has {len(self.headers)}",
            content={"text": sound.block.text(at).decode("utf-8", "replace")},
        )

    def _flawed(self, block: Block) -> list[Broken]:
        """The records that are not UTF-8 in a file that otherwise is."""
        found: dict[int, Broken] = {}
        position = 0
        while position < len(block.data):
            try:
                block.data[position:].decode()
                break
            except UnicodeDecodeError as exc:
                at = int(np.searchsorted(block.ends, position + exc.start, "right"))
                position = int(block.ends[at])
                byte = exc.object[exc.start]
                found[at] = Broken(
                    at=at,
                    line=int(block.lines[at]),
                    reason=f"the row holds byte 0x{byte:02x}, which is not UTF-8 like the rest",
                    content={"text": block.text(at).decode("utf-8", "replace")},
                )
        return list(found.values())

    def _content(self, block: Block, record: int) -> Content:
        return dict(zip(self.headers, split(block.text(record), self.delimiter), strict=False))


@dataclass(frozen=True, slots=True)
class _Sound:
    """The records of a block that can be given to Arrow, and which ones they are."""

    block: Block
    data: bytes
    at: Ints


def _without(block: Block, flawed: list[int]) -> _Sound:
    at = np.delete(np.arange(len(block)), flawed)
    if not flawed:
        return _Sound(block, block.data, at)
    parts = (block.data[block.starts[record] : block.ends[record]] for record in at)
    return _Sound(block, b"".join(parts), at)


def open_csv(member: Member, source: Source) -> CsvTable:
    """Survey a delimited file: read it through once for its encoding, then its first lines."""
    encoding = find_encoding(member.name, member.chunks(), source.encoding)
    above_header = max((source.header or 1) - 1, 0)
    head = _head(member, encoding).split(b"\n", above_header)[-1]
    delimiter = source.delimiter or find_delimiter(head)
    if not delimiter.isascii() or delimiter in '"\r\n':
        raise SourceRefused(member.name, f"source.delimiter {delimiter!r} cannot part cells")
    number = 1 if source.header is None else source.header
    with member.open() as stream:
        records = Records(member.name, utf8(member.name, stream.chunks(), encoding), delimiter)
        above = records.take(max(number, 1))
        first = records.take(1) if number else above
    if not len(above):
        raise SourceRefused(member.name, "the file holds nothing but blank lines")
    if len(above) < number:
        raise SourceRefused(member.name, f"it has no row {number}, which source.header names")
    headers = tuple(cell.strip() for cell in split(above.text(len(above) - 1), delimiter))
    if not number:
        headers = tuple(f"column_{place}" for place in range(1, len(headers) + 1))
    if len(headers) > MAX_COLUMNS:
        raise SourceRefused(member.name, f"{len(headers)} columns; at most {MAX_COLUMNS} are read")
    return CsvTable(
        member=member,
        encoded=encoding,
        delimiter=delimiter,
        headers=headers,
        empty=not len(first),
        notes=_notes(encoding),
        header=number,
    )


def _notes(encoding: Encoding) -> dict[str, object]:
    notes: dict[str, object] = {}
    if encoding.guessed:
        notes["encoding_guessed"] = f"not UTF-8, so read as {encoding.name}"
    if encoding.flaws:
        notes["bytes_not_utf8"] = encoding.flaws
    if encoding.mojibake:
        notes["mojibake"] = encoding.mojibake
    return notes


def _head(member: Member, encoding: Encoding) -> bytes:
    head = b""
    with member.open() as stream:
        for chunk in utf8(member.name, stream.chunks(), encoding):
            head += chunk
            if len(head) >= SNIFFED_BYTES:
                break
    return head[:SNIFFED_BYTES].replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def find_delimiter(head: bytes) -> str:
    """The delimiter that gives most of the first records the same number of cells, and many."""
    return max(DELIMITERS, key=lambda delimiter: _evenness(head, delimiter))


def _evenness(head: bytes, delimiter: str) -> tuple[float, int]:
    ends = record_ends(head, delimiter.encode(), final=True)[: SNIFFED_RECORDS + 1]
    starts = [0, *ends[:-1]][: len(ends)]
    records = [head[start:end].rstrip(b"\n") for start, end in zip(starts, ends, strict=True)]
    widths = [len(split(record, delimiter)) for record in records if record]
    if not widths or widths[0] < 2:
        return 0.0, 1
    rows = widths[1:] or widths
    return rows.count(widths[0]) / len(rows), widths[0]
