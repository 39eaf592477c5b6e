"""`quartier quarantine`: what is withheld from a layer, and what becomes of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console

from ingest.cli import fail, job_of, print_report, progress_bar
from ingest.errors import IngestError
from ingest.raw_store import RawStore
from ingest.report import Report
from ingest.run import Job, run
from layers.catalogue_files import read_catalogue
from layers.commands import opened_database, who_and_why
from layers.errors import LayersError
from layers.quarantine import CurrentRun, WithheldRow, accept_rows, current_run, withheld_rows
from layers.settings import StoreSettings
from layers.spreadsheets import HEAD, withheld_csv

app = typer.Typer(no_args_is_help=True, help="Look at what is withheld from a layer, and mend it.")
LayerArgument = Annotated[str, typer.Argument(help="The layer's id.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_rows(layer: LayerArgument, as_json: JsonOption = False) -> None:
    """Print each row and cell that the last load withheld, with its reason."""
    try:
        with opened_database(StoreSettings()) as (_, engine), engine.connect() as connection:
            found = current_run(connection, layer)
            rows = [_as_json(row) for row in withheld_rows(connection, found.id)]
    except LayersError as exc:
        fail(exc, layer=layer, as_json=as_json)
    if as_json:
        told = {"layer": layer, "run": found.id, "rows": found.rows, "withheld": found.withheld}
        sys.stdout.write(json.dumps({**told, "entries": rows}, default=str) + "\n")
        return
    console = Console(highlight=False)
    console.print(f"{layer}: {found.withheld:,} of {found.rows:,} rows withheld by run {found.id}")
    for row in rows:
        mark = " (can be accepted)" if row["acceptable"] else ""
        said = f"  {row['id']}  {row['file']}:{row['line']}  {row['reason']}{mark}"
        console.print(said, markup=False, soft_wrap=True)


@app.command()
def export(
    layer: LayerArgument,
    file: Annotated[Path, typer.Argument(help="The CSV file to write; - for standard output.")],
) -> None:
    """Write what is withheld as CSV, for whoever made the source."""
    try:
        with opened_database(StoreSettings()) as (_, engine), engine.connect() as connection:
            found = current_run(connection, layer)
            if str(file) == "-":
                count = _write_csv(sys.stdout, withheld_rows(connection, found.id))
            else:
                with file.open("w", encoding="utf-8-sig", newline="") as out:
                    count = _write_csv(out, withheld_rows(connection, found.id))
    except (LayersError, OSError) as exc:
        fail(exc, layer=layer, as_json=False)
    Console(stderr=True).print(f"{count:,} entries of run {found.id}", highlight=False)


@app.command()
def retry(layer: LayerArgument, as_json: JsonOption = False) -> None:
    """Load the kept files of the last load once more, under today's declaration.

    What was corrected in the declaration, or accepted, is then published.
    """
    _again(layer, as_json=as_json)


@app.command()
def accept(
    layer: LayerArgument,
    ids: Annotated[list[int], typer.Argument(help="Numbers as `list` prints them.")],
    by: Annotated[str, typer.Option(help="Who vouches for them.")],
    note: Annotated[str, typer.Option(help="Why they are right.")],
    as_json: JsonOption = False,
) -> None:
    """Publish rows that were withheld, because somebody vouches for them.

    They stay accepted as long as they and the reason stay the same.
    """
    who, why = who_and_why(by, note)
    try:
        with opened_database(StoreSettings()) as (_, engine), engine.begin() as connection:
            count = accept_rows(connection, layer, ids, by=who, note=why)
    except LayersError as exc:
        fail(exc, layer=layer, as_json=as_json)
    Console(stderr=True).print(f"{count:,} rows accepted", highlight=False)
    _again(layer, as_json=as_json)


def _again(layer: str, *, as_json: bool) -> None:
    settings, console = StoreSettings(), Console(stderr=True)
    try:
        catalogue = read_catalogue(settings.catalogue)
        with opened_database(settings) as (urls, engine):
            with engine.connect() as connection:
                last = current_run(connection, layer)
            with progress_bar(console, layer) as tell:
                declared = job_of(catalogue, layer, [])
                report = load_again(urls.ingest, declared, last, RawStore(settings.raw), tell)
    except (IngestError, LayersError) as exc:
        fail(exc, layer=layer, as_json=as_json)
    if as_json:
        sys.stdout.write(json.dumps(report.as_json(), default=str) + "\n")
    else:
        print_report(Console(), report)


def load_again(url: str, declared: Job, last: CurrentRun, raw: RawStore, tell: Any) -> Report:
    """Load the kept files of a run as the layer is declared now."""
    with raw.laid_out(last.sources) as files:
        job = Job(layer=declared.layer, files=files, partial=last.partial, again=True, raw=raw)
        return run(url, job, tell)


def _as_json(row: WithheldRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in HEAD}


def _write_csv(out: TextIO, rows: Iterator[WithheldRow]) -> int:
    out.write(withheld_csv([]))
    count = 0
    for row in rows:
        count += 1
        out.write(withheld_csv([_as_json(row)], head=False))
    return count
