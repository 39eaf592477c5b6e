"""Every file of the real data, dry and for good: accepted, withheld in part or refused, as it
deserves; the table of it all is the one in docs/formats.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.gates import GatesHeld
from ingest.run import Job, run
from layers.gates import Severity
from tests.accept.dry_run import Way, inspected
from tests.conftest import Database

pytestmark = [pytest.mark.real, pytest.mark.db]

DOCS = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
BEGIN, END = "<!-- every file: begin -->\n", "<!-- every file: end -->\n"
SAID = 90  # characters of a reason

# What a file does not say itself, as its publisher would declare it. Several ways of reading one
# file are several rows.
WAYS: dict[str, list[dict[str, str]]] = {
    "broken/mapserver_iso-subset.zip": [{}, {"crs": "EPSG:31467"}],
    "broken/mapserver_utf-subset.zip": [{}, {"crs": "EPSG:31467"}],
    "formats/qgis_training_data_swellendam.gpkg": [
        {}, *({"sublayer": name} for name in ("roads", "restaurants", "schools", "buildings")),
    ],
    "gtfs/saopaulo_sample_gtfs.zip": [{"geometry": "point"}, {"geometry": "line"}],
    "gtfs/vilnius_gtfs.zip": [
        {}, {"geometry": "point"}, {"geometry": "line"}, {"geometry": "none", "sublayer": "trips"},
    ],
    "osm/monaco-latest.osm.pbf": [
        {}, *({"geometry": kind} for kind in ("point", "line", "polygon")),
        {"sublayer": "other_relations"},
    ],
}  # fmt: skip


def ways(data: Path) -> Iterator[Way]:
    for path in sorted(path for path in data.rglob("*") if path.is_file()):
        name = path.relative_to(data).as_posix()
        if name != "README.md":
            for options in WAYS.get(name, [{}]):
                yield Way(path, name, options)


def row_of(way: Way, found: dict[str, Any]) -> str:
    given = " ".join(f"`{name}: {value}`" for name, value in way.options.items())
    name = f"{way.name} {given}".strip()
    if found["state"] == "refused":
        said = found["message"].removeprefix(f"{way.path.name}: ")
        return f"| {name} | | | | | | | refused: {plain(said)} |\n"
    kind = found["facts"][0]["format"]
    numbers = ("read", "taken", "withheld", "without_place", "cells")
    counts = " | ".join(f"{found[each]:,}".replace(",", " ") for each in numbers)
    told = [f"{count} × {plain(reason)}" for reason, count in found["reasons"][:1]]
    told += [f"gate {gate['gate']}: {plain(gate['says'])}" for gate in stopping(found)]
    said = "; ".join(told)
    return f"| {name} | {kind}, {found['layer'].geometry} | {counts} | {said} |\n"


def stopping(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The gates that stop a load of the file; a draft names no licence yet."""
    gates = (gate for gate in found["gates"] if gate["gate"] != "licence")
    return [gate for gate in gates if gate["severity"] == Severity.REFUSE]


def plain(said: str) -> str:
    """A reason that fits into a cell of a table."""
    said = " ".join(said.split()).replace("|", "\\|").replace("<", "&lt;")
    return said if len(said) <= SAID else said[:SAID].rstrip() + "…"


def table(rows: list[str]) -> str:
    head = "| file | read as | rows | taken | withheld | no place | cells | what is said |\n"
    return f"{head}|---|---|---:|---:|---:|---:|---:|---|\n{''.join(rows)}"


@pytest.fixture(scope="module")
def data(shared: Path) -> Path:
    return shared / "data"


@pytest.fixture(scope="module")
def dry(data: Path) -> list[tuple[Way, dict[str, Any]]]:
    """Every way of reading every file, and what a dry run found."""
    found = []
    for way in ways(data):
        begun = time.monotonic()
        said = inspected(way)
        found.append((way, said))
        took = time.monotonic() - begun
        print(f"  {way.name}: {said['state']}, {took:.1f} s, {said['kB'] >> 10} MB", flush=True)
    return found


def test_each_file_is_taken_withheld_in_part_or_refused_as_the_docs_say(
    dry: list[tuple[Way, dict[str, Any]]],
) -> None:
    made = table([row_of(way, found) for way, found in dry])
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(BEGIN)
    committed, _, after = rest.partition(END)
    if os.environ.get("QUARTIER_WRITE_DOCS"):
        DOCS.write_text(f"{before}{BEGIN}{made}{END}{after}", encoding="utf-8")
    assert len({way.name for way, _ in dry}) >= 121
    assert made == committed or os.environ.get("QUARTIER_WRITE_DOCS")


def test_a_run_publishes_or_stops_what_its_dry_run_promised(
    database: Database, dry: list[tuple[Way, dict[str, Any]]]
) -> None:
    for number, (way, found) in enumerate(dry):
        if found["state"] == "refused":
            continue
        layer = found["layer"].model_copy(update={"id": f"file_{number}", "licence": "CC0-1.0"})
        database.declare(layer)
        if stopping(found):
            with pytest.raises(GatesHeld):
                run(database.urls.ingest, Job(layer=layer, files=(way.path,)))
            continue
        report = run(database.urls.ingest, Job(layer=layer, files=(way.path,)))
        counts = report.counts
        assert report.state == ("published" if found["taken"] else "unchanged"), way.name
        assert counts.read == counts.accounted == found["read"], way.name
        assert counts.inserted + counts.duplicates == found["taken"], way.name
        assert counts.quarantined == found["withheld"], way.name
