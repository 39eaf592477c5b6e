"""Overviews of points: how many lie in each cell of the world's grid, and where on average.

One table a layer, `city_overview.<id>`: a row for each occupied cell of each depth. A cell of
depth k is a tile of zoom k, named by its Morton code, so a tile of zoom z is one contiguous range
of the cells of depth z + 6 (64 × 64 of them), and its own count is the one cell of depth z. All
that is kept can be added and taken away exactly (integers, and an XOR of fids), so that a
maintained overview and a rebuilt one are the same byte for byte.

A layer that names a `bucket` has a cube beside it, `city_overview.<id>__cube`: the same, apart for
each group and each bucket of time, as deep as half of the layer's rows allow.
"""

from __future__ import annotations

from dataclasses import dataclass

from layers.columns import ColumnType, GeometryType
from layers.hints import TimeBucket
from layers.model import Layer
from layers.sql import ident, literal

OVERVIEW = "city_overview"
ROW_DEPTH = 29  # of the column `cell`: 7 cm, the 128th part of a tile of the last zoom
GRID_DEPTH = 20  # no overview is finer
TILE_DEPTH = 6  # cells of this much more depth than the tile's zoom: 64 × 64 of them
FULL_TILE = 16_384  # features; where no tile of a zoom holds more, tiles hold the features
TOO_FULL = FULL_TILE * 5 // 4  # before the detail zoom is moved because of an edit
DEEPEST_DETAIL = 17  # its tiles are 8 × 8 cells of the grid: coarser clusters help nobody
CUBE_DEPTH = 16  # at most: zoom 10
CUBE_SHARE = 0.5  # of the layer's rows that a cube may have
SMALL_CUBE = 20_000  # rows that it may have in any case
NO_BUCKET = -1_000_000  # rows without a time
FIRST_BUCKET = NO_BUCKET + 1  # rows of before all time
LAST_BUCKET = 12_000_000  # months; what is later still, or never comes, is counted there
CELL_BIT, GROUP_BIT = 25, 25 + 2 * CUBE_DEPTH  # of a key of the cube in one number, bucket first
BUCKET_SHIFT = 1 << CELL_BIT - 1  # makes every bucket a positive number
MONTHS = {TimeBucket.YEAR: 12, TimeBucket.QUARTER: 3, TimeBucket.MONTH: 1}
HALVES = ("ex", "ey")  # of a cell's points, those in its eastern and in its southern half


@dataclass(frozen=True, slots=True)
class Kept:
    """A table of counted cells: its name, what tells rows of one cell apart, what is added up,
    and its levels: from `deepest` up to `least_deep`, each `step` less deep than the one before.
    """

    table: str
    keys: tuple[str, ...]
    sums: tuple[str, ...]
    deepest: int
    step: int = 1
    least_deep: int = 0

    @property
    def key(self) -> tuple[str, ...]:
        return ("depth", "cell", *self.keys)

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.key, *self.sums)

    @property
    def depths(self) -> range:
        return range(self.deepest, self.least_deep - 1, -self.step)


def has_cells(layer: Layer) -> bool:
    return layer.geometry is GeometryType.POINT


def has_cube(layer: Layer) -> bool:
    return has_cells(layer) and layer.overview.bucket is not None


def cells(layer: Layer) -> Kept:
    """The counts of a layer, with one column for each declared group."""
    groups = tuple(f"g{number}" for number in range(1, len(groups_of(layer)) + 1))
    sums = ("n", *HALVES, "sx", "sy", "fx", *groups)
    return Kept(f"{OVERVIEW}.{ident(layer.id)}", (), sums, GRID_DEPTH)


def cube(layer: Layer) -> Kept:
    """The counts of a layer for each group (0: all others) and each bucket of time. Every other
    depth is enough: a tile between two of them adds four cells up.
    """
    name = f"{OVERVIEW}.{ident(f'{layer.id}__cube')}"
    return Kept(name, ("grp", "bucket"), ("n", "sx", "sy"), CUBE_DEPTH, 2, TILE_DEPTH)


def groups_of(layer: Layer) -> tuple[str, ...]:
    """The values counted apart, as texts. A value `other` is counted with all others."""
    texts = (_text(value) for value in layer.groups)
    return tuple(text for text in dict.fromkeys(texts) if text != "other")


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def signature(layer: Layer) -> str:
    """What the tables and functions of a layer's overview are made of, as one text."""
    time = (layer.time.start, layer.column(layer.time.start).type) if layer.time else None
    zone = layer.time_zone if has_cube(layer) else None
    bucket = layer.overview.bucket
    detail = (layer.overview.detail_zoom, layer.maxzoom)
    return repr(("6", layer.category, groups_of(layer), bucket, bucket and time, zone, detail))


def table_statements(layer: Layer) -> list[str]:
    """DDL that makes the overview's tables anew, empty."""
    return [statement for kept in kept_of(layer) for statement in _table(kept)]


def kept_of(layer: Layer) -> list[Kept]:
    """The tables of a layer's overview; none for a layer that is not of points."""
    if not has_cells(layer):
        return []
    return [cells(layer), *([cube(layer)] if has_cube(layer) else [])]


def tables_of(layer: Layer) -> list[str]:
    return [each.table for each in kept_of(layer)]


def _table(kept: Kept) -> list[str]:
    columns = "".join(f", {name} {width(name)} NOT NULL" for name in (*kept.keys, *kept.sums))
    # A cube is read group by group, so cells come after the group in its key.
    key = "depth, grp, cell, bucket" if kept.keys else "depth, cell"
    return [
        f"DROP TABLE IF EXISTS {kept.table}",
        f"CREATE TABLE {kept.table} (depth smallint NOT NULL, cell bigint NOT NULL{columns},"
        f" PRIMARY KEY ({key})) WITH (fillfactor = 85)",
    ]


def width(name: str) -> str:
    """The type of a column that counts."""
    return "bigint" if name in ("sx", "sy", "fx") else "int"


# A row of the layer as its overview counts it --------------------------------------------------


def group_number(layer: Layer, row: str) -> str:
    """The number of a row's group: 1 for the first declared, 0 for all others."""
    if not groups_of(layer) or layer.category is None:
        return "0"
    when = " ".join(
        f"WHEN {literal(value)} THEN {number}"
        for number, value in enumerate(groups_of(layer), start=1)
    )
    return f"(CASE {row}.{ident(layer.category)}::text {when} ELSE 0 END)"


def bucket_time(layer: Layer, row: str) -> str | None:
    """When a row was, in the layer's time zone; None where nothing is counted by time."""
    if layer.overview.bucket is None or layer.time is None:
        return None
    column = layer.column(layer.time.start)
    when = f"{row}.{ident(column.name)}"
    if column.type is ColumnType.DATETIME:
        return f"({when} AT TIME ZONE {literal(layer.time_zone)})"
    return when


def bucket_number(layer: Layer, row: str) -> str:
    """The number of a row's bucket: years, quarters or months since the year 0."""
    when = bucket_time(layer, row)
    if layer.overview.bucket is None or when is None:
        return "0"
    # date_part, because extract works in numeric and takes three times as long.
    months = f"(date_part('year', {when})::int * 12 + date_part('month', {when})::int - 1)"
    number = f"{months} / {MONTHS[layer.overview.bucket]}"
    return (
        f"(CASE WHEN isfinite({when}) THEN least({number}, {LAST_BUCKET})"
        f" WHEN {when} = 'infinity' THEN {LAST_BUCKET}"
        f" WHEN {when} = '-infinity' THEN {FIRST_BUCKET} ELSE {NO_BUCKET} END)"
    )


def counted_columns(layer: Layer) -> list[str]:
    """The columns that decide where a row is counted: what changes others changes no overview."""
    named = [layer.category] if groups_of(layer) else []
    named += [layer.time.start] if layer.overview.bucket and layer.time else []
    return ["tile_geom", *(name for name in named if name is not None)]


def point(layer: Layer, row: str, weight: int) -> str:
    """Weight, cell, place in millimetres, fid, group and bucket of a row."""
    return (
        f"{weight}, {row}.cell, round(ST_X({row}.tile_geom) * 1000)::bigint,"
        f" round(ST_Y({row}.tile_geom) * 1000)::bigint, {row}.fid,"
        f" {group_number(layer, row)}, {bucket_number(layer, row)}"
    )


def counted(layer: Layer, kept: Kept, points: str, *, ordered: bool = False) -> str:
    """A SELECT of the cells of the deepest level from `points`, which has the columns of
    quartier.weighted_point. `ordered`: by the key.
    """
    shift = 2 * (ROW_DEPTH - kept.deepest)
    return _grouped(kept, f"cell >> {shift}", _sums(layer, kept, "0", "0"), points, ordered)


def _grouped(kept: Kept, cell: str, sums: str, source: str, ordered: bool) -> str:
    by = "".join(f", {name}" for name in kept.keys)
    if not ordered:
        return f"SELECT {cell} AS cell{by}, {sums} FROM {source} GROUP BY 1{by}"
    if not kept.keys:
        return f"SELECT {cell} AS cell, {sums} FROM {source} GROUP BY 1 ORDER BY 1"
    # One number is sorted in half the time that three take.
    key = f"(grp::bigint << {GROUP_BIT}) | (({cell}) << {CELL_BIT}) | (bucket + {BUCKET_SHIFT})"
    return (
        f"SELECT (key >> {CELL_BIT}) & {(1 << 2 * CUBE_DEPTH) - 1} AS cell,"
        f" (key >> {GROUP_BIT})::int AS grp,"
        f" (key & {(1 << CELL_BIT) - 1})::int - {BUCKET_SHIFT} AS bucket, {', '.join(kept.sums)}"
        f" FROM (SELECT {key} AS key, {sums} FROM {source} GROUP BY 1 ORDER BY 1) k"
    )


def counted_at_all_depths(layer: Layer, kept: Kept, points: str) -> str:
    """The same of all levels at once: quick for a few points, and planned in no time."""
    shift = f"(2 * ({ROW_DEPTH} - depth))::int"
    east, south = (
        f"CASE WHEN depth < {GRID_DEPTH} THEN (cell >> ({shift} - {bit})) & 1 ELSE 0 END"
        for bit in (2, 1)
    )
    by = "".join(f", {name}" for name in kept.keys)
    depths = f"generate_series({kept.least_deep}, {kept.deepest}, {kept.step}) depth"
    return (
        f"SELECT depth, cell >> {shift} AS cell{by}, {_sums(layer, kept, east, south)}"
        f" FROM {points}, {depths} GROUP BY 1, 2{by}"
    )


def _sums(layer: Layer, kept: Kept, east: str, south: str) -> str:
    """What is added up over points; `east` and `south` are 1 for one in that half of its cell."""
    values = {
        "n": "sum(w)",
        "ex": f"sum(w * ({east}))",
        "ey": f"sum(w * ({south}))",
        "sx": "sum(w * x)",
        "sy": "sum(w * y)",
        "fx": "bit_xor(fid)",
    } | {
        f"g{number}": f"coalesce(sum(w) FILTER (WHERE grp = {number}), 0)"
        for number in range(1, len(groups_of(layer)) + 1)
    }
    return ", ".join(f"({values[name]})::{width(name)} AS {name}" for name in kept.sums)


def coarser(kept: Kept, finer: str, *, ordered: bool = False) -> str:
    """A SELECT of the cells of one level from those of the one below it."""
    values = {"ex": "sum(n * (cell & 1))", "ey": "sum(n * ((cell >> 1) & 1))", "fx": "bit_xor(fx)"}
    sums = ", ".join(
        f"{values.get(name, f'sum({name})')}::{width(name)} AS {name}" for name in kept.sums
    )
    return _grouped(kept, f"cell >> {2 * kept.step}", sums, finer, ordered)


def levels_kept(kept: Kept) -> str:
    """The deepest level that there is now, as SQL over the variables `detail` and `deepest`."""
    return "deepest" if kept.keys else f"least({GRID_DEPTH}, detail + {TILE_DEPTH - 1})"


def deepest_detail(layer: Layer) -> int:
    """A layer's last zoom holds features: clients stretch it over all that lie beyond."""
    return min(DEEPEST_DETAIL, layer.maxzoom)


def cube_depth(detail_zoom: int) -> int:
    """How deep a cube may go: no deeper than what tiles below the detail zoom hold."""
    return min(CUBE_DEPTH, detail_zoom + TILE_DEPTH - 1)
