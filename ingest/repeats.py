"""Which rows of a run may have the same content, found while they stream by.

Eight bytes a row are kept: a hash of its key. Rows whose hashes differ differ; the few whose
hashes agree are looked at by the database.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ingest.rows import Ints, Mask

HEX_DIGITS = 32  # of a content key
MANY = 200_000  # more than this, and the database had better look at all of them
MIX = np.uint64(0x9E3779B97F4A7C15)


Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]
Digests = np.ndarray[tuple[int, int], np.dtype[np.uint64]]


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


class Numbers:
    """Numbers rows of equal content while they stream by, as the database numbers those of a stage:
    the second row of a key has it with `-2` behind it.

    Sixteen bytes a row are kept, in sorted runs each at least twice as long as the next.
    """

    def __init__(self) -> None:
        self._runs: list[Digests] = []
        self._rows_of: dict[str, int] = {}

    def number(self, keys: pa.Array) -> pa.Array:
        """The keys of a batch, 32 hexadecimal digits each, so that no two rows have the same."""
        if len(keys) == 0:
            return keys
        digests = _digests(keys)
        order = np.lexsort((digests[1], digests[0]))
        ordered = digests[:, order]
        again = np.zeros(len(order), np.bool_)
        again[1:] = (ordered[:, 1:] == ordered[:, :-1]).all(axis=0)
        known = again.copy()
        for run in self._runs:
            known |= _among(run, ordered)
        self._keep(ordered[:, ~known])
        if not known.any():
            return keys
        named = keys.to_pylist()
        for row in np.sort(order[known]).tolist():
            key = named[row]
            self._rows_of[key] = number = self._rows_of.get(key, 1) + 1
            named[row] = f"{key}-{number}"
        return pa.array(named, pa.string())

    def _keep(self, run: Digests) -> None:
        while self._runs and self._runs[-1].shape[1] < 2 * run.shape[1]:
            both = np.concatenate((self._runs.pop(), run), axis=1)
            run = both[:, np.lexsort((both[1], both[0]))]
        self._runs.append(run)


def _digests(keys: pa.Array) -> Digests:
    """The 128 bits of each key, as two rows of words."""
    _, _, characters = keys.cast(pa.string()).buffers()
    start, length = keys.offset * HEX_DIGITS, len(keys) * HEX_DIGITS
    digits = bytes(memoryview(characters)[start : start + length])
    words = np.frombuffer(bytes.fromhex(digits.decode()), ">u8").reshape(-1, 2)
    return np.ascontiguousarray(words.T, np.uint64)


def _among(run: Digests, digests: Digests) -> Mask:
    """Which of the digests are in a sorted run."""
    found = np.zeros(digests.shape[1], np.bool_)
    at = np.searchsorted(run[0], digests[0])
    open_ = np.flatnonzero(at < run.shape[1])
    while len(open_):  # once, but for keys whose first halves agree
        open_ = open_[run[0, at[open_]] == digests[0, open_]]
        found[open_] |= run[1, at[open_]] == digests[1, open_]
        at[open_] += 1
        open_ = open_[~found[open_] & (at[open_] < run.shape[1])]
    return found
