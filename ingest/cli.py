"""`quartier ingest`: load files into a declared layer."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ingest.errors import IngestError
from ingest.gates import Acceptance
from ingest.job import Job
from ingest.job import Progress as Tell
from ingest.raw_store import RawStore
from ingest.report import Report
from ingest.run import run
from layers.catalogue_files import CatalogueFiles, read_catalogue
from layers.cluster import open_store
from layers.commands import who_and_why
from layers.errors import LayerNotFound, LayersError, StoreUnavailable
from layers.gates import Gates
from layers.settings import StoreSettings

LABELS = {
    "read": "rows read",
    "inserted": "inserted",
    "updated": "updated",
    "unchanged": "unchanged",
    "quarantined": "quarantined",
    "duplicates": "repeated, left out",
    "accounted": "accounted for",
    "deleted": "deleted (gone from the source)",
    "cells": "cells that could not be read",
    "without_place": "rows without a place",
}
ALWAYS = {"read", "inserted", "updated", "unchanged", "quarantined", "accounted"}


def ingest(  # noqa: PLR0913
    layer: Annotated[str, typer.Argument(help="The id of a layer, or of a raster's tileset.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files; without any, those the catalogue names.", show_default=False),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="The files hold only some rows: delete nothing.")
    ] = False,
    accept: Annotated[
        str | None, typer.Option(help="Gates to let pass this time, with commas between them.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who lets them pass.")] = None,
    note: Annotated[str | None, typer.Option(help="Why.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Load FILES into LAYER: read, check, merge by key, publish in one transaction.

    A GeoTIFF for a tileset is checked, made a COG if it is none, and served from then on.

    Example: quartier ingest trees trees-2026.csv.gz
    """
    settings = StoreSettings()
    console = Console(stderr=True)
    try:
        catalogue = read_catalogue(settings.catalogue)
        if layer in catalogue.tilesets:
            if partial or accept is not None:
                raise typer.BadParameter("--partial and --accept are for layers, not for a raster")
            ingest_raster(settings, console, catalogue, layer, files or [], as_json=as_json)
            return
        job = job_of(catalogue, layer, files or [], partial=partial)
        raw = RawStore(settings.raw)
        job = replace(job, accepted=acceptance(accept, by, note), raw=raw)
        with open_store(settings, tell=console.print) as urls, progress_bar(console, layer) as tell:
            report = run(urls.ingest, job, tell)
    except (IngestError, LayersError) as exc:
        fail(exc, layer=layer, as_json=as_json)
    if as_json:
        sys.stdout.write(json.dumps(report.as_json(), default=str) + "\n")
    else:
        print_report(Console(), report)


def ingest_raster(  # noqa: PLR0913
    settings: StoreSettings,
    console: Console,
    catalogue: CatalogueFiles,
    tileset_id: str,
    files: list[Path],
    *,
    as_json: bool,
) -> None:
    from ingest.raster_cli import publish_raster, raster_job  # with all that makes tables

    raster = raster_job(catalogue, tileset_id, files, settings.rasters)
    with open_store(settings, tell=console.print) as urls:
        publish_raster(urls.ingest, raster, as_json=as_json)


def acceptance(gates: str | None, by: str | None, note: str | None) -> Acceptance | None:
    """Which gates are let pass; raises BadParameter where it is not said by whom and why."""
    if gates is None:
        return None
    named = tuple(gate.strip() for gate in gates.split(",") if gate.strip())
    if unknown := [gate for gate in named if gate not in Gates.model_fields]:
        raise typer.BadParameter(
            f"--accept: {unknown[0]!r} is no gate; gates are {', '.join(Gates.model_fields)}"
        )
    who, why = who_and_why(by, note)
    return Acceptance(gates=named, by=who, note=why)


def job_of(
    catalogue: CatalogueFiles, layer_id: str, files: list[Path], *, partial: bool = False
) -> Job:
    """The job of loading these files, or those that the layer declares."""
    if layer_id not in catalogue.layers:
        near = get_close_matches(layer_id, [*catalogue.layers, *catalogue.tilesets], n=1)
        raise LayerNotFound(
            layer_id,
            f"did you mean {near[0]}?"
            if near
            else f"the catalogue declares {', '.join(catalogue.layers) or 'none'}",
        )
    layer = catalogue.layers[layer_id]
    return Job(
        layer=layer, files=tuple(files) or declared_files(catalogue, layer_id), partial=partial
    )


def declared_files(catalogue: CatalogueFiles, layer_id: str) -> tuple[Path, ...]:
    """The files that the layer's source names, relative to its YAML file."""
    folder = catalogue.paths[layer_id].parent
    found: list[Path] = []
    for pattern in catalogue.layers[layer_id].source.files:
        path = (folder / pattern).resolve()
        found += sorted(path.parent.glob(path.name)) or [path]
    return tuple(found)


def fail(exc: Exception, *, layer: str, as_json: bool) -> None:
    """Say why nothing was published, and end with an exit code that says so too."""
    if as_json:
        refused = {"layer": layer, "state": "refused", "message": str(exc)}
        sys.stdout.write(json.dumps(refused) + "\n")
    if isinstance(exc, StoreUnavailable):  # it may have gone away in the middle of the commit
        said = "[bold red]Not finished.[/] All of it is published, or nothing; run it again."
    else:
        said = "[bold red]Refused.[/] Nothing was changed."
    Console(stderr=True).print(said, highlight=False)
    Console(stderr=True).print(str(exc), markup=False, highlight=False)
    raise typer.Exit(1)


@contextmanager
def progress_bar(console: Console, layer: str) -> Iterator[Tell]:
    """A bar that shows bytes read, rows and rate; silent where nobody watches."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[rows]:>9,} rows"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(layer, rows=0, total=None)

        def tell(doing: str, done: int, total: int, rows: int) -> None:
            bars.update(
                task,
                description=f"{layer}: {doing}",
                completed=done,
                total=total or None,
                rows=rows,
            )

        yield tell


def print_report(console: Console, report: Report) -> None:
    rate = report.counts.read / report.seconds if report.seconds else 0
    console.print(
        f"[bold]{report.layer}[/] {report.state}, revision {report.revision}, in"
        f" {report.seconds:.1f} s" + (f" ({rate:,.0f} rows/s)" if report.counts.read else ""),
        highlight=False,
    )
    if report.message:
        console.print(f"  {report.message}", highlight=False)
    if report.counts.read:
        console.print(_table(report))
    for note in _notes(report):
        console.print(f"  {note}", markup=False, highlight=False)


def _table(report: Report) -> Table:
    counts = report.as_json()["counts"]
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for name, label in LABELS.items():
        if counts[name] or name in ALWAYS:
            table.add_row(label, f"{counts[name]:,}", style="bold" if name == "accounted" else "")
    return table


def _notes(report: Report) -> list[str]:
    notes = []
    for gate in report.gates:
        said = "accepted" if gate["accepted"] else "noticed"
        notes.append(f"Gate {gate['gate']}, {said}: {gate['says']}")
    if report.counts.quarantined or report.counts.cells:
        notes.append(f"Withheld rows and cells: quarantine of run {report.run}")
    for facts in report.facts:
        if facts["ignored"]:
            notes.append(f"{facts['file']}: columns not declared: {', '.join(facts['ignored'])}")
    return notes


def load_declared(
    ingest_url: str, catalogue: CatalogueFiles, console: Console, raw: RawStore
) -> None:
    """Load every layer whose declared files are there and new, saying what each run did.

    A layer that is refused is told and does not keep the others from being loaded.
    """
    for layer_id in catalogue.layers:
        files = [path for path in declared_files(catalogue, layer_id) if path.is_file()]
        if not files:
            continue
        try:
            with progress_bar(console, layer_id) as tell:
                job = Job(layer=catalogue.layers[layer_id], files=tuple(files), once=True, raw=raw)
                report = run(ingest_url, job, tell)
        except (IngestError, LayersError) as exc:
            console.print(f"  {layer_id}: refused: {exc}", markup=False, style="red")
            continue
        if report.state == "published":
            console.print(
                f"  {layer_id}: {report.counts.read:,} rows in {report.seconds:.1f} s,"
                f" {report.counts.quarantined:,} quarantined, revision {report.revision}"
            )
