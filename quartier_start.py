"""`quartier up` and `quartier serve`: PostGIS, what is declared, and the web, in this order."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from api.serve import check_port
from api.serve import serve as serve_web
from api.settings import ApiSettings
from ingest.cli import load_declared
from ingest.errors import IngestError
from ingest.raster_cli import load_rasters
from ingest.raw_store import RawStore
from layers.catalogue_files import read_catalogue
from layers.cli import apply_catalogue
from layers.cluster import open_store
from layers.errors import LayersError
from layers.settings import StoreSettings
from layers.setup import prepare_database


def up(
    no_serve: Annotated[
        bool, typer.Option("--no-serve", help="End when all is loaded; quartier serve goes on.")
    ] = False,
) -> None:
    """Start PostGIS, apply the catalogue, load what it names, and serve. Ctrl-C stops it all.

    Example: PORT=8080 QUARTIER_HOME=~/city make up
    """
    _start(load=True, serves=not no_serve)


def serve() -> None:
    """Serve what is there: start PostGIS and the web, load nothing.

    Example: QUARTIER_PORT=8080 quartier serve
    """
    _start(load=False, serves=True)


def _start(*, load: bool, serves: bool) -> None:
    console = Console(highlight=False)
    store, web = StoreSettings(), ApiSettings()
    try:
        if serves:
            check_port(web)
        with open_store(store, tell=console.print) as urls:
            prepare_database(urls.owner)
            if load:
                catalogue = read_catalogue(store.catalogue)
                for step in apply_catalogue(urls.ingest, catalogue, rasters=store.rasters):
                    console.print(f"  {step.says}")
                load_declared(urls.ingest, catalogue, console, RawStore(store.raw))
                load_rasters(urls.ingest, catalogue, console, store.rasters)
            if serves:
                shown = web.public_url or f"http://{web.host}:{web.port}"
                console.print(f"\n[bold]Quartier is up:[/] {shown}/   (Ctrl-C stops it)")
                serve_web(urls.web, web, store.home, officer_url=urls.officer)
    except (LayersError, IngestError) as exc:
        Console(stderr=True).print(str(exc), markup=False, highlight=False, style="red")
        raise typer.Exit(1) from exc
