"""The statements that make tiles of counted cells, below a point layer's detail zoom, and tiles
for heat maps. Pure: nothing here runs them.

Each point is counted in exactly one tile, so the `point_count` of all tiles of a zoom add up to
the rows that have a place. Property names are those that users of MapLibre and supercluster know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from layers import overviews
from layers.catalog import PublishedLayer
from layers.changes import morton
from layers.columns import Column, ColumnType
from layers.model import Layer
from layers.overviews import GRID_DEPTH, ROW_DEPTH, TILE_DEPTH, cells, cube, groups_of
from layers.sql import ident, literal
from layers.tables import CITY, type_name
from tiles.address import TileAddress
from tiles.query import EXTENT, TileQuery, revision_of

WORLD_MM = 40_075_016_685.57849  # the side of the square world, EPSG:3857
HALF_MM = WORLD_MM / 2
CLUSTER_IDS = 1 << 52  # ids of clusters lie beyond every fid that a sequence will ever give
HEAT_GRID = 16  # units of a tile's 4096 that points of a heat map are gathered in
OTHER = "other"
NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,15})?", re.ASCII)
LAST_BUCKET = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Slice:
    """Which points of a layer are counted: those of one group (0: all others), or of the buckets
    from `first` to `last`. Numbers as `layers.overviews` counts them.
    """

    group: int | None = None
    first: int | None = None
    last: int | None = None


def depth_of(z: int) -> int:
    """The depth of the cells that a tile of this zoom holds."""
    return min(z + TILE_DEPTH, GRID_DEPTH)


def cell_query(published: PublishedLayer, name: str, at: TileAddress) -> TileQuery:
    """The tile's cells with their counts, as the MVT layer `name`."""
    layer, depth = published.layer, depth_of(at.z)
    columns = ",\n                   ".join(_columns(layer, at.z, depth, published.detail_zoom))
    sql = f"""
        SELECT {revision_of(layer)} AS revision,
               ST_AsMVT("#m", {literal(name)}, {EXTENT}, 'geom', '#id') AS tile,
               count(*) AS features, count(*) AS seen
        FROM (
            SELECT CASE n WHEN 1 THEN fx ELSE {CLUSTER_IDS | depth << 40} + cell END AS "#id",
                   {place_of_cell(at.z)} AS geom,
                   {columns}
            {cells_in_tile(layer, depth)}
            ORDER BY cell
        ) AS "#m\""""
    return TileQuery(sql, (*cells_of(at, depth), at.x, at.y))


def cells_in_tile(layer: Layer, depth: int) -> str:
    return f"FROM {cells(layer).table} o WHERE depth = {depth} AND cell BETWEEN $1 AND $2"


def slice_query(published: PublishedLayer, name: str, at: TileAddress, wanted: Slice) -> TileQuery:
    """The same for a part of the points: `point_count` alone.

    From the cube as deep as it goes, else counted from the layer's rows.
    """
    layer, depth = published.layer, depth_of(at.z)
    level = depth + depth % cube(layer).step
    groups = range(len(groups_of(layer)) + 1) if wanted.group is None else (wanted.group,)
    first = overviews.NO_BUCKET if wanted.first is None else wanted.first
    last = LAST_BUCKET if wanted.last is None else wanted.last
    counted = level <= published.cube_depth
    source = from_cube(layer, depth, level) if counted else _from_rows(layer, at.z, depth)
    sql = f"""
        SELECT {revision_of(layer)} AS revision,
               ST_AsMVT("#m", {literal(name)}, {EXTENT}, 'geom', '#id') AS tile,
               count(*) AS features
        FROM (
            SELECT {CLUSTER_IDS | depth << 40} + cell AS "#id", {place_of_cell(at.z)} AS geom,
                   n AS point_count
            FROM (
                SELECT cell, sum(n)::bigint AS n, sum(sx)::bigint AS sx, sum(sy)::bigint AS sy
                FROM ({source}) s GROUP BY cell ORDER BY cell
            ) c
        ) AS "#m\""""
    return TileQuery(sql, (*cells_of(at, depth), at.x, at.y, list(groups), first, last))


def from_cube(layer: Layer, depth: int, level: int) -> str:
    bits = 2 * (level - depth)
    return f"""
                    SELECT cell >> {bits} AS cell, grp, n, sx, sy FROM {cube(layer).table}
                    WHERE depth = {level} AND grp = ANY ($5::int[])
                      AND cell BETWEEN $1::bigint << {bits}
                                   AND ($2::bigint << {bits}) + {(1 << bits) - 1}
                      AND bucket BETWEEN $6 AND $7"""


def _from_rows(layer: Layer, z: int, depth: int) -> str:
    """Rows of the tile, each a count of one. The index leads to them, their cell decides."""
    cell = f"(t.cell >> {2 * (ROW_DEPTH - depth)})"
    return f"""
                    SELECT {cell} AS cell, 1 AS n, round(ST_X(t.tile_geom) * 1000)::bigint AS sx,
                           round(ST_Y(t.tile_geom) * 1000)::bigint AS sy
                    FROM {CITY}.{ident(layer.id)} t
                    WHERE t.tile_geom && ST_TileEnvelope({z}, $3::int, $4::int, margin => 0.001)
                      AND {cell} BETWEEN $1 AND $2
                      AND {overviews.group_number(layer, "t")} = ANY ($5::int[])
                      AND {overviews.bucket_number(layer, "t")} BETWEEN $6 AND $7"""


def heat_query(published: PublishedLayer, name: str, at: TileAddress) -> TileQuery:
    """Places and how many points stand there, nothing else: what a heat map needs.

    Below the detail zoom the places are those of the cells.
    """
    layer = published.layer
    source = _heat_cells(layer, at.z) if at.z < published.detail_zoom else heat_points(layer, at.z)
    sql = f"""
        SELECT {revision_of(layer)} AS revision,
               ST_AsMVT("#m", {literal(name)}, {EXTENT}, 'geom') AS tile,
               count(*) AS features
        FROM ({source}) AS "#m\""""
    depth = depth_of(at.z) if at.z < published.detail_zoom else min(at.z, GRID_DEPTH)
    return TileQuery(sql, (*cells_of(at, depth), at.x, at.y))


def _heat_cells(layer: Layer, z: int) -> str:
    return f"""
            SELECT {place_of_cell(z)} AS geom, n AS point_count FROM {cells(layer).table} o
            WHERE depth = {depth_of(z)} AND cell BETWEEN $1 AND $2 ORDER BY cell"""


def heat_points(layer: Layer, z: int, condition: str = "true") -> str:
    """Places of a tile and how many rows `t` that the condition holds for stand there. Beyond the
    depth of the grid a point's own place decides which tile it is in.
    """
    x = f"((ST_X(t.tile_geom) * 1000 + {HALF_MM}) / {WORLD_MM / 2**z} - $3::int) * {EXTENT}"
    y = f"(({HALF_MM} - ST_Y(t.tile_geom) * 1000) / {WORLD_MM / 2**z} - $4::int) * {EXTENT}"
    if z <= GRID_DEPTH:
        inside = f"t.cell >> {2 * (ROW_DEPTH - z)} BETWEEN $1 AND $2"
    else:
        own = " AND ".join(f"floor(({axis}) / {EXTENT}) = 0" for axis in (x, y))
        inside = f"$1::bigint <= $2::bigint AND {own}"
    gathered = ", ".join(
        f"least({EXTENT - 1}, greatest(0, floor(({axis}) / {HEAT_GRID}) * {HEAT_GRID}"
        f" + {HEAT_GRID // 2}))"
        for axis in (x, y)
    )
    return f"""
            SELECT ST_MakePoint(tx, ty) AS geom, count(*) AS point_count
            FROM {CITY}.{ident(layer.id)} t, LATERAL (SELECT {gathered}) p(tx, ty)
            WHERE t.tile_geom && ST_TileEnvelope({z}, $3::int, $4::int, margin => 0.001)
              AND {inside} AND {condition}
            GROUP BY tx, ty ORDER BY tx, ty"""


def cells_of(at: TileAddress, depth: int) -> tuple[int, int]:
    """The first and the last cell of a tile: one range of Morton codes."""
    bits = 2 * (depth - at.z)
    if bits < 0:  # deeper than the grid: the cell that the tile lies in
        return (morton(at.x >> (at.z - depth), at.y >> (at.z - depth)),) * 2
    first = morton(at.x, at.y) << bits
    return first, first + (1 << bits) - 1


def place_of_cell(z: int) -> str:
    """Where a cell's points lie on average, in the tile's grid, never outside the tile."""
    side = WORLD_MM / 2**z
    x = f"((sx::float8 / n + {HALF_MM}) / {side} - $3::int) * {EXTENT}"
    y = f"(({HALF_MM} - sy::float8 / n) / {side} - $4::int) * {EXTENT}"
    inside = ", ".join(f"least({EXTENT - 1}, greatest(0, floor({axis})))" for axis in (x, y))
    return f"ST_MakePoint({inside})"


def _columns(layer: Layer, z: int, depth: int, detail_zoom: int) -> list[str]:
    found = [
        "n AS point_count",
        "CASE WHEN n > 1 THEN true END AS cluster",
        f"CASE WHEN n > 1 THEN {abbreviated()} END AS point_count_abbreviated",
        f"CASE WHEN n > 1 THEN {opens(layer, depth, detail_zoom)} END AS expansion_zoom",
    ]
    groups = groups_of(layer)
    if not groups:
        return found
    found += [f"nullif(g{i}, 0) AS {ident(count_of(value))}" for i, value in enumerate(groups, 1)]
    others = " - ".join(["n", *(f"g{i}" for i in range(1, len(groups) + 1))])
    found.append(f"nullif({others}, 0) AS {ident(count_of(OTHER))}")
    if has_category(layer):
        found.append(category_of_cell(layer, groups))
    return found


def has_category(layer: Layer) -> bool:
    """Whether cells carry the category that all of their points are of."""
    return layer.category in {column.name for column in layer.tile_columns}


def count_of(group: str) -> str:
    """The property that counts a group."""
    return f"point_count:{group}"


def category_of_cell(layer: Layer, groups: tuple[str, ...]) -> str:
    """Where all points of a cell are of one declared group, the cell carries its value."""
    assert layer.category is not None
    column = layer.column(layer.category)
    when = " ".join(
        f"WHEN g{number} = n THEN {_typed(column, value)}"
        for number, value in enumerate(groups, start=1)
    )
    return f"CASE {when} END AS {ident(layer.category)}"


def as_typed(kind: ColumnType, value: str) -> str | int | float | bool | None:
    """A group's value as features carry it; None where its column cannot hold it."""
    if kind is ColumnType.INTEGER:
        return int(value) if NUMBER.fullmatch(value) and "." not in value else None
    if kind is ColumnType.NUMBER:
        return float(value) if NUMBER.fullmatch(value) else None
    if kind is ColumnType.BOOLEAN:
        return {"true": True, "false": False}.get(value)
    return value


def _typed(column: Column, value: str) -> str:
    typed = as_typed(column.type, value)
    if typed is None:
        return "NULL"
    if isinstance(typed, bool):
        return value
    return literal(value) + ("" if isinstance(typed, str) else f"::{type_name(column.type)}")


def abbreviated() -> str:
    """950, 1.2k, 12k: as supercluster writes it."""
    return (
        "CASE WHEN n < 1000 THEN n::text"
        " WHEN n < 10000 THEN (round(n / 100.0) / 10)::float4::text || 'k'"
        " ELSE round(n / 1000.0)::int::text || 'k' END"
    )


def opens(layer: Layer, depth: int, detail_zoom: int) -> str:
    """The zoom at which a cell's points are first seen apart: in several cells, or themselves.

    A cell keeps how many of its points lie in its eastern and southern half, which tells whether
    the next depth parts them. Where it does not, the first cell of a depth that lies inside is
    asked whether it holds them all; the finest first, because points of one address stay
    together all the way.
    """
    finest = min(GRID_DEPTH, detail_zoom + TILE_DEPTH - 1)
    if depth >= finest:
        return str(detail_zoom)
    deeper = [
        f"WHEN {_first_inside(layer, depth, k)} < o.n THEN {k - TILE_DEPTH}"
        for k in range(depth + 2, finest)
    ]
    stays = f"WHEN {_first_inside(layer, depth, finest)} = o.n THEN {detail_zoom}"
    checks = " ".join([stays, *deeper]) if depth + 1 < finest else ""
    parted = "(ex > 0 AND ex < n) OR (ey > 0 AND ey < n)"
    last = finest - TILE_DEPTH if depth + 1 < finest else detail_zoom
    return f"CASE WHEN {parted} THEN {depth + 1 - TILE_DEPTH} {checks} ELSE {last} END"


def _first_inside(layer: Layer, depth: int, deeper: int) -> str:
    return (
        f"(SELECT c.n FROM {cells(layer).table} c WHERE c.depth = {deeper}"
        f" AND c.cell >= o.cell << {2 * (deeper - depth)} ORDER BY c.cell LIMIT 1)"
    )
