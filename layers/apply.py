"""Make the database hold what the catalogue declares. Idempotent; never drops data.

`plan` compares and returns the steps; `execute` runs them in one transaction. A layer that is
no longer declared is withdrawn (hidden from every reader), and comes back when declared again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from layers import arrange, layer_steps, overviews, privacy_steps
from layers.catalogue_files import CatalogueFiles
from layers.engine import postgis_schema, run_ddl
from layers.errors import ChangeRefused
from layers.layer_steps import Step, config_hash, dump, triggers_hash
from layers.map import Map
from layers.model import Layer
from layers.sql import ident
from layers.tables import CITY, HISTORY, columns_missing


def plan(
    connection: sa.Connection, files: CatalogueFiles, *, recount: Collection[str] = ()
) -> list[Step]:
    """The steps from what is there to what is declared; an empty list when they agree. Layers to
    `recount` have their overviews made anew even so.

    Raises ChangeRefused where a step would lose data (a column's type or a layer's geometry), and
    where a layer to recount is not declared.
    """
    if unknown := sorted(set(recount) - files.layers.keys()):
        raise ChangeRefused(f"cannot recount {', '.join(unknown)}: name declared layers")
    known = {
        row.id: row
        for row in connection.execute(
            sa.text("SELECT id, declaration, overview, triggers, withdrawn FROM quartier.layers")
        )
    }
    steps: list[Step] = []
    for layer in files.layers.values():
        if layer.id not in known:
            steps.append(layer_steps.create(layer, connection.dialect))
        else:
            steps += _bring_up(known[layer.id], layer, connection, again=layer.id in recount)
    for layer_id, row in known.items():
        if layer_id not in files.layers and not row.withdrawn:
            layer = Layer.model_validate(row.declaration).as_published()
            steps.append(layer_steps.withdraw(layer, connection))
    # What areas and anchors are taken from is there by then.
    for layer in files.layers.values():
        before = known.get(layer.id)
        steps += privacy_steps.bring_up(before and before.declaration, layer, connection)
    return steps + _plan_maps(connection, files.maps)


def _bring_up(
    row: sa.Row[tuple[object, ...]], declared: Layer, connection: sa.Connection, *, again: bool
) -> list[Step]:
    """The steps for a layer that is known."""
    was = Layer.model_validate(row.declaration)
    old, layer = was.as_published(), declared.as_published()
    steps = _amend(was, declared, connection)
    divided = arrange.bring_up(declared, connection)
    steps += divided
    mended = layer_steps.mend(layer, connection, again=again, will_be_new=bool(divided))
    steps += mended
    if overviews.has_cells(layer) and row.overview != overviews.signature(layer):
        steps.append(layer_steps.count_points(layer))
    steps += layer_steps.shape(layer, connection, is_remade=bool(mended))
    if not divided:
        steps += layer_steps.index_slices(layer, connection)
    if row.triggers != triggers_hash(old):
        steps.append(layer_steps.attach(layer))
    if row.withdrawn:
        steps.append(layer_steps.restore(layer))
    return steps


def execute(connection: sa.Connection, steps: list[Step]) -> None:
    """Run the steps on a connection whose role owns the data, then tell the web's workers. What is
    done apart is left to the caller.
    """
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


def _amend(was: Layer, declared: Layer, connection: sa.Connection) -> list[Step]:
    if was == declared:
        return []
    old, new = was.as_published(), declared.as_published()
    if old.geometry != new.geometry:
        raise ChangeRefused(
            f"layer {new.id}: geometry is {old.geometry}, declared {new.geometry};"
            " declare it under a new id instead"
        )
    ddl = []
    for schema in (CITY, HISTORY):
        ddl += columns_missing(connection, new, f"{schema}.{ident(new.id)}")
    if ddl:
        ddl.append(layer_steps.view_history(new))
    if was.privacy:
        ddl += privacy_steps.new_columns(declared, connection)
    says = f"change layer {new.id}: {', '.join(_differences(was, declared))}"
    update = (
        "UPDATE quartier.layers SET declaration = CAST(:declaration AS jsonb),"
        " config_hash = :hash WHERE id = :id"
    )
    values = {"id": new.id, "declaration": dump(declared), "hash": config_hash(new)}
    statements: list[tuple[str, dict[str, Any]]] = [(update, values)]
    if triggers_hash(old) != triggers_hash(new):
        attached = layer_steps.attach(new)
        ddl += attached.ddl
        statements += attached.statements
    return [Step(says=says, ddl=tuple(ddl), statements=tuple(statements))]


def _differences(old: Layer, new: Layer) -> list[str]:
    before, after = old.model_dump(by_alias=True), new.model_dump(by_alias=True)
    return [name for name in after if before[name] != after[name]]


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
            statements=((upsert, {"id": map_.id, "declaration": dump(map_)}),),
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
