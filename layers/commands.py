"""What commands share that change or look at a database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unicodedata import category

import sqlalchemy as sa
import typer
from rich.console import Console

from layers.cluster import open_store
from layers.database_urls import DatabaseUrls
from layers.engine import owner_engine, store_errors
from layers.schema_version import check_schema
from layers.settings import StoreSettings


def who_and_why(by: str | None, note: str | None) -> tuple[str, str]:
    """The name and the reason that a record keeps; raises BadParameter without them."""
    named, why = (by or "").strip(), (note or "").strip()
    if not named or not why:
        raise typer.BadParameter("say who and why, with --by NAME --note WHY")
    if any(category(letter) in ("Cc", "Cf") for letter in named + why):
        raise typer.BadParameter("--by and --note are plain text of one line")
    return named, why


@contextmanager
def opened_database(settings: StoreSettings) -> Iterator[tuple[DatabaseUrls, sa.Engine]]:
    """The database, awake meanwhile, of just the schema that this version works on; with an
    engine that logs in as quartier_ingest. Raises LayersError.
    """
    console = Console(stderr=True)
    with open_store(settings, tell=console.print) as urls, store_errors():
        engine = owner_engine(urls.ingest)
        try:
            with engine.connect() as connection:
                check_schema(connection)
            yield urls, engine
        finally:
            engine.dispose()
