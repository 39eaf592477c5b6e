"""What a command imports, told by Python itself: seconds differ between machines, this does not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Of the packages that reading rows, drawing and serving take: together they need seconds.
HEAVY = frozenset({
    "adbc_driver_postgresql", "alembic", "fastapi", "geoalchemy2", "numpy", "openpyxl", "pyarrow",
    "pyogrio", "pyproj", "rasterio", "rio_tiler", "shapely", "structlog",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended: its exit code, what it printed, and the packages it imported."""

    exit_code: int
    stdout: str
    packages: frozenset[str]


def quartier(*arguments: str | Path, **environment: str) -> Ran:
    """Run a command in a process of its own."""
    return _ran("-m", "quartier", *map(str, arguments), **environment)


def importing(module: str) -> Ran:
    """Import one module."""
    return _ran("-c", f"import {module}")


def _ran(*arguments: str, **environment: str) -> Ran:
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = [line for line in ran.stderr.splitlines() if line.startswith("import time:")]
    modules = [line.rpartition("|")[2].strip() for line in told]
    return Ran(ran.returncode, ran.stdout, frozenset(name.partition(".")[0] for name in modules))
