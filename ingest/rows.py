"""The values that pass through reading: what a source gives and what a run takes.

A source gives `Chunk`s of rows as they stand in the file; normalising turns each into a
`Batch` of typed rows and the refusals that were kept from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyproj import CRS

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Shapes = npt.NDArray[np.object_]  # shapely geometries, None where there is none
Content = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A row that was withheld, or one of its cells that could not be read and became null.

    `line` is the physical line where the record starts, counted from 1 (in a binary format the
    feature's number); `row` is the record's ordinal in the whole run. Without `column` the whole
    row is withheld. `content` is the row as it was read, fit for JSON. A row that could be
    published all the same has a `fingerprint`, of itself and the reason.
    """

    file: str
    line: int
    row: int
    reason: str
    column: str | None
    key: str | None
    content: Content
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Accepted rows and what was refused among them.

    `rows` has the columns `source_key`, `row`, `line`, each declared column with its type, and,
    where the layer has geometry, `geom` (WKB, EPSG:4326, null where the row has no place).
    `read` counts records: accepted rows and refusals of whole rows. `bytes_read` is how much of
    the compressed inputs has been consumed so far.
    """

    rows: pa.RecordBatch
    refusals: tuple[Refusal, ...]
    read: int
    bytes_read: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is worth telling about one file that was read. Everything in it is fit for JSON."""

    file: str
    format: str
    encoding: str | None
    delimiter: str | None
    crs: str | None
    headers: tuple[str, ...]  # all columns of the file
    ignored: tuple[str, ...]  # those that the layer does not declare
    rows: int
    notes: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A record of a chunk that is not a row at all; `at` is its place among the records."""

    at: int
    line: int
    reason: str
    content: Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some consecutive records of a file, as read.

    `at` holds each row's place among the chunk's records, from 0. `shapes` is in the file's own
    CRS; a shape that could not be read is None and has its reason in `shapeless`, by row.
    `content` gives one row whole.
    """

    count: int
    at: Ints
    lines: Ints
    columns: Mapping[str, pa.Array]
    shapes: Shapes | None = None
    shapeless: Mapping[int, str] = field(default_factory=dict)
    broken: tuple[Broken, ...] = ()
    content: Callable[[int], Content]
    bytes_read: int


class Table(Protocol):
    """A file that has been opened and surveyed, ready to give its rows.

    `located` says whether rows bring a geometry of their own; `crs` is what the file says of it.
    `sparse` files may leave out the cells they have no value for.
    """

    @property
    def name(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def headers(self) -> tuple[str, ...]: ...
    @property
    def located(self) -> bool: ...
    @property
    def sparse(self) -> bool: ...
    @property
    def empty(self) -> bool: ...
    @property
    def crs(self) -> CRS | None: ...
    @property
    def encoding(self) -> str | None: ...
    @property
    def delimiter(self) -> str | None: ...
    @property
    def notes(self) -> Mapping[str, object]: ...

    def chunks(self, headers: Sequence[str], rows: int) -> Iterator[Chunk]:
        """Yield all records in chunks of at most `rows`, with these of the headers."""
        ...


def as_json(value: Any) -> object:
    """The value, or its text where JSON has no such thing."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(name): as_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
