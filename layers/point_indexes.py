"""The indexes of a point layer beside its keys and its places.

`cells_idx` holds the cells in Morton order: pages of a box are walked by it, a few ranges of codes
each, and stop where the page is full, where the index of places would give all rows of the box in
no order at all: 28 000 in a tile of zoom 14 in the middle of Mexico City, of which a page wants 10.

`slices_idx` is for a layer that names a `bucket`, which says that it is asked for by time. What its
cube does not hold (a category that is not counted apart, a week, zooms deeper than the cube) is
counted from the rows, and this index leads to them: one of 320 categories and one of 73 months in
6.5 million rows are 11 000 rows, found in 1 ms and counted in 10.
"""

from __future__ import annotations

import sqlalchemy as sa

from layers.model import Layer
from layers.overviews import has_cells, has_cube
from layers.sql import ident, literal
from layers.tables import CITY

CELLS, SLICES = "cells_idx", "slices_idx"
SUFFIXES = (CELLS, SLICES)


def columns(layer: Layer, suffix: str) -> tuple[str, ...]:
    """The columns of an index; nothing where no such index is kept."""
    if suffix == CELLS:
        return ("cell", "fid") if has_cells(layer) else ()
    if not has_cube(layer) or layer.time is None:
        return ()
    category = (layer.category,) if layer.category else ()
    return tuple(dict.fromkeys((*category, layer.time.start)))


def statements(layer: Layer, table: str, prefix: str) -> list[str]:
    """DDL of the indexes on a table (quoted)."""
    return [
        f"CREATE INDEX {ident(f'{prefix}_{suffix}')} ON {table} ({', '.join(map(ident, named))})"
        for suffix in SUFFIXES
        if (named := columns(layer, suffix))
    ]


def renaming(layer: Layer, prefix: str) -> list[str]:
    """DDL that gives the indexes of a built table the layer's name."""
    kept = [suffix for suffix in SUFFIXES if columns(layer, suffix)]
    names = [[ident(f"{name}_{suffix}") for name in (prefix, layer.id)] for suffix in kept]
    return [f"ALTER INDEX {CITY}.{old} RENAME TO {new}" for old, new in names]


def missing(connection: sa.Connection, layer: Layer) -> list[str]:
    """DDL that makes the indexes what the declaration asks for; nothing where they are."""
    ddl: list[str] = []
    for suffix in SUFFIXES:
        name = f"{CITY}.{ident(f'{layer.id}_{suffix}')}"
        if _there(connection, name) != columns(layer, suffix):
            ddl.append(f"DROP INDEX IF EXISTS {name}")
            made = statements(layer, f"{CITY}.{ident(layer.id)}", layer.id)
            ddl += [each for each in made if ident(f"{layer.id}_{suffix}") in each]
    return ddl


def _there(connection: sa.Connection, name: str) -> tuple[str, ...]:
    """The columns of the index of this name (quoted), if it is there and whole."""
    found = connection.scalar(
        sa.text(
            "SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a"
            " JOIN pg_index i ON i.indexrelid = a.attrelid"
            f" WHERE a.attrelid = to_regclass({literal(name)}) AND i.indisvalid"
        )
    )
    return tuple(found or ())
