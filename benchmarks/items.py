"""Pages of 1 000 features by bbox over HTTP, against PostgreSQL alone with the same query."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import mercantile

from benchmarks.addresses import drawn
from benchmarks.city import City
from benchmarks.client import Client
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

ZOOM, BOXES, LIMIT = 14, 30, 1000
CONNECTIONS, ROUNDS, ROUND_S = 8, 5, 4


def measure(city: City) -> Result:
    city.load()
    boxes = [Bounds(*mercantile.bounds(at.x, at.y, at.z)) for at in drawn(city, {ZOOM: 99})[ZOOM]]
    with tempfile.TemporaryDirectory() as name, quartier_serving(city) as url:
        folder = Path(name)
        folder.chmod(0o755)
        full = _full(city, url, boxes)
        asked = folder / "paths"
        asked.write_text("".join(f"{_path(city, box)}\n" for box in full))
        scripts = _scripts(city, folder, full)
        found = interleaved(
            ROUNDS,
            {
                "http": partial(_served, url, asked),
                "postgresql": partial(_alone, city, scripts),
            },
        )
    return Result(
        title=f"Items: pages of {LIMIT} features by bbox, {CONNECTIONS} connections",
        columns=["", "http, per s", "PostgreSQL alone, per s", "ratio"],
        rows=[["pages", *(statistics.median(found[way]) for way in found), ratio(*found.values())]],
        raw={"rounds": found},
    )


def _path(city: City, box: Bounds) -> str:
    said = ",".join(f"{number:.6f}" for number in box)
    return f"/collections/{city.layer.id}/items?bbox={said}&limit={LIMIT}"


def _full(city: City, url: str, boxes: list[Bounds]) -> list[Bounds]:
    """The first boxes that fill a page."""
    full = []
    with Client(url) as client:
        for box in boxes:
            page = json.loads(client.get(_path(city, box)).body)
            full += [box] if page["numberReturned"] == LIMIT else []
            if len(full) == BOXES:
                break
    return full


def _served(url: str, asked: Path) -> float:
    return wrk(url, asked, seconds=ROUND_S, connections=CONNECTIONS)["per_s"]


def _scripts(city: City, folder: Path, boxes: list[Bounds]) -> list[str]:
    arguments = []
    for number, box in enumerate(boxes):
        where = in_box(Box(box, CRS84), Queryables.of(city.layer))
        query = FeatureQuery(layer=city.layer, where=where, limit=LIMIT)
        statement = page_statement(query, geojson(query), ",")
        script = folder / f"{number}.sql"
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
