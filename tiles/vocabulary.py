"""The values of a tile's properties, each written once, whatever columns it is in.

What is usual is done to whole columns: an object of Python for each value would cost more than all
the rest of a tile.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tiles.mvt import VALUE, Codes, Values, field, varint

TEXT, DOUBLE, UNSIGNED, SIGNED, BOOLEAN = b"\x0a", b"\x19", b"\x28", b"\x30", b"\x38"
FIELDS = pa.large_binary()
Fields = Any  # an array of it: values that are written out, or texts before they are


def text_field(value: bytes) -> bytes:
    return field(VALUE, field(TEXT, value))


def number_field(bits: int) -> bytes:
    return field(VALUE, DOUBLE + struct.pack("<q", bits))


def whole_field(value: int) -> bytes:
    if value < 0:
        return field(VALUE, SIGNED + varint(-2 * value - 1))
    return field(VALUE, UNSIGNED + varint(value))


def truth_field(value: bool) -> bytes:
    return field(VALUE, BOOLEAN + varint(value))


def fields(written: Sequence[bytes]) -> Fields:
    return pa.array(written, FIELDS)


MOST_SMALL = 1 << 14
SMALL = fields([whole_field(value) for value in range(MOST_SMALL)])
TRUTHS = fields([truth_field(False), truth_field(True)])
# What stands before a text of so many bytes.
MOST_SHORT = 1 << 12
BEFORE = fields([text_field(bytes(length))[: -length or None] for length in range(MOST_SHORT)])
NOTHING = pa.scalar(b"", FIELDS)
NONE = fields([])
NO_VALUE = np.array([-1], np.int32)  # at the end, where -1 looks
OTHERS = 1 << 28  # from here on, values that are not texts are numbered


class Vocabulary:
    """Collects the columns of a tile's properties. What each method returns are numbers of values,
    in the shape of what it was given; where a property is absent, the caller writes -1.
    """

    def __init__(self) -> None:
        self._texts = _Pile()
        self._others = _Pile()

    def values(self, codes: Codes) -> tuple[Codes, Values]:
        """The codes of a tile, in which equal values have one number, and all values."""
        texts, text_numbers = self._texts.distinct()
        others, other_numbers = self._others.distinct()
        written = text_fields(texts)
        numbers = np.concatenate([text_numbers, other_numbers + np.int32(len(written)), NO_VALUE])
        if self._others.size:
            codes = np.where(codes >= OTHERS, codes - (OTHERS - self._texts.size), codes)
        return numbers.take(codes, mode="wrap"), Values(pa.concat_arrays([written, others]))

    def whole_numbers(self, values: NDArray[np.integer]) -> Codes:
        places, distinct = _distinct(values)
        return places + np.int32(OTHERS + self._others.add(_whole(distinct)))

    def numbers(self, values: NDArray[np.float64]) -> Codes:
        """Each bit pattern is a value: 0 and -0 are two."""
        places, distinct = _distinct(values.view(np.int64))
        return places + np.int32(OTHERS + self._others.add(_numbers(distinct)))

    def truths(self, values: NDArray[np.bool_]) -> Codes:
        return values + np.int32(OTHERS + self._others.add(TRUTHS))

    def told(
        self, values: NDArray[np.integer], tell: Callable[[NDArray[np.int64]], Fields]
    ) -> Codes:
        """Numbers told as texts, by a function of distinct ones."""
        places, distinct = _distinct(values)
        return places + np.int32(self._texts.add(tell(distinct)))

    def texts(self, lengths: NDArray[np.integer], joined: bytes) -> Codes:
        """Texts that follow one another in `joined`, each so many bytes long."""
        first = self._texts.add(binary(np.cumsum(lengths, dtype=np.int64), joined))
        return np.arange(first, first + len(lengths), dtype=np.int32)


class _Pile:
    """Arrays one after the other."""

    def __init__(self) -> None:
        self._arrays: list[Fields] = []
        self.size = 0

    def add(self, array: Fields) -> int:
        """The place of the first."""
        first = self.size
        self._arrays.append(array)
        self.size += len(array)
        return first

    def distinct(self) -> tuple[Fields, Codes]:
        """Each of them once, and the number of each."""
        if not self.size:
            return NONE, np.empty(0, np.int32)
        found = pa.concat_arrays(self._arrays).dictionary_encode()
        return found.dictionary, found.indices.to_numpy()


def binary(ends: NDArray[np.int64], joined: bytes | NDArray[np.uint8]) -> Fields:
    """Values that follow one another, each of which ends at one of `ends`."""
    last = int(ends[-1]) if len(ends) else 0
    if last != len(joined):
        raise ValueError(f"{len(joined)} bytes of text, where {last} were announced")
    places = np.zeros(len(ends) + 1, np.int64)
    places[1:] = ends
    buffers = [None, pa.py_buffer(places), pa.py_buffer(joined)]
    return pa.Array.from_buffers(FIELDS, len(ends), buffers)


def text_fields(texts: Fields) -> Fields:
    """Texts, written out."""
    lengths = pc.binary_length(texts)
    long = lengths.to_numpy() >= MOST_SHORT
    if long.any():
        return _mixed(
            texts, long, text_fields, lambda told: fields(list(map(text_field, told.to_pylist())))
        )
    return pc.binary_join_element_wise(BEFORE.take(lengths), texts, NOTHING)


def _mixed(
    values: Any,
    odd: NDArray[np.bool_],
    usual: Callable[[Any], Fields],
    otherwise: Callable[[Any], Fields],
) -> Fields:
    """The usual ones all at once, and the odd ones in their places."""
    mask = pa.array(odd)
    written = pa.concat_arrays(
        [usual(values.filter(pc.invert(mask))), otherwise(values.filter(mask))]
    )
    places = np.where(odd, np.count_nonzero(~odd) + np.cumsum(odd), np.cumsum(~odd)) - 1
    return written.take(pa.array(places))


def _distinct(values: NDArray[np.integer]) -> tuple[Codes, NDArray[np.int64]]:
    """The place of each among those that are different, and those."""
    if values.min(initial=0) >= 0 and values.max(initial=0) < 4 * values.size:
        # Small numbers are looked up in half the time that they are hashed in.
        table = np.zeros(int(values.max(initial=0)) + 1, np.int32)
        table[values] = 1
        distinct = np.flatnonzero(table)
        table[distinct] = np.arange(len(distinct), dtype=np.int32)
        return table[values], distinct
    found = pa.array(values.ravel()).dictionary_encode()
    places: Codes = found.indices.to_numpy().reshape(values.shape)
    return places, found.dictionary.to_numpy()


def _whole(values: NDArray[np.int64]) -> Fields:
    odd = (values < 0) | (values >= MOST_SMALL)
    return _mixed(
        pa.array(values),
        odd,
        SMALL.take,
        lambda told: fields([whole_field(value) for value in told.to_numpy().tolist()]),
    )


def _numbers(bits: NDArray[np.int64]) -> Fields:
    before = np.frombuffer(number_field(0)[:-8], np.uint8)
    written = np.empty((len(bits), len(before) + 8), np.uint8)
    written[:, : len(before)] = before
    written[:, len(before) :] = bits.astype("<i8").view(np.uint8).reshape(-1, 8)
    return binary(np.arange(1, len(bits) + 1) * written.shape[1], written.ravel())
