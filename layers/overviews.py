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

from layers.model import ColumnType, GeometryType, Layer, TimeBucket
from layers.sql import ident, literal
from layers.tables import CITY

OVERVIEW = "city_overview"
GRID_DEPTH = 20  # of the column `cell`; no overview is finer
TILE_DEPTH = 6  # cells of this much more depth than the tile's zoom: 64 × 64 of them
FULL_TILE = 16_384  # features; where no tile of a zoom holds more, tiles hold the features
TOO_FULL = FULL_TILE * 5 // 4  # before the detail zoom is moved because of an edit
DEEPEST_DETAIL = 17  # its tiles are 8 × 8 cells of the grid: coarser clusters help nobody
CUBE_DEPTH = 16  # at most: zoom 10
CUBE_SHARE = 0.5  # of the layer's rows that a cube may have
SMALL_CUBE = 20_000  # rows that it may have in any case
REBUILT_ROWS = 100_000  # that a statement changes; beyond, counting anew is quicker
SHRINK_ROWS = 1_000  # that a statement deletes before the detail zoom is thought over
NO_BUCKET = -1_000_000  # rows without a time, or with one that never comes
MONTHS = {TimeBucket.YEAR: 12, TimeBucket.QUARTER: 3, TimeBucket.MONTH: 1}
SUMS = ("n", "ex", "ey", "sx", "sy")


@dataclass(frozen=True, slots=True)
class Kept:
    """A table of counted cells: its name, what tells rows of one cell apart, what is added up."""

    table: str
    keys: tuple[str, ...]
    sums: tuple[str, ...]
    deepest: int

    @property
    def columns(self) -> tuple[str, ...]:
        return ("depth", "cell", *self.keys, *self.sums, "fx")


def has_cells(layer: Layer) -> bool:
    return layer.geometry is GeometryType.POINT


def has_cube(layer: Layer) -> bool:
    return has_cells(layer) and layer.overview.bucket is not None


def cells(layer: Layer) -> Kept:
    """The counts of a layer, with one column for each declared group."""
    groups = tuple(f"g{number}" for number in range(1, len(groups_of(layer)) + 1))
    return Kept(f"{OVERVIEW}.{ident(layer.id)}", (), (*SUMS, *groups), GRID_DEPTH)


def cube(layer: Layer) -> Kept:
    """The counts of a layer for each group (0: all others) and each bucket of time."""
    return Kept(f"{OVERVIEW}.{ident(f'{layer.id}__cube')}", ("grp", "bucket"), SUMS, CUBE_DEPTH)


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
    return repr(("1", layer.category, groups_of(layer), bucket, bucket and time, zone, detail))


def table_statements(layer: Layer) -> list[str]:
    """DDL that makes the overview's tables anew, empty."""
    kept = _kept(layer)
    return [statement for each in kept for statement in _table(each)]


def _kept(layer: Layer) -> list[Kept]:
    if not has_cells(layer):
        return []
    return [cells(layer), *([cube(layer)] if has_cube(layer) else [])]


def tables_of(layer: Layer) -> list[str]:
    return [each.table for each in _kept(layer)]


def _table(kept: Kept) -> list[str]:
    keys = "".join(f", {name} int NOT NULL" for name in kept.keys)
    sums = "".join(f", {name} {_width(name)} NOT NULL" for name in kept.sums)
    # A cube is read group by group, so cells come after the group in its key.
    key = "depth, cell" if not kept.keys else "depth, grp, cell, bucket"
    return [
        f"DROP TABLE IF EXISTS {kept.table}",
        f"CREATE TABLE {kept.table} (depth smallint NOT NULL, cell bigint NOT NULL{keys}{sums},"
        f" fx bigint NOT NULL, PRIMARY KEY ({key})) WITH (fillfactor = 85)",
    ]


def _width(name: str) -> str:
    return "bigint" if name in ("sx", "sy") else "int"


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


def bucket_number(layer: Layer, row: str) -> str:
    """The number of a row's bucket: years, quarters or months since the year 0."""
    if layer.overview.bucket is None or layer.time is None:
        return "0"
    column = layer.column(layer.time.start)
    when = f"{row}.{ident(column.name)}"
    if column.type is ColumnType.DATETIME:
        when = f"({when} AT TIME ZONE {literal(layer.time_zone)})"
    # date_part, because extract works in numeric and takes three times as long.
    months = f"(date_part('year', {when})::int * 12 + date_part('month', {when})::int - 1)"
    number = f"{months} / {MONTHS[layer.overview.bucket]}"
    return f"(CASE WHEN isfinite({row}.{ident(column.name)}) THEN {number} ELSE {NO_BUCKET} END)"


def _point(layer: Layer, row: str, weight: int) -> str:
    """Weight, cell, place in millimetres, fid, group and bucket of a row."""
    return (
        f"{weight}, {row}.cell, round(ST_X({row}.tile_geom) * 1000)::bigint,"
        f" round(ST_Y({row}.tile_geom) * 1000)::bigint, {row}.fid,"
        f" {group_number(layer, row)}, {bucket_number(layer, row)}"
    )


def _named(points: str) -> str:
    return f"point(w, cell, x, y, fid, grp, bucket) AS ({points})"


def _finest(layer: Layer, kept: Kept) -> str:
    """A SELECT from `point` of the cells of the deepest level."""
    shift = 2 * (GRID_DEPTH - kept.deepest)
    if shift:  # the next bits tell east from west and south from north
        halves = [f"sum(w * ((cell >> {shift - 2}) & 1))::int", (
            f"sum(w * ((cell >> {shift - 1}) & 1))::int")]  # fmt: skip
    else:
        halves = ["0", "0"]
    counted = ["sum(w)::int", *halves, "sum(w * x)::bigint", "sum(w * y)::bigint"]
    if not kept.keys:
        counted += [
            f"coalesce(sum(w) FILTER (WHERE grp = {number}), 0)::int"
            for number in range(1, len(groups_of(layer)) + 1)
        ]
    values = ", ".join(f"{value} AS {name}" for value, name in zip(counted, kept.sums, strict=True))
    by = "".join(f", {name}" for name in kept.keys)
    return (
        f"SELECT cell >> {shift} AS cell{by}, {values}, bit_xor(fid) AS fx"
        f" FROM point GROUP BY 1{by}"
    )


def _coarser(kept: Kept, finer: str) -> str:
    """A SELECT of the cells of one depth from those one deeper."""
    values = [
        "sum(n)::int AS n",
        "sum(n * (cell & 1))::int AS ex",
        "sum(n * ((cell >> 1) & 1))::int AS ey",
        *(f"sum({name})::{_width(name)} AS {name}" for name in kept.sums[3:]),
        "bit_xor(fx) AS fx",
    ]
    by = "".join(f", {name}" for name in kept.keys)
    return f"SELECT cell >> 2 AS cell{by}, {', '.join(values)} FROM {finer} GROUP BY 1{by}"


# Maintenance -------------------------------------------------------------------------------------


def changed_points(layer: Layer, *, inserted: bool, deleted: bool) -> str:
    """What a statement did to the counts, as a SELECT of weighted points from its transition
    tables `new_rows` and `old_rows`.
    """
    if inserted and deleted:
        since = f"current_setting({literal('quartier.since_' + layer.id)})::bigint"
        differs = " OR ".join(
            f"{of(layer, 'o')} IS DISTINCT FROM {of(layer, 'n')}"
            for of in (group_number, bucket_number)
        )
        return (
            "SELECT v.* FROM old_rows o JOIN new_rows n"
            f" ON n.fid = o.fid AND n.since = {since} AND"
            f" (n.tile_geom IS DISTINCT FROM o.tile_geom OR {differs}),"
            f" LATERAL (VALUES ({_point(layer, 'o', -1)}), ({_point(layer, 'n', 1)}))"
            f" v(w, cell, x, y, fid, grp, bucket) WHERE v.cell IS NOT NULL"
        )
    row, weight = ("new_rows", 1) if inserted else ("old_rows", -1)
    return f"SELECT {_point(layer, 'r', weight)} FROM {row} r WHERE r.cell IS NOT NULL"


def maintain(layer: Layer, points: str, *, shrinks: bool = False) -> str:
    """plpgsql that brings the overview from before a statement to after it.

    It expects the variables `touched` and `current`. A great many rows are counted anew; so is
    everything where the detail zoom no longer suits the data.
    """
    if not has_cells(layer):
        return ""
    added = "".join(_add(layer, kept, points) for kept in _kept(layer))
    return f"""
    IF touched > {REBUILT_ROWS} THEN
        PERFORM quartier.rebuild_overview({literal(layer.id)}, current);
    ELSE
        SELECT s.detail_zoom, s.cube_depth INTO detail, deepest
        FROM quartier.layer_state s WHERE s.layer_id = {literal(layer.id)};{added}
        IF least_n < 0 OR {_unfit(layer, shrinks=shrinks)} THEN
            PERFORM quartier.rebuild_overview({literal(layer.id)}, current);
        END IF;
    END IF;"""


def _unfit(layer: Layer, *, shrinks: bool) -> str:
    """Whether the detail zoom or the cube's depth no longer suits the data, as SQL."""
    if layer.overview.detail_zoom is not None:
        return _cube_too_large(layer)
    fuller = f"(fullest > {TOO_FULL} AND detail < {_deepest_detail(layer)})"
    if has_cube(layer):
        fuller += f" OR ({_cube_too_large(layer)})"
    if not shrinks:
        return fuller
    emptier = (
        f"(touched > {SHRINK_ROWS} AND detail > 0 AND NOT EXISTS ("
        f"SELECT FROM {cells(layer).table} o"
        f" WHERE o.depth = detail - 1 AND o.n > {FULL_TILE // 2}))"
    )
    return f"{fuller} OR {emptier}"


def _cube_too_large(layer: Layer) -> str:
    """Whether the cube has a quarter more rows than it may have, as SQL."""
    if not has_cube(layer):
        return "false"
    total = f"(SELECT sum(o.n) FROM {cells(layer).table} o WHERE o.depth = 0)"
    return f"cubed > {SMALL_CUBE} AND cubed > {total} * {CUBE_SHARE * 1.25}"


def _deepest_detail(layer: Layer) -> int:
    """A layer's last zoom holds features: clients stretch it over all that lie beyond."""
    return min(DEEPEST_DETAIL, layer.maxzoom)


def _add(layer: Layer, kept: Kept, points: str) -> str:
    """One statement adds what changed to every level; a cell that is empty then goes."""
    top = kept.deepest
    levels = [f"l{top} AS ({_finest(layer, kept)})"]
    levels += [f"l{k} AS ({_coarser(kept, f'l{k + 1}')})" for k in range(top - 1, -1, -1)]
    union = " UNION ALL ".join(f"SELECT {k} AS depth, * FROM l{k}" for k in range(top, -1, -1))
    names = ", ".join(kept.columns)
    keyed = ", ".join(("depth", "cell", *kept.keys))
    sets = ", ".join(f"{name} = o.{name} + excluded.{name}" for name in kept.sums)
    changes = " OR ".join(f"{name} <> 0" for name in (*kept.sums, "fx"))
    found = [("gone", "array_agg(place) FILTER (WHERE n = 0)")]
    if kept.keys:
        found.append(("cubed", "count(*) FILTER (WHERE born) - count(*) FILTER (WHERE n = 0)"))
    else:
        found += [("fullest", "max(n) FILTER (WHERE depth = detail)"), ("least_n", "min(n)")]
    return f"""
        WITH {_named(points)},
        {", ".join(levels)},
        written AS (
            INSERT INTO {kept.table} AS o ({names})
            SELECT {names} FROM ({union}) level
            WHERE depth <= {_levels_kept(kept)} AND ({changes})
            ON CONFLICT ({keyed}) DO UPDATE SET {sets}, fx = o.fx # excluded.fx
            RETURNING o.depth, o.n, o.ctid AS place, o.xmax = 0 AS born
        )
        SELECT {", ".join(value for _, value in found)}
        INTO {", ".join(name for name, _ in found)} FROM written;
        IF gone IS NOT NULL THEN
            DELETE FROM {kept.table} WHERE ctid = ANY (gone);
        END IF;{_count_rows(layer) if kept.keys else ""}"""


def _count_rows(layer: Layer) -> str:
    return f"""
        UPDATE quartier.layer_state s SET cube_rows = s.cube_rows + cubed
        WHERE s.layer_id = {literal(layer.id)} RETURNING s.cube_rows INTO cubed;"""


def _levels_kept(kept: Kept) -> str:
    return "deepest" if kept.keys else f"least({GRID_DEPTH}, detail + {TILE_DEPTH - 1})"


def declarations(layer: Layer) -> str:
    """The variables that `maintain` needs."""
    if not has_cells(layer):
        return ""
    return """
    detail int;
    deepest int;
    fullest bigint;
    least_n bigint;
    cubed bigint := 0;
    gone tid[];"""


def forget_all(layer: Layer) -> str:
    """plpgsql for a TRUNCATE: rows go, so that whoever reads an older snapshot keeps them."""
    gone = "".join(f"\n    DELETE FROM {table};" for table in tables_of(layer))
    if not gone:
        return ""
    detail = min(layer.overview.detail_zoom or 0, _deepest_detail(layer))
    depth = min(CUBE_DEPTH, detail + TILE_DEPTH - 1) if has_cube(layer) else -1
    return f"""{gone}
    UPDATE quartier.layer_state
    SET detail_zoom = {detail}, cube_depth = {depth}, cube_rows = 0
    WHERE layer_id = {literal(layer.id)};"""


# Counting anew -----------------------------------------------------------------------------------


def rebuild_statements(layer: Layer) -> list[str]:
    """DDL of `quartier."<id>__overview"(choose)`: counts everything anew from the layer's table.

    It keeps in `layer_state` the detail zoom and how deep the cube goes, and chooses both anew if
    it is told to.
    """
    if not has_cells(layer):
        return []
    name = f"quartier.{ident(f'{layer.id}__overview')}"
    body = _rebuild_cells(layer, cells(layer))
    body += _rebuild_cube(layer, cube(layer)) if has_cube(layer) else "\n    deepest := -1;"
    return [f"""
CREATE OR REPLACE FUNCTION {name}(choose boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, @postgis@, pg_temp
SET work_mem = '256MB' AS $body$
DECLARE
    detail int;
    deepest int;
    counted bigint := 0;
    total bigint;
BEGIN
    SELECT s.detail_zoom, s.cube_depth INTO detail, deepest
    FROM quartier.layer_state s WHERE s.layer_id = {literal(layer.id)};{body}
    UPDATE quartier.layer_state
    SET detail_zoom = detail, cube_depth = deepest, cube_rows = counted
    WHERE layer_id = {literal(layer.id)}
      AND (detail_zoom, cube_depth, cube_rows) IS DISTINCT FROM (detail, deepest, counted);
END $body$""",
        f"REVOKE ALL ON FUNCTION {name}(boolean) FROM PUBLIC",
    ]  # fmt: skip


def _all_points(layer: Layer) -> str:
    return (
        f"SELECT {_point(layer, 't', 1)} FROM {CITY}.{ident(layer.id)} t WHERE t.cell IS NOT NULL"
    )


def _fill(layer: Layer, kept: Kept) -> str:
    """The deepest level from the table, each other from the one below it, in the order of the
    key, so that the rows of a tile lie side by side.
    """
    names = ", ".join(kept.columns)
    ordered = ", ".join(("cell", *kept.keys) if not kept.keys else ("grp", "cell", "bucket"))
    finest = f"SELECT {kept.deepest} AS depth, * FROM ({_finest(layer, kept)}) l"
    return f"""
    DELETE FROM {kept.table};
    WITH {_named(_all_points(layer))}
    INSERT INTO {kept.table} ({names}) SELECT {names} FROM ({finest}) s ORDER BY {ordered};
    FOR k IN REVERSE {kept.deepest - 1}..0 LOOP
        INSERT INTO {kept.table} ({names})
        SELECT {names} FROM (
            SELECT k AS depth, * FROM (
                {_coarser(kept, f"{kept.table} f WHERE f.depth = k + 1")}) l
        ) s ORDER BY {ordered};
    END LOOP;
    ANALYZE {kept.table};"""


def _rebuild_cells(layer: Layer, kept: Kept) -> str:
    deepest = _deepest_detail(layer)
    if layer.overview.detail_zoom is not None:
        chosen = f"detail := {min(layer.overview.detail_zoom, deepest)};"
    else:
        chosen = f"""
    SELECT coalesce(min(z), {deepest}) INTO detail FROM generate_series(0, {deepest}) z
    WHERE NOT EXISTS (SELECT FROM {kept.table} o WHERE o.depth = z AND o.n > {FULL_TILE});"""
    return f"""{_fill(layer, kept)}
    IF choose THEN
        {chosen.strip()}
    END IF;
    DELETE FROM {kept.table} WHERE depth > {_levels_kept(kept)};"""


def _rebuild_cube(layer: Layer, kept: Kept) -> str:
    """As deep as its rows stay under their share, and no deeper than what overviews answer."""
    return f"""{_fill(layer, kept)}
    SELECT coalesce(sum(n), 0) INTO total FROM {cells(layer).table} WHERE depth = 0;
    IF choose THEN
        deepest := -1;
        FOR k IN 0..least({CUBE_DEPTH}, detail + {TILE_DEPTH - 1}) LOOP
            counted := counted + (SELECT count(*) FROM {kept.table} WHERE depth = k);
            EXIT WHEN counted > greatest({SMALL_CUBE}, total * {CUBE_SHARE});
            deepest := k;
        END LOOP;
    END IF;
    DELETE FROM {kept.table} WHERE depth > deepest;
    SELECT count(*) INTO counted FROM {kept.table};"""


def count_anew(layer: Layer) -> list[tuple[str, dict[str, str]]]:
    """Bound statements that count a layer anew; the caller says what that touched."""
    if not has_cells(layer):
        return []
    return [(f"SELECT quartier.{ident(f'{layer.id}__overview')}(true)", {})]
