"""What `quartier apply` does for the privacy of a layer, and what else brings it about."""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable

from layers import privacy_places, privacy_sql
from layers.engine import run_ddl
from layers.errors import ChangeRefused
from layers.layer_steps import Step
from layers.model import Layer
from layers.sql import ident, literal
from layers.tables import (
    CITY,
    HISTORY,
    RAW,
    columns_missing,
    content_names,
    history_table,
    layer_table,
    past_table,
    rows_table,
)

STATE = "SELECT definition FROM quartier.privacy_state WHERE layer_id = :layer"


def definition(layer: Layer) -> str:
    """A hash of all that decides what is published of a row."""
    return hashlib.sha256(privacy_sql.definition(layer).encode()).hexdigest()[:16]


def bring_up(declared: Any, layer: Layer, connection: sa.Connection) -> list[Step]:
    """The steps from the privacy of what was declared (None: of a new layer) to the one wanted.

    Raises ChangeRefused where a layer would lose its privacy: its exact rows would be published.
    """
    was = Layer.model_validate(declared) if declared else None
    if layer.privacy is None:
        if was is not None and was.privacy is not None:
            raise ChangeRefused(
                f"layer {layer.id}: without privacy its exact rows would be published; say so with"
                " privacy: {otherwise: {location: exact}}, or declare it under a new id"
            )
        return []
    is_new = was is None or was.privacy is None
    if not is_new:
        known = connection.scalar(sa.text(STATE), {"layer": layer.id})
        if known == definition(layer) and _is_whole(connection, layer):
            return []
    ddl = [*(_tables(layer, connection) if is_new else ()), *privacy_sql.function_statements(layer)]
    kept = (
        "INSERT INTO quartier.privacy_state (layer_id, definition) VALUES (:layer, :definition)"
        " ON CONFLICT (layer_id) DO UPDATE SET definition = excluded.definition"
    )
    borders = is_new or _borders(was) != _borders(layer)
    says = (
        "publish no more of layer {} than its privacy says"
        if is_new
        else ("publish the rows of layer {} as its privacy says now; older revisions are let go")
    )
    return [
        Step(
            says=says.format(layer.id),
            ddl=tuple(ddl),
            statements=((kept, {"layer": layer.id, "definition": definition(layer)}),),
            work=lambda connection: derive_anew(connection, layer, borders=borders, is_new=is_new),
        )
    ]


def _borders(layer: Layer | None) -> object:
    return layer and layer.privacy and (layer.privacy.areas, layer.privacy.anchors)


def _is_whole(connection: sa.Connection, layer: Layer) -> bool:
    """Whether every trigger is there that derives rows, or keeps others from it."""
    found = sa.text(
        "SELECT tgname FROM pg_trigger"
        " WHERE tgrelid = to_regclass(:table) AND tgenabled IN ('O', 'A')"
    )
    wanted = {
        rows_table(layer): privacy_sql.RAW_TRIGGERS,
        f"{CITY}.{ident(layer.id)}": {privacy_sql.GUARD},
    }
    return all(
        names <= set(connection.scalars(found, {"table": table})) for table, names in wanted.items()
    )


def new_columns(layer: Layer, connection: sa.Connection) -> list[str]:
    """DDL of declared columns that the tables of exact rows lack."""
    tables = (rows_table(layer), past_table(layer))
    return [ddl for table in tables for ddl in columns_missing(connection, layer, table)]


def _tables(layer: Layer, connection: sa.Connection) -> list[str]:
    """DDL of the tables of exact rows, which take what the published one holds until now."""
    dialect = connection.dialect
    table, past = layer_table(layer, RAW), history_table(layer, schema=RAW)
    ddl = [str(CreateTable(each).compile(dialect=dialect)) for each in (table, past)]
    ddl += [str(CreateIndex(index).compile(dialect=dialect)) for index in past.indexes]
    ddl += privacy_sql.table_statements(layer)
    names = ", ".join(ident(name) for name in ("fid", *content_names(layer), "since"))
    raw, city = rows_table(layer), f"{CITY}.{ident(layer.id)}"
    fids, last = (f"pg_get_serial_sequence({literal(each)}, 'fid')" for each in (raw, city))
    return [
        *ddl,
        f"INSERT INTO {raw} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM {city}",
        f"SELECT setval({fids}, coalesce(s.last, 1), s.last IS NOT NULL)"
        f" FROM (SELECT pg_sequence_last_value({last}::regclass) AS last) s",
    ]


def derive_anew(
    connection: sa.Connection, layer: Layer, *, borders: bool, is_new: bool = False
) -> None:
    """Publish every row as the privacy says, and let older revisions go, and what the change log
    tells of them: they told more, or less, than it does. With `borders`, areas and anchors are
    taken as they are now; a layer that `is_new` to privacy cannot be rolled back to before it.

    Raises ChangeRefused where a column that is no longer declared would go on being published.
    """
    connection.execute(sa.text("SELECT quartier.lock(:layer)"), {"layer": layer.id})
    _empty_undeclared(connection, layer, is_new=is_new)
    if borders:
        take_borders(connection, layer)
    if _holds_any(connection, rows_table(layer)):
        require_borders(connection, layer)
        for statement in privacy_sql.recount_statements(layer):
            run_ddl(connection, statement)
    connection.execute(sa.text(f"DELETE FROM {HISTORY}.{ident(layer.id)}"))
    asked = {"layer": layer.id}
    if not connection.scalar(
        sa.text("SELECT revision FROM quartier.layer_state WHERE layer_id = :layer"), asked
    ):
        return  # nobody has seen anything yet
    connection.execute(sa.text("SELECT quartier.allocate_revision(:layer, 0, 0, 0)"), asked)
    connection.execute(
        sa.text(
            "SELECT quartier.touch_everything(:layer, revision) FROM quartier.layer_state"
            " WHERE layer_id = :layer"
        ),
        asked,
    )
    also = ", rollback_from = revision" if is_new else ""
    connection.execute(
        sa.text(
            f"UPDATE quartier.layer_state SET history_from = revision{also} WHERE layer_id = :layer"
        ),
        asked,
    )
    run_ddl(connection, f"ANALYZE {CITY}.{ident(layer.id)}")


def _empty_undeclared(connection: sa.Connection, layer: Layer, *, is_new: bool) -> None:
    """What a declaration leaves out stays in its table: of a private layer with the exact rows, of
    a public one nowhere else.
    """
    ours = {"fid", "tile_geom", "cell", "since", *content_names(layer.as_published())}
    table = f"{CITY}.{ident(layer.id)}"
    found = connection.scalars(
        sa.text(
            "SELECT attname FROM pg_attribute WHERE attrelid = CAST(:table AS regclass)"
            " AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        ),
        {"table": table},
    )
    for name in [name for name in found if name not in ours]:
        left = f"{ident(name)} IS NOT NULL"
        if not connection.scalar(sa.text(f"SELECT EXISTS (SELECT FROM {table} WHERE {left})")):
            continue
        if is_new:
            raise ChangeRefused(
                f"layer {layer.id}: column {name} is still in the published table, though it is"
                " not declared; declare it and hide it, or empty it:"
                f" UPDATE {table} SET {ident(name)} = NULL"
            )
        deriving = sa.text("SELECT set_config('quartier.deriving', :layer, true)")
        connection.execute(deriving, {"layer": layer.id})
        connection.execute(sa.text(f"UPDATE {table} SET {ident(name)} = NULL WHERE {left}"))
        connection.execute(deriving, {"layer": ""})


def take_borders(connection: sa.Connection, layer: Layer, *, missing: bool = False) -> None:
    """Take the areas and anchors as they are now; with `missing`, only those there are none of.

    Raises ChangeRefused where a layer that they are taken from is not declared.
    """
    for border in privacy_places.borders_of(layer):
        source = f"{CITY}.{ident(border.source)}"
        if connection.scalar(sa.text("SELECT to_regclass(:table)"), {"table": source}) is None:
            raise ChangeRefused(
                f"layer {layer.id}: its privacy needs layer {border.source}, which is not declared"
            )
        if not missing or not _holds_any(connection, border.table):
            for statement in border.statements:
                run_ddl(connection, statement)


def require_borders(connection: sa.Connection, layer: Layer) -> None:
    """Take the areas and anchors where there are none yet; raises ChangeRefused where there is
    nothing to take.
    """
    take_borders(connection, layer, missing=True)
    for border in privacy_places.borders_of(layer):
        if not _holds_any(connection, border.table):
            raise ChangeRefused(
                f"layer {layer.id}: its privacy needs layer {border.source}, which holds no place"
                f" yet; load {border.source} first"
            )


def _holds_any(connection: sa.Connection, table: str) -> bool:
    return bool(connection.scalar(sa.text(f"SELECT EXISTS (SELECT FROM {table})")))
