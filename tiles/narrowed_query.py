"""The statements that make tiles of a part of a layer. Pure: nothing here runs them.

They answer what those of whole layers answer. Their text depends on the layer and the form of the
filter; its values are bound behind those of the address.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from layers.columns import GeometryType
from layers.filters.sql import Condition
from layers.model import Layer
from layers.overviews import GRID_DEPTH, ROW_DEPTH, TILE_DEPTH, cube, group_number, groups_of
from layers.shapes import band_of, chain_bands, pixel_m, shapes_table
from layers.sql import ident, literal
from layers.tables import CITY
from layers.values import Values
from tiles.address import Show, TileAddress
from tiles.cell_query import (
    CLUSTER_IDS,
    OTHER,
    abbreviated,
    category_of_cell,
    cells_of,
    count_of,
    depth_of,
    from_cube,
    has_category,
    heat_points,
    place_of_cell,
)
from tiles.drawn import Drawn
from tiles.label_query import label_rows, label_sql
from tiles.narrowed import CubePart, Narrowed, cube_part
from tiles.packed_cells import must_be_packed
from tiles.query import (
    BUFFER,
    COUNTS,
    EXTENT,
    EXTENT_DRAWN,
    SCATTER,
    Cut,
    TileQuery,
    columns_in,
    important,
    revision_of,
    truly_in_tile,
    value_of,
)

HALF_PIXEL = 0.5


def narrowed_query(drawn: Drawn, at: TileAddress, cut: Cut, *, counts: bool = False) -> TileQuery:
    """The query for one tile of a part of one layer. `counts`: the tile may hold less than there
    is, so say how much that is.
    """
    if drawn.wanted.show is Show.HEAT:
        return _heat(drawn, at)
    if drawn.shows_cells(at.z):
        return _cells(drawn, at)
    if drawn.wanted.show is Show.LABELS:
        return _labels(drawn, at, cut, counts=counts)
    return _features(drawn, at, cut, counts=counts)


def _part(drawn: Drawn) -> Narrowed:
    assert drawn.wanted.narrowed is not None
    return drawn.wanted.narrowed


def _condition(drawn: Drawn, values: Values, row: str) -> str:
    layer = drawn.layer
    points = layer.geometry is GeometryType.POINT
    zone = ZoneInfo(layer.time_zone)
    return Condition(values, zone, row=row, points=points).of(_part(drawn).where)


# Features ----------------------------------------------------------------------------------------


def _features(drawn: Drawn, at: TileAddress, cut: Cut, *, counts: bool) -> TileQuery:
    layer, values = drawn.layer, Values(*at)
    geom, found, size = _rows(drawn, at, values)
    if counts:
        found += truly_in_tile(layer, geom)
    matched = f", (SELECT count(*) {found}) AS matched" if counts else ""
    carried = columns_in(layer, cut)
    columns = "".join(f", {value_of(column)}" for column in carried)
    raw = "".join(f", t.{ident(column.name)}" for column in carried)
    order = ", ".join(
        [*(f"t.{key}" for key in important(layer)), *(size if counts else ()), "t.fid"]
    )
    sql = f"""
        SELECT {revision_of(layer)} AS revision,
               ST_AsMVT("#m", {literal(drawn.name)}, {EXTENT}, 'geom', 'fid') AS tile,
               {COUNTS}{matched}
        FROM (
            SELECT fid,
                   ST_AsMVTGeom("#shape", (SELECT ST_TileEnvelope($1, $2, $3)::box2d),
                                {EXTENT}, {BUFFER}, true) AS geom{columns}
            FROM (
                SELECT t.fid, {geom} AS "#shape"{raw}
                {found}
                ORDER BY {order}
                LIMIT {cut.features}
            ) r
        ) AS "#m" -- an alias that no declared column can have"""
    return TileQuery(sql, tuple(values.args))


def _rows(drawn: Drawn, at: TileAddress, values: Values) -> tuple[str, str, list[str]]:
    """What is drawn of a row `t`, the FROM and WHERE of the rows, and what is important in them.

    Low zooms draw shapes of the overview where each is of one row; chains of lines are of several,
    so those are drawn from the table, simplified as it is read.
    """
    layer = drawn.layer
    table = f"{CITY}.{ident(layer.id)} t"
    band = band_of(layer, at.z)
    if layer.geometry is GeometryType.POINT:
        size = [SCATTER.replace("fid", "t.fid")]
        condition = _condition(drawn, values, "t")
        found = f"FROM {table} WHERE t.tile_geom && {EXTENT_DRAWN} AND {condition}"
        return "t.tile_geom", found, size
    if band is None or band in _joined_bands(layer):
        geom = "t.tile_geom"
        if band is not None:
            geom = f"ST_Simplify(t.tile_geom, {pixel_m(band) * HALF_PIXEL!r}, true)"
        condition = _condition(drawn, values, "t")
        found = f"FROM {table} WHERE t.tile_geom && {EXTENT_DRAWN} AND {condition}"
        return geom, found, ["ST_Area(t.tile_geom) DESC", "ST_Length(t.tile_geom) DESC"]
    found = (
        f'FROM {shapes_table(layer)} s JOIN {table} ON t.fid = s.fid WHERE s."#band" = {band}'
        f" AND s.geom && {EXTENT_DRAWN} AND {_condition(drawn, values, 't')}"
    )
    return "s.geom", found, ['s."#size" DESC']


def _joined_bands(layer: Layer) -> list[int]:
    return chain_bands(layer) if layer.overview.merge_by else []


def _labels(drawn: Drawn, at: TileAddress, cut: Cut, *, counts: bool) -> TileQuery:
    values = Values(*at)
    found = f"{label_rows(drawn.layer, at.z)} AND {_condition(drawn, values, 'c')}"
    sql = label_sql(drawn.layer, drawn.name, at.z, cut, found, counts=counts)
    return TileQuery(sql, tuple(values.args))


# Counted cells -----------------------------------------------------------------------------------


def _cells(drawn: Drawn, at: TileAddress) -> TileQuery:
    """The tile's cells, counted from the cube where it has just these rows, else from the rows."""
    layer, depth = drawn.layer, depth_of(at.z)
    values = Values(*cells_of(at, depth), at.x, at.y)
    counted = _counted(drawn, at, depth, values)
    columns = ",\n                   ".join(_columns(layer))
    sql = f"""
        SELECT {revision_of(layer)} AS revision,
               ST_AsMVT("#m", {literal(drawn.name)}, {EXTENT}, 'geom', '#id') AS tile,
               count(*) AS features, count(*) AS seen
        FROM (
            SELECT coalesce(fid, {CLUSTER_IDS | depth << 40} + cell) AS "#id",
                   {place_of_cell(at.z)} AS geom,
                   {columns}
            FROM ({counted}) c ORDER BY cell
        ) AS "#m\""""
    return TileQuery(sql, tuple(values.args))


def _heat(drawn: Drawn, at: TileAddress) -> TileQuery:
    """Places and how many points of the part stand there."""
    layer = drawn.layer
    if at.z < drawn.published.detail_zoom:
        depth = depth_of(at.z)
        values = Values(*cells_of(at, depth), at.x, at.y)
        counted = _counted(drawn, at, depth, values)
        rows = f"SELECT {place_of_cell(at.z)} AS geom, n AS point_count FROM ({counted}) c"
        rows += " ORDER BY cell"
    else:
        values = Values(*cells_of(at, min(at.z, GRID_DEPTH)), at.x, at.y)
        rows = heat_points(layer, at.z, _condition(drawn, values, "t"))
    sql = f"""
        SELECT {revision_of(layer)} AS revision,
               ST_AsMVT("#m", {literal(drawn.name)}, {EXTENT}, 'geom') AS tile,
               count(*) AS features, count(*) AS seen
        FROM ({rows}) AS "#m\""""
    return TileQuery(sql, tuple(values.args))


def _counted(drawn: Drawn, at: TileAddress, depth: int, values: Values) -> str:
    """A row a cell: `cell`, `n`, `sx`, `sy`, `g1` …, `opens`, and of a single row its `fid`."""
    layer = drawn.layer
    level = depth + depth % cube(layer).step
    part = cube_part(layer, _part(drawn).where)
    if part is not None and level <= drawn.published.cube_depth:
        return _from_cube(layer, depth, level, part, values)
    return _from_rows(drawn, at, depth, values)


def _from_cube(layer: Layer, depth: int, level: int, part: CubePart, values: Values) -> str:
    values.args += [list(part.groups), part.first, part.last]
    groups = "".join(
        f", coalesce(sum(n) FILTER (WHERE grp = {number}), 0)::bigint AS g{number}"
        for number in range(1, len(groups_of(layer)) + 1)
    )
    return f"""
                SELECT cell, sum(n)::bigint AS n, sum(sx)::bigint AS sx, sum(sy)::bigint AS sy,
                       NULL::bigint AS fid, NULL::int AS opens{groups}
                FROM ({from_cube(layer, depth, level)}) s GROUP BY cell"""


def _from_rows(drawn: Drawn, at: TileAddress, depth: int, values: Values) -> str:
    """The index on places or that on categories and times leads to the rows, whichever is
    shorter; their cell decides.
    """
    layer = drawn.layer
    cell = f"(t.cell >> {2 * (ROW_DEPTH - depth)})"
    groups = "".join(
        f", count(*) FILTER (WHERE grp = {number}) AS g{number}"
        for number in range(1, len(groups_of(layer)) + 1)
    )
    return f"""
                SELECT cell, count(*) AS n, sum(sx)::bigint AS sx, sum(sy)::bigint AS sy,
                       CASE count(*) WHEN 1 THEN min(fid) END AS fid,
                       {_opens(drawn, depth)} AS opens{groups}
                FROM (
                    SELECT {cell} AS cell, t.cell AS exact, t.fid,
                           round(ST_X(t.tile_geom) * 1000)::bigint AS sx,
                           round(ST_Y(t.tile_geom) * 1000)::bigint AS sy,
                           {group_number(layer, "t")} AS grp
                    FROM {CITY}.{ident(layer.id)} t
                    WHERE t.tile_geom && ST_TileEnvelope({at.z}, $3::int, $4::int, margin => 0.001)
                      AND {cell} BETWEEN $1 AND $2 AND {_condition(drawn, values, "t")}
                ) s GROUP BY cell"""


def _opens(drawn: Drawn, depth: int) -> str:
    """The zoom at which a cell's points are first seen apart: where the codes of the first and
    the last of them begin to differ.
    """
    detail = drawn.published.detail_zoom
    finest = min(GRID_DEPTH, detail + TILE_DEPTH - 1)
    bits = "length(ltrim((min(exact) # max(exact))::bit(64)::text, '0'))"
    parted = f"({ROW_DEPTH + 1} - ({bits} + 1) / 2)"
    return (
        f"CASE WHEN min(exact) = max(exact) OR {parted} > {finest} THEN {detail}"
        f" ELSE greatest({depth + 1}, {parted}) - {TILE_DEPTH} END"
    )


def _columns(layer: Layer) -> list[str]:
    found = [
        "n AS point_count",
        "CASE WHEN n > 1 THEN true END AS cluster",
        f"CASE WHEN n > 1 THEN {abbreviated()} END AS point_count_abbreviated",
        "CASE WHEN n > 1 THEN opens END AS expansion_zoom",
    ]
    groups = groups_of(layer)
    if not groups:
        return found
    others = " - ".join(["n", *(f"g{i}" for i in range(1, len(groups) + 1))])
    counts = {count_of(value): f"nullif(g{i}, 0)" for i, value in enumerate(groups, 1)}
    counts[count_of(OTHER)] = f"nullif({others}, 0)"
    if must_be_packed(layer):  # names too long for columns are keys of JSON, which a tile spreads
        named = ", ".join(f"{literal(name)}, {count}" for name, count in counts.items())
        found.append(f"jsonb_strip_nulls(jsonb_build_object({named})) AS counts")
    else:
        found += [f"{count} AS {ident(name)}" for name, count in counts.items()]
    if has_category(layer):
        found.append(category_of_cell(layer, groups))
    return found
