"""How published rows are derived from exact ones, as SQL text: tables, functions and triggers.

`city_raw.<id>` holds the exact rows, each with the number of its policy, its area and its cell;
`<id>__cells` how many rows stand in each cell and what is published of it; `<id>__areas` and
`<id>__anchors` the borders and the points to snap to, as they were when the policy was made.
"""

from __future__ import annotations

from collections.abc import Callable

from layers.merge_sql import names_of, order_of, values_of
from layers.model import Layer
from layers.privacy import MERGES, Location
from layers.privacy_places import (
    DIGITS,
    borders_function,
    function,
    function_ddl,
    place_function,
    placed_rows,
)
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
    public_fid,
    published_rows,
)
from layers.sql import ident, literal
from layers.tables import CITY, HISTORY, RAW, content_names, past_table, rows_table

RAW_TRIGGERS = frozenset({
    "quartier_a_lock", "quartier_b_borders", "quartier_b_truncate", "quartier_inserted",
    "quartier_updated", "quartier_deleted", "zzy_quartier_place", "zzy_quartier_replace",
    "zzz_quartier_stamp_insert", "zzz_quartier_stamp_update",
})  # fmt: skip
GUARD = "quartier_0_derived"
_TOP = f"quartier.cell_at(base, greatest(finest - {MERGES}, 0))"


# Tables ------------------------------------------------------------------------------------------


def table_statements(layer: Layer) -> list[str]:
    """DDL of what lies beside the tables of exact rows and of their past."""
    if not layer.has_geometry:
        return [f"ALTER TABLE {rows_table(layer)} ADD COLUMN {POLICY} smallint"]
    raw, cells = rows_table(layer), part(layer, "cells")
    areas, anchors = part(layer, "areas"), part(layer, "anchors")
    return [
        f"ALTER TABLE {raw} ADD COLUMN {POLICY} smallint, ADD COLUMN {AREA} text,"
        f" ADD COLUMN {BASE} bigint, ADD COLUMN {FINEST} smallint, ADD COLUMN {CLASS} text",
        _base_index(layer),
        f"CREATE TABLE {cells} (policy smallint, class text, area text, base bigint,"
        " finest smallint NOT NULL,"
        " top bigint NOT NULL, n bigint NOT NULL, level smallint, width integer,"
        " place @postgis@.geometry(Point, 4326), PRIMARY KEY (base, policy, area, class))",
        f"CREATE INDEX ON {cells} (top)",
        f"CREATE TABLE {areas} (code text NOT NULL,"
        " geom @postgis@.geometry(Geometry, 4326) NOT NULL)",
        f"CREATE INDEX ON {areas} USING gist (geom)",
        f"CREATE TABLE {anchors} (n bigint PRIMARY KEY, area text,"
        " geom @postgis@.geometry(Point, 4326) NOT NULL)",
        f"CREATE INDEX ON {anchors} USING gist (geom)",
    ]


def _base_index(layer: Layer) -> str:
    name = ident(f"{layer.id}__base")
    raw = rows_table(layer)
    return f"CREATE INDEX {name} ON {raw} ({BASE}, {POLICY}) WHERE {BASE} IS NOT NULL"


# Functions ---------------------------------------------------------------------------------------


def function_statements(layer: Layer) -> list[str]:
    """DDL of the functions and triggers; `@postgis@` stands for the schema of PostGIS."""
    made = [place_function(layer), _derive_function(layer), borders_function(layer)]
    made += [_settle_function(layer)] if layer.has_geometry else []
    for event, body in _EVENTS.items():
        made.append(
            function_ddl(layer, f"raw_{event}", "trigger", body(layer), ends="RETURN NULL;")
        )
    return [*made, *_attached(layer)]


def _attached(layer: Layer) -> list[str]:
    raw = rows_table(layer)
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
        guard_statement(layer),
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


def other_triggers(layer: Layer) -> str:
    """Whether the table of exact rows has triggers of others, which a load must not pass by."""
    names = ", ".join(map(literal, sorted(RAW_TRIGGERS)))
    return (
        f"SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = {literal(rows_table(layer))}"
        f"::regclass AND NOT tgisinternal AND tgname NOT IN ({names}))"
    )


def guard_statement(layer: Layer) -> str:
    """DDL that keeps the published table from everything but its derivation."""
    call = f"FOR EACH STATEMENT EXECUTE FUNCTION quartier.only_derived({literal(layer.id)})"
    city = f"{CITY}.{ident(layer.id)}"
    return _trigger(GUARD, "BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE", city, call)


def _trigger(name: str, when: str, table: str, rest: str) -> str:
    return f"CREATE OR REPLACE TRIGGER {ident(name)} {when} ON {table}\n    {rest}"


# How many rows stand in each cell, and which cell is published ------------------------------------


def _settle_function(layer: Layer) -> str:
    """Levels and places of the cells below the given ones (all, without); the fids of the rows
    whose published cell that changed.

    From the finest level up, k rows or more of a class are published in their cell, unless those
    left over in the next wider cell would be fewer than k: then the smallest of its cells is held
    back, to be published together with them. So rows that were published together are not told
    apart by what comes later, but into groups of k or more. Areas are cells of one wider cell.
    """
    cells, raw = part(layer, "cells"), rows_table(layer)
    fewest = by_policy(layer, lambda p: p.k, "c.policy")
    grid = one_of(privacy_of(layer).numbers(Location.GRID), "c.policy")
    below = '("#below" IS NULL OR c.top = ANY ("#below"))'
    wanted = f"SELECT c.*, {fewest} AS k, {grid} AS is_grid FROM {cells} c WHERE {below}"
    steps = [
        f"w AS MATERIALIZED ({wanted})",
        "o0 AS (SELECT policy, class, area, base, finest, k, is_grid, n FROM w WHERE n > 0)",
    ]
    for up in range(MERGES + 1):
        steps += _step(up)
    told = " UNION ALL ".join(
        f"SELECT policy, class, area, base, spot, finest - {up} AS level FROM s{up} WHERE settled"
        for up in range(MERGES + 1)
    )
    body = f"""
    WITH {", ".join(steps)}, told AS ({told}),
    changed AS MATERIALIZED (
        SELECT w.policy, w.class, w.area, w.base, w.is_grid, t.level, t.spot
        FROM w LEFT JOIN told t USING (policy, class, area, base)
        WHERE w.level IS DISTINCT FROM t.level OR w.n <= 0
    ), published AS MATERIALIZED (
        {_places(layer)}
    ), noted AS (
        UPDATE {cells} c SET level = h.level, place = p.place, width = p.width
        FROM changed h LEFT JOIN published p
            ON p.policy = h.policy AND p.area = h.area AND p.spot = h.spot AND p.level = h.level
        WHERE c.policy = h.policy AND c.class = h.class AND c.area = h.area AND c.base = h.base
    )
    SELECT array_agg(r.fid) INTO "#wanted" FROM changed h JOIN {raw} r
        ON r.{BASE} = h.base AND r.{POLICY} = h.policy AND r.{CLASS} = h.class
        AND coalesce(r.{AREA}, '') = h.area;
    DELETE FROM {cells} c WHERE c.n <= 0 AND {below};"""
    return function_ddl(
        layer, "settle", "bigint[]", body, arguments='"#below" bigint[]', ends='RETURN "#wanted";'
    )


def _places(layer: Layer) -> str:
    """A SELECT of the place of each cell of `changed` that is published, and of how wide it is: a
    point of what the cell and its area share, and none where that is less than a quarter of a cell.
    """
    least_m2 = by_policy(layer, lambda p: p.cell_m**2 / 4, "c.policy")
    within = f"""
                SELECT ST_CollectionExtract(ST_Union(ST_Intersection(b.geom, e.envelope)), 3)
                FROM {part(layer, "areas")} b
                WHERE b.code = c.area AND b.geom && e.envelope"""
    return f"""SELECT c.policy, c.area, c.spot, c.level, sqrt(z.size)::int AS width,
               CASE WHEN z.size >= {least_m2} THEN
                   ST_SnapToGrid(ST_PointOnSurface(i.inside), {DIGITS}) END AS place
        FROM (SELECT DISTINCT policy, area, spot, level FROM changed c
              WHERE level IS NOT NULL AND is_grid) c,
             LATERAL (SELECT quartier.cell_envelope(c.spot, c.level) AS envelope OFFSET 0) e,
             LATERAL (SELECT CASE WHEN c.area = '' THEN e.envelope ELSE ({within}) END AS inside
                      OFFSET 0) i,
             LATERAL (SELECT coalesce(ST_Area(i.inside::geography), 0) AS size OFFSET 0) z"""


def _step(up: int) -> list[str]:
    """CTEs of one level: h, how many rows each cell holds that no finer one published; m, which of
    the cells that hold k is the smallest in the next wider one, and how many rows the others there
    hold; s, which cells are settled; and o, the rows that are left for the next level.
    """
    spot = f"quartier.cell_at(base, finest - {up})"
    wider = f"quartier.cell_at(base, finest - {up + 1})"
    group = "policy, class, finest, CASE WHEN is_grid THEN area END, wider"
    is_last = "true" if up == MERGES else f"is_grid AND finest = {up}"
    return [
        f"h{up} AS (SELECT *, {spot} AS spot,"
        f" CASE WHEN is_grid AND finest > {up} THEN {wider} END AS wider,"
        f" sum(n) OVER (PARTITION BY policy, class, area, finest, {spot}) AS held"
        f" FROM o{up} WHERE finest >= {up})",
        f"m{up} AS (SELECT *,"
        f" coalesce(sum(n) FILTER (WHERE held < k) OVER (PARTITION BY {group}), 0) AS few,"
        f" first_value((spot, area)) OVER (PARTITION BY {group}"
        f" ORDER BY (held >= k) DESC, held, spot, area) AS smallest FROM h{up})",
        f"s{up} AS (SELECT *, held >= k AND ({is_last} OR few = 0 OR few >= k"
        f" OR (spot, area) <> smallest) AS settled FROM m{up})",
        f"o{up + 1} AS (SELECT policy, class, area, base, finest, k, is_grid, n FROM s{up}"
        " WHERE NOT settled AND is_grid)",
    ]


def _count(layer: Layer, *parts: tuple[str, int]) -> str:
    """plpgsql that brings the counts, and then levels, from before a statement to after it; the
    fids of rows published otherwise since are added to "#wanted".
    """
    privacy = privacy_of(layer)
    counted = privacy.numbers(Location.GRID, Location.AREA) if layer.has_geometry else []
    withheld = privacy.numbers(Location.WITHHOLD)
    text = ""
    if counted:
        rows = " UNION ALL ".join(
            f"SELECT {POLICY} AS policy, {CLASS} AS class, coalesce({AREA}, '') AS area,"
            f" {BASE} AS base, {FINEST} AS finest, {weight} AS w FROM {source}"
            f" WHERE {BASE} IS NOT NULL"
            for source, weight in parts
        )
        text += f"""
    WITH counted AS (
        INSERT INTO {part(layer, "cells")} AS c (policy, class, area, base, finest, n, top)
        SELECT policy, class, area, base, finest, sum(w), {_TOP} FROM ({rows}) d
        GROUP BY 1, 2, 3, 4, 5 HAVING sum(w) <> 0
        ON CONFLICT (base, policy, area, class) DO UPDATE SET n = c.n + excluded.n
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


def count_statements(layer: Layer) -> list[str]:
    """Statements that count all exact rows anew, and settle what is published of each cell."""
    raw, privacy = rows_table(layer), privacy_of(layer)
    withheld = one_of(privacy.numbers(Location.WITHHOLD), POLICY)
    counted = [
        f"ANALYZE {raw}",
        f"UPDATE quartier.privacy_state SET derived_at = now(), withheld ="
        f" (SELECT count(*) FROM {raw} WHERE {withheld}) WHERE layer_id = {literal(layer.id)}",
    ]
    if not layer.has_geometry:
        return counted
    cells = part(layer, "cells")
    return [
        *counted,
        f"DELETE FROM {cells}",
        f"""
        INSERT INTO {cells} (policy, class, area, base, finest, n, top)
        SELECT {POLICY}, {CLASS}, coalesce({AREA}, ''), base, finest, count(*), {_TOP}
        FROM (SELECT {POLICY}, {CLASS}, {AREA}, {BASE} AS base, {FINEST} AS finest FROM {raw}) r
        WHERE base IS NOT NULL GROUP BY 1, 2, 3, 4, 5""",
        f"ANALYZE {cells}",
        f"SELECT {function(layer, 'settle')}(NULL)",
    ]


def recount_statements(layer: Layer) -> list[str]:
    """Statements that place every row anew among the policies, count all, and derive all."""
    raw = rows_table(layer)
    names = [POLICY, AREA, CLASS, FINEST, BASE] if layer.has_geometry else [POLICY]
    bare = ", ".join(ident(name) for name in ("fid", *content_names(layer)))
    sets = ", ".join(f"{name} = p.{name}" for name in names)
    placed = placed_rows(layer, f"(SELECT {bare} FROM {raw})")
    return [
        *without_triggers(raw, f"UPDATE {raw} t SET {sets} FROM ({placed}) p WHERE p.fid = t.fid"),
        *count_statements(layer),
        f"SELECT {function(layer, 'derive')}(NULL)",
    ]


def without_triggers(table: str, statement: str) -> list[str]:
    """A statement on a table of exact rows that none of our triggers hears of; its lock is held."""
    off, on = (
        [f"ALTER TABLE {table} {switch} TRIGGER {ident(name)}" for name in sorted(RAW_TRIGGERS)]
        for switch in ("DISABLE", "ENABLE")
    )
    return [*off, statement, *on]


def fill_statements(layer: Layer, stage: str, since: int) -> list[str]:
    """Statements that fill the empty table of exact rows from a stage, and count them. They wait
    for nobody who reads it.
    """
    raw = rows_table(layer)
    places = [POLICY, AREA, CLASS, FINEST, BASE] if layer.has_geometry else [POLICY]
    names = ", ".join(["source_key", *names_of(layer), *places, "since"])
    values = ", ".join(
        ["p.source_key", *values_of(layer, "p"), *(f"p.{name}" for name in places), str(since)]
    )
    filled = (
        f"INSERT INTO {raw} ({names}) SELECT {values} FROM ({placed_rows(layer, stage)}) p"
        f" ORDER BY {order_of(layer, 'p')}"
    )
    rules = {"pkey": "PRIMARY KEY (fid)", "source_key_key": "UNIQUE (source_key)"}
    named = {ident(f"{layer.id}_{suffix}"): rule for suffix, rule in rules.items()}
    base = [_base_index(layer)] if layer.has_geometry else []
    return [  # indexes are built several times as quickly over rows that are there
        *(f"ALTER TABLE {raw} DROP CONSTRAINT {name}" for name in named),
        *(f"DROP INDEX {RAW}.{ident(f'{layer.id}__base')}" for _ in base),
        *without_triggers(raw, filled),
        *(f"ALTER TABLE {raw} ADD CONSTRAINT {name} {rule}" for name, rule in named.items()),
        *base,
        *count_statements(layer),
    ]


def insert_published(layer: Layer, build: str) -> str:
    """Fill a new table with what is published of all exact rows, in spatial order."""
    names = ", ".join(ident(name) for name in ("fid", *content_names(layer.as_published())))
    rows = published_rows(layer, f"{rows_table(layer)} r", published(layer))
    order = "ORDER BY p.geom, p.fid" if layer.has_geometry else "ORDER BY p.fid"
    return (
        f"INSERT INTO {build} ({names}, since) OVERRIDING SYSTEM VALUE"
        f" SELECT p.*, :since FROM ({rows}) p {order}"
    )


def published(layer: Layer) -> str:
    """Whether anything is published of the exact row `r`."""
    return f"NOT {one_of(privacy_of(layer).numbers(Location.WITHHOLD), f'r.{POLICY}')}"


def _inserted(layer: Layer) -> str:
    return _event(layer, "new_rows", ("new_rows", 1))


def _deleted(layer: Layer) -> str:
    return _event(layer, "old_rows", ("old_rows", -1), keeps="old_rows r")


def _updated(layer: Layer) -> str:
    """What was published of a row while another policy held for it is let go: it told more."""
    since = _since(layer)
    new = f"(SELECT * FROM new_rows WHERE since = {since}) n"
    pairs = f"old_rows o JOIN new_rows n ON n.fid = o.fid AND n.since = {since}"
    old = f"(SELECT o.* FROM {pairs}) r"
    forgotten = f"""
    DELETE FROM {HISTORY}.{ident(layer.id)} h USING (
        SELECT {public_fid("o.fid")} AS fid FROM {pairs}
        WHERE o.{POLICY} IS DISTINCT FROM n.{POLICY}
    ) p WHERE h.fid = p.fid;"""
    return _event(layer, new, (new, 1), (old, -1), keeps=old, after=forgotten)


def _truncated(layer: Layer) -> str:
    raw = rows_table(layer)
    gone = "" if not layer.has_geometry else f"\n    DELETE FROM {part(layer, 'cells')};"
    return f"""
    SELECT count(*) INTO "#touched" FROM {raw};
    IF "#touched" = 0 THEN
        RETURN NULL;
    END IF;
    "#current" := {_since(layer)};
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


def _since(layer: Layer) -> str:
    """The revision of what is written now, which is one only if something published changes."""
    return f"current_setting({literal('quartier.since_' + layer.id)})::bigint"


def _event(
    layer: Layer, rows: str, *parts: tuple[str, int], keeps: str = "", after: str = ""
) -> str:
    kept = _keep(layer, keeps) if keeps else ""
    return f"""
    SELECT count(*), array_agg(fid) INTO "#touched", "#wanted" FROM {rows};
    IF "#touched" = 0 THEN
        RETURN NULL;
    END IF;
    "#current" := {_since(layer)};{kept}
    {_count(layer, *parts)}
    PERFORM {function(layer, "derive")}("#wanted");{after}"""


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
    kept = published(layer)
    given = '(SELECT DISTINCT unnest("#fids") AS fid)'
    none = '"#fids" IS NULL'
    some_rows = f'(SELECT DISTINCT unnest("#fids") AS fid) w JOIN {rows_table(layer)} r USING (fid)'
    rows = f"{rows_table(layer)} r"
    begin = (
        f"PERFORM set_config('quartier.deriving', {literal(layer.id)}, true),"
        f" set_config({literal(f'quartier.rebuilt_{layer.id}')}, '', true);"
    )
    upsert = f"""
        INSERT INTO {city} AS c (fid, {", ".join(quoted)}) OVERRIDING SYSTEM VALUE
        {published_rows(layer, "{rows}", kept)}
        {"ORDER BY 1" if not layer.has_geometry else 'ORDER BY "geom", 1'}
        ON CONFLICT (fid) DO UPDATE SET {sets} WHERE {differs};"""
    body = f"""
    {begin}
    IF {none} THEN
        DELETE FROM {city} c WHERE NOT EXISTS (
            SELECT FROM {rows} WHERE {public_fid("r.fid")} = c.fid AND {kept});
    ELSE
        DELETE FROM {city} c USING (
            SELECT {public_fid("w.fid")} AS fid FROM {given} w
            WHERE NOT EXISTS (SELECT FROM {rows} WHERE r.fid = w.fid AND {kept})
        ) g WHERE c.fid = g.fid;
    END IF;
    {begin}
    IF {none} THEN{upsert.replace("{rows}", rows)}
    ELSE{upsert.replace("{rows}", some_rows)}
    END IF;
    PERFORM set_config('quartier.deriving', '', true);"""
    return function_ddl(
        layer,
        "derive",
        "void",
        body,
        arguments='"#fids" bigint[]',
    )


def definition(layer: Layer) -> str:
    """All that decides what is published of a row."""
    return repr([function_statements(layer), privacy_of(layer).signature])
