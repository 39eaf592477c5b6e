"""A client that reads a whole layer slowly holds neither memory nor a connection.

1.3 million rows are asked for as lines of GeoJSON, unpacked, and read at 1 MB/s for a while; the
workers' memory is looked at all along, and the database is asked who is still connected.
"""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.accept.house import House, Table, house
from tests.conftest import Database

pytestmark = pytest.mark.db

ROWS = 1_302_640
SPEED, SLOWLY_S, PIECE = 1_000_000, 45, 100_000
MOST_GROWTH_MB = 48
DECLARED = """
id: cases
title: Cases
publisher: City
licence: CC-BY-4.0
attribution: City
geometry: point
columns: [{name: kind}, {name: place}, {name: size, type: number}]
"""
FILL = """
INSERT INTO city.cases (kind, place, size, geom)
SELECT 'A kind of case with a name of some length ' || mod(n, 300), 'Colonia ' || mod(n, 1800),
       n / 7.0, ST_Point(-99.3 + mod(n * 0.00317, 0.4), 19.1 + mod(n * 0.00711, 0.4), 4326)
FROM generate_series(1, :rows) n"""


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, Database]]:
    catalogue = tmp_path_factory.mktemp("catalogue")
    (catalogue / "layers").mkdir()
    (catalogue / "layers" / "cases.yaml").write_text(DECLARED)
    with house(catalogue) as made, made.database() as database:
        made.run("apply")
        database.run(FILL, rows=ROWS)
        yield made, database


def memory_mb(group: int) -> float:
    """What the processes of the server hold by themselves, in all."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) == group:
                told = (process / "status").read_text()
                total += int(told.partition("RssAnon:")[2].split()[0])
        except (OSError, IndexError, ValueError):
            continue
    return total / 1024


def test_a_slow_reader_of_a_whole_layer_costs_no_memory_and_no_connection(
    city: tuple[House, Database],
) -> None:
    made, database = city
    with made.served(workers=1) as (url, server):
        group = os.getpgid(server.pid)
        with urllib.request.urlopen(f"{url}/collections/cases/items?f=geojsonl&limit=5") as answer:
            answer.read()
        before = most = memory_mb(group)
        lines, read, busy, end = 0, 0, -1, b""
        with urllib.request.urlopen(f"{url}/collections/cases/items?f=geojsonl") as answer:
            begun = time.monotonic()
            while piece := answer.read(PIECE):
                lines += (end + piece).count(b"}}\n")
                end = piece[-2:]
                read += len(piece)
                elapsed = time.monotonic() - begun
                if elapsed < SLOWLY_S:
                    time.sleep(max(0.0, read / SPEED - elapsed))
                    most = max(most, memory_mb(group))
                elif busy < 0:
                    busy = database.value(
                        "SELECT count(*) FROM pg_stat_activity WHERE application_name ="
                        " 'quartier-web' AND state <> 'idle' AND pid <> pg_backend_pid()"
                    )
        table = Table("A slow reader of 1.3 M rows", ("", "seen"))
        for row in (
            ("rows that came", lines), ("MB", round(read / 1e6)),
            ("memory of the server before, most (MB)", f"{before:.0f}, {most:.0f}"),
            ("connections at work after 45 s", busy),
        ):  # fmt: skip
            table.add(*row)
        table.print()
    assert lines == ROWS
    assert most - before < MOST_GROWTH_MB
    assert busy == 0
