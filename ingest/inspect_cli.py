"""`quartier inspect`: what files hold, what a run would take, and how to declare them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ingest.draft import Draft, as_yaml, draft
from ingest.errors import IngestError
from ingest.inspect import Found, inspect_files
from layers.catalogue_files import read_catalogue
from layers.columns import GeometryType
from layers.errors import LayerNotFound, LayersError
from layers.model import Layer
from layers.settings import StoreSettings
from layers.source import Format, Source

LABELS = {
    "read": "rows read",
    "taken": "would be taken",
    "withheld": "would be withheld",
    "cells": "cells that cannot be read",
    "without_place": "rows without a place",
}


def inspect(  # noqa: PLR0913
    files: Annotated[list[Path], typer.Argument(help="Files that make one layer.")],
    layer: Annotated[
        str | None, typer.Option(help="Read them as this layer of the catalogue.")
    ] = None,
    sublayer: Annotated[
        str | None, typer.Option(help="Which layer, sheet or member; '*' takes all members.")
    ] = None,
    geometry: Annotated[GeometryType | None, typer.Option(help="What it draws.")] = None,
    crs: Annotated[str | None, typer.Option(help="Such as EPSG:2154.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Such as cp1252.")] = None,
    header: Annotated[
        int | None, typer.Option(min=0, help="The row of the header; 0: none.")
    ] = None,
    format_: Annotated[
        Format | None, typer.Option("--format", help="Where it is not what it looks like.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Read FILES to the end and publish nothing: say what is in them and what would be withheld.

    Without --layer a declaration is drafted and printed, ready to be saved in the catalogue.

    Example: quartier inspect trees.xlsx > data/catalogue/layers/trees.yaml
    """
    console = Console(stderr=True)
    told = Source(sublayer=sublayer, crs=crs, encoding=encoding, header=header, format=format_)
    try:
        made = None if layer else draft(files, geometry=geometry, source=told)
        declared = made.layer if made else _declared(layer or "")
        found = inspect_files(declared, files)
    except (IngestError, LayersError) as exc:
        if as_json:
            sys.stdout.write(json.dumps({"state": "refused", "message": str(exc)}) + "\n")
        console.print("[bold red]This would be refused.[/]", highlight=False)
        console.print(str(exc), markup=False, highlight=False)
        raise typer.Exit(1) from exc
    if as_json:
        said = {"state": "readable", "layer": declared.model_dump(mode="json"), **found.as_json()}
        sys.stdout.write(json.dumps(said, default=str) + "\n")
    else:
        _print(console, found)
        if made is not None:
            _print_draft(console, made, files)


def _declared(layer_id: str) -> Layer:
    catalogue = read_catalogue(StoreSettings().catalogue)
    if layer_id not in catalogue.layers:
        raise LayerNotFound(layer_id, f"the catalogue declares {', '.join(catalogue.layers)}")
    return catalogue.layers[layer_id]


def _print(console: Console, found: Found) -> None:
    for facts in found.facts[:20]:
        told = [facts.format, facts.encoding, facts.crs, f"{facts.rows:,} rows"]
        notes = ", ".join(f"{name} {value}" for name, value in facts.notes.items())
        line = f"{facts.file}: {', '.join(filter(None, told))}{'; ' + notes if notes else ''}"
        console.print(line, markup=False, highlight=False)
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for name in ("read", "taken", "withheld", "cells", "without_place"):
        table.add_row(LABELS[name], f"{getattr(found, name):,}")
    console.print(table)
    for reason, count in found.reasons:
        console.print(f"  {count:,} × {reason}", markup=False, highlight=False)
    for gate in found.gates:
        verb = "would stop it" if gate.stops else "would be told"
        console.print(f"  Gate {gate.gate}, {verb}: {gate.says}", markup=False, highlight=False)


def _print_draft(console: Console, made: Draft, files: list[Path]) -> None:
    sys.stdout.write(as_yaml(made, files))
    sys.stdout.flush()
    console.print(
        f"\nSave it as {made.layer.id}.yaml in the catalogue's folder layers, fill in what is …,"
        f" then: quartier apply; quartier ingest {made.layer.id}",
        highlight=False,
    )
