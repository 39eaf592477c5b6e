"""`quartier runs`: what loads did, and the word that lets a stopped one pass."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import sqlalchemy as sa
import typer
from rich.console import Console

from ingest.cli import fail, job_of, print_report, progress_bar
from ingest.errors import IngestError
from ingest.raw_store import RawStore
from ingest.run import Job, run
from layers.catalogue_files import read_catalogue
from layers.commands import opened_database, who_and_why
from layers.errors import ChangeRefused, LayersError
from layers.officer import MAX_PAGE, RunsQuery, Signature, parse_gates
from layers.run_reports import (
    ADDS_UP,
    accept_gates,
    freshness,
    list_runs,
    show_run,
    sources_of,
    withheld_by,
)
from layers.settings import StoreSettings
from layers.spreadsheets import BOM, withheld_csv

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help="Look at runs, and accept one that gates stopped.")
RunArgument = Annotated[int, typer.Argument(help="The run's number.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(
    layer: Annotated[str | None, typer.Argument(help="Only of this layer.")] = None,
    state: Annotated[
        str | None, typer.Option(help="running, published, unchanged or refused.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, max=MAX_PAGE, help="The newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Print runs: when, how long, how they ended and what became of their rows.

    Example: quartier runs list --state refused
    """

    def ask(connection: sa.Connection) -> list[dict[str, Any]]:
        return list_runs(connection, RunsQuery(layer=layer, state=state, limit=most))

    found = _do(ask)
    if as_json:
        _print_json(found)
        return
    for one in found:
        _say(_line(one))


@app.command()
def show(run: RunArgument, as_json: JsonOption = False) -> None:
    """Print one run whole: figures, gates, files, and who accepted what."""
    found = _do(lambda connection: show_run(connection, run))
    if as_json:
        _print_json(found)
        return
    _say(_line(found))
    for gate in found["gates"]:
        how = "accepted" if gate["accepted"] else gate["severity"]
        _say(f"  gate {gate['gate']} ({how}): {gate['says']}")
    for name, count in found["counts"].items():
        _say(f"  {name:<14}{count:>12,}")
    for source in found["sources"]:
        _say(f"  {source['name']}, {source['bytes']:,} bytes, sha256 {source['sha256']}")
    if found["message"]:
        _say(f"  {found['message']}")
    for told in _acceptance(found):
        _say(f"  {told}")


@app.command()
def quarantine(
    run: RunArgument,
    file: Annotated[
        Path | None, typer.Argument(help="A CSV file to write, in the place of lines.")
    ] = None,
) -> None:
    """Print what a run withheld, or write it as CSV for whoever made the source."""

    def work(connection: sa.Connection) -> int:
        show_run(connection, run)
        rows = withheld_by(connection, run)
        return _write_csv(file, rows) if file else _write_lines(rows)

    count = _do(work)
    Console(stderr=True).print(f"{count:,} entries of run {run}", highlight=False)


@app.command("freshness")
def freshness_(as_json: JsonOption = False) -> None:
    """Print of each layer when it was loaded, checked and changed last, and which are late."""
    found = _do(freshness)
    if as_json:
        _print_json(found)
        return
    for one in found:
        last = f"run {one['last_run']} {one['last_state']}" if one["last_run"] else "no run"
        late = "LATE  " if one["late"] else ""
        checked, changed = (_minute(one[name]) for name in ("checked_at", "changed_at"))
        _say(f"{one['layer']:<24}{late}checked {checked}, changed {changed}, {last}")


@app.command()
def accept(
    run: RunArgument,
    by: Annotated[str, typer.Option(help="Who lets it pass.")],
    note: Annotated[str, typer.Option(help="Why.")],
    gates: Annotated[
        str | None, typer.Option(help="With commas between them; all that stopped it, without.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let the gates that stopped RUN be passed, and load its files, which are kept, once more.

    Where the page /runs has accepted it already, `quartier runs load RUN` is enough.

    Example: quartier runs accept 41 --by "Ana Lee" --note "the old benches were removed in May"
    """
    who, why = who_and_why(by, note)

    def work(connection: sa.Connection) -> dict[str, Any]:
        stopped = show_run(connection, run)["stopped_by"]
        wanted = parse_gates(gates.split(",")) if gates else stopped
        return accept_gates(connection, run, wanted, Signature(by=who, note=why))

    done = _do(work)
    Console(stderr=True).print(f"accepted: {', '.join(done['gates'])}", highlight=False)
    _load(run, as_json=as_json)


@app.command()
def load(run: RunArgument, as_json: JsonOption = False) -> None:
    """Load the kept files of a refused RUN once more; what was accepted of it is heeded."""
    _load(run, as_json=as_json)


def _load(run_id: int, *, as_json: bool) -> None:
    settings, console = StoreSettings(), Console(stderr=True)
    layer = ""
    try:
        catalogue = read_catalogue(settings.catalogue)
        with opened_database(settings) as (urls, engine):
            with engine.connect() as connection:
                of = show_run(connection, run_id)
                sources = sources_of(connection, run_id)
            layer, raw = of["layer"], RawStore(settings.raw)
            _check_still_news(of)
            declared = job_of(catalogue, layer, []).layer
            with progress_bar(console, layer) as tell, raw.laid_out(sources) as files:
                job = Job(layer=declared, files=files, partial=of["partial"], again=True, raw=raw)
                report = run(urls.ingest, job, tell)
    except (IngestError, LayersError) as exc:
        fail(exc, layer=layer, as_json=as_json)
    if as_json:
        _print_json(report.as_json())
    else:
        print_report(Console(), report)


def _check_still_news(of: dict[str, Any]) -> None:
    """Raise ChangeRefused for a run whose files would put older rows in the place of newer ones."""
    if of["state"] != "refused":
        raise ChangeRefused(f"run {of['run']} was not refused, so there is nothing to load again")
    if of["overtaken"]:
        raise ChangeRefused(
            f"run {of['run']}: a later run of {of['layer']} ended well; give the files themselves"
            " to quartier ingest, or go back with quartier history rollback"
        )


def _line(one: dict[str, Any]) -> str:
    counts = one["counts"]
    figures = ", ".join(f"{counts[name]:,} {name}" for name in ADDS_UP if counts.get(name))
    told = f"{one['run']:>6}  {_minute(one['started_at'])}  {one['layer']}  {one['state']}"
    if one["revision"] is not None:
        told += f", revision {one['revision']}"
    if counts.get("read"):
        told += f": {counts['read']:,} read{' = ' if one['state'] != 'refused' else '; '}{figures}"
    if one["stopped_by"]:
        told += f"; stopped by {', '.join(one['stopped_by'])}"
    return told + "".join(f"; {said}" for said in _acceptance(one))


def _acceptance(one: dict[str, Any]) -> list[str]:
    found = one["acceptance"]
    if found is None:
        return []
    told = f"{', '.join(found['gates'])} accepted by {found['by']}: {found['note']}"
    if found["used_by"]:
        return [f"{told} (published by run {found['used_by']})"]
    return [f"{told} ({'void: a later run ended well' if one['overtaken'] else 'waits'})"]


def _write_csv(file: Path, rows: Iterator[dict[str, Any]]) -> int:
    count = 0
    with file.open("w", encoding="utf-8", newline="") as out:
        out.write(BOM + withheld_csv([]))
        for row in rows:
            count += 1
            out.write(withheld_csv([row], head=False))
    return count


def _write_lines(rows: Iterator[dict[str, Any]]) -> int:
    count = 0
    for row in rows:
        count += 1
        _say(f"  {row['id']}  {row['file']}:{row['line']}  {row['reason']}")
    return count


def _minute(instant: str | None) -> str:
    return instant[:16].replace("T", " ") if instant else "never"


def _say(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, default=str) + "\n")


def _do(work: Callable[[sa.Connection], T]) -> T:
    try:
        with opened_database(StoreSettings()) as (_, engine), engine.begin() as connection:
            return work(connection)
    except (LayersError, OSError) as exc:
        Console(stderr=True).print(str(exc), markup=False, highlight=False, style="red")
        raise typer.Exit(1) from exc
