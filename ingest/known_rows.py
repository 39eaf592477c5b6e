"""Which rows of a file the layer holds already, so that nothing but the others has to be staged.

For layers without a declared key: there a key is a digest of the row's content, so that rows of one
key are equal. Of equal rows the second has the key with `-2` behind it, and so on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.repeats import HEX_DIGITS, mixed

Words = np.ndarray[tuple[int], np.dtype[np.uint64]]
MOST = 8_000_000  # keys that are held in memory, 60 bytes each; beyond, rows are all staged


class Odd(Exception):
    """The keys of the layer are not those that loads give."""


@dataclass(frozen=True, slots=True)
class Sifted:
    """Of a batch: which rows are to be staged, and under which keys."""

    wanted: pa.Array
    keys: pa.Array


class KnownRows:
    """Give it every batch's content keys in the order of the file; ask at the end what is gone.

    Raises Odd for keys of a layer that no load can have given.
    """

    def __init__(self, keys: pa.ChunkedArray) -> None:
        lengths = pc.utf8_length(keys)
        content = pc.equal(lengths, HEX_DIGITS)
        others = keys.filter(pc.invert(content)).to_pylist()
        bare = keys.filter(content).combine_chunks()
        hashes, texts = mixed(bare), _texts(bare)
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._texts = hashes[order], texts[order]
        if (self._hashes[1:] == self._hashes[:-1]).any():
            raise Odd("two keys of one hash")
        self._counts = np.ones(len(order), np.int64)
        self._seen = np.zeros(len(order), np.int64)
        self._strange: list[str] = []
        self._number(others)
        self.unchanged = 0

    def _number(self, others: list[str]) -> None:
        """Count the equal rows of keys such as `…-2`; keys of other kinds are of nobody's rows."""
        equal: Counter[str] = Counter()
        highest: dict[str, int] = {}
        for key in others:
            base, dash, number = key.partition("-")
            if dash and len(base) == HEX_DIGITS and number.isdigit():
                equal[base] += 1
                highest[base] = max(highest.get(base, 0), int(number))
            else:
                self._strange.append(key)
        if not equal:
            return
        places, found = self._find(pa.array([*equal], pa.string()))
        if not found.all() or any(highest[base] != equal[base] + 1 for base in equal):
            raise Odd("numbers of equal rows are missing")
        self._counts[places] += np.fromiter(equal.values(), np.int64, len(equal))

    def _find(self, keys: pa.Array) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Words]:
        hashes = mixed(keys)
        if not len(self._hashes):
            return np.zeros(len(hashes), np.int64), np.zeros(len(hashes), np.bool_)
        places = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        same = (self._hashes[places] == hashes) & (self._texts[places] == _texts(keys))
        return places, same

    def sift(self, keys: pa.Array) -> Sifted:
        """Which rows of a batch the layer does not hold, or not so often."""
        if not len(keys):
            return Sifted(pa.array([], pa.bool_()), keys)
        places, found = self._find(keys)
        at = places[found]
        ordinal = self._seen[at] + _ranks(at)
        np.add.at(self._seen, at, 1)
        extra = ordinal >= self._counts[at]
        wanted = ~found
        wanted[np.flatnonzero(found)[extra]] = True
        self.unchanged += int(len(wanted) - wanted.sum())
        if not extra.any():
            return Sifted(pa.array(wanted), keys.filter(pa.array(wanted)))
        named = keys.to_pylist()
        for row, number in zip(np.flatnonzero(found)[extra], ordinal[extra], strict=True):
            named[row] = f"{named[row]}-{number + 1}"
        return Sifted(pa.array(wanted), pa.array(named, pa.string()).filter(pa.array(wanted)))

    def gone(self) -> list[str]:
        """The keys that the file did not have."""
        gone = list(self._strange)
        for place in np.flatnonzero(self._seen < self._counts):
            base = bytes(self._texts[place]).decode()
            for ordinal in range(self._seen[place], self._counts[place]):
                gone.append(base if ordinal == 0 else f"{base}-{ordinal + 1}")
        return gone


def known_rows(keys: pa.ChunkedArray) -> KnownRows | None:
    """What is known by these keys; None where they are too many, or not what loads give."""
    if not 0 < len(keys) <= MOST:
        return None
    try:
        return KnownRows(keys)
    except Odd:
        return None


def _texts(keys: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    """Keys of 32 digits as bytes of one length."""
    _, _, characters = keys.cast(pa.string()).buffers()
    if characters is None:
        return np.array([], f"S{HEX_DIGITS}")
    start = keys.offset * HEX_DIGITS
    return np.frombuffer(characters, f"S{HEX_DIGITS}", len(keys), start)


def _ranks(
    values: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Of each value, how many equal ones stand before it."""
    order = np.argsort(values, kind="stable")
    sorted_ = values[order]
    first = np.searchsorted(sorted_, sorted_, side="left")
    ranks = np.empty(len(values), np.int64)
    ranks[order] = np.arange(len(values)) - first
    return ranks
