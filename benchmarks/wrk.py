"""Load made by wrk."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TypedDict

SCRIPT = Path(__file__).with_suffix(".lua")


class Load(TypedDict):
    """One run: answers per second, latency, and what went wrong."""

    per_s: float
    p50_ms: float
    p99_ms: float
    requests: int
    refused: int
    failed: int
    bytes: int


def wrk(url: str, lines: Path, *, seconds: float, connections: int) -> Load:
    """Ask for the lines' paths in random order; raises where an answer was not as it should be."""
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "20s", "--latency",
         "-s", str(SCRIPT), url, "--", str(lines)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = next(line for line in done.stdout.splitlines() if line.startswith("JSON "))
    load: Load = json.loads(said.removeprefix("JSON "))
    if load["refused"] or load["failed"]:
        raise RuntimeError(f"{url}: {said}")
    return load
