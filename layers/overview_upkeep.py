"""How the triggers of a layer of points keep its overview true, as plpgsql text."""

from __future__ import annotations

from layers.model import Layer
from layers.overviews import (
    CUBE_SHARE,
    FULL_TILE,
    SMALL_CUBE,
    TOO_FULL,
    Kept,
    cells,
    coarser,
    counted,
    counted_at_all_depths,
    counted_columns,
    cube_depth,
    deepest_detail,
    has_cells,
    has_cube,
    kept_of,
    levels_kept,
    point,
    tables_of,
)
from layers.plans import ANY_PLAN, ROWS_TO_INDEX, ROWS_TO_ROWS
from layers.sql import ident, literal

REBUILT_ROWS = 100_000  # that a statement changes; beyond, counting anew is quicker
SHRINK_ROWS = 1_000  # that a statement deletes before the detail zoom is thought over
FEW_ROWS = 32  # that are added to all levels at once


def changed_points(layer: Layer, *, inserted: bool, deleted: bool) -> str:
    """plpgsql that puts what a statement did to the counts into `points`, from its transition
    tables `new_rows` and `old_rows`; null where it did nothing.
    """
    if inserted and deleted:
        since = f"current_setting({literal('quartier.since_' + layer.id)})::bigint"
        differs = " OR ".join(
            f"n.{ident(name)} IS DISTINCT FROM o.{ident(name)}" for name in counted_columns(layer)
        )
        row = "(v.w, v.cell, v.x, v.y, v.fid, v.grp, v.bucket)"
        return f"""{ROWS_TO_ROWS}
            SELECT array_agg({row}::quartier.weighted_point) INTO points
            FROM old_rows o JOIN new_rows n ON n.fid = o.fid AND n.since = {since}
                AND ({differs}),
            LATERAL (VALUES ({point(layer, "o", -1)}), ({point(layer, "n", 1)}))
                v(w, cell, x, y, fid, grp, bucket)
            WHERE v.cell IS NOT NULL;{ANY_PLAN}"""
    rows, weight = ("new_rows", 1) if inserted else ("old_rows", -1)
    return f"""
            SELECT array_agg(({point(layer, "r", weight)})::quartier.weighted_point) INTO points
            FROM {rows} r WHERE r.cell IS NOT NULL;"""


def maintain(layer: Layer, points: str, *, shrinks: bool = False) -> str:
    """plpgsql that brings the overview from before a statement to after it.

    It expects the variables `touched` and `current`. A great many rows are counted anew; so is
    everything where the detail zoom no longer suits the data.
    """
    if not has_cells(layer):
        return ""
    added = "".join(_add(layer, kept) for kept in kept_of(layer))
    rebuilt = literal(f"quartier.rebuilt_{layer.id}")
    return f"""
    -- A count anew holds what the statement's other triggers have still to tell: after one, they
    -- count anew as well instead of adding it once more.
    IF touched > {REBUILT_ROWS} OR current_setting({rebuilt}, true) = 'yes' THEN
        PERFORM quartier.rebuild_overview({literal(layer.id)}, current);
    ELSE{points}
        IF points IS NOT NULL THEN
            SELECT s.detail_zoom, s.cube_depth INTO detail, deepest
            FROM quartier.layer_state s WHERE s.layer_id = {literal(layer.id)};
{ROWS_TO_INDEX}{added}{ANY_PLAN}
        END IF;
        -- Triggers of a row may tell what came after before what came first: then only the last
        -- of them makes the sums whole.
        IF least_n < 0 AND pg_trigger_depth() = 1 OR {_unfit(layer, shrinks=shrinks)} THEN
            PERFORM quartier.rebuild_overview({literal(layer.id)}, current);
        END IF;
    END IF;"""


def _unfit(layer: Layer, *, shrinks: bool) -> str:
    """Whether the detail zoom or the cube's depth no longer suits the data, as SQL."""
    if layer.overview.detail_zoom is not None:
        return _cube_too_large(layer)
    fuller = f"(fullest > {TOO_FULL} AND detail < {deepest_detail(layer)})"
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


def _add(layer: Layer, kept: Kept) -> str:
    """What changed is added to every level."""
    few = counted_at_all_depths(layer, kept, "unnest(points)")
    return f"""
            IF touched <= {FEW_ROWS} THEN
                {_write(kept, "", few)}
            ELSE
                {_write(kept, *_level_by_level(layer, kept))}
            END IF;{_count_rows(layer) if kept.keys else ""}"""


def _level_by_level(layer: Layer, kept: Kept) -> tuple[str, str]:
    """Each level from the one below it: common table expressions, and a SELECT of them all."""
    levels = [f"l{kept.deepest} AS ({counted(layer, kept, 'unnest(points)')})"]
    levels += [f"l{k} AS ({coarser(kept, f'l{k + kept.step}')})" for k in kept.depths[1:]]
    union = " UNION ALL ".join(f"SELECT {k} AS depth, * FROM l{k}" for k in kept.depths)
    return f"{', '.join(levels)},", union


def _write(kept: Kept, levels: str, everything: str) -> str:
    """Each cell is looked up once; its row is then changed, deleted or made by its place in the
    table. The layer's lock is ours, so nobody moves it meanwhile: ON CONFLICT, which locks each
    row before it changes it, takes half as long again.
    """
    table, names = kept.table, ", ".join(kept.columns)
    same = " AND ".join(f"o.{name} = l.{name}" for name in kept.key)
    sets = ", ".join(f"{name} = o.{name} {_plus(name)} met.{name}" for name in kept.sums)
    changes = " OR ".join(f"{name} <> 0" for name in kept.sums)
    empty = " AND ".join(f"o.{name} {_plus(name)} l.{name} = 0" for name in kept.sums)
    found = {
        "fullest": "max(after) FILTER (WHERE depth = detail)",
        # A cell that should be there and is not tells that the counts cannot be trusted.
        "least_n": "min(CASE WHEN after > 0 OR empty THEN after ELSE -1 END)",
    }
    if kept.keys:
        born, gone = "count(*) FILTER (WHERE place IS NULL)", "count(*) FILTER (WHERE empty)"
        found = {"cubed": f"{born} - {gone}"}
    return f"""WITH {levels} level AS (
                    SELECT * FROM ({everything}) l
                    WHERE depth <= {levels_kept(kept)} AND ({changes})
                    ORDER BY {", ".join(kept.key)}
                ), met AS MATERIALIZED (
                    SELECT l.*, o.ctid AS place, coalesce(o.n, 0) + l.n AS after,
                           coalesce({empty}, false) AS empty
                    FROM level l LEFT JOIN {table} o ON {same}
                ), gone AS (
                    DELETE FROM {table} o USING met WHERE o.ctid = met.place AND met.empty
                ), kept AS (
                    UPDATE {table} o SET {sets}
                    FROM met WHERE o.ctid = met.place AND NOT met.empty
                ), born AS (
                    INSERT INTO {table} ({names}) SELECT {names} FROM met WHERE place IS NULL
                )
                SELECT {", ".join(found.values())} INTO {", ".join(found)} FROM met;"""


def _plus(name: str) -> str:
    return "#" if name == "fx" else "+"


def _count_rows(layer: Layer) -> str:
    return f"""
        UPDATE quartier.layer_state s SET cube_rows = s.cube_rows + cubed
        WHERE s.layer_id = {literal(layer.id)} RETURNING s.cube_rows INTO cubed;"""


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
    points quartier.weighted_point[];"""


def forget_all(layer: Layer) -> str:
    """plpgsql for a TRUNCATE: rows go, so that whoever reads an older snapshot keeps them."""
    gone = "".join(f"\n    DELETE FROM {table};" for table in tables_of(layer))
    if not gone:
        return ""
    detail = min(layer.overview.detail_zoom or 0, deepest_detail(layer))
    depth = cube_depth(detail) if has_cube(layer) else -1
    return f"""{gone}
    UPDATE quartier.layer_state
    SET detail_zoom = {detail}, cube_depth = {depth}, cube_rows = 0
    WHERE layer_id = {literal(layer.id)};"""
