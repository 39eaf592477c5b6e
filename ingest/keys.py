"""The text that names a row: its declared key, else a digest of its content.

Both depend on the typed values alone, so the same row has the same key whichever format, column
order or batch it came in.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128_hexdigest

SEPARATOR = "|"
ESCAPE = "\\"
BETWEEN = b"\x1f"  # control characters have been taken out of every text
NOTHING = b"\x1d"


def declared_keys(columns: Sequence[pa.Array]) -> pa.Array:
    """The key columns' texts with `|` between them; `\\` stands before one within a text."""
    texts = [canonical(column) for column in columns]
    if len(texts) == 1:
        return texts[0]
    escaped = [
        pc.replace_substring(
            pc.replace_substring(text, ESCAPE, ESCAPE * 2), SEPARATOR, ESCAPE + SEPARATOR
        )
        for text in texts
    ]
    return pc.binary_join_element_wise(*escaped, SEPARATOR, null_handling="emit_null")


def content_keys(columns: Sequence[pa.Array], wkb: pa.Array | None) -> pa.Array:
    """32 hexadecimal digits for each row; equal rows have equal keys."""
    parts = [canonical(column).cast(pa.binary()) for column in columns]
    if wkb is not None:
        parts.append(wkb)
    if not parts or not len(parts[0]):
        return pa.array([], pa.string())
    joined = pc.binary_join_element_wise(
        *parts, BETWEEN, null_handling="replace", null_replacement=NOTHING
    )
    offsets = np.frombuffer(joined.buffers()[1], np.int32)[joined.offset :][: len(joined) + 1]
    data = memoryview(joined.buffers()[2] or b"")
    bounds = offsets.tolist()
    digests = [xxh3_128_hexdigest(data[start:end]) for start, end in pairwise(bounds)]
    return pa.array(digests, pa.string())


def canonical(values: pa.Array) -> pa.Array:
    """One text for each value, readable; dates and instants in ISO 8601.

    A value that repeats is written once: writing an instant takes a hundred times as long as
    finding that it is known.
    """
    if pa.types.is_string(values.type):
        return values
    known = values.dictionary_encode()
    return known.dictionary.cast(pa.string()).take(known.indices)
