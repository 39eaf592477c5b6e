"""`quartier history`: the revisions of a layer, and the way back to one."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import sqlalchemy as sa
import typer
from rich.console import Console

from layers import retention
from layers.commands import opened_database, who_and_why
from layers.errors import LayersError, QueryRefused
from layers.history import (
    MAX_CHANGES,
    Diff,
    DiffQuery,
    RolledBack,
    declared_layer,
    read_diff,
    roll_back,
)
from layers.model import Layer
from layers.revisions import resolve
from layers.settings import StoreSettings
from layers.store import Store

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help="Look at the revisions of a layer, and go back.")
LayerArgument = Annotated[str, typer.Argument(help="The layer's id.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NOW = "9999-12-31T23:59:59Z"
LISTED = """
    SELECT revision, made_at, inserted, updated, deleted, run_id AS run, made_by, note
    FROM quartier.revisions WHERE layer_id = :layer ORDER BY revision DESC LIMIT :most"""


@app.command("list")
def list_revisions(
    layer: LayerArgument,
    most: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Print the revisions of a layer: when, how many rows, by which run or login."""

    def ask(connection: sa.Connection) -> list[dict[str, Any]]:
        declared_layer(connection, layer)
        rows = connection.execute(sa.text(LISTED), {"layer": layer, "most": most})
        return [dict(row._mapping) for row in rows]

    revisions = _do(ask)
    if as_json:
        sys.stdout.write(json.dumps(revisions, default=str) + "\n")
        return
    for one in revisions:
        by = f"run {one['run']}" if one["run"] else one["made_by"]
        if one["note"]:
            by = f"{one['note']['by']}, back to {one['note']['back_to']}: {one['note']['note']}"
        counts = ", ".join(
            f"{one[name]:,} {name}" for name in ("inserted", "updated", "deleted") if one[name]
        )
        said = f"{one['revision']:>6}  {one['made_at'].isoformat(' ', 'seconds')}  {counts} ({by})"
        Console().print(said, markup=False, highlight=False, soft_wrap=True)


@app.command()
def diff(  # noqa: PLR0913
    layer: LayerArgument,
    since: Annotated[str, typer.Argument(help="A revision, or an instant (RFC 3339).")],
    until: Annotated[str, typer.Argument(help="The same; without it, now.")] = NOW,
    most: Annotated[int, typer.Option(min=1, max=MAX_CHANGES, help="How many changes.")] = 100,
    after: Annotated[int, typer.Option(min=0, help="Those with a greater fid.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Print what differs between two revisions of a layer, as everybody may see it.

    Example: quartier history diff trees 11 12
    """

    async def ask(url: str, declared: Layer) -> Diff:
        store = Store(url, size=1)
        try:
            first = await resolve(store, layer, "since", since)
            last = await resolve(store, layer, "until", until)
            if first > last:
                raise QueryRefused("since", since, f"is later than until, revision {last}")
            query = DiffQuery(layer=declared, since=first, until=last, after=after, limit=most)
            return await read_diff(store, query)
        finally:
            await store.close()

    try:
        with opened_database(StoreSettings()) as (urls, engine):
            with engine.connect() as connection:
                declared = declared_layer(connection, layer).as_published()
            found = asyncio.run(ask(urls.web, declared))
    except LayersError as exc:
        Console(stderr=True).print(str(exc), markup=False, highlight=False, style="red")
        raise typer.Exit(1) from exc
    if as_json:
        sys.stdout.write(json.dumps({"layer": layer, **asdict(found)}, default=str) + "\n")
        return
    for one in found.changes:
        fields = f": {', '.join(one['fields'])}" if "fields" in one else ""
        Console().print(f"  {one['fid']} {one['change']}{fields}", markup=False, highlight=False)
    told = ", ".join(f"{count:,} {kind}" for kind, count in found.counts.items())
    Console().print(f"{layer}: {told}", markup=False, highlight=False)


@app.command()
def rollback(
    layer: LayerArgument,
    revision: Annotated[int, typer.Argument(min=0, help="The revision to go back to.")],
    by: Annotated[str, typer.Option(help="Who goes back.")],
    note: Annotated[str, typer.Option(help="Why.")],
    as_json: JsonOption = False,
) -> None:
    """Make the rows of a layer what they were at REVISION, as a new revision.

    Example: quartier history rollback trees 12 --by "Ana Lee" --note "the file was of last year"
    """
    who, why = who_and_why(by, note)

    def work(connection: sa.Connection) -> RolledBack:
        declared = declared_layer(connection, layer)
        return roll_back(connection, declared, revision, by=who, note=why)

    done = _do(work)
    if as_json:
        sys.stdout.write(json.dumps({"layer": layer, "back_to": revision, **asdict(done)}) + "\n")
        return
    Console().print(
        f"{layer} is as it was at revision {revision}, now revision {done.revision}:"
        f" {done.inserted:,} rows came back, {done.updated:,} changed back, {done.deleted:,} went",
        highlight=False,
    )


@app.command()
def trim(
    layer: LayerArgument,
    keep_days: Annotated[
        int | None, typer.Option(min=0, help="Days to keep; without: as the layer declares.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let go of past states of rows that were no longer so KEEP-DAYS ago. It cannot be undone.

    Every load does so too, for a layer with keep_history_days.

    Example: quartier history trim trees --keep-days 365
    """
    done = _do(lambda connection: retention.trim(
        connection, declared_layer(connection, layer), keep_days
    ))  # fmt: skip
    if as_json:
        sys.stdout.write(json.dumps(asdict(done)) + "\n")
        return
    said = f"{layer}: {done.states:,} past states let go; the past is kept from {done.kept_from} on"
    Console().print(said, highlight=False)


def _do(work: Callable[[sa.Connection], T]) -> T:
    try:
        with opened_database(StoreSettings()) as (_, engine), engine.begin() as connection:
            return work(connection)
    except LayersError as exc:
        Console(stderr=True).print(str(exc), markup=False, highlight=False, style="red")
        raise typer.Exit(1) from exc
