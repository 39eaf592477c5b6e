"""The whole file into a fresh layer, against ogr2ogr, index and analyze in the same cluster."""

from __future__ import annotations

import gzip
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import psycopg

from benchmarks.city import City
from benchmarks.ingest_phases import phases
from benchmarks.result import Result
from benchmarks.rounds import interleaved, ratio
from layers.catalogue_files import read_catalogue
from layers.cli import apply_catalogue
from layers.database_urls import acting_as
from layers.setup import prepare_database

ROUNDS = 3
TARGET = 2.0
EVERY = 1000
NAME = "quartier_bench"


def measure(city: City) -> Result:
    found = interleaved(
        ROUNDS, {"quartier": partial(_quartier, city), "ogr2ogr": partial(_ogr2ogr, city)}
    )
    with _fresh(city) as url:
        parts = phases(acting_as(url, "quartier_ingest"), city.layer, city.source.file)
    ogr2ogr = [sum(part.values()) for part in found["ogr2ogr"]]
    ours = {
        name: [part[name] for part in found["quartier"]] for name in ("whole", "same", "changed")
    }
    rows: list[list[object]] = [
        ["quartier ingest", statistics.median(ours["whole"]), ratio(ours["whole"], ogr2ogr)],
        ["    the same bytes again", statistics.median(ours["same"]), ratio(ours["same"], ogr2ogr)],
        [f"    one row of {EVERY} changed", statistics.median(ours["changed"]),
         ratio(ours["changed"], ogr2ogr)],
        ["ogr2ogr, index, analyze", statistics.median(ogr2ogr), None],
    ]  # fmt: skip
    rows += [
        [f"    {name}", statistics.median(part[name] for part in found["ogr2ogr"]), None]
        for name in found["ogr2ogr"][0]
    ]
    rows += [["one ingest by phase", sum(parts.values()), None]]
    rows += [[f"    {name}", seconds, None] for name, seconds in parts.items()]
    return Result(
        title=f"Ingest: {city.source.file.name}, {ROUNDS} rounds",
        columns=["", "seconds", "ratio"],
        rows=rows,
        targets={"target": f"ratio ≤ {TARGET}; ≤ 1 is wanted; the same bytes ≤ 1 s, changed ≤ 0.5"},
        raw={"rounds": found, "phases": parts},
    )


def _quartier(city: City) -> dict[str, float]:
    """The whole file, then the very same, then one with a few rows changed."""
    times = {}
    with _fresh(city) as url, tempfile.TemporaryDirectory() as folder:
        changed = _changed(city.source.file, Path(folder))
        files = {"whole": city.source.file, "same": city.source.file, "changed": changed}
        for name, file in files.items():
            started = time.perf_counter()
            city.quartier("ingest", city.layer.id, str(file), QUARTIER_DATABASE_URL=url)
            times[name] = time.perf_counter() - started
    return times


def _changed(source: Path, folder: Path) -> Path:
    """The file, of which every thousandth row lies elsewhere: its last digit is another."""
    changed = folder / source.name
    with gzip.open(source, "rt", newline="") as old, gzip.open(changed, "wt", 1, newline="") as new:
        for number, line in enumerate(old):
            body, end = line.rstrip("\r\n"), line[len(line.rstrip("\r\n")) :]
            moves = number % EVERY == EVERY // 2 and body[-1:].isdigit()
            new.write(f"{body[:-1]}{(int(body[-1]) + 5) % 10}{end}" if moves else line)
    return changed


def _ogr2ogr(city: City) -> dict[str, float]:
    """The same columns as text, reprojected on the way, indexed afterwards."""
    source = city.source
    columns = ",".join(column.header for column in city.layer.columns)
    with _fresh(city) as url:
        times = {}
        started = time.perf_counter()
        subprocess.run(
            ["ogr2ogr", "-f", "PostgreSQL", f"PG:{_conninfo(url)}", f"/vsigzip/{source.file}",
             "-nln", "public.loaded", "-nlt", "POINT", "-select", columns,
             "-oo", "AUTODETECT_TYPE=NO", "-oo", f"X_POSSIBLE_NAMES={source.longitude}",
             "-oo", f"Y_POSSIBLE_NAMES={source.latitude}",
             "-s_srs", "EPSG:4326", "-t_srs", "EPSG:3857",
             "-lco", "SPATIAL_INDEX=NONE", "-lco", "GEOMETRY_NAME=geom",
             "--config", "PG_USE_COPY", "YES"],
            check=True, capture_output=True,
        )  # fmt: skip
        times["load"] = time.perf_counter() - started
        with psycopg.connect(url, autocommit=True) as connection:
            for name, sql in {
                "index": "CREATE INDEX ON loaded USING gist (geom)",
                "analyze": "ANALYZE loaded",
            }.items():
                started = time.perf_counter()
                connection.execute(sql)
                times[name] = time.perf_counter() - started
        return times


def _conninfo(url: str) -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    database = parts.path.lstrip("/")
    return f"host={query['host']} port={query['port']} user={parts.username} dbname={database}"


@contextmanager
def _fresh(city: City) -> Iterator[str]:
    """An empty database of the city's cluster with the layer applied, and nothing left to write."""
    parts = urlsplit(city.urls.owner)
    url = urlunsplit(parts._replace(path=f"/{NAME}"))
    with psycopg.connect(city.urls.owner, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {NAME}")
        prepare_database(url)
        apply_catalogue(acting_as(url, "quartier_ingest"), read_catalogue(city.home / "catalogue"))
        connection.execute("CHECKPOINT")
        yield url
        connection.execute(f"DROP DATABASE {NAME} WITH (FORCE)")
