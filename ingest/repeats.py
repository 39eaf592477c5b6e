"""Which rows of a run may have the same content, found while they stream by.

Eight bytes a row are kept: a hash of its key. Rows whose hashes differ differ; the few whose
hashes agree are looked at by the database.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ingest.rows import Ints

HEX_DIGITS = 32  # of a content key
MANY = 200_000  # more than this, and the database had better look at all of them
MIX = np.uint64(0x9E3779B97F4A7C15)


Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]


def mixed(keys: pa.Array) -> Hashes:
    """A hash of each key, texts of 32 hexadecimal digits."""
    if not len(keys):
        return np.zeros(0, np.uint64)
    _, _, characters = keys.cast(pa.string()).buffers()
    start = keys.offset * HEX_DIGITS
    words = np.frombuffer(characters, np.uint64, len(keys) * HEX_DIGITS // 8, start)
    first, second, third, fourth = words.reshape(-1, 4).T
    return ((first * MIX ^ second) * MIX ^ third) * MIX ^ fourth


class Repeats:
    """Give it every batch's content keys and row numbers; ask it once."""

    def __init__(self) -> None:
        self._hashes: list[Hashes] = []
        self._rows: list[Ints] = []

    def add(self, keys: pa.Array, rows: pa.Array) -> None:
        """`keys` are texts of 32 hexadecimal digits, none of them null."""
        if len(keys) == 0:
            return
        self._hashes.append(mixed(keys))
        self._rows.append(rows.to_numpy())

    def rows(self) -> list[int] | None:
        """The numbers of all rows that may be repeats or repeated; None where they are many."""
        if not self._hashes:
            return []
        hashes, rows = np.concatenate(self._hashes), np.concatenate(self._rows)
        order = np.argsort(hashes, kind="stable")
        same = hashes[order][1:] == hashes[order][:-1]
        member = np.zeros(len(order), dtype=bool)
        member[1:] |= same
        member[:-1] |= same
        found = rows[order[member]]
        return None if len(found) > MANY else [int(row) for row in found]
