"""`python -m benchmarks [NAME…]`: run the benchmarks named, or all; print tables, write JSON."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable

from benchmarks import (
    archives,
    cached,
    cold,
    edge,
    filters,
    groups,
    ingest,
    items,
    overviews,
    sessions,
    zooms,
)
from benchmarks.city import City, benchmark_city
from benchmarks.machine import describe
from benchmarks.result import Result, show, write

BENCHMARKS: dict[str, Callable[[City], Result]] = {
    "ingest": ingest.measure,
    "cached": cached.measure,
    "edge": edge.measure,
    "cold": cold.measure,
    "zooms": zooms.measure,
    "sessions": sessions.measure,
    "overviews": overviews.measure,
    "items": items.measure,
    "filters": filters.measure,
    "groups": groups.measure,
    "archives": archives.measure,
}
PACKAGES = {"wrk": "wrk", "ogr2ogr": "gdal-bin"}  # program: the Debian package that brings it


def main(wanted: list[str]) -> int:
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        print(f"No benchmark is called {unknown[0]!r}; there are {', '.join(BENCHMARKS)}.")
        return 2
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program)]
    if missing:
        print(f"Missing: {', '.join(missing)}. As root: apt-get install -y {' '.join(missing)}")
        return 2
    with benchmark_city() as city:
        print(city.says)
        for name in wanted or BENCHMARKS:
            print(f"\n{name} …", flush=True)
            machine = describe(city.urls.owner)
            result = BENCHMARKS[name](city)
            show(result)
            print(f"  written to {write(name, result, city.says, machine)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
