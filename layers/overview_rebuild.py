"""How an overview of points is counted anew, and its zooms chosen, as plpgsql text."""

from __future__ import annotations

from layers.model import Layer
from layers.overviews import (
    CUBE_DEPTH,
    CUBE_SHARE,
    FULL_TILE,
    SMALL_CUBE,
    TILE_DEPTH,
    Kept,
    cells,
    coarser,
    counted,
    cube,
    deepest_detail,
    has_cells,
    has_cube,
    levels_kept,
    point,
)
from layers.sql import body_tag, ident, literal
from layers.tables import CITY

POINTS = 'pg_temp."#points"'


def rebuild_statements(layer: Layer) -> list[str]:
    """DDL of `quartier."<id>__overview"(choose)`: counts everything anew from the layer's table.

    It keeps in `layer_state` the detail zoom and how deep the cube goes, and chooses both anew if
    it is told to.
    """
    if not has_cells(layer):
        return []
    name = f"quartier.{ident(f'{layer.id}__overview')}"
    body = _gather(layer) + _rebuild_cells(layer, cells(layer))
    body += _rebuild_cube(layer, cube(layer)) if has_cube(layer) else "\n    deepest := -1;"
    body += f"\n    DROP TABLE {POINTS};"
    tag = body_tag(body)
    return [f"""
CREATE OR REPLACE FUNCTION {name}(choose boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, @postgis@, pg_temp
SET work_mem = '256MB' SET enable_hashagg = off
SET max_parallel_workers_per_gather = 2 SET parallel_tuple_cost = 0.01 AS {tag}
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
END {tag}""",
        f"REVOKE ALL ON FUNCTION {name}(boolean) FROM PUBLIC",
    ]  # fmt: skip


def _gather(layer: Layer) -> str:
    """Every row as an overview counts it, once for all that is counted: what a row's group and
    time are costs more than counting it. Several processes share the work.
    """
    table = f"{CITY}.{ident(layer.id)} t"
    return f"""
    CREATE TEMP TABLE {POINTS} (w, cell, x, y, fid, grp, bucket) ON COMMIT DROP AS
        SELECT {point(layer, "t", 1)} FROM {table} WHERE t.cell IS NOT NULL;"""


def _fill(layer: Layer, kept: Kept) -> str:
    """The deepest level from the table, each other from the one below it, in the order of the
    key, so that the rows of a tile lie side by side.
    """
    names = ", ".join(kept.columns)
    finer = f"{kept.table} f WHERE f.depth = k + {kept.step}"
    deepest = counted(layer, kept, POINTS, ordered=True)
    return f"""
    DELETE FROM {kept.table};
    INSERT INTO {kept.table} ({names}) SELECT {names} FROM (
        SELECT {kept.deepest} AS depth, * FROM ({deepest}) l) s;
    FOR k IN REVERSE {kept.deepest - kept.step}..{kept.least_deep} BY {kept.step} LOOP
        INSERT INTO {kept.table} ({names}) SELECT {names} FROM (
            SELECT k AS depth, * FROM ({coarser(kept, finer, ordered=True)}) l) s;
    END LOOP;
    ANALYZE {kept.table};"""


def _rebuild_cells(layer: Layer, kept: Kept) -> str:
    deepest = deepest_detail(layer)
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
    DELETE FROM {kept.table} WHERE depth > {levels_kept(kept)};"""


def _rebuild_cube(layer: Layer, kept: Kept) -> str:
    """As deep as its rows stay under their share, and no deeper than what overviews answer."""
    return f"""{_fill(layer, kept)}
    SELECT coalesce(sum(n), 0) INTO total FROM {cells(layer).table} WHERE depth = 0;
    IF choose THEN
        deepest := -1;
        FOR k IN 0..least({CUBE_DEPTH}, detail + {TILE_DEPTH - 1}) BY {kept.step} LOOP
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
