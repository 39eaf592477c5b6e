"""`quartier purge`: one row erased from everywhere that Quartier keeps it, with a receipt."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console

from api.serve import default_cache
from api.settings import ApiSettings
from ingest.raw_store import RawStore
from layers.commands import opened_database, who_and_why
from layers.errors import LayersError
from layers.history import declared_layer
from layers.model import Layer
from layers.purge import Receipt, erase, vacuum
from layers.settings import StoreSettings
from tiles.errors import CacheNotEmptied
from tiles.shared import shared_tier

ELSEWHERE = (
    "backups that were made before (restore, purge again, back up anew)",
    "archives that were exported (quartier export), and tilesets made of them",
    "PostgreSQL's write-ahead log, until it is recycled",
    "what clients and caches of others have fetched",
)


def purge(  # noqa: PLR0913
    layer: Annotated[str, typer.Argument(help="The layer's id.")],
    by: Annotated[str, typer.Option(help="Who erases it.")],
    note: Annotated[str, typer.Option(help="Why: the request, without naming anybody.")],
    key: Annotated[str | None, typer.Option(help="The row's key, as the source has it.")] = None,
    fid: Annotated[int | None, typer.Option(help="Or its feature id.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt as JSON.")] = False,
) -> None:
    """Erase a row from its layer, history, quarantine, kept files and caches, for good.

    A later load does not bring it back. It cannot be undone.

    Example: quartier purge crimes --key 2026-0815 --by "Ana Lee" --note "request 41"
    """
    if (key is None) == (fid is None):
        raise typer.BadParameter("give either --key or --fid")
    who, why = who_and_why(by, note)
    store, console = StoreSettings(), Console(stderr=True)
    try:
        with opened_database(store) as (urls, engine):
            with engine.begin() as connection:
                declared = declared_layer(connection, layer)
                receipt = erase(connection, declared, key=key, fid=fid, by=who, note=why)
            gone, problems = _outside(urls.ingest, declared, receipt, store)
    except LayersError as exc:
        console.print(str(exc), markup=False, highlight=False, style="red")
        raise typer.Exit(1) from exc
    _print(receipt, gone, [*problems, *ELSEWHERE], as_json=as_json)
    if problems:
        raise typer.Exit(1)


def _outside(
    ingest_url: str, layer: Layer, receipt: Receipt, store: StoreSettings
) -> tuple[list[str], list[str]]:
    """Remove what lies outside the database: the files that went, and what went wrong. The same
    purge, asked for again, does this part once more.
    """
    gone: list[str] = []
    problems: list[str] = []
    raw = RawStore(store.raw)
    for sha256 in receipt.files:
        try:
            gone += [sha256] if raw.forget(sha256) else []
        except OSError as exc:
            problems.append(f"the kept file {sha256} ({exc.strerror}): remove it by hand")
    try:
        vacuum(ingest_url, layer)
    except psycopg.Error as exc:
        problems.append(f"dead rows on disk ({type(exc).__name__}): VACUUM the layer's tables")
    if said := asyncio.run(_empty_the_cache(store)):
        problems.append(said)
    return gone, problems


async def _empty_the_cache(store: StoreSettings) -> str:
    """Tiles of the row may lie in the shared tier until others need their place. What went wrong,
    if anything did: the row is erased all the same.
    """
    settings = ApiSettings()
    url = settings.cache_url.get_secret_value() if settings.cache_url else default_cache(store.home)
    tier = shared_tier(url, settings.cache_disk_bytes)
    if tier is None:
        return ""
    await tier.start()
    try:
        await tier.clear()
    except CacheNotEmptied as exc:
        return f"the shared cache, which could not be emptied ({exc}): empty it by hand"
    finally:
        await tier.close()
    return ""


def _print(receipt: Receipt, gone: list[str], elsewhere: list[str], *, as_json: bool) -> None:
    told: dict[str, Any] = {**asdict(receipt), "files": gone, "not_erased": elsewhere}
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
        return
    out = Console(highlight=False)
    out.print(
        f"Erased from {receipt.layer}: {receipt.rows:,} rows, {receipt.past_rows:,} past states,"
        f" {receipt.withheld:,} entries of the quarantine, {receipt.records:,} records of runs,"
        f" {len(gone):,} kept files. Revision {receipt.revision}."
    )
    for place in elsewhere:
        out.print(f"  Not reached: {place}", markup=False)
