"""Tiles of counted cells of which the statement sends the counts alone: where there are many, the
tile is made here in less time. It is the one that `cell_query` makes, byte for byte.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from layers.catalog import PublishedLayer
from layers.columns import ColumnType
from layers.model import Layer
from layers.overviews import groups_of
from tiles.address import TileAddress
from tiles.cell_query import (
    CLUSTER_IDS,
    HALF_MM,
    OTHER,
    WORLD_MM,
    as_typed,
    cells_in_tile,
    cells_of,
    count_of,
    depth_of,
    has_category,
    opens,
)
from tiles.mvt import Codes, Numbers, Points, encode
from tiles.query import EXTENT, Made, TileQuery, revision_of
from tiles.vocabulary import Vocabulary, fields
from tiles.wire import Answer, Count, Packing, Sent, native

MAX_IDENTIFIER = 63  # bytes of a name in PostgreSQL


def packed_cells(published: PublishedLayer, name: str, at: TileAddress) -> TileQuery:
    """As `cell_query`."""
    layer, depth = published.layer, depth_of(at.z)
    groups = [f"g{number}" for number in range(1, len(groups_of(layer)) + 1)]
    ids = f"CASE n WHEN 1 THEN fx ELSE {CLUSTER_IDS | depth << 40} + cell END"
    packing = Packing(
        tuple(Sent(each, f"int8send({each})", ">i8") for each in ("id", "sx", "sy")),
        tuple(Count(each, each) for each in ("n", "opens", *groups)),
    )
    sql = f"""
        SELECT {revision_of(layer)} AS revision, count(*) AS seen, {packing.sql()} AS rows
        FROM (
            SELECT {", ".join([f"{ids} AS id", "sx", "sy", "n", *groups])},
                   CASE WHEN n > 1 THEN {opens(layer, depth, published.detail_zoom)} ELSE 0 END
                       AS opens
            {cells_in_tile(layer, depth)}
            ORDER BY cell
        ) AS "#m\""""
    return TileQuery(sql, cells_of(at, depth), partial(_made, layer, packing, name, at))


def must_be_packed(layer: Layer) -> bool:
    """Whether PostgreSQL would cut the name of a count."""
    return any(len(count_of(group).encode()) > MAX_IDENTIFIER for group in groups_of(layer))


def _made(layer: Layer, packing: Packing, name: str, at: TileAddress, answer: Answer) -> Made:
    rows = packing.read(answer["rows"])
    if len(rows) != answer["seen"]:
        raise RuntimeError(f"{len(rows)} of {answer['seen']} cells of {layer.id} came")
    if not len(rows):
        return Made(b"", 0)
    n, opened = native(rows["n"]), native(rows["opens"])
    groups = np.array([native(rows[f"g{i + 1}"]) for i in range(len(groups_of(layer)))], np.int32)
    x, y = _places(native(rows["sx"]), native(rows["sy"]), n, at)
    vocabulary = Vocabulary()
    columns = _columns(layer, n, opened, groups.reshape(-1, len(n)), vocabulary)
    codes, values = vocabulary.values(np.stack([codes for _, codes in columns]))
    points = Points(
        ids=native(rows["id"]),
        x=x, y=y, names=[name for name, _ in columns], codes=codes, values=values,
    )  # fmt: skip
    return Made(encode(name, points), len(n))


def _places(
    sx: NDArray[np.int64], sy: NDArray[np.int64], n: NDArray[np.int32], at: TileAddress
) -> tuple[Numbers, Numbers]:
    """Where a cell's points lie on average, in the tile's grid, never outside the tile."""
    side = WORLD_MM / 2**at.z
    places = ((sx / n + HALF_MM) / side - at.x, (HALF_MM - sy / n) / side - at.y)
    x, y = (np.clip(np.floor(place * EXTENT), 0, EXTENT - 1).astype(np.int64) for place in places)
    return x, y


def _columns(
    layer: Layer,
    n: NDArray[np.int32],
    opened: NDArray[np.int32],
    groups: NDArray[np.int32],
    vocabulary: Vocabulary,
) -> list[tuple[str, Codes]]:
    """The properties with their names; a category may have that of a count."""
    several = n > 1
    others = n - groups.sum(axis=0, dtype=np.int32)
    counts = np.vstack([n, opened, groups, others])
    numbers = vocabulary.whole_numbers(counts)
    numbers[counts == 0] = -1
    found = [
        ("point_count", numbers[0]),
        ("cluster", np.where(several, vocabulary.truths(several), -1)),
        ("point_count_abbreviated", np.where(several, _abbreviated(n, vocabulary), -1)),
        ("expansion_zoom", numbers[1]),
    ]
    declared = groups_of(layer)
    if not declared:
        return found
    found += [(count_of(group), numbers[i]) for i, group in enumerate((*declared, OTHER), 2)]
    if has_category(layer):
        assert layer.category is not None
        found.append((layer.category, _categories(layer, n, groups, vocabulary)))
    return found


def _abbreviated(n: NDArray[np.int32], vocabulary: Vocabulary) -> Codes:
    """950, 1.2k, 12k: as supercluster writes it. Counts that are written alike are one number."""
    wide = n.astype(np.int64)
    tenths = (wide + 50) // 100 * 100
    thousands = (wide + 500) // 1000 * 1000
    return vocabulary.told(
        np.where(wide < 1000, wide, np.where(wide < 10_000, tenths, thousands)),
        lambda told: fields([_short(number).encode() for number in told.tolist()]),
    )


def _short(number: int) -> str:
    if number < 1000:
        return str(number)
    return f"{number / 1000:g}k" if number < 10_000 else f"{number // 1000}k"


def _categories(
    layer: Layer, n: NDArray[np.int32], groups: NDArray[np.int32], vocabulary: Vocabulary
) -> Codes:
    """Where all points of a cell are of one declared group, the cell carries its value."""
    whole = groups == n
    return np.where(whole.any(axis=0), _values(layer, vocabulary)[whole.argmax(axis=0)], -1)


def _values(layer: Layer, vocabulary: Vocabulary) -> Codes:
    """The groups' values as features carry them; -1 where the column cannot hold one."""
    assert layer.category is not None
    kind = layer.column(layer.category).type
    told = [as_typed(kind, value) for value in groups_of(layer)]
    if kind is ColumnType.INTEGER:
        codes = vocabulary.whole_numbers(np.array([value or 0 for value in told], np.int64))
    elif kind is ColumnType.NUMBER:
        codes = vocabulary.numbers(np.array([value or 0 for value in told], np.float64))
    elif kind is ColumnType.BOOLEAN:
        codes = vocabulary.truths(np.array([value or False for value in told], np.bool_))
    else:
        texts = [str(value).encode() for value in told]
        return vocabulary.texts(np.array([len(text) for text in texts]), b"".join(texts))
    return np.where([value is None for value in told], -1, codes)
