"""`quartier backup` and `quartier restore`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from layers.backup import Manifest, back_up
from layers.backup import restore as restore_from
from layers.backup_note import leave_note
from layers.cluster import open_store
from layers.database_urls import DatabaseUrls
from layers.engine import store_errors
from layers.errors import LayersError
from layers.settings import StoreSettings

Work = Callable[[DatabaseUrls, Path, Callable[[str], None]], Manifest]


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; it is replaced.")],
) -> None:
    """Write all layers, their history, runs and kept files into FILE, while the server goes on.

    Example: quartier backup /backups/city-$(date +%F).tar
    """

    def work(urls: DatabaseUrls, raw: Path, tell: Callable[[str], None]) -> Manifest:
        return back_up(urls, raw, file.absolute(), tell)

    manifest = _do(work)
    leave_note(StoreSettings().home, file.absolute(), manifest.made_at)
    size = file.stat().st_size / 1e6
    Console().print(f"{_said(manifest)}, in {file} ({size:,.1f} MB)", highlight=False)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that quartier backup wrote.")],
) -> None:
    """Put a backup into an empty QUARTIER_HOME, compare every row, bring it up to date.

    Example: QUARTIER_HOME=/var/lib/quartier-new quartier restore /backups/city-2026-10-05.tar
    """

    def work(urls: DatabaseUrls, raw: Path, tell: Callable[[str], None]) -> Manifest:
        return restore_from(urls, raw, file.absolute(), tell)

    manifest = _do(work)
    Console().print(f"{_said(manifest)}: every row is as it was", highlight=False)


def _said(manifest: Manifest) -> str:
    rows = sum(rows for name, (rows, _) in manifest.tables.items() if name.startswith("city."))
    return f"{len(manifest.revisions):,} layers, {rows:,} rows, {len(manifest.raw):,} kept files"


def _do(work: Work) -> Manifest:
    settings, console = StoreSettings(), Console(stderr=True)
    try:
        with open_store(settings, tell=console.print) as urls, store_errors():
            return work(urls, settings.raw, lambda said: console.print(said, highlight=False))
    except (LayersError, OSError) as exc:
        console.print(str(exc), markup=False, highlight=False, style="red")
        raise typer.Exit(1) from exc
