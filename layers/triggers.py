"""The statement-level triggers of one layer, as SQL text.

They keep four promises for any SQL client: one revision a transaction, old rows in
`city_history`, old and new places in `quartier.changes`, one NOTIFY a commit. What is common
to all layers stands in the migrations; what needs a layer's columns is generated here, so that
PostgreSQL plans it once.
"""

from __future__ import annotations

from layers import overview_upkeep as upkeep
from layers import shape_sql
from layers.columns import GeometryType
from layers.model import Layer
from layers.overview_rebuild import rebuild_statements
from layers.overviews import ROW_DEPTH
from layers.plans import ANY_PLAN, ANY_PLAN_AT_FIRST, ROWS_TO_ROWS
from layers.sql import body_tag, ident, literal
from layers.tables import CITY, HISTORY, content_names

LOG_BOUND = 65_536  # cells a layer's log holds before older ones are merged
SHAPE_CELLS = 8_192  # that are told apart of a line or polygon,
MANY_SHAPES_CELLS = 16_384  # and of all those of a statement
CELLS_DEEPER = 6  # than the layer's last zoom: its tiles are 64 × 64 of the finest cells of shapes
TRIGGERS = frozenset({
    "quartier_a_lock", "quartier_b_truncate", "quartier_inserted", "quartier_updated",
    "quartier_deleted", "zzz_quartier_stamp_insert", "zzz_quartier_stamp_update",
})  # fmt: skip
KEEP_TIME = "zzz_quartier_keep_time"
EVENTS = ("inserted", "updated", "deleted", "truncated")
ROW_BOUND = 100_000  # rows a statement changes before every tile counts as touched


def trigger_names(layer: Layer) -> frozenset[str]:
    """The triggers that the layer's table has to have."""
    return TRIGGERS | {KEEP_TIME} if layer.partitions else TRIGGERS


def trigger_statements(layer: Layer) -> list[str]:
    """DDL that makes or replaces the functions and triggers of a layer's table.

    `@postgis@` in it stands for the schema PostGIS is installed in.
    """
    functions = [
        _function(layer, "inserted", _inserted(layer)),
        _function(layer, "updated", _updated(layer)),
        _function(layer, "deleted", _deleted(layer)),
        _function(layer, "truncated", _truncated(layer)),
    ]
    made = [*rebuild_statements(layer), *shape_sql.function_statements(layer)]
    return [*made, *functions, *attach_statements(layer, layer.id)]


def attach_statements(layer: Layer, table: str) -> list[str]:
    """DDL that puts the layer's triggers on `city.table`.

    Row triggers fire in the order of their names: ours come last, so that they see what a city's
    own triggers made of a row.
    """
    name, key = f"{CITY}.{ident(table)}", literal(layer.id)
    new, old = "REFERENCING NEW TABLE AS new_rows", "REFERENCING OLD TABLE AS old_rows"
    both = f"{old} NEW TABLE AS new_rows"
    changed = " OR ".join(_differs(c) for c in ["fid", *content_names(layer), "since"])
    stamp = f"current_setting({literal('quartier.since_' + layer.id)})::bigint"
    each_statement = "FOR EACH STATEMENT EXECUTE FUNCTION"
    call = {event: f"{each_statement} {_name(layer, event)}()" for event in EVENTS}
    return [
        _trigger("quartier_a_lock", "BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE", name,
                 f"{each_statement} quartier.lock_layer({key})"),
        _trigger("quartier_b_truncate", "BEFORE TRUNCATE", name, call["truncated"]),
        _trigger("zzz_quartier_stamp_insert", "BEFORE INSERT", name,
                 f"FOR EACH ROW WHEN (NEW.since IS DISTINCT FROM {stamp})"
                 f" EXECUTE FUNCTION quartier.stamp_since({key})"),
        _trigger("zzz_quartier_stamp_update", "BEFORE UPDATE", name,
                 f"FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION quartier.stamp_since({key})"),
        _trigger("quartier_inserted", "AFTER INSERT", name, f"{new} {call['inserted']}"),
        _trigger("quartier_updated", "AFTER UPDATE", name, f"{both} {call['updated']}"),
        _trigger("quartier_deleted", "AFTER DELETE", name, f"{old} {call['deleted']}"),
        *_keep_time(layer, name),
    ]  # fmt: skip


def _keep_time(layer: Layer, name: str) -> list[str]:
    """The time that a layer is divided by is part of what a row is: PostgreSQL tells no trigger of
    rows that MERGE moves from part to part.
    """
    if layer.partitions is None:
        return []
    by = layer.partitions.by
    call = f"EXECUTE FUNCTION quartier.keep_time({literal(layer.id)}, {literal(by)})"
    return [
        _trigger(KEEP_TIME, "BEFORE UPDATE", name, f"FOR EACH ROW WHEN ({_differs(by)}) {call}")
    ]


def _differs(column: str) -> str:
    """A geometry is compared byte by byte: pg_restore, which knows no PostGIS by its bare name
    while it makes triggers, would find no operator for it.
    """
    cast = "::bytea" if column == "geom" else ""
    return f"NEW.{ident(column)}{cast} IS DISTINCT FROM OLD.{ident(column)}{cast}"


def _name(layer: Layer, event: str) -> str:
    return f"quartier.{ident(f'{layer.id}__{event}')}"


def _trigger(name: str, when: str, table: str, rest: str) -> str:
    return f"CREATE OR REPLACE TRIGGER {ident(name)} {when} ON {table}\n    {rest}"


def _function(layer: Layer, event: str, body: str) -> str:
    tag = body_tag(body)
    return f"""
CREATE OR REPLACE FUNCTION {_name(layer, event)}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, @postgis@, pg_temp
SET plan_cache_mode = force_generic_plan
{ANY_PLAN_AT_FIRST} AS {tag}
#variable_conflict use_variable
DECLARE
    touched bigint;
    current bigint;{upkeep.declarations(layer)}{shape_sql.declarations(layer)}
BEGIN
    IF TG_TABLE_SCHEMA <> '{CITY}' OR TG_TABLE_NAME <> {literal(layer.id)} THEN
        RAISE EXCEPTION 'this function serves {CITY}.{layer.id} alone';
    END IF;{body}
    RETURN NULL;
END {tag};
REVOKE ALL ON FUNCTION {_name(layer, event)}() FROM PUBLIC"""


def _places(layer: Layer, rows: str, condition: str = "true") -> str | None:
    """A SELECT of the cells (z, cell, parts) that `rows` lie in, or None for a layer without
    places. Only shapes have cells of which parts are told.
    """
    if layer.geometry is GeometryType.POINT:
        return (
            f"SELECT {ROW_DEPTH}::smallint AS z, r.cell FROM {rows}"
            f" WHERE r.cell IS NOT NULL AND {condition}"
        )
    if layer.has_geometry:
        most = f"least({SHAPE_CELLS}, {MANY_SHAPES_CELLS} / touched)::int"
        deepest = min(ROW_DEPTH, layer.maxzoom + CELLS_DEEPER)
        return (
            f"SELECT c.z, c.cell, c.parts FROM {rows},"
            f" LATERAL quartier.cells_of(r.tile_geom, {most}, {deepest}) c WHERE {condition}"
        )
    return None


def _log(layer: Layer, *places: str | None) -> str:
    """Write the cells to the log, or, for a great many rows, call everything touched."""
    key = literal(layer.id)
    wanted = [place for place in places if place]
    if not wanted:
        return ""
    union = "\n            UNION ALL\n            ".join(wanted)
    parts = layer.geometry is not GeometryType.POINT
    return f"""
    IF touched > {ROW_BOUND} THEN
        PERFORM quartier.touch_everything({key}, current);
        RETURN NULL;
    END IF;
    PERFORM quartier.log_changes({key}, current, array_agg(u.z), array_agg(u.cell),
                                 {"array_agg(u.parts)" if parts else "NULL"}, {LOG_BOUND})
    FROM (
            SELECT z, cell{", bit_or(parts) AS parts" if parts else ""} FROM (
            {union}
            ) c GROUP BY 1, 2
        ) u;"""


def _keep(layer: Layer, rows: str) -> str:
    """Move rows of earlier revisions to history. A row born in this revision was never seen."""
    names = ["fid", *content_names(layer)]
    columns, values = ", ".join(map(ident, names)), ", ".join(f"r.{ident(n)}" for n in names)
    return f"""
    INSERT INTO {HISTORY}.{ident(layer.id)} ({columns}, valid_from, valid_to)
        SELECT {values}, r.since, current FROM {rows} WHERE r.since < current;"""


def _count(rows: str, layer: Layer, counted: str) -> str:
    return f"""
    SELECT count(*) INTO touched FROM {rows};
    IF touched = 0 THEN
        RETURN NULL;
    END IF;
    current := quartier.allocate_revision({literal(layer.id)}, {counted});"""


def _inserted(layer: Layer) -> str:
    points = upkeep.changed_points(layer, inserted=True, deleted=False)
    return (
        _count("new_rows", layer, "touched, 0, 0")
        + upkeep.maintain(layer, points)
        + shape_sql.maintain(layer, "new_rows")
        + _log(layer, _places(layer, "new_rows r"), *shape_sql.places(layer))
    )


def _updated(layer: Layer) -> str:
    """Only rows that `zzz_quartier_stamp_update` stamped have changed."""
    since = f"current_setting({literal('quartier.since_' + layer.id)})::bigint"
    changed_old = f"old_rows r JOIN new_rows n ON n.fid = r.fid AND n.since = {since}"
    changed_new = f"(SELECT * FROM new_rows WHERE since = {since}) r"
    moved = "r.tile_geom IS DISTINCT FROM n.tile_geom"
    points = upkeep.changed_points(layer, inserted=True, deleted=True)
    return (
        _count(changed_new, layer, "0, touched, 0")
        + ROWS_TO_ROWS
        + _keep(layer, changed_old)
        + shape_sql.find_updated(layer, changed_old)
        + ANY_PLAN
        + upkeep.maintain(layer, points)
        + shape_sql.maintain_updated(layer)
        + ROWS_TO_ROWS
        + _log(
            layer,
            _places(layer, changed_new),
            _places(layer, changed_old, moved),
            *shape_sql.places(layer),
        )
    )


def _deleted(layer: Layer) -> str:
    points = upkeep.changed_points(layer, inserted=False, deleted=True)
    return (
        _count("old_rows", layer, "0, 0, touched")
        + _keep(layer, "old_rows r")
        + upkeep.maintain(layer, points, shrinks=True)
        + shape_sql.maintain(layer, "old_rows")
        + _log(layer, _places(layer, "old_rows r"), *shape_sql.places(layer))
    )


def _truncated(layer: Layer) -> str:
    table = f"{CITY}.{ident(layer.id)}"
    return (
        ("\n    PERFORM quartier.truncate_parts(TG_RELID);" if layer.partitions else "")
        + _count(table, layer, "0, 0, touched")
        + _keep(layer, f"{table} r")
        + upkeep.forget_all(layer)
        + shape_sql.forget_all(layer)
        + f"\n    PERFORM quartier.touch_everything({literal(layer.id)}, current);"
    )
