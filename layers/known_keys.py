"""The keys that a layer holds, to tell which rows of a file are in it as they are."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from layers.model import Layer
from layers.tables import rows_table


def read_keys(arrow: Any, layer: Layer) -> pa.ChunkedArray:
    """Every `source_key` of the layer, as texts, through an ADBC connection."""
    with arrow.cursor() as cursor:
        cursor.execute(f"SELECT source_key FROM {rows_table(layer)}")
        keys = cursor.fetch_arrow_table().column(0)
    arrow.commit()
    return keys
