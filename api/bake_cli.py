"""`quartier bake`: fill the cache that workers share before anybody asks."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Annotated

import typer
from rich.console import Console

from api.serve import default_cache
from api.settings import ApiSettings
from layers.cluster import open_store
from layers.columns import MAX_ZOOM
from layers.errors import LayersError, QueryRefused
from layers.settings import StoreSettings
from tiles.bake import BakeJob, BakeReport, fill
from tiles.cache import SharedTier
from tiles.cli import (
    CONNECTIONS,
    AsJson,
    Bbox,
    Connections,
    box_of,
    progress,
    told_errors,
)
from tiles.shared import shared_tier


class NothingShared(LayersError):
    """There is no cache that outlives this command."""


def bake(
    layers: Annotated[
        list[str],
        typer.Argument(help="As addresses name them: a layer's id, or several with commas."),
    ],
    zooms: Annotated[
        str | None, typer.Option(help="Such as 0-14, or 12; else the layers' own.")
    ] = None,
    bbox: Bbox = None,
    connections: Connections = CONNECTIONS,
    as_json: AsJson = False,
) -> None:
    """Make the tiles of LAYERS that are not in the shared cache yet. Cut off, it goes on next time.

    Example: quartier bake trees streets,parks --zooms 0-14 --bbox 4.8,45.1,4.9,45.3
    """
    console = Console(stderr=True)
    store = StoreSettings()
    for name in layers:
        begun = time.monotonic()
        with told_errors(name, as_json=as_json):
            first, last = zooms_asked(zooms)
            job = BakeJob(
                layers=name, minzoom=first, maxzoom=last, bbox=box_of(bbox),
                connections=connections,
            )  # fmt: skip
            with open_store(store, tell=console.print) as urls, progress(console, name) as tell:
                report = asyncio.run(fill(urls.web, _tier(store), job, tell))
        _tell(report, time.monotonic() - begun, as_json=as_json)


def _tier(store: StoreSettings) -> SharedTier:
    settings = ApiSettings()
    url = settings.cache_url.get_secret_value() if settings.cache_url else default_cache(store.home)
    tier = shared_tier(url, settings.cache_disk_bytes)
    if tier is None:
        raise NothingShared(
            "QUARTIER_CACHE_URL is memory:, which this command's end would empty;"
            " name a folder or a Redis that the workers use"
        )
    return tier


def zooms_asked(text: str | None) -> tuple[int | None, int | None]:
    """`0-14` or `12`; raises QueryRefused."""
    if text is None:
        return None, None
    found = re.fullmatch(r"(\d{1,2})(?:-(\d{1,2}))?", text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not first <= last <= MAX_ZOOM:
        raise QueryRefused("zooms", text, f"write two zooms from 0 to {MAX_ZOOM}, such as 0-14")
    return first, last


def _tell(report: BakeReport, seconds: float, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(report.as_json() | {"seconds": round(seconds, 3)}) + "\n")
        return
    console = Console(highlight=False)
    console.print(
        f"[bold]{report.layers}[/]: {report.made:,} tiles made, {report.ready:,} were ready,"
        f" {report.bytes / 2**20:,.1f} MiB, in {seconds:.1f} s"
    )
    if report.lost:
        console.print(
            f"  [red]{report.lost:.0%} of them are gone already[/]: the cache is too small or"
            " cannot be written; see QUARTIER_CACHE_DISK_BYTES and the log"
        )
