"""`quartier apply`: make the database hold what the catalogue declares."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.console import Console

from layers.apply import execute, plan
from layers.catalogue_files import CatalogueFiles, read_catalogue
from layers.cluster import open_store
from layers.engine import owner_engine, store_errors
from layers.errors import LayersError
from layers.layer_steps import Step
from layers.settings import StoreSettings
from layers.setup import SETUP_LOCK, prepare_database
from layers.tileset_steps import plan_tilesets


def apply(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    recount: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYER", help="Make this layer's overviews anew; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the steps as JSON.")] = False,
) -> None:
    """Create, change and withdraw layers, maps and tilesets as data/catalogue declares.

    Drops no data.

    Example: quartier apply --dry-run
    """
    settings = StoreSettings()
    console = Console(stderr=True)
    try:
        files = read_catalogue(settings.catalogue)
        with open_store(settings, tell=console.print) as urls:
            prepare_database(urls.owner)
            steps = apply_catalogue(
                urls.ingest, files, dry_run=dry_run, recount=recount or (), rasters=settings.rasters
            )
    except LayersError as exc:
        console.print(str(exc), markup=False, highlight=False, style="red")
        raise typer.Exit(1) from exc
    if as_json:
        sys.stdout.write(json.dumps({"dry_run": dry_run, "steps": [s.says for s in steps]}) + "\n")
        return
    for step in steps:
        Console().print(f"{'would ' if dry_run else ''}{step.says}", highlight=False)
    if not steps:
        Console().print("Nothing to do: the database holds what the catalogue declares.")


def apply_catalogue(
    ingest_url: str,
    files: CatalogueFiles,
    *,
    dry_run: bool = False,
    recount: Collection[str] = (),
    rasters: Path | None = None,
) -> list[Step]:
    """Plan and, unless it is a dry run, execute, in one transaction but for what is done apart;
    returns the steps. `rasters` is where the home keeps those that were made fit for tiles.
    """
    engine = owner_engine(ingest_url)
    try:
        with store_errors():
            with engine.begin() as connection:
                lock = sa.text("SELECT pg_advisory_xact_lock(:key)")
                connection.execute(lock, {"key": SETUP_LOCK})
                tilesets = plan_tilesets(connection, files, rasters)
                steps = [*plan(connection, files, recount=recount), *tilesets]
                if not dry_run:
                    execute(connection, steps)
            for step in steps:
                if step.apart is not None and not dry_run:
                    step.apart(engine)
            return steps
    finally:
        engine.dispose()
