"""Where an exact row stands: its policy, its area and its cell, as SQL text.

Areas and anchors are copies of other layers' shapes, as they were when the policy was made. For one
row they are looked up by a trigger, for a great many in one statement, by the cells that lie in
one area whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from layers.model import Layer
from layers.plans import ANY_PLAN_AT_FIRST
from layers.privacy import Areas, Location
from layers.privacy_rows import (
    AREA,
    BASE,
    CLASS,
    FINEST,
    POLICY,
    by_policy,
    one_of,
    part,
    privacy_of,
)
from layers.sql import body_tag, ident, literal
from layers.tables import CITY, RAW

DIGITS = 1e-6  # degrees that published places are rounded to
NO_CELL = 0  # of a row whose policy asks for its area alone
BLOCK = (
    17  # the level of the cells that areas are looked up for together, 300 m wide at the equator
)
SAME = 1 - 1e-9  # the share of a cell that an area must cover to hold all of it


def function(layer: Layer, name: str) -> str:
    return f"quartier.{ident(f'{layer.id}__{name}')}"


def function_ddl(  # noqa: PLR0913
    layer: Layer,
    name: str,
    returns: str,
    body: str,
    *,
    arguments: str = "",
    declares: str = "",
    ends: str = "",
) -> str:
    tag = body_tag(body)
    called = f"{function(layer, name)}({arguments})"
    own = ""
    if returns == "trigger":
        own = f"""
    IF TG_TABLE_SCHEMA <> '{RAW}' OR TG_TABLE_NAME <> {literal(layer.id)} THEN
        RAISE EXCEPTION 'this function serves {RAW}.{layer.id} alone';
    END IF;"""
    return f"""
CREATE OR REPLACE FUNCTION {called} RETURNS {returns}
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, @postgis@, pg_temp
SET plan_cache_mode = force_custom_plan
{ANY_PLAN_AT_FIRST} AS {tag}
DECLARE
    "#touched" bigint;
    "#current" bigint;
    "#wanted" bigint[];
    "#tops" bigint[];{declares}
BEGIN{own}{body}
    {ends}
END {tag};
REVOKE ALL ON FUNCTION {called} FROM PUBLIC"""


@dataclass(frozen=True, slots=True)
class Border:
    """What is taken of another layer and kept: the layer, the table, and how, in place of older."""

    source: str
    table: str
    statements: tuple[str, ...]


def borders_of(layer: Layer) -> list[Border]:
    """The areas of a layer's privacy and then its anchors, which are told their area."""
    privacy, found = privacy_of(layer), []
    if privacy.areas is not None:
        found.append(_areas(layer, privacy.areas))
    if privacy.anchors is not None:
        found.append(_anchors(layer, privacy.anchors))
    return found


def _areas(layer: Layer, areas: Areas) -> Border:
    table, code = part(layer, "areas"), ident(areas.code)
    statements = (
        f"DELETE FROM {table}",
        f"INSERT INTO {table} (code, geom) SELECT {code}::text, ST_Subdivide("
        f"ST_CollectionExtract(ST_MakeValid(geom), 3), 128) FROM {CITY}.{ident(areas.layer)}"
        f" WHERE geom IS NOT NULL AND {code} IS NOT NULL",
        f"ANALYZE {table}",
    )
    return Border(areas.layer, table, statements)


def _anchors(layer: Layer, source: str) -> Border:
    table = part(layer, "anchors")
    statements = (
        f"DELETE FROM {table}",
        f"""
            INSERT INTO {table} (n, area, geom)
            SELECT row_number() OVER (ORDER BY ST_AsBinary(a.geom)), {_area_at(layer, "a.geom")},
                   a.geom
            FROM (
                SELECT DISTINCT ST_SnapToGrid(CASE ST_Dimension(d.geom) WHEN 0 THEN d.geom
                                              ELSE ST_LineInterpolatePoint(d.geom, 0.5) END,
                                              {DIGITS}) AS geom
                FROM {CITY}.{ident(source)} s, ST_Dump(s.geom) d
            ) a""",
        f"ANALYZE {table}",
    )
    return Border(source, table, statements)


def _area_at(layer: Layer, place: str) -> str:
    if privacy_of(layer).areas is None:
        return "NULL::text"
    return (
        f"(SELECT b.code FROM {part(layer, 'areas')} b WHERE ST_Intersects(b.geom, {place})"
        ' ORDER BY b.code COLLATE "C" LIMIT 1)'
    )


# The place of a row among policies, areas and cells -----------------------------------------------


def _number(value: str | int | bool) -> str:
    return literal(str(value).lower() if isinstance(value, bool) else str(value))


def _policy_number(layer: Layer, row: str) -> str:
    """Which policy holds for a row: the last one for what no other names, null included."""
    privacy = privacy_of(layer)
    if not privacy.policies:
        return "0"
    named = " ".join(
        f"WHEN {_number(value)} THEN {n}"
        for n, policy in enumerate(privacy.policies)
        for value in policy.values
    )
    by = f"{row}.{ident(str(privacy.by))}::text"
    return f"CASE {by} {named} ELSE {len(privacy.policies)} END"


def borders_function(layer: Layer) -> str:
    """Take areas and anchors where there are none yet, and stop where there is nothing to take."""
    body = ""
    for border in borders_of(layer):
        body += f"""
    IF NOT EXISTS (SELECT FROM {border.table}) THEN
        {";".join(border.statements)};
        IF NOT EXISTS (SELECT FROM {border.table}) THEN
            RAISE EXCEPTION 'layer {layer.id}: its privacy needs layer {border.source},'
                ' which is empty yet'
                USING HINT = 'load {border.source} first';
        END IF;
    END IF;"""
    return function_ddl(layer, "borders", "trigger", body, ends="RETURN NULL;")


def _finest(layer: Layer, row: str) -> str:
    """The finest level that a row is counted at, by its policy; null where it is not counted."""
    privacy, number = privacy_of(layer), f"{row}.{POLICY}"
    metres = by_policy(layer, lambda p: p.cell_m, number)
    grid, area = privacy.numbers(Location.GRID), privacy.numbers(Location.AREA)
    return (
        f"CASE WHEN {row}.geom IS NULL THEN NULL WHEN {one_of(grid, number)}"
        f" THEN quartier.finest_level(ST_Y({row}.geom), {metres})"
        f" WHEN {one_of(area, number)} AND {row}.{AREA} IS NOT NULL THEN 0 END::smallint"
    )


def _class(layer: Layer, row: str) -> str:
    """What the public can tell rows of one policy apart by: their class, unless it is hidden."""
    by = privacy_of(layer).by
    if by is None:
        return "''"
    shown = f"coalesce({row}.{ident(by)}::text, '')"
    return by_policy(layer, lambda p: "''" if by in p.hide else shown, f"{row}.{POLICY}")


def _base(layer: Layer, row: str, cell: str) -> str:
    grid = privacy_of(layer).numbers(Location.GRID)
    return (
        f"CASE WHEN {one_of(grid, f'{row}.{POLICY}')} THEN quartier.cell_at({cell}, {row}.{FINEST})"
        f" WHEN {row}.{FINEST} = 0 THEN {NO_CELL} END"
    )


def place_function(layer: Layer) -> str:
    body = f"\n    NEW.{POLICY} := {_policy_number(layer, 'NEW')};"
    if layer.has_geometry:
        body += f"""
    NEW.{AREA} := {_area_at(layer, "NEW.geom")};
    NEW.{CLASS} := {_class(layer, "NEW")};
    NEW.{FINEST} := {_finest(layer, "NEW")};
    NEW.{BASE} := {_base(layer, "NEW", "quartier.cell(NEW.geom)")};"""
    return function_ddl(layer, "place", "trigger", body, ends="RETURN NEW;")


def placed_rows(layer: Layer, rows: str) -> str:
    """A SELECT of all of `rows`, and what the trigger would say of each: a row's area is that of
    its block where one holds all of it.
    """
    if not layer.has_geometry:
        return f"SELECT r.*, {_policy_number(layer, 'r')}::smallint AS {POLICY} FROM {rows} r"
    block, area, known = f'quartier.cell_at(r."#cell", {BLOCK})', _area_at(layer, "r.geom"), ""
    if privacy_of(layer).areas is not None:
        area = f"coalesce(k.code, {area})"
        known = f"""
                LEFT JOIN (
                    SELECT b.block, min(a.code) AS code
                    FROM (SELECT DISTINCT {block} AS block FROM celled r) b,
                         LATERAL (SELECT quartier.cell_envelope(b.block, {BLOCK}) AS it OFFSET 0) e
                         JOIN {part(layer, "areas")} a ON ST_Intersects(a.geom, e.it)
                    GROUP BY b.block, e.it
                    HAVING count(DISTINCT a.code) = 1 AND ST_Area(ST_Union(
                        ST_Intersection(a.geom, e.it))) >= ST_Area(e.it) * {SAME}
                ) k ON k.block = {block}"""
    return f"""
        WITH celled AS MATERIALIZED (SELECT r.*, quartier.cell(r.geom) AS "#cell" FROM {rows} r)
        SELECT r.*, {_base(layer, "r", 'r."#cell"')} AS {BASE} FROM (
            SELECT r.*, {_finest(layer, "r")} AS {FINEST}, {_class(layer, "r")} AS {CLASS} FROM (
                SELECT r.*, {_policy_number(layer, "r")}::smallint AS {POLICY}, {area} AS {AREA}
                FROM celled r{known}
            ) r
        ) r"""
