"""The tables that a layer is divided into by time, as SQL text.

`city.<id>` is then a partitioned table: every statement goes to it, and PostgreSQL takes it to the
tables in `city_parts`, one a period and one for all other times. Those carry a guard: a statement
that names one of them would pass the layer's triggers by.

A row keeps its time as long as it is there, and its key tells that time: so a load looks for its
rows in their own periods alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import sqlalchemy as sa

from layers.columns import ColumnType
from layers.model import Layer
from layers.partitions import Partitions, Period
from layers.sql import ident, literal
from layers.tables import CITY, PARTS, content_names

OTHER = "other"  # the part of all times that have no part of their own
GUARD = "quartier_part"


def _told(layer: Layer) -> Partitions:
    if layer.partitions is None:
        raise ValueError(f"layer {layer.id} is not divided")
    return layer.partitions


def _is_instant(layer: Layer) -> bool:
    return layer.column(_told(layer).by).type is ColumnType.DATETIME


def division(layer: Layer) -> str | None:
    """How a layer is divided, in words; None for one that is not."""
    told = layer.partitions
    if told is None:
        return None
    return f"{told.every} of {told.by}" + (f" in {layer.time_zone}" if _is_instant(layer) else "")


def known_division(connection: sa.Connection, layer_id: str) -> str | None:
    """How the layer's table is divided now."""
    found = sa.text("SELECT division FROM quartier.layer_state WHERE layer_id = :layer")
    said = connection.scalar(found, {"layer": layer_id})
    return None if said is None else str(said)


def keep_division(connection: sa.Connection, layer: Layer) -> None:
    """Remember how the layer's table, which has just been made, is divided."""
    kept = "UPDATE quartier.layer_state SET division = :division WHERE layer_id = :layer"
    connection.execute(sa.text(kept), {"layer": layer.id, "division": division(layer)})


def part_names(connection: sa.Connection, layer: Layer) -> list[str]:
    """The parts that the layer's table has, without their schema."""
    found = sa.text(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = CAST(:table AS regclass)"
    )
    return list(connection.scalars(found, {"table": f"{CITY}.{ident(layer.id)}"}))


def unguarded(connection: sa.Connection, layer: Layer) -> list[str]:
    """The parts, quoted, that lack their guard or have a trigger switched off."""
    if layer.partitions is None:
        return []
    found = sa.text(
        f"SELECT format('{PARTS}.%I', c.relname) FROM pg_inherits i"
        " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(:table)"
        f" AND ('{GUARD}' <> ALL (SELECT t.tgname FROM pg_trigger t WHERE t.tgrelid = c.oid)"
        " OR EXISTS (SELECT FROM pg_trigger t"
        " WHERE t.tgrelid = c.oid AND t.tgenabled NOT IN ('O', 'A'))) ORDER BY 1"
    )
    return list(connection.scalars(found, {"table": f"{CITY}.{ident(layer.id)}"}))


def added_to_parts(layer: Layer) -> str:
    """How many views and indexes of others hang on the parts of a layer themselves."""
    parts = (
        "(SELECT inhrelid FROM pg_inherits"
        f" WHERE inhparent = {literal(f'{CITY}.{ident(layer.id)}')}::regclass)"
    )
    return f"""
        SELECT (SELECT count(*) FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
                WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
                  AND d.refobjid IN {parts})
             + (SELECT count(*) FROM pg_index i WHERE i.indrelid IN {parts}
                AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid))
             + (SELECT count(*) FROM pg_constraint WHERE confrelid IN {parts})"""


def periods(layer: Layer, rows: str) -> str:
    """A SELECT of the first day of every period that `rows` (a table, quoted) lie in."""
    column, zone = ident(_told(layer).by), literal(layer.time_zone)
    local = f"{column} AT TIME ZONE {zone}" if _is_instant(layer) else column
    return (
        f"SELECT DISTINCT date_trunc({literal(_told(layer).every)}, {local})::date AS start"
        f" FROM {rows} WHERE {column} BETWEEN '0001-01-02' AND '9998-12-30' ORDER BY 1"
    )


def label(layer: Layer, start: date) -> str:
    """What the part of a period is called: its year, and month."""
    months = 7 if _told(layer).every is Period.MONTH else 4
    return start.isoformat()[:months].replace("-", "_")


def part(prefix: str, name: str) -> str:
    """The table of one part, quoted."""
    return f"{PARTS}.{ident(f'{prefix}__{name}')}"


def bounds(layer: Layer, start: date) -> tuple[str, str]:
    """The first value of a period and that of the next one, as SQL."""
    months = start.year * 12 + start.month - 1
    months += 1 if _told(layer).every is Period.MONTH else 12
    return _bound(layer, start), _bound(layer, date(months // 12, months % 12 + 1, 1))


def _bound(layer: Layer, day: date) -> str:
    midnight = f"timestamp '{day.isoformat()}' AT TIME ZONE {literal(layer.time_zone)}"
    return f"({midnight})" if _is_instant(layer) else f"date '{day.isoformat()}'"


def part_statements(layer: Layer, parent: str, prefix: str, starts: Sequence[date]) -> list[str]:
    """DDL of the parts of a new table: one a period, and one for all other times."""
    parts = {part(prefix, OTHER): "DEFAULT"}
    for start in starts:
        low, high = bounds(layer, start)
        parts[part(prefix, label(layer, start))] = f"FOR VALUES FROM ({low}) TO ({high})"
    made = [f"CREATE TABLE {name} PARTITION OF {parent} {of}" for name, of in parts.items()]
    return [*made, *(guard(layer, name) for name in parts)]


def guard(layer: Layer, name: str) -> str:
    """DDL of the trigger that refuses what is said to a part in place of its layer."""
    return (
        f"CREATE OR REPLACE TRIGGER {GUARD} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {name}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION quartier.guard_part({literal(layer.id)})"
    )


def attach_statements(layer: Layer, start: date) -> list[str]:
    """DDL that gives a period that came later its part, while readers go on: what the part for
    all other times holds of it moves over, as it is.
    """
    name, other = part(layer.id, label(layer, start)), part(layer.id, OTHER)
    parent, column = f"{CITY}.{ident(layer.id)}", ident(_told(layer).by)
    low, high = bounds(layer, start)
    names = ", ".join(ident(each) for each in ("fid", *content_names(layer), "since"))
    return [
        f"CREATE TABLE {name} (LIKE {parent} INCLUDING ALL EXCLUDING INDEXES EXCLUDING IDENTITY)",
        f"LOCK TABLE {other} IN ACCESS EXCLUSIVE MODE",
        f"ALTER TABLE {other} DISABLE TRIGGER USER",
        f"WITH moved AS (DELETE FROM {other} WHERE {column} >= {low} AND {column} < {high}"
        f" RETURNING *) INSERT INTO {name} ({names}) SELECT {names} FROM moved",
        f"ALTER TABLE {other} ENABLE TRIGGER USER",
        f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})",
        guard(layer, name),
    ]


def index_statements(layer: Layer, table: str, prefix: str) -> list[str]:
    """DDL of the keys of a divided table. PostgreSQL can hold no key across parts, so the time
    stands in each: a fid comes from one sequence, and a `source_key` tells its time.
    """
    by = ident(_told(layer).by)
    return [
        f"CREATE UNIQUE INDEX {ident(f'{prefix}_pkey')} ON {table} (fid, {by}) NULLS NOT DISTINCT",
        f"CREATE UNIQUE INDEX {ident(f'{prefix}_source_key_key')} ON {table} (source_key, {by})"
        " NULLS NOT DISTINCT",
    ]
