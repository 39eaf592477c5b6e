"""The whole pyramid to one file: `quartier export` beside tippecanoe on the same rows."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import psycopg

from benchmarks.city import QUARTIER, ROOT, City
from benchmarks.result import Result
from benchmarks.rounds import interleaved
from layers.columns import ColumnType
from layers.model import Layer
from layers.sql import ident
from layers.tables import CITY
from tiles.pmtiles_file import PmtilesFile

ROUNDS = 3
LAST_ZOOM = 14
WATCH = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""  # a small process of its own: a child begins with the memory of whoever started it
TEXTS = (ColumnType.DATE, ColumnType.DATETIME, ColumnType.TIME)


@dataclass(frozen=True, slots=True)
class Made:
    """One run: its time, the memory of its largest process, and the file."""

    seconds: float
    peak_mb: float
    file_mb: float
    tiles: int | None = None


def measure(city: City) -> Result:
    city.load()
    folder = city.home / "archives"
    folder.mkdir()
    makers: dict[str, Callable[[], Made]] = {
        "quartier export .pmtiles": partial(_quartier, city, folder / "ours.pmtiles"),
        "quartier export .mbtiles": partial(_quartier, city, folder / "ours.mbtiles"),
        "quartier bake, nothing there": partial(_bake, city, folder / "cache"),
    }
    if shutil.which("tippecanoe"):
        source = _rows(city, folder / "rows.geojsonl")
        makers["tippecanoe .pmtiles"] = partial(
            _tippecanoe, city, source, folder / "theirs.pmtiles"
        )
    found = interleaved(ROUNDS, makers)
    rows = [
        [name, _median(runs, "seconds"), runs[0].tiles, runs[0].file_mb, _median(runs, "peak_mb")]
        for name, runs in found.items()
    ]
    return Result(
        title=f"Zooms 0 to {LAST_ZOOM} to one file, {ROUNDS} rounds, medians",
        columns=["", "seconds", "tiles", "MB", "peak MB of one process"],
        rows=rows,
        targets={"tippecanoe": "reads the rows from a file that was written beforehand"},
        raw={name: [asdict(run) for run in runs] for name, runs in found.items()},
    )


def _median(runs: list[Made], name: str) -> float:
    return float(statistics.median(getattr(run, name) for run in runs))


def _quartier(city: City, path: Path) -> Made:
    path.unlink(missing_ok=True)
    seconds, peak = _timed(
        [*QUARTIER, "export", city.layer.id, str(path), "--maxzoom", str(LAST_ZOOM), "--json"],
        {**city.environment()},
    )
    tiles = PmtilesFile(path).addressed if path.suffix == ".pmtiles" else None
    return Made(seconds, peak, path.stat().st_size / 1e6, tiles)


def _bake(city: City, folder: Path) -> Made:
    shutil.rmtree(folder, ignore_errors=True)
    seconds, peak = _timed(
        [*QUARTIER, "bake", city.layer.id, "--zooms", f"0-{LAST_ZOOM}", "--json"],
        {**city.environment(QUARTIER_CACHE_URL=folder.as_uri())},
    )
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Made(seconds, peak, size / 1e6)


def _tippecanoe(city: City, rows: Path, path: Path) -> Made:
    """As it is run by default for points: some are dropped at low zooms, ours are counted."""
    seconds, peak = _timed(
        ["tippecanoe", "--quiet", "--force", "--read-parallel", "--minimum-zoom=0",
         f"--maximum-zoom={LAST_ZOOM}", "--drop-densest-as-needed", f"--layer={city.layer.id}",
         f"--output={path}", str(rows)],
        {**os.environ},
    )  # fmt: skip
    return Made(seconds, peak, path.stat().st_size / 1e6, PmtilesFile(path).addressed)


def _timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds from start to end, and the most memory that one of its processes had."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-S", "-c", WATCH, *command], env=environment, cwd=ROOT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    if done.returncode:
        sys.exit(f"{' '.join(command)}:\n{done.stderr}")
    return seconds, int(done.stdout.splitlines()[-1]) / 1024


def _rows(city: City, path: Path) -> Path:
    """The layer's rows with the attributes of its tiles, one GeoJSON feature a line."""
    layer = city.layer
    columns = ", ".join(f"'{name}', {value}" for name, value in _values(layer))
    sql = (
        "SELECT json_build_object('type', 'Feature', 'id', fid, 'geometry',"
        f" ST_AsGeoJSON(geom)::json, 'properties', json_build_object({columns}))::text"
        f" FROM {CITY}.{ident(layer.id)} WHERE geom IS NOT NULL ORDER BY fid"
    )
    with (
        psycopg.connect(city.urls.owner) as connection,
        connection.cursor("rows") as cursor,
        path.open("w", encoding="utf-8") as out,
    ):
        cursor.itersize = 20_000
        cursor.execute(sql.encode())
        for (feature,) in cursor:
            out.write(json.dumps(json.loads(feature), separators=(",", ":")) + "\n")
    return path


def _values(layer: Layer) -> list[tuple[str, str]]:
    return [
        (column.name, f"{ident(column.name)}::text" if column.type in TEXTS else ident(column.name))
        for column in layer.tile_columns
    ]
