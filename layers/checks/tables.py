"""The layers in the database: triggers, overviews, last runs, what is hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from layers import overviews, partition_sql, shapes
from layers.apply import plan
from layers.catalogue_files import read_catalogue
from layers.checks.finding import Finding, listed, ok, plural, problem, warning
from layers.errors import LayersError
from layers.layer_steps import triggers_hash
from layers.locks import RUN_LOCK
from layers.model import Layer
from layers.settings import StoreSettings
from layers.sql import ident
from layers.tables import CITY
from layers.tileset_steps import plan_tilesets
from layers.triggers import trigger_names

LAST_RUNS = """
    SELECT DISTINCT ON (r.layer_id) r.layer_id, r.state, r.message, r.started_at,
           NOT EXISTS (
               SELECT FROM pg_locks k WHERE k.locktype = 'advisory' AND k.classid = :space
                 AND k.objid = (hashtext(r.layer_id)::bigint & 4294967295)::oid
           ) AS left_alone
    FROM quartier.runs r JOIN quartier.layers l ON l.id = r.layer_id AND NOT l.withdrawn
    ORDER BY r.layer_id, r.id DESC"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A layer as the database has it, with what its overview and triggers were made by."""

    layer: Layer
    overview: str | None
    triggers: str | None


def known_layers(connection: sa.Connection) -> list[Known]:
    """The layers that are published."""
    rows = connection.execute(
        sa.text(
            "SELECT declaration, overview, triggers FROM quartier.layers"
            " WHERE NOT withdrawn ORDER BY id"
        )
    )
    return [
        Known(
            layer=Layer.model_validate(row.declaration),
            overview=row.overview,
            triggers=row.triggers,
        )
        for row in rows
    ]


def tables(connection: sa.Connection, known: Sequence[Known]) -> Finding:
    about = "tables"
    missing = [
        each.layer.id
        for each in known
        if not _is_there(connection, f"{CITY}.{ident(each.layer.id)}")
    ]
    if missing:
        said = f"layers without a table: {listed(missing)}"
        return problem(about, said, "quartier restore from a backup")
    otherwise = [
        each.layer.id
        for each in known
        if partition_sql.known_division(connection, each.layer.id)
        != partition_sql.division(each.layer)
    ]
    if otherwise:
        said = f"divided otherwise than declared: {listed(otherwise)}"
        return problem(about, said, "quartier apply")
    return ok(about, f"{plural(len(known), 'layer')} published")


def triggers(connection: sa.Connection, known: Sequence[Known]) -> Finding:
    """Without its triggers a change is seen by no tile, overview or history."""
    about = "triggers"
    there = sa.text(
        "SELECT tgname FROM pg_trigger"
        " WHERE tgrelid = to_regclass(:table) AND tgenabled IN ('O', 'A')"
    )
    lacking, old = [], []
    for each in known:
        table = f"{CITY}.{ident(each.layer.id)}"
        found = set(connection.scalars(there, {"table": table}))
        unguarded = partition_sql.unguarded(connection, each.layer)
        if missing := [*sorted(trigger_names(each.layer) - found), *unguarded]:
            lacking.append(f"{each.layer.id} lacks {', '.join(missing)}")
        elif each.triggers != triggers_hash(each.layer):
            old.append(each.layer.id)
    if lacking:
        said = f"dropped or disabled, so changes go unseen: {listed(lacking)}"
        return problem(about, said, "quartier apply")
    if old:
        return warning(about, f"of another version: {listed(old)}", "quartier apply")
    return ok(about, "all are there and enabled")


def overviews_made(connection: sa.Connection, known: Sequence[Known]) -> Finding:
    """Low zooms show overviews: without them tiles are slow, with old ones they are wrong."""
    about = "overviews"
    missing = [each.layer.id for each in known if _lacks_overview(connection, each.layer)]
    if missing:
        return problem(about, f"missing for {listed(missing)}", "quartier apply")
    stale = [each.layer.id for each in known if _is_stale(connection, each)]
    if stale:
        said = f"out of date for {listed(stale)}"
        return warning(about, said, "quartier apply")
    return ok(about, "all are there and up to date")


def overviews_true(connection: sa.Connection, known: Sequence[Known]) -> Finding:
    """The counts of cells add up to the rows that have a place. Reads every row."""
    about = "counts"
    wrong = []
    for each in (each for each in known if overviews.has_cells(each.layer)):
        table, cells = f"{CITY}.{ident(each.layer.id)}", overviews.cells(each.layer).table
        if not (_is_there(connection, table) and _is_there(connection, cells)):
            continue
        counted, rows = connection.execute(
            sa.text(
                f"SELECT (SELECT coalesce(sum(n), 0)::bigint FROM {cells} WHERE depth = 0),"
                f" (SELECT count(cell) FROM {table})"
            )
        ).one()
        if counted != rows:
            wrong.append(f"{each.layer.id} counts {counted:,} of {rows:,}")
    if wrong:
        names = " ".join(f"--recount {said.split()[0]}" for said in wrong)
        return problem(about, f"overviews miss rows: {listed(wrong)}", f"quartier apply {names}")
    return ok(about, "the cells of every layer of points add up to its rows")


def last_runs(connection: sa.Connection) -> Finding:
    about = "last runs"
    rows = connection.execute(sa.text(LAST_RUNS), {"space": RUN_LOCK}).all()
    if refused := [row for row in rows if row.state == "refused"]:
        first = refused[0]
        said = f"refused for {listed([row.layer_id for row in refused])}; {first.layer_id}: "
        return warning(
            about, said + (first.message or "it was not said why").splitlines()[0],
            f"mend the source or the declaration, then quartier ingest {first.layer_id}",
        )  # fmt: skip
    if killed := [row.layer_id for row in rows if row.state == "running" and row.left_alone]:
        said = f"killed before the end: {listed(killed)}; the old revision stayed"
        return warning(about, said, f"quartier ingest {killed[0]}")
    return ok(about, f"of {plural(len(rows), 'layer')} ended well" if rows else "none so far")


def withdrawn(connection: sa.Connection) -> Finding:
    about = "withdrawn"
    found = list(
        connection.scalars(sa.text("SELECT id FROM quartier.layers WHERE withdrawn ORDER BY id"))
    )
    if found:
        said = f"{plural(len(found), 'layer')} hidden, because no longer declared: {listed(found)}"
        return warning(about, said, "declare it again and run quartier apply, if it was a mistake")
    return ok(about, "no layer")


def declared(connection: sa.Connection, settings: StoreSettings) -> Finding:
    """What `quartier apply` would do."""
    about = "declared"
    try:
        files = read_catalogue(settings.catalogue)
        steps = [*plan(connection, files), *plan_tilesets(connection, files, settings.rasters)]
    except LayersError as exc:
        return problem(about, str(exc).splitlines()[0], "see quartier apply --dry-run")
    if steps:
        said = f"{plural(len(steps), 'step')} between catalogue and database: {steps[0].says}"
        return warning(about, said, "quartier apply --dry-run, then quartier apply")
    return ok(about, "the database holds what the catalogue declares")


def tileset_files(connection: sa.Connection) -> Finding:
    """The files of tilesets, which may lie anywhere."""
    about = "tilesets"
    rows = connection.execute(sa.text("SELECT id, file FROM quartier.public_tilesets ORDER BY id"))
    gone = [f"{row.id} ({row.file})" for row in rows if not Path(row.file).is_file()]
    if gone:
        said = f"files that are not there: {listed(gone)}"
        return problem(about, said, "put the file there, or correct `file` and run quartier apply")
    return ok(about, "all files are there")


def _lacks_overview(connection: sa.Connection, layer: Layer) -> bool:
    tables = [*overviews.tables_of(layer)] if overviews.has_cells(layer) else []
    tables += [*shapes.tables_of(layer)] if shapes.has_shapes(layer) else []
    return not all(_is_there(connection, table) for table in tables)


def _is_stale(connection: sa.Connection, known: Known) -> bool:
    layer = known.layer
    if overviews.has_cells(layer):
        return known.overview != overviews.signature(layer)
    if not shapes.has_shapes(layer):
        return False
    row = connection.execute(
        sa.text("SELECT definition, stale FROM quartier.shape_state WHERE layer_id = :layer"),
        {"layer": layer.id},
    ).first()
    if row is None or row.definition != shapes.signature(layer):
        return True
    return bool(row.stale) and shapes.has_batch(layer)


def _is_there(connection: sa.Connection, table: str) -> bool:
    found = connection.scalar(sa.text("SELECT to_regclass(:table) IS NOT NULL"), {"table": table})
    return bool(found)
