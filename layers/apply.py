"""Make the database hold what the catalogue declares. Idempotent; never drops data.

`plan` compares and returns the steps; `execute` runs them in one transaction. A layer that is
no longer declared is withdrawn (hidden from every reader), and comes back when declared again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable

from layers import overviews, shape_batch, shape_sql, shapes
from layers.catalogue_files import CatalogueFiles
from layers.engine import postgis_schema, run_ddl
from layers.errors import ChangeRefused
from layers.model import Column, Layer, Map
from layers.overview_rebuild import count_anew
from layers.sql import ident, literal
from layers.tables import CITY, HISTORY, READERS, history_table, layer_table, type_name
from layers.triggers import TRIGGERS, trigger_statements

TOUCH_ALL = "SELECT quartier.touch_everything(:id, quartier.allocate_revision(:id, 0, 0, 0))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that apply does: what it says of it, DDL, bound statements, and then `work`."""

    says: str
    ddl: tuple[str, ...] = ()
    statements: tuple[tuple[str, dict[str, Any]], ...] = field(default=(), repr=False)
    work: Callable[[sa.Connection], object] | None = field(default=None, repr=False)


def config_hash(layer: Layer) -> str:
    """A hash of every part of the declaration that shows in a tile."""
    shown = {
        "id": layer.id,
        "geometry": layer.geometry,
        "zooms": [layer.minzoom, layer.maxzoom],
        "columns": [[column.name, column.type] for column in layer.tile_columns],
        "style": [column.name for column in layer.style_columns],
        "priority": layer.priority,
        "overview": [shapes.signature(layer), overviews.signature(layer)],
    }
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:12]


def plan(connection: sa.Connection, files: CatalogueFiles) -> list[Step]:
    """The steps from what is there to what is declared; an empty list when they agree.

    Raises ChangeRefused where a step would lose data (a column's type or a layer's geometry).
    """
    known = {
        row.id: row
        for row in connection.execute(
            sa.text("SELECT id, declaration, overview, withdrawn FROM quartier.layers")
        )
    }
    steps: list[Step] = []
    for layer in files.layers.values():
        if layer.id not in known:
            steps.append(_create(layer, connection.dialect))
        else:
            row = known[layer.id]
            steps += _amend(Layer.model_validate(row.declaration), layer, connection)
            steps += _mend(layer, connection)
            steps += [_count_anew(layer)] if row.overview != overviews.signature(layer) else []
            steps += _shape(layer, connection)
            steps += [_restore(layer)] if row.withdrawn else []
    for layer_id, row in known.items():
        if layer_id not in files.layers and not row.withdrawn:
            steps.append(_withdraw(Layer.model_validate(row.declaration), connection))
    return steps + _plan_maps(connection, files.maps)


def execute(connection: sa.Connection, steps: list[Step]) -> None:
    """Run the steps on a connection whose role owns the data, then tell the web's workers."""
    schema = postgis_schema(connection)
    for step in steps:
        for ddl in step.ddl:
            run_ddl(connection, ddl.replace("@postgis@", schema))
        for statement, values in step.statements:
            connection.execute(sa.text(statement), values)
        if step.work is not None:
            step.work(connection)
    if steps:
        connection.execute(sa.text("SELECT pg_notify('quartier', '')"))


def _dump(value: Layer | Map) -> str:
    return value.model_dump_json(by_alias=True, exclude_defaults=True)


def _create(layer: Layer, dialect: sa.Dialect) -> Step:
    table, history = layer_table(layer), history_table(layer)
    ddl = [str(CreateTable(item).compile(dialect=dialect)) for item in (table, history)]
    ddl += [str(CreateIndex(index).compile(dialect=dialect)) for index in history.indexes]
    ddl += index_statements(layer, layer.id)
    ddl += [*overviews.table_statements(layer)]
    ddl += [*shape_sql.fill_statements(layer, f"{CITY}.{ident(layer.id)}")]
    ddl += [*shape_sql.place_statements(layer), f"GRANT SELECT ON {_readable(layer)} TO {READERS}"]
    return Step(
        says=f"create layer {layer.id} ({layer.geometry}, {len(layer.columns)} columns)",
        ddl=(*ddl, *trigger_statements(layer)),
        statements=(
            (
                "INSERT INTO quartier.layers (id, declaration, config_hash, overview)"
                " VALUES (:id, CAST(:declaration AS jsonb), :hash, :overview)",
                {
                    "id": layer.id,
                    "declaration": _dump(layer),
                    "hash": config_hash(layer),
                    "overview": overviews.signature(layer),
                },
            ),
            ("INSERT INTO quartier.layer_state (layer_id) VALUES (:id)", {"id": layer.id}),
            *count_anew(layer),
            *((statement, {}) for statement in shape_sql.remember_statements(layer)),
        ),
    )


def _tables(layer: Layer) -> list[str]:
    """The tables that readers of a published layer may read."""
    own = f"{CITY}.{ident(layer.id)}"
    return [own, *overviews.tables_of(layer), *shapes.tables_of(layer)]


def _readable(layer: Layer) -> str:
    return ", ".join(_tables(layer))


def _empty_overview(layer: Layer) -> list[str]:
    grants = [f"GRANT SELECT ON {table} TO {READERS}" for table in overviews.tables_of(layer)]
    return [*overviews.table_statements(layer), *grants]


def _count_anew(layer: Layer) -> Step:
    """Make the overview that the declaration asks for, and say that every tile has changed."""
    kept = "UPDATE quartier.layers SET overview = :overview WHERE id = :id"
    return Step(
        says=f"make the overview of layer {layer.id}",
        ddl=(*_empty_overview(layer), *trigger_statements(layer)),
        statements=(
            *count_anew(layer),
            (TOUCH_ALL, {"id": layer.id}),
            (kept, {"id": layer.id, "overview": overviews.signature(layer)}),
        ),
    )


def _shape(layer: Layer, connection: sa.Connection) -> list[Step]:
    """Make the overview of lines and polygons that the declaration asks for, or bring its batch
    up to what was edited since.
    """
    if not shapes.has_shapes(layer):
        return []
    found = sa.text(
        "SELECT definition, stale FROM quartier.shape_state"
        " WHERE layer_id = :id AND to_regclass(:table) IS NOT NULL"
    )
    asked = {"id": layer.id, "table": shapes.shapes_table(layer)}
    state = connection.execute(found, asked).one_or_none()
    steps = []
    if state is None or state.definition != shapes.signature(layer):
        ddl = (*shape_sql.rebuild_statements(layer), *trigger_statements(layer))
        says = f"make the overview of layer {layer.id}"
        steps.append(Step(says=says, ddl=ddl, statements=((TOUCH_ALL, {"id": layer.id}),)))
    if shapes.has_batch(layer) and (steps or (state is not None and state.stale)):
        what = "borders together" if layer.overview.coverage else "lines that meet"
        steps.append(_settle(layer, f"draw the {what} in the overview of layer {layer.id}"))
    return steps


def _settle(layer: Layer, says: str) -> Step:
    lock = (f"SELECT quartier.lock({literal(layer.id)})",)
    return Step(says=says, ddl=lock, work=lambda connection: shape_batch.settle(connection, layer))


def index_statements(layer: Layer, table: str) -> list[str]:
    """DDL of the indexes beside the keys; names are left to PostgreSQL."""
    if not layer.has_geometry:
        return []
    return [f"CREATE INDEX ON {CITY}.{ident(table)} USING gist (tile_geom)"]


def _amend(old: Layer, new: Layer, connection: sa.Connection) -> list[Step]:
    if old == new:
        return []
    if old.geometry != new.geometry:
        raise ChangeRefused(
            f"layer {new.id}: geometry is {old.geometry}, declared {new.geometry};"
            " declare it under a new id instead"
        )
    ddl = []
    for schema in (CITY, HISTORY):
        there = _columns_there(connection, schema, new.id)
        for column in new.columns:
            _refuse_other_type(new.id, column, there)
            if column.name not in there:
                added = f"{ident(column.name)} {type_name(column.type)}"
                ddl.append(f"ALTER TABLE {schema}.{ident(new.id)} ADD COLUMN {added}")
    says = f"change layer {new.id}: {', '.join(_differences(old, new))}"
    if [c.name for c in old.columns] != [c.name for c in new.columns]:
        ddl += trigger_statements(new)
    update = (
        "UPDATE quartier.layers SET declaration = CAST(:declaration AS jsonb),"
        " config_hash = :hash WHERE id = :id"
    )
    values = {"id": new.id, "declaration": _dump(new), "hash": config_hash(new)}
    return [Step(says=says, ddl=tuple(ddl), statements=((update, values),))]


def _mend(layer: Layer, connection: sa.Connection) -> list[Step]:
    """Put back triggers that somebody dropped: without them changes go unseen."""
    there = connection.scalars(
        sa.text(
            "SELECT tgname FROM pg_trigger"
            " WHERE tgrelid = CAST(:table AS regclass) AND tgenabled IN ('O', 'A')"
        ),
        {"table": f"{CITY}.{ident(layer.id)}"},
    )
    missing = TRIGGERS - set(there)
    if not missing:
        return []
    return [
        Step(
            says=f"mend layer {layer.id}: put back {', '.join(sorted(missing))}",
            ddl=(
                *_empty_overview(layer),
                *trigger_statements(layer),
                *(
                    f"ALTER TABLE {CITY}.{ident(layer.id)} ENABLE TRIGGER {ident(name)}"
                    for name in sorted(missing)
                ),
                *shape_sql.rebuild_statements(layer),
            ),
            statements=(*count_anew(layer), (TOUCH_ALL, {"id": layer.id})),
        )
    ]


def _columns_there(connection: sa.Connection, schema: str, layer_id: str) -> dict[str, str]:
    rows = connection.execute(
        sa.text(
            "SELECT attname AS name, format_type(atttypid, atttypmod) AS kind FROM pg_attribute"
            " WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped"
        ),
        {"table": f"{schema}.{ident(layer_id)}"},
    )
    return {row.name: row.kind for row in rows}


def _refuse_other_type(layer_id: str, column: Column, there: dict[str, str]) -> None:
    wanted = type_name(column.type).lower()
    if column.name in there and there[column.name] != wanted:
        raise ChangeRefused(
            f"layer {layer_id}: column {column.name} is {there[column.name]}, declared"
            f" {column.type}; its values would have to be read anew: declare it under a new name"
        )


def _differences(old: Layer, new: Layer) -> list[str]:
    before, after = old.model_dump(by_alias=True), new.model_dump(by_alias=True)
    return [name for name in after if before[name] != after[name]]


def _withdraw(layer: Layer, connection: sa.Connection) -> Step:
    there = sa.text("SELECT to_regclass(:table) IS NOT NULL")  # an older version made fewer
    tables = [name for name in _tables(layer) if connection.scalar(there, {"table": name})]
    return Step(
        says=f"withdraw layer {layer.id} (no longer declared; its data stays)",
        ddl=(f"REVOKE SELECT ON {', '.join(tables)} FROM {READERS}",),
        statements=(
            ("UPDATE quartier.layers SET withdrawn = true WHERE id = :id", {"id": layer.id}),
        ),
    )


def _restore(layer: Layer) -> Step:
    return Step(
        says=f"publish layer {layer.id} again",
        ddl=(f"GRANT SELECT ON {_readable(layer)} TO {READERS}",),
        statements=(
            ("UPDATE quartier.layers SET withdrawn = false WHERE id = :id", {"id": layer.id}),
        ),
    )


def _plan_maps(connection: sa.Connection, declared: dict[str, Map]) -> list[Step]:
    rows = connection.execute(
        sa.text("SELECT id, declaration FROM quartier.maps WHERE NOT withdrawn")
    )
    known = {row.id: Map.model_validate(row.declaration) for row in rows}
    upsert = (
        "INSERT INTO quartier.maps (id, declaration) VALUES (:id, CAST(:declaration AS jsonb))"
        " ON CONFLICT (id) DO UPDATE SET declaration = excluded.declaration, withdrawn = false"
    )
    steps = [
        Step(
            says=f"{'change' if map_.id in known else 'create'} map {map_.id}",
            statements=((upsert, {"id": map_.id, "declaration": _dump(map_)}),),
        )
        for map_ in declared.values()
        if known.get(map_.id) != map_
    ]
    hide = "UPDATE quartier.maps SET withdrawn = true WHERE id = :id"
    return steps + [
        Step(says=f"withdraw map {map_id}", statements=((hide, {"id": map_id}),))
        for map_id in known
        if map_id not in declared
    ]
