"""What the long suites share: a house of their own, commands in it, and tables to print."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layers.cluster import open_store
from layers.settings import StoreSettings
from tests.conftest import Database
from tests.e2e.conftest import free_port

QUARTIER = Path(sys.executable).with_name("quartier")
PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class House:
    """A QUARTIER_HOME of its own and the catalogue that its commands read."""

    home: Path
    catalogue: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith("QUARTIER_")}
        told = {"QUARTIER_HOME": str(self.home), "QUARTIER_CATALOGUE": str(self.catalogue)}
        return kept | told | more

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a command as the leader of its own process group."""
        return subprocess.Popen(
            [QUARTIER, *arguments], env=self.environment(), text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str | Path) -> str:
        """Run a command to its good end; what it printed."""
        ended = subprocess.run(
            [QUARTIER, *arguments], env=self.environment(), text=True, capture_output=True
        )
        assert ended.returncode == 0, f"{arguments}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def ingest(self, layer: str, *files: Path) -> dict[str, Any]:
        """Ingest and give the report."""
        report: dict[str, Any] = json.loads(self.run("ingest", layer, *files, "--json"))
        counts = report["counts"]
        assert counts["read"] == counts["accounted"], report
        return report

    @contextmanager
    def database(self) -> Iterator[Database]:
        """The database, awake for as long as the block lasts."""
        settings = StoreSettings(home=self.home, catalogue=self.catalogue)
        with open_store(settings) as urls:
            yield Database("quartier", urls)

    @contextmanager
    def serving(self, *, workers: int = 1) -> Iterator[str]:
        """`quartier serve` on a free port; the address it answers at."""
        with self.served(workers=workers) as (url, _):
            yield url

    @contextmanager
    def served(self, *, workers: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
        """`quartier serve`, with its process."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        log = self.home / "serve.log"
        with log.open("a") as out:
            process = subprocess.Popen(
                [QUARTIER, "serve"], stdout=out, stderr=out, start_new_session=True,
                env=self.environment(QUARTIER_PORT=str(port), QUARTIER_WORKERS=str(workers)),
            )  # fmt: skip
        try:
            _wait_for(f"{url}/health/ready", process, log)
            yield url, process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(timeout=PATIENCE_S)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)
    raise AssertionError(f"quartier serve does not answer:\n{log.read_text()}")


@contextmanager
def house(catalogue: Path) -> Iterator[House]:
    """A house in a temporary folder, gone when the block ends."""
    home = Path(tempfile.mkdtemp(prefix="quartier-accept-"))
    home.chmod(0o755)  # the system user that runs PostgreSQL must reach into it
    try:
        yield House(home, catalogue)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@dataclass(slots=True)
class Table:
    """Rows that are printed as they come and again, aligned, at the end."""

    title: str
    columns: Sequence[str]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        row = tuple(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells)
        self.rows.append(row)
        print("  " + "  ".join(row), flush=True)

    def print(self) -> None:
        lines = [tuple(self.columns), *self.rows]
        widths = [max(len(row[i]) for row in lines) for i in range(len(self.columns))]
        print(f"\n{self.title}")
        for row in lines:
            print("  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())
        print(flush=True)
