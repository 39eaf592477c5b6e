"""Cells of text to typed values: what is read is read, what is not is said, cell by cell.

A whole column is converted at once where it is plain; only its odd cells are looked at one by
one. A cell that cannot be read becomes null and is marked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ingest.headers import fold
from ingest.rows import Mask
from layers.columns import Column, ColumnType

INT64 = range(-(2**63), 2**63)
PLAIN_NUMBER = r"^-?\d+(\.\d+)?$"
NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?")
GROUPED = re.compile(r"[+-]?\d{1,3}(?:[ \xa0\u202f'’]\d{3})+(?:[.,]\d+)?")  # 1 234,5
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # 1,234: a thousand or a bit more than one?
WHOLE = re.compile(r"[+-]?\d+(?:\.0*)?")
CONTROLS = "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\x{80}-\\x{9f}]"


@dataclass(frozen=True, slots=True)
class Cells:
    """A typed column; `bad` marks the cells that could not be read; `notes` counts odd forms."""

    values: pa.Array
    bad: Mask
    notes: dict[str, int] = field(default_factory=dict)


def text_bytes(values: pa.Array) -> npt.NDArray[np.uint8]:
    """All the bytes of a column of text, one cell after the other."""
    offsets = text_offsets(values)
    data = values.buffers()[2]
    whole = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return whole[offsets[0] : offsets[-1]]


def text_offsets(values: pa.Array) -> npt.NDArray[np.int32]:
    """Where in the buffer each cell begins, and the last one ends."""
    buffer = values.buffers()[1]
    if buffer is None or not buffer.size:
        return np.zeros(1, np.int32)
    return np.frombuffer(buffer, np.int32)[values.offset : values.offset + len(values) + 1]


def clean(values: pa.Array, nulls: tuple[str, ...] = ("",)) -> pa.Array:
    """Text trimmed, in NFC, without control characters; empty cells and `nulls` are null."""
    if not _is_clean(values):
        coded = values.dictionary_encode()
        values = _cleaned(coded.dictionary).take(coded.indices)
    empty = np.diff(text_offsets(values)) == 0
    if empty.any():
        values = pc.if_else(pa.array(empty), pa.scalar(None, pa.string()), values)
    if others := [text for text in nulls if text]:
        known = pc.is_in(values, value_set=pa.array(others, pa.string()))
        values = pc.if_else(known, pa.scalar(None, pa.string()), values)
    return values


def _is_clean(values: pa.Array) -> bool:
    """Whether all is visible ASCII with no blank at either end of a cell."""
    data = text_bytes(values)
    if not len(data):
        return True
    low, high = data.min(), data.max()
    if low < 32 or high > 126:
        return False
    if low > 32:
        return True
    offsets = text_offsets(values) - text_offsets(values)[0]
    full = np.diff(offsets) > 0
    return not ((data[offsets[:-1][full]] == 32).any() or (data[offsets[1:][full] - 1] == 32).any())


def _cleaned(values: pa.Array) -> pa.Array:
    values = pc.utf8_normalize(values, form="NFC")
    values = pc.replace_substring(values, "\r\n", "\n")
    values = pc.replace_substring_regex(values, CONTROLS, "")
    return pc.utf8_trim(values, " \t\n\r\v\f\xa0\u2007\u202f\ufeff\u3000\u200b")


def as_text(values: pa.Array) -> pa.Array:
    """Any column as text. A number with nothing behind its point is written without it."""
    if pa.types.is_string(values.type):
        return values
    if pa.types.is_large_string(values.type) or pa.types.is_dictionary(values.type):
        return values.cast(pa.string())
    if pa.types.is_nested(values.type):
        texts = [
            None if item is None else orjson.dumps(item, default=str).decode()
            for item in values.to_pylist()
        ]
        return pa.array(texts, pa.string())
    return values.cast(pa.string())


def read_cells(values: pa.Array, column: Column, decimal: str | None = None) -> Cells:
    """Clean text as the type the column declares, save dates and times. `decimal` is the mark of
    numbers, where the source declares one.
    """
    if column.aliases:
        values = _renamed(values, column.aliases)
    if column.type is ColumnType.TEXT:
        return Cells(values, _none_bad(values))
    if column.type is ColumnType.INTEGER:
        return _integers(_in_figures(values, decimal))
    if column.type is ColumnType.NUMBER:
        return read_numbers(_in_figures(values, decimal))
    if column.type is ColumnType.BOOLEAN:
        return _booleans(values, column)
    return _json(_listed(values, column.separator) if column.separator else values)


def _renamed(values: pa.Array, aliases: Mapping[str, str]) -> pa.Array:
    """Each text as what it is an alias of; case and accents of an alias do not matter."""
    known = {fold(text): meant for text, meant in aliases.items()}
    coded = values.dictionary_encode()
    meant = [known.get(fold(text), text) for text in coded.dictionary.to_pylist()]
    return pa.array(meant, pa.string()).take(coded.indices)


def _listed(values: pa.Array, separator: str) -> pa.Array:
    """Cells of several values as JSON lists; what is JSON already stays."""
    coded = values.dictionary_encode()
    lists = [
        text
        if text.startswith("[")
        else orjson.dumps([part.strip() for part in text.split(separator) if part.strip()]).decode()
        for text in coded.dictionary.to_pylist()
    ]
    return pa.array(lists, pa.string()).take(coded.indices)


def _in_figures(values: pa.Array, decimal: str | None) -> pa.Array:
    """Numbers with a decimal point and nothing between their thousands."""
    if decimal is None and _bytes_within(values, b"+.", b"0123456789"):
        return values
    coded = values.dictionary_encode()
    plain = [_without_thousands(text, decimal) for text in coded.dictionary.to_pylist()]
    return pa.array(plain, pa.string()).take(coded.indices)


def _without_thousands(text: str, decimal: str | None) -> str:
    if GROUPED.fullmatch(text):
        text = re.sub(r"[ \xa0\u202f'’]", "", text)
    if decimal is None:
        return text
    other = "," if decimal == "." else "."
    whole, mark, rest = text.partition(decimal)
    if re.fullmatch(rf"[+-]?\d{{1,3}}(?:\{other}\d{{3}})+", whole):
        whole = whole.replace(other, "")
    elif other in text:
        return text
    return f"{whole}.{rest}" if mark else whole


def _none_bad(values: pa.Array) -> Mask:
    return np.zeros(len(values), np.bool_)


def _integers(values: pa.Array) -> Cells:
    if _bytes_within(values, b"-/", b"0123456789"):
        try:
            return Cells(values.cast(pa.int64()), _none_bad(values))
        except pa.ArrowInvalid:
            pass
    return convert(values, r"^-?\d{1,18}$", lambda plain: plain.cast(pa.int64()), _integer)


def _integer(text: str) -> int | None:
    if not WHOLE.fullmatch(text) or not text.isascii():
        return None
    number = int(text.split(".")[0])
    return number if number in INT64 else None


def _bytes_within(values: pa.Array, *ranges: bytes) -> bool:
    """Whether no byte lies outside the lowest and highest of these; a cheap first look."""
    data = text_bytes(values)
    everything = b"".join(ranges)
    return not len(data) or bool(data.min() >= min(everything) and data.max() <= max(everything))


def read_numbers(values: pa.Array, *, comma: bool = False) -> Cells:
    """Numbers with a decimal point, or a comma where it cannot be a thousands mark.

    With `comma`, a comma is always decimal: in degrees there are no thousands.
    """
    if _bytes_within(values, b"+.", b"0123456789"):
        try:
            return Cells(values.cast(pa.float64()), _none_bad(values))
        except pa.ArrowInvalid:
            pass
    commas = 0

    def odd(text: str) -> float | None:
        nonlocal commas
        if not text.isascii() or not NUMBER.fullmatch(text):
            return None
        if "," in text and not comma and THOUSANDS.fullmatch(text):
            return None
        commas += "," in text
        number = float(text.replace(",", "."))
        return number if np.isfinite(number) else None

    cells = convert(values, PLAIN_NUMBER, lambda plain: plain.cast(pa.float64()), odd)
    return Cells(cells.values, cells.bad, {"decimal_commas": commas} if commas else {})


def _booleans(values: pa.Array, column: Column) -> Cells:
    words = {word.casefold(): True for word in column.true_values}
    words |= {word.casefold(): False for word in column.false_values}
    coded = values.dictionary_encode()
    meant = [words.get(text.casefold()) for text in coded.dictionary.to_pylist()]
    booleans = pa.array(meant, pa.bool_()).take(coded.indices)
    return Cells(booleans, _lost(values, booleans))


def _json(values: pa.Array) -> Cells:
    coded = values.dictionary_encode()
    parsed = pa.array([_canonical(text) for text in coded.dictionary.to_pylist()], pa.string())
    texts = parsed.take(coded.indices)
    return Cells(texts, _lost(values, texts))


def _canonical(text: str) -> str | None:
    """The JSON of a text, keys sorted; a bare text is a JSON string, a broken object is nothing."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        if text.startswith(("{", "[")):
            return None
        value = text
    if "\\u0000" in text:  # PostgreSQL's jsonb has no NUL
        value = orjson.loads(orjson.dumps(value).replace(b"\\u0000", b""))
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _lost(before: pa.Array, after: pa.Array) -> Mask:
    lost: Mask = np.asarray(pc.and_(before.is_valid(), after.is_null()))
    return lost


def convert(
    values: pa.Array,
    plain: str,
    quick: Callable[[pa.Array], pa.Array],
    odd: Callable[[str], Any],
) -> Cells:
    """Convert the cells that match `plain` all at once, each other distinct text by `odd`.

    `odd` gives None for a text it cannot read.
    """
    is_plain = pc.fill_null(pc.match_substring_regex(values, plain), False)
    typed = quick(pc.if_else(is_plain, values, pa.scalar(None, pa.string())))
    is_odd = pc.and_(pc.invert(is_plain), values.is_valid())
    coded = values.filter(is_odd).dictionary_encode()
    if len(coded):
        read = pa.array([odd(text) for text in coded.dictionary.to_pylist()], typed.type)
        typed = pc.replace_with_mask(typed, is_odd, read.take(coded.indices))
    return Cells(typed, _lost(values, typed))
