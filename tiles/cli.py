"""`quartier tile` and `quartier export`: look at a tile, put a layer into an archive."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from layers.catalog import Bounds
from layers.cluster import open_store
from layers.errors import LayersError
from layers.filters.requests import parse_bbox
from layers.settings import StoreSettings
from tiles.address import TileAddress
from tiles.archive_writers import WRITERS
from tiles.errors import AddressRefused, TilesError
from tiles.export import ExportJob, ExportReport, Tell, make_archive
from tiles.look import live_tile, stored_tile
from tiles.show import ShownTile, summed_up

CONNECTIONS = max(2, os.cpu_count() or 2)
Minzoom = Annotated[int | None, typer.Option(min=0, max=22, help="First zoom; else the layer's.")]
Maxzoom = Annotated[int | None, typer.Option(min=0, max=22, help="Last zoom; else the layer's.")]
Bbox = Annotated[
    str | None, typer.Option(help="west,south,east,north in degrees; tiles that it touches.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
Connections = Annotated[int, typer.Option(min=1, max=64, help="Database connections.")]


def tile(
    layer: Annotated[
        str,
        typer.Argument(help="Layer ids separated by commas, a tileset's id, or an archive's path."),
    ],
    place: Annotated[str, typer.Argument(metavar="Z/X/Y", help="The tile; y from the north.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all of it as JSON, features included.")
    ] = False,
) -> None:
    """Print what a tile of LAYER holds, as the web would answer it.

    Example: quartier tile trees 14/8412/5880
    """
    with told_errors(layer, as_json=as_json):
        shown = _fetched(layer, parse_place(place))
        if as_json:
            sys.stdout.write(json.dumps(shown.as_json(), default=str) + "\n")
        else:
            _print_tile(Console(), shown)


def parse_place(text: str) -> TileAddress:
    """`Z/X/Y`; raises AddressRefused."""
    parts = text.split("/")
    if len(parts) != 3:
        raise AddressRefused("tile", text, "write Z/X/Y, such as 14/8412/5880")
    return TileAddress.parse(*parts)


def _fetched(layer: str, at: TileAddress) -> ShownTile:
    path = Path(layer)
    if path.suffix.lower() in WRITERS:
        try:
            return stored_tile(path, at)
        except OSError as exc:
            raise TilesError(f"{path}: {exc.strerror}") from exc
    with open_store(StoreSettings(), tell=Console(stderr=True).print) as urls:
        return asyncio.run(live_tile(urls.web, layer, at))


def _print_tile(console: Console, shown: ShownTile) -> None:
    z, x, y = shown.at
    console.print(f"[bold]{shown.name}[/] {z}/{x}/{y} ({shown.kind})", highlight=False)
    facts = [
        f"{len(shown.raw):,} bytes, {shown.gzipped:,} as sent" if shown.body else "nothing to draw"
    ]
    facts += [f"{name} at revision {number}" for name, number in shown.revisions.items()]
    facts += [f"validator {shown.validator}"] if shown.validator else []
    facts += [f"more features than it may hold: {', '.join(shown.truncated)}"] * bool(
        shown.truncated
    )
    for fact in facts:
        console.print(f"  {fact}", markup=False, highlight=False)
    for name, layer in shown.layers().items():
        summed = summed_up(name, layer)
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in summed.geometries.items())
        console.print(f"\n[bold]{name}[/] {kinds} (extent {summed.extent})", highlight=False)
        table = Table("attribute", "type", "features", "such as", box=None, padding=(0, 2))
        for attribute, kind, count, examples in summed.attributes:
            table.add_row(attribute, kind, f"{count:,}", examples)
        if summed.attributes:
            console.print(table, markup=False)


def export(  # noqa: PLR0913 - each is an option of the command
    layer: Annotated[str, typer.Argument(help="A layer's id, or several separated by commas.")],
    file: Annotated[Path, typer.Argument(help="A name that ends with .pmtiles or .mbtiles.")],
    minzoom: Minzoom = None,
    maxzoom: Maxzoom = None,
    bbox: Bbox = None,
    connections: Connections = CONNECTIONS,
    as_json: AsJson = False,
) -> None:
    """Put all tiles of LAYER, as they are at one moment, into FILE, which is replaced.

    Example: quartier export trees trees.pmtiles --maxzoom 14
    """
    begun = time.monotonic()
    console = Console(stderr=True)
    with told_errors(layer, as_json=as_json):
        job = ExportJob(
            layers=layer, path=file.absolute(), minzoom=minzoom, maxzoom=maxzoom,
            bbox=box_of(bbox), connections=connections,
        )  # fmt: skip
        with (
            open_store(StoreSettings(), tell=console.print) as urls,
            progress(console, layer) as tell,
        ):
            report = asyncio.run(make_archive(urls.web, job, tell))
    seconds = time.monotonic() - begun
    if as_json:
        sys.stdout.write(json.dumps(report.as_json() | {"seconds": round(seconds, 3)}) + "\n")
    else:
        _print_export(Console(), report, seconds)


def box_of(text: str | None) -> Bounds | None:
    return None if text is None else parse_bbox(text)


def _print_export(console: Console, report: ExportReport, seconds: float) -> None:
    of = ", ".join(f"{name} at revision {number}" for name, number in report.revisions.items())
    console.print(
        f"[bold]{report.file}[/]: {report.tiles:,} tiles of zooms {report.minzoom} to"
        f" {report.maxzoom}, {report.bytes / 2**20:,.1f} MiB, in {seconds:.1f} s",
        highlight=False,
    )
    console.print(f"  {of}", highlight=False)
    if report.truncated:
        console.print(f"  {report.truncated:,} tiles had more features than a tile may hold")


@contextmanager
def progress(console: Console, name: str) -> Iterator[Tell]:
    """A bar of tiles; silent where nobody watches."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.completed:>9,} tiles"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextmanager
def told_errors(name: str, *, as_json: bool) -> Iterator[None]:
    """Say what is wrong, to scripts too, and end with an exit code that says so. The log goes
    where errors go.
    """
    structlog.configure(logger_factory=_to_stderr)
    try:
        yield
    except (LayersError, TilesError) as exc:
        _fail(name, str(exc), as_json=as_json)


def _to_stderr(*_names: object) -> structlog.PrintLogger:
    """A logger to the stderr of the moment: one kept from an earlier command may be closed."""
    return structlog.PrintLogger(sys.stderr)


def _fail(name: str, message: str, *, as_json: bool) -> NoReturn:
    if as_json:
        sys.stdout.write(json.dumps({"layer": name, "error": message}) + "\n")
    Console(stderr=True).print(message, markup=False, highlight=False, style="red")
    raise typer.Exit(1)
