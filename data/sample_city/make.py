"""All files of the sample city, made once and kept until the code that makes them changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import shapely

from data.sample_city import bikes, calls, crimes, ground, sites, transport, trees
from data.sample_city.city import City, make_city
from data.sample_city.write import Table, replace, write_table

STAMP = ".sample_city"  # holds the fingerprint of the code that made the folder's files
TABLES: tuple[Callable[[City], Table], ...] = (
    ground.land, ground.water, ground.parks, ground.buildings, ground.streets, ground.districts,
    trees.trees, bikes.bike_paths, bikes.bike_routes, sites.construction_sites, crimes.crimes,
    calls.hotline_calls, transport.car_parks, transport.bus_lines, transport.bus_stops,
)  # fmt: skip


def fingerprint() -> str:
    """Changes when the generator does, or a library that its numbers come from."""
    digest = sha256(f"{np.__version__} {shapely.geos_version_string}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


def is_current(folder: Path) -> bool:
    """Whether the folder holds what this code would write."""
    stamp = folder / STAMP
    if not stamp.is_file():
        return False
    mark, *files = stamp.read_text().splitlines()
    return mark == fingerprint() and all((folder / file).is_file() for file in files)


def make_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Write every file, and say where it is and how many rows it has as soon as it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAMP).unlink(missing_ok=True)
    city = make_city()
    files = []
    for make in TABLES:
        table = make(city)
        yield write_table(table, folder), len(table.rows)
        files.append(table.file)
    replace(folder / STAMP, "\n".join([fingerprint(), *files, ""]).encode())
