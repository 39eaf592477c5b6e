"""What `quartier apply` does to one layer: each thing as a value, run elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable

from layers import overviews, partition_sql, shape_batch, shape_sql, shapes, slice_index
from layers.map import Map
from layers.model import Layer
from layers.overview_rebuild import count_anew
from layers.sql import ident, literal
from layers.tables import (
    CITY,
    HISTORY,
    READERS,
    history_table,
    history_view,
    layer_table,
)
from layers.triggers import TRIGGERS, trigger_names, trigger_statements

TOUCH_ALL = "SELECT quartier.touch_everything(:id, quartier.allocate_revision(:id, 0, 0, 0))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that apply does: what it says of it, DDL, bound statements, and then `work`. What
    is done `apart` comes after the transaction of all others, in its own.
    """

    says: str
    ddl: tuple[str, ...] = ()
    statements: tuple[tuple[str, dict[str, Any]], ...] = field(default=(), repr=False)
    work: Callable[[sa.Connection], object] | None = field(default=None, repr=False)
    apart: Callable[[sa.Engine], object] | None = field(default=None, repr=False)


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


def dump(value: Layer | Map) -> str:
    return value.model_dump_json(by_alias=True, exclude_defaults=True)


def create(declared: Layer, dialect: sa.Dialect) -> Step:
    layer = declared.as_published()
    table, history = layer_table(layer), history_table(layer)
    ddl = [str(CreateTable(item).compile(dialect=dialect)) for item in (table, history)]
    ddl += [str(CreateIndex(index).compile(dialect=dialect)) for index in history.indexes]
    ddl.append(view_history(layer))
    ddl += _divided(layer)
    ddl += index_statements(layer, layer.id)
    ddl += [*overviews.table_statements(layer)]
    ddl += [*shape_sql.fill_statements(layer, f"{CITY}.{ident(layer.id)}")]
    ddl += [*shape_sql.place_statements(layer), f"GRANT SELECT ON {_readable(layer)} TO {READERS}"]
    return Step(
        says=f"create layer {layer.id} ({layer.geometry}, {len(layer.columns)} columns)",
        ddl=(*ddl, *trigger_statements(layer)),
        statements=(
            (
                "INSERT INTO quartier.layers (id, declaration, config_hash, overview, triggers)"
                " VALUES (:id, CAST(:declaration AS jsonb), :hash, :overview, :triggers)",
                {
                    "id": layer.id,
                    "declaration": dump(declared),
                    "hash": config_hash(layer),
                    "overview": overviews.signature(layer),
                    "triggers": triggers_hash(layer),
                },
            ),
            (
                "INSERT INTO quartier.layer_state (layer_id, division) VALUES (:id, :division)",
                {"id": layer.id, "division": partition_sql.division(layer)},
            ),
            *count_anew(layer),
            *((statement, {}) for statement in shape_sql.remember_statements(layer)),
        ),
    )


def _divided(layer: Layer) -> list[str]:
    """DDL of the keys and the first part of a layer that is divided by time."""
    if layer.partitions is None:
        return []
    table = f"{CITY}.{ident(layer.id)}"
    keys = partition_sql.index_statements(layer, table, layer.id)
    return [*keys, *partition_sql.part_statements(layer, table, layer.id, [])]


def _tables(layer: Layer) -> list[str]:
    """The tables that readers of a published layer may read."""
    own = f"{CITY}.{ident(layer.id)}"
    return [own, history_view(layer), *overviews.tables_of(layer), *shapes.tables_of(layer)]


def view_history(layer: Layer) -> str:
    """DDL of the view that readers have of the rows as they were; columns may have been added."""
    past = f"{HISTORY}.{ident(layer.id)}"
    return f"CREATE OR REPLACE VIEW {history_view(layer)} AS SELECT * FROM {past}"


def _readable(layer: Layer) -> str:
    return ", ".join(_tables(layer))


def _empty_overview(layer: Layer) -> list[str]:
    grants = [f"GRANT SELECT ON {table} TO {READERS}" for table in overviews.tables_of(layer)]
    return [*overviews.table_statements(layer), *grants]


def count_points(layer: Layer) -> Step:
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


def shape(layer: Layer, connection: sa.Connection, *, is_remade: bool) -> list[Step]:
    """Make the overview of lines and polygons that the declaration asks for, or bring its batch
    up to what was edited since; where it `is_remade` row by row anyway, its batch is all to do.
    """
    if not shapes.has_shapes(layer):
        return []
    found = sa.text(
        "SELECT definition, stale FROM quartier.shape_state"
        " WHERE layer_id = :id AND to_regclass(:table) IS NOT NULL"
    )
    asked = {"id": layer.id, "table": shapes.shapes_table(layer)}
    definition, is_stale = connection.execute(found, asked).one_or_none() or (None, True)
    steps = []
    is_made = definition == shapes.signature(layer)
    if not is_made and not is_remade:
        ddl = (*shape_sql.rebuild_statements(layer), *trigger_statements(layer))
        says = f"make the overview of layer {layer.id}"
        steps.append(Step(says=says, ddl=ddl, statements=((TOUCH_ALL, {"id": layer.id}),)))
    if shapes.has_batch(layer) and (is_remade or not is_made or is_stale):
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
    name = f"{CITY}.{ident(table)}"
    places = f"CREATE INDEX ON {name} USING gist (tile_geom)"
    return [places, *slice_index.statements(layer, name, table)]


def index_slices(layer: Layer, connection: sa.Connection) -> list[Step]:
    """Make or drop the index that parts of a layer's points are counted by, where it differs."""
    ddl = slice_index.missing(connection, layer)
    return [Step(says=f"index layer {layer.id} by what it is asked for", ddl=tuple(ddl))][
        : len(ddl)
    ]


def mend(
    layer: Layer, connection: sa.Connection, *, again: bool = False, will_be_new: bool = False
) -> list[Step]:
    """Put back triggers that somebody dropped: without them changes go unseen. What was made of
    the rows is made anew, too; `again`: even if the triggers are there now. A table that
    `will_be_new` gets those that every layer has not by then.
    """
    there = connection.scalars(
        sa.text(
            "SELECT tgname FROM pg_trigger"
            " WHERE tgrelid = CAST(:table AS regclass) AND tgenabled IN ('O', 'A')"
        ),
        {"table": f"{CITY}.{ident(layer.id)}"},
    )
    missing = (TRIGGERS if will_be_new else trigger_names(layer)) - set(there)
    open_parts = [] if will_be_new else partition_sql.unguarded(connection, layer)
    if not missing and not open_parts and not again:
        return []
    put_back = f"mend layer {layer.id}: put back {', '.join([*sorted(missing), *open_parts])}"
    return [
        Step(
            says=put_back if missing or open_parts else f"count layer {layer.id} again",
            ddl=(
                *_empty_overview(layer),
                *trigger_statements(layer),
                *(
                    f"ALTER TABLE {CITY}.{ident(layer.id)} ENABLE TRIGGER {ident(name)}"
                    for name in sorted(missing)
                ),
                *(f"ALTER TABLE {name} ENABLE TRIGGER USER" for name in open_parts),
                *(partition_sql.guard(layer, name) for name in open_parts),
                *shape_sql.rebuild_statements(layer),
            ),
            statements=(*count_anew(layer), (TOUCH_ALL, {"id": layer.id})),
        )
    ]


def triggers_hash(layer: Layer) -> str:
    """A hash of what a layer's triggers do."""
    return hashlib.sha256(repr(trigger_statements(layer)).encode()).hexdigest()[:12]


def attach(layer: Layer) -> Step:
    """Make the triggers do what this version has them do."""
    kept = "UPDATE quartier.layers SET triggers = :triggers WHERE id = :id"
    return Step(
        says=f"bring the triggers of layer {layer.id} up to date",
        ddl=tuple(trigger_statements(layer)),
        statements=((kept, {"id": layer.id, "triggers": triggers_hash(layer)}),),
    )


def withdraw(layer: Layer, connection: sa.Connection) -> Step:
    there = sa.text("SELECT to_regclass(:table) IS NOT NULL")  # an older version made fewer
    tables = [name for name in _tables(layer) if connection.scalar(there, {"table": name})]
    return Step(
        says=f"withdraw layer {layer.id} (no longer declared; its data stays)",
        ddl=(f"REVOKE SELECT ON {', '.join(tables)} FROM {READERS}",),
        statements=(
            ("UPDATE quartier.layers SET withdrawn = true WHERE id = :id", {"id": layer.id}),
        ),
    )


def restore(layer: Layer) -> Step:
    return Step(
        says=f"publish layer {layer.id} again",
        ddl=(f"GRANT SELECT ON {_readable(layer)} TO {READERS}",),
        statements=(
            ("UPDATE quartier.layers SET withdrawn = false WHERE id = :id", {"id": layer.id}),
        ),
    )
