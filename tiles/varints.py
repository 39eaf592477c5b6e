"""Numbers of varying length, a whole array at once: a directory of 16 000 entries has 64 000."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LONGEST = 9  # bytes of seven bits that fit into 63
Numbers = NDArray[np.int64]


def decode(raw: bytes) -> Numbers:
    """All numbers of `raw`; raises ValueError where the last is cut off or one is too long."""
    data = np.frombuffer(raw, np.uint8)
    ends = np.flatnonzero(data < 0x80)
    if not len(data):
        return np.empty(0, np.int64)
    if not len(ends) or ends[-1] != len(data) - 1:
        raise ValueError("the last number is cut off")
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    longest = int(lengths.max())
    if longest > LONGEST:
        raise ValueError("a number is too long")
    values = np.zeros(len(ends), np.int64)
    for place in range(longest):
        reaching = lengths > place
        values[reaching] |= (data[starts[reaching] + place].astype(np.int64) & 0x7F) << 7 * place
    return values


def encode(numbers: Numbers) -> bytes:
    """The bytes of numbers that are not negative."""
    values = np.asarray(numbers, np.int64)
    if not len(values):
        return b""
    lengths = np.ones(len(values), np.int64)
    for place in range(1, LONGEST):
        lengths += values >> 7 * place > 0
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    data = np.zeros(int(lengths.sum()), np.uint8)
    for place in range(int(lengths.max())):
        reaching = lengths > place
        more = np.where(lengths[reaching] > place + 1, 0x80, 0)
        data[starts[reaching] + place] = (values[reaching] >> 7 * place & 0x7F) | more
    return data.tobytes()
