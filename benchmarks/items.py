"""Pages of features by bbox over HTTP, of 10 and of 1 000 features, against PostgreSQL alone with
the same query, and against tipg on the same table where it is on PATH.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import mercantile

from benchmarks.addresses import drawn
from benchmarks.city import City
from benchmarks.client import Client
from benchmarks.peers import ItemsPeer, items_peers_serving
from benchmarks.result import Result
from benchmarks.rounds import interleaved, ratio
from benchmarks.servers import quartier_serving
from benchmarks.wrk import wrk
from layers.catalog import Bounds
from layers.crs import CRS84
from layers.feature_query import FeatureQuery
from layers.feature_sql import page_statement
from layers.filters.queryables import Queryables
from layers.filters.requests import Box, in_box
from layers.postgres_tools import programs_for
from layers.row_text import geojson
from layers.sql import literal

ZOOM, BOXES = 14, 30
LIMITS = (1000, 10)
CONNECTIONS, ROUNDS, ROUND_S = 8, 5, 4
SHIFT = 1e-7  # degrees, a box moved by which is another question


def measure(city: City) -> Result:
    city.load()
    boxes = [Bounds(*mercantile.bounds(at.x, at.y, at.z)) for at in drawn(city, {ZOOM: 99})[ZOOM]]
    rows, raw = [], {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        url = stack.enter_context(quartier_serving(city))
        peers = stack.enter_context(items_peers_serving(city))
        full = _full(city, url, boxes)
        for limit in LIMITS:
            ways = {
                "asked again": partial(_served, url, _asked(folder, city, full, limit)),
                "never asked before": partial(_served, url, _new(folder, city, full, limit)),
                "postgresql": partial(_alone, city, _scripts(city, folder, full, limit)),
            }
            for peer in peers:
                ways[peer.name] = partial(_served, peer.url, _of_peer(folder, peer, full, limit))
            found = interleaved(ROUNDS, ways)
            rows += _rows(limit, found)
            raw[str(limit)] = found
    return Result(
        title=f"Items: pages of features by bbox, {CONNECTIONS} connections",
        columns=["", "per s", "÷ PostgreSQL alone", "÷ tipg"],
        rows=rows,
        raw={"rounds": raw},
    )


def _rows(limit: int, found: dict[str, list[float]]) -> list[list[object]]:
    return [
        [
            f"{limit} features, {way}",
            statistics.median(rates),
            ratio(rates, found["postgresql"]),
            ratio(rates, found["tipg"]) if "tipg" in found else "-",
        ]
        for way, rates in found.items()
    ]


def _path(city: City, box: Bounds, limit: int) -> str:
    said = ",".join(f"{number:.7f}" for number in box)
    return f"/collections/{city.layer.id}/items?bbox={said}&limit={limit}"


def _asked(folder: Path, city: City, boxes: list[Bounds], limit: int) -> Path:
    asked = folder / f"asked-{limit}"
    asked.write_text("".join(f"{_path(city, box, limit)}\n" for box in boxes))
    return asked


def _new(folder: Path, city: City, boxes: list[Bounds], limit: int) -> Path:
    """Boxes that differ by a centimetre, so many that hardly one is asked for twice."""
    asked = folder / f"new-{limit}"
    with asked.open("w") as file:
        for number in range(2_000):
            for box in boxes:
                moved = Bounds(*(edge + number * SHIFT for edge in box))
                file.write(f"{_path(city, moved, limit)}\n")
    return asked


def _of_peer(folder: Path, peer: ItemsPeer, boxes: list[Bounds], limit: int) -> Path:
    asked = folder / f"{peer.name}-{limit}"
    asked.write_text("".join(f"{peer.path(box, limit)}\n" for box in boxes))
    return asked


def _full(city: City, url: str, boxes: list[Bounds]) -> list[Bounds]:
    """The first boxes that fill a page."""
    full = []
    with Client(url) as client:
        for box in boxes:
            page = json.loads(client.get(_path(city, box, 1000)).body)
            full += [box] if page["numberReturned"] == 1000 else []
            if len(full) == BOXES:
                break
    return full


def _served(url: str, asked: Path) -> float:
    return wrk(url, asked, seconds=ROUND_S, connections=CONNECTIONS)["per_s"]


def _scripts(city: City, folder: Path, boxes: list[Bounds], limit: int) -> list[str]:
    arguments = []
    for number, box in enumerate(boxes):
        where = in_box(Box(box, CRS84), Queryables.of(city.layer))
        query = FeatureQuery(layer=city.layer, where=where, limit=limit)
        statement = page_statement(query, geojson(query), ",")
        script = folder / f"{limit}-{number}.sql"
        script.write_text(_with_values(statement.sql, statement.args) + ";\n")
        script.chmod(0o644)
        arguments += ["-f", str(script)]
    return arguments


def _with_values(sql: str, args: tuple[object, ...]) -> str:
    """pgbench cannot bind a text that holds quotes, so the values are written out."""

    def value(match: re.Match[str]) -> str:
        found = args[int(match[1]) - 1]
        return literal(found) if isinstance(found, str) else repr(found)

    return re.sub(r"\$(\d+)", value, sql)


def _alone(city: City, scripts: list[str]) -> float:
    """Transactions per second as pgbench counts them, statements prepared."""
    query = dict(parse_qsl(urlsplit(city.urls.web).query))
    user = urlsplit(city.urls.web).username or ""
    program = programs_for(city.home / "postgres/data") / "pgbench"
    done = subprocess.run(
        [program, "-n", "-M", "prepared", "-c", str(CONNECTIONS), "-T", str(ROUND_S),
         *scripts, "-h", query["host"], "-p", query["port"], "-U", user,
         urlsplit(city.urls.web).path.lstrip("/")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    if found is None:
        raise RuntimeError(done.stdout + done.stderr)
    return float(found[1])
