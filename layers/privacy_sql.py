"""How published rows are derived from exact ones, as SQL text: tables, functions and triggers.

`city_raw.<id>` holds the exact rows, each with the number of its policy, its area and its cell;
`<id>__cells` how many rows stand in each cell and what is published of it; `<id>__areas` and
`<id>__anchors` the borders and the points to snap to, as they were when the policy was made.
"""

from __future__ import annotations

from collections.abc import Callable

from layers.model import Layer
from layers.plans import ANY_PLAN_AT_FIRST
from layers.privacy import MERGES, Location
from layers.privacy_rows import (
    AREA,
    BASE,
    FINEST,
    POLICY,
    by_policy,
    one_of,
    part,
    privacy_of,
    published_rows,
)
from layers.sql import body_tag, ident, literal
from layers.tables import CITY, RAW, content_names, past_table, rows_table

RAW_TRIGGERS = frozenset({
    "quartier_a_lock", "quartier_b_borders", "quartier_b_truncate", "quartier_inserted",
    "quartier_updated", "quartier_deleted", "zzy_quartier_place", "zzy_quartier_replace",
    "zzz_quartier_stamp_insert", "zzz_quartier_stamp_update",
})  # fmt: skip
GUARD = "quartier_0_derived"
_TOP = f"quartier.cell_at(base, greatest(finest - {MERGES}, 0))"
DIGITS = 1e-6  # degrees that published places are rounded to
NO_CELL = 0  # of a row whose policy asks for its area alone


def function(layer: Layer, name: str) -> str:
    return f"quartier.{ident(f'{layer.id}__{name}')}"


# Tables ------------------------------------------------------------------------------------------


def table_statements(layer: Layer) -> list[str]:
    """DDL of what lies beside the tables of exact rows and of their past."""
    if not layer.has_geometry:
        return [f"ALTER TABLE {rows_table(layer)} ADD COLUMN {POLICY} smallint"]
    raw, cells = rows_table(layer), part(layer, "cells")
    areas, anchors = part(layer, "areas"), part(layer, "anchors")
    return [
        f"ALTER TABLE {raw} ADD COLUMN {POLICY} smallint, ADD COLUMN {AREA} text,"
        f" ADD COLUMN {BASE} bigint, ADD COLUMN {FINEST} smallint",
        f"CREATE INDEX ON {raw} ({BASE}, {POLICY}) WHERE {BASE} IS NOT NULL",
        f"CREATE TABLE {cells} (policy smallint, area text, base bigint, finest smallint NOT NULL,"
        " top bigint NOT NULL, n bigint NOT NULL, level smallint, width integer,"
        " place @postgis@.geometry(Point, 4326), PRIMARY KEY (base, policy, area))",
        f"CREATE INDEX ON {cells} (top)",
        f"CREATE TABLE {areas} (code text NOT NULL,"
        " geom @postgis@.geometry(Geometry, 4326) NOT NULL)",
        f"CREATE INDEX ON {areas} USING gist (geom)",
        f"CREATE TABLE {anchors} (n bigint PRIMARY KEY, area text,"
        " geom @postgis@.geometry(Point, 4326) NOT NULL)",
        f"CREATE INDEX ON {anchors} USING gist (geom)",
    ]


def borders_of(layer: Layer) -> list[tuple[str, str]]:
    """The layers that areas and anchors are taken from, each with the table they are kept in."""
    privacy, found = privacy_of(layer), []
    if privacy.areas is not None:
        found.append((privacy.areas.layer, part(layer, "areas")))
    if privacy.anchors is not None:
        found.append((privacy.anchors, part(layer, "anchors")))
    return found


def border_statements(layer: Layer) -> list[str]:
    """Statements that take the areas and anchors as they are now, in place of older ones."""
    privacy, statements = privacy_of(layer), []
    areas, anchors = part(layer, "areas"), part(layer, "anchors")
    if privacy.areas is not None:
        source, code = f"{CITY}.{ident(privacy.areas.layer)}", ident(privacy.areas.code)
        statements += [
            f"DELETE FROM {areas}",
            f"INSERT INTO {areas} (code, geom) SELECT {code}::text, ST_Subdivide("
            f"ST_CollectionExtract(ST_MakeValid(geom), 3), 128) FROM {source}"
            f" WHERE geom IS NOT NULL AND {code} IS NOT NULL",
            f"ANALYZE {areas}",
        ]
    if privacy.anchors is not None:
        statements += [
            f"DELETE FROM {anchors}",
            f"""
            INSERT INTO {anchors} (n, area, geom)
            SELECT row_number() OVER (ORDER BY ST_AsBinary(a.geom)), {_area_at(layer, "a.geom")},
                   a.geom
            FROM (
                SELECT DISTINCT ST_SnapToGrid(CASE ST_Dimension(d.geom) WHEN 0 THEN d.geom
                                              ELSE ST_LineInterpolatePoint(d.geom, 0.5) END,
                                              {DIGITS}) AS geom
                FROM {CITY}.{ident(privacy.anchors)} s, ST_Dump(s.geom) d
            ) a""",
            f"ANALYZE {anchors}",
        ]
    return statements


def _area_at(layer: Layer, place: str) -> str:
    if privacy_of(layer).areas is None:
        return "NULL::text"
    return (
        f"(SELECT b.code FROM {part(layer, 'areas')} b WHERE ST_Intersects(b.geom, {place})"
        ' ORDER BY b.code COLLATE "C" LIMIT 1)'
    )


# Functions ---------------------------------------------------------------------------------------


def function_statements(layer: Layer) -> list[str]:
    """DDL of the functions and triggers; `@postgis@` stands for the schema of PostGIS."""
    made = [_place_function(layer), _derive_function(layer), _borders_function(layer)]
    made += [_settle_function(layer)] if layer.has_geometry else []
    for event, body in _EVENTS.items():
        made.append(_function(layer, f"raw_{event}", "trigger", body(layer), ends="RETURN NULL;"))
    return [*made, *_attached(layer)]


def _function(  # noqa: PLR0913
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


def _attached(layer: Layer) -> list[str]:
    raw, city = rows_table(layer), f"{CITY}.{ident(layer.id)}"
    key, each = literal(layer.id), "FOR EACH STATEMENT EXECUTE FUNCTION"
    stamp = f"current_setting({literal('quartier.since_' + layer.id)})::bigint"
    changed = (
        " OR ".join(
            f"NEW.{ident(c)} IS DISTINCT FROM OLD.{ident(c)}"
            for c in ["fid", *content_names(layer), "since"]
        )
        .replace('NEW."geom"', 'NEW."geom"::bytea')
        .replace('OLD."geom"', 'OLD."geom"::bytea')
    )
    deciding = [ident(privacy_of(layer).by or "fid"), *(['"geom"'] if layer.has_geometry else [])]
    moved = " OR ".join(f"NEW.{c}::text IS DISTINCT FROM OLD.{c}::text" for c in deciding)
    new, old = "REFERENCING NEW TABLE AS new_rows", "REFERENCING OLD TABLE AS old_rows"
    call = {event: f"{each} {function(layer, f'raw_{event}')}()" for event in _EVENTS}
    place = f"FOR EACH ROW %s EXECUTE FUNCTION {function(layer, 'place')}()"
    return [
        _trigger(GUARD, "BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE", city,
                 f"{each} quartier.only_derived({key})"),
        _trigger("quartier_a_lock", "BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE", raw,
                 f"{each} quartier.lock_layer({key})"),
        _trigger("quartier_b_borders", "BEFORE INSERT OR UPDATE", raw,
                 f"{each} {function(layer, 'borders')}()"),
        _trigger("quartier_b_truncate", "BEFORE TRUNCATE", raw, call["truncated"]),
        _trigger("zzy_quartier_place", "BEFORE INSERT", raw, place % ""),
        _trigger("zzy_quartier_replace", "BEFORE UPDATE", raw,
                 place % f"WHEN (NEW.{POLICY} IS NULL OR {moved})"),
        _trigger("zzz_quartier_stamp_insert", "BEFORE INSERT", raw,
                 f"FOR EACH ROW WHEN (NEW.since IS DISTINCT FROM {stamp})"
                 f" EXECUTE FUNCTION quartier.stamp_since({key})"),
        _trigger("zzz_quartier_stamp_update", "BEFORE UPDATE", raw,
                 f"FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION quartier.stamp_since({key})"),
        _trigger("quartier_inserted", "AFTER INSERT", raw, f"{new} {call['inserted']}"),
        _trigger("quartier_updated", "AFTER UPDATE", raw,
                 f"{old} NEW TABLE AS new_rows {call['updated']}"),
        _trigger("quartier_deleted", "AFTER DELETE", raw, f"{old} {call['deleted']}"),
    ]  # fmt: skip


def _trigger(name: str, when: str, table: str, rest: str) -> str:
    return f"CREATE OR REPLACE TRIGGER {ident(name)} {when} ON {table}\n    {rest}"


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


def _borders_function(layer: Layer) -> str:
    """Take areas and anchors where there are none yet, and stop where there is nothing to take."""
    body = ""
    for source, table in borders_of(layer):
        taken = ";".join(border_statements(layer))
        body += f"""
    IF NOT EXISTS (SELECT FROM {table}) THEN
        {taken};
        IF NOT EXISTS (SELECT FROM {table}) THEN
            RAISE EXCEPTION 'layer {layer.id}: its privacy needs layer {source}, which is empty yet'
                USING HINT = 'load {source} first';
        END IF;
    END IF;"""
    return _function(layer, "borders", "trigger", body, ends="RETURN NULL;")


def _place_function(layer: Layer) -> str:
    privacy = privacy_of(layer)
    body = f"\n    NEW.{POLICY} := {_policy_number(layer, 'NEW')};"
    if layer.has_geometry:
        counted = privacy.numbers(Location.GRID, Location.AREA)
        grid = privacy.numbers(Location.GRID)
        metres = by_policy(layer, lambda p: p.cell_m, f"NEW.{POLICY}")
        body += f"""
    NEW.{AREA} := {_area_at(layer, "NEW.geom")};
    NEW.{BASE} := NULL;
    NEW.{FINEST} := NULL;
    IF NEW.geom IS NOT NULL AND {one_of(counted, f"NEW.{POLICY}")} THEN
        NEW.{BASE} := {NO_CELL};
        NEW.{FINEST} := 0;
        IF {one_of(grid, f"NEW.{POLICY}")} THEN
            "#current" := quartier.cell(NEW.geom);
            NEW.{FINEST} := quartier.finest_level("#current", {metres});
            NEW.{BASE} := quartier.cell_at("#current", NEW.{FINEST});
        END IF;
    END IF;"""
    return _function(layer, "place", "trigger", body, ends="RETURN NEW;")


# How many rows stand in each cell, and which cell is published ------------------------------------


def _settle_function(layer: Layer) -> str:
    """Levels and places of the cells below the given ones (all, without); the fids of the rows
    whose published cell that changed.

    From the finest level up: a cell publishes the rows that no finer one did, if they are k.
    """
    cells, raw = part(layer, "cells"), rows_table(layer)
    fewest = by_policy(layer, lambda p: p.k, "c.policy")
    grid = one_of(privacy_of(layer).numbers(Location.GRID), "c.policy")
    steps = [
        f"w AS MATERIALIZED (SELECT c.*, {fewest} AS k FROM {cells} c"
        ' WHERE "#below" IS NULL OR c.top = ANY ("#below"))',
        "s0 AS (SELECT policy, area, base, finest, k, n, base AS spot, n AS held FROM w"
        " WHERE n > 0)",
    ]
    for up in range(1, MERGES + 1):
        spot = f"quartier.cell_at(base, finest - {up})"
        steps.append(
            f"s{up} AS (SELECT policy, area, base, finest, k, n, {spot} AS spot, sum(n) OVER"
            f" (PARTITION BY policy, area, finest, {spot}) AS held"
            f" FROM s{up - 1} WHERE held < k AND finest >= {up})"
        )
    told = " UNION ALL ".join(
        f"SELECT policy, area, base, spot, finest - {up} AS level FROM s{up} WHERE held >= k"
        for up in range(MERGES + 1)
    )
    within = f"""
                SELECT ST_PointOnSurface(ST_CollectionExtract(
                    ST_Union(ST_Intersection(b.geom, e.envelope)), 3))
                FROM {part(layer, "areas")} b
                WHERE b.code = c.area AND b.geom && e.envelope"""
    body = f"""
    WITH {", ".join(steps)}, told AS ({told}),
    changed AS MATERIALIZED (
        SELECT w.policy, w.area, w.base, t.level, t.spot
        FROM w LEFT JOIN told t USING (policy, area, base)
        WHERE w.level IS DISTINCT FROM t.level OR w.n <= 0
    ), published AS MATERIALIZED (
        SELECT c.area, c.spot, c.level, ST_SnapToGrid(coalesce(({within}),
                   ST_Centroid(e.envelope)), {DIGITS}) AS place,
               quartier.cell_width(c.spot, c.level)::int AS width
        FROM (SELECT DISTINCT area, spot, level FROM changed c
              WHERE level IS NOT NULL AND {grid}) c,
             LATERAL (SELECT quartier.cell_envelope(c.spot, c.level) AS envelope OFFSET 0) e
    ), noted AS (
        UPDATE {cells} c SET level = h.level, place = p.place, width = p.width
        FROM changed h LEFT JOIN published p
            ON p.area = h.area AND p.spot = h.spot AND p.level = h.level
            AND {grid.replace("c.", "h.")}
        WHERE c.policy = h.policy AND c.area = h.area AND c.base = h.base
    )
    SELECT array_agg(r.fid) INTO "#wanted" FROM changed h JOIN {raw} r
        ON r.{BASE} = h.base AND r.{POLICY} = h.policy AND coalesce(r.{AREA}, '') = h.area;
    DELETE FROM {cells} c WHERE c.n <= 0 AND ("#below" IS NULL OR c.top = ANY ("#below"));"""
    return _function(
        layer, "settle", "bigint[]", body, arguments='"#below" bigint[]', ends='RETURN "#wanted";'
    )


def _count(layer: Layer, *parts: tuple[str, int]) -> str:
    """plpgsql that brings the counts, and then levels, from before a statement to after it; the
    fids of rows published otherwise since are added to `wanted`.
    """
    privacy = privacy_of(layer)
    counted = privacy.numbers(Location.GRID, Location.AREA) if layer.has_geometry else []
    withheld = privacy.numbers(Location.WITHHOLD)
    text = ""
    if counted:
        rows = " UNION ALL ".join(
            f"SELECT {POLICY} AS policy, coalesce({AREA}, '') AS area, {BASE} AS base,"
            f" {FINEST} AS finest, {weight} AS w FROM {source} WHERE {BASE} IS NOT NULL"
            for source, weight in parts
        )
        text += f"""
    WITH counted AS (
        INSERT INTO {part(layer, "cells")} AS c (policy, area, base, finest, n, top)
        SELECT policy, area, base, finest, sum(w), {_TOP} FROM ({rows}) d GROUP BY 1, 2, 3, 4
        HAVING sum(w) <> 0
        ON CONFLICT (base, policy, area) DO UPDATE SET n = c.n + excluded.n
        RETURNING top
    )
    SELECT array_agg(DISTINCT top) INTO "#tops" FROM counted;
    IF "#tops" IS NOT NULL THEN
        "#wanted" := "#wanted" || {function(layer, "settle")}("#tops");
    END IF;"""
    if withheld:
        number = " + ".join(
            f"{weight} * (SELECT count(*) FROM {source} WHERE {one_of(withheld, POLICY)})"
            for source, weight in parts
        )
        text += f"""
    UPDATE quartier.privacy_state SET withheld = withheld + {number}
    WHERE layer_id = {literal(layer.id)};"""
    return text


def recount_statements(layer: Layer) -> list[str]:
    """Statements that place every row anew among the policies, count all, and derive all."""
    raw, privacy = rows_table(layer), privacy_of(layer)
    withheld = one_of(privacy.numbers(Location.WITHHOLD), POLICY)
    statements = [f"UPDATE {raw} SET {POLICY} = NULL", f"ANALYZE {raw}"]
    if layer.has_geometry:
        statements += [
            f"DELETE FROM {part(layer, 'cells')}",
            f"""
            INSERT INTO {part(layer, "cells")} (policy, area, base, finest, n, top)
            SELECT {POLICY}, coalesce({AREA}, ''), base, finest, count(*), {_TOP}
            FROM (SELECT {POLICY}, {AREA}, {BASE} AS base, {FINEST} AS finest FROM {raw}) r
            WHERE base IS NOT NULL GROUP BY 1, 2, 3, 4""",
            f"ANALYZE {part(layer, 'cells')}",
            f"SELECT {function(layer, 'settle')}(NULL)",
        ]
    return [
        *statements,
        f"UPDATE quartier.privacy_state SET derived_at = now(), withheld ="
        f" (SELECT count(*) FROM {raw} WHERE {withheld}) WHERE layer_id = {literal(layer.id)}",
        f"SELECT {function(layer, 'derive')}(NULL)",
    ]


def _inserted(layer: Layer) -> str:
    return _event(layer, "new_rows", ("new_rows", 1))


def _deleted(layer: Layer) -> str:
    return _event(layer, "old_rows", ("old_rows", -1), keeps="old_rows r")


def _updated(layer: Layer) -> str:
    since = f"current_setting({literal('quartier.since_' + layer.id)})::bigint"
    new = f"(SELECT * FROM new_rows WHERE since = {since}) n"
    old = f"(SELECT o.* FROM old_rows o JOIN new_rows n ON n.fid = o.fid AND n.since = {since}) r"
    return _event(layer, new, (new, 1), (old, -1), keeps=old)


def _truncated(layer: Layer) -> str:
    raw = rows_table(layer)
    gone = "" if not layer.has_geometry else f"\n    DELETE FROM {part(layer, 'cells')};"
    return f"""
    SELECT count(*) INTO "#touched" FROM {raw};
    IF "#touched" = 0 THEN
        RETURN NULL;
    END IF;
    "#current" := quartier.allocate_revision({literal(layer.id)}, 0, 0, 0);
    {_keep(layer, f"{raw} r")}{gone}
    UPDATE quartier.privacy_state SET withheld = 0 WHERE layer_id = {literal(layer.id)};
    PERFORM set_config('quartier.deriving', {literal(layer.id)}, true);
    DELETE FROM {CITY}.{ident(layer.id)};
    PERFORM set_config('quartier.deriving', '', true);"""


_EVENTS: dict[str, Callable[[Layer], str]] = {
    "inserted": _inserted,
    "updated": _updated,
    "deleted": _deleted,
    "truncated": _truncated,
}


def _event(layer: Layer, rows: str, *parts: tuple[str, int], keeps: str = "") -> str:
    kept = _keep(layer, keeps) if keeps else ""
    return f"""
    SELECT count(*), array_agg(fid) INTO "#touched", "#wanted" FROM {rows};
    IF "#touched" = 0 THEN
        RETURN NULL;
    END IF;
    "#current" := quartier.allocate_revision({literal(layer.id)}, 0, 0, 0);{kept}
    {_count(layer, *parts)}
    PERFORM {function(layer, "derive")}("#wanted");"""


def _keep(layer: Layer, rows: str) -> str:
    names = ["fid", *content_names(layer)]
    columns, values = ", ".join(map(ident, names)), ", ".join(f"r.{ident(n)}" for n in names)
    return f"""
    INSERT INTO {past_table(layer)} ({columns}, valid_from, valid_to)
        SELECT {values}, r.since, "#current" FROM {rows} WHERE r.since < "#current";"""


# What is published of a row -----------------------------------------------------------------------


def _derive_function(layer: Layer) -> str:
    """Published rows of these fids (all, without), made what their exact rows say."""
    city, shown = f"{CITY}.{ident(layer.id)}", layer.as_published()
    names = content_names(shown)
    quoted = [ident(name) for name in names]
    sets = ", ".join(f"{name} = excluded.{name}" for name in quoted)
    differs = (
        f"({', '.join(f'c.{n}' for n in quoted)})"
        f" IS DISTINCT FROM ({', '.join(f'excluded.{n}' for n in quoted)})"
    )
    kept = f"NOT {one_of(privacy_of(layer).numbers(Location.WITHHOLD), f'r.{POLICY}')}"
    of_these = '("#fids" IS NULL OR c.fid = ANY ("#fids"))'
    some_rows = f'(SELECT DISTINCT unnest("#fids") AS fid) w JOIN {rows_table(layer)} r USING (fid)'
    rows = f"{rows_table(layer)} r"
    begin = (
        f"PERFORM set_config('quartier.deriving', {literal(layer.id)}, true),"
        f" set_config({literal(f'quartier.rebuilt_{layer.id}')}, '', true);"
    )
    upsert = f"""
        INSERT INTO {city} AS c (fid, {", ".join(quoted)}) OVERRIDING SYSTEM VALUE
        {published_rows(layer, "{rows}", kept)}
        {"ORDER BY r.fid" if not layer.has_geometry else 'ORDER BY "geom", r.fid'}
        ON CONFLICT (fid) DO UPDATE SET {sets} WHERE {differs};"""
    body = f"""
    {begin}
    DELETE FROM {city} c WHERE {of_these}
        AND NOT EXISTS (SELECT FROM {rows} WHERE r.fid = c.fid AND {kept});
    {begin}
    "#secret" := (SELECT value FROM quartier.secrets WHERE name = 'privacy');
    IF "#fids" IS NULL THEN{upsert.replace("{rows}", rows)}
    ELSE{upsert.replace("{rows}", some_rows)}
    END IF;
    PERFORM set_config('quartier.deriving', '', true);"""
    return _function(
        layer,
        "derive",
        "void",
        body,
        arguments='"#fids" bigint[]',
        declares='\n    "#secret" bytea;',
    )


def definition(layer: Layer) -> str:
    """All that decides what is published of a row."""
    return repr([function_statements(layer), privacy_of(layer).signature])
