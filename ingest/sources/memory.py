"""Tables that are made in memory, of small files that say one thing together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pyproj import CRS

from ingest.rows import Chunk, Content, Shapes, as_json
from ingest.sources.json import column_of

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTable:
    """Records with the lines they come from, and shapes in degrees where they bring any."""

    name: str
    format: str
    size: int
    headers: tuple[str, ...]
    records: Sequence[Record]
    lines: Sequence[int]
    shapes: Shapes | None = None
    sparse: bool = False
    notes: Mapping[str, object] = field(default_factory=dict)
    crs: CRS | None = None
    encoding: str | None = "utf-8"
    delimiter: str | None = None

    @property
    def located(self) -> bool:
        return self.shapes is not None

    @property
    def empty(self) -> bool:
        return not self.records

    def chunks(self, headers: Sequence[str], rows: int) -> Iterator[Chunk]:
        """Yield all records."""
        for start in range(0, len(self.records), rows):
            yield self._chunk(start, self.records[start : start + rows], headers)

    def _chunk(self, start: int, taken: Sequence[Record], headers: Sequence[str]) -> Chunk:
        end = start + len(taken)
        return Chunk(
            count=len(taken),
            at=np.arange(len(taken)),
            lines=np.array(self.lines[start:end], np.int64),
            columns={name: column_of([one.get(name) for one in taken]) for name in headers},
            shapes=None if self.shapes is None else self.shapes[start:end].copy(),
            content=lambda row: _content(taken[row]),
            bytes_read=self.size * end // len(self.records),
        )


def _content(record: Record) -> Content:
    return {name: as_json(value) for name, value in record.items()}
