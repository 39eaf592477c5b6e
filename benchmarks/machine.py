"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

import psycopg

PACKAGES = ("granian", "uvloop", "asyncpg", "isal", "pyarrow", "adbc-driver-postgresql")


def describe(owner_url: str) -> dict[str, object]:
    """The machine, its load now, and the versions that matter."""
    with psycopg.connect(owner_url) as connection:
        row = connection.execute("SHOW server_version").fetchone()
        postgis = connection.execute("SELECT postgis_lib_version()").fetchone()
    return {
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postgresql": row[0] if row else None,
        "postgis": postgis[0] if postgis else None,
        "packages": {name: version(name) for name in PACKAGES},
        "load_at_start": [round(load, 2) for load in os.getloadavg()],
    }


def _field(path: str, name: str) -> str:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        for line in file:
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return "unknown"
