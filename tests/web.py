"""The web server as it really runs: worker processes under granian, over a test's database."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import Database
from tests.nginx import free_port

PATIENCE_S = 30
PROGRAM = """
import sys
from pathlib import Path
from api.serve import serve
from api.settings import ApiSettings
serve(sys.argv[1], ApiSettings(), Path(sys.argv[2]))
"""


@contextmanager
def web_server(
    database: Database, home: Path, *, workers: int = 2, port: int | None = None, **settings: str
) -> Iterator[str]:
    """Serve the database; gives the address once it answers."""
    port = port or free_port()
    told = {"QUARTIER_PORT": str(port), "QUARTIER_WORKERS": str(workers)}
    told |= {f"QUARTIER_{name.upper()}": value for name, value in settings.items()}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QUARTIER_")}
    log = home / "web.log"
    with log.open("a") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, database.urls.web, str(home)],
            env=kept | told, stdout=out, stderr=out, cwd=Path(__file__).parents[1],
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        _await_ready(url, process, log)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=PATIENCE_S)


def _await_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=2):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise AssertionError(f"the web server does not answer:\n{log.read_text()}")


def measured(url: str) -> dict[str, float]:
    """What /metrics tells, by name and labels, once every worker has handed its counts over."""
    time.sleep(1.3)
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    rows = re.findall(r"^(quartier_\S+?(?:\{[^}]*\})?) (\S+)$", text, re.M)
    return {name: float(value) for name, value in rows}


def total(numbers: dict[str, float], name: str, **labels: str) -> float:
    """The sum over all labels but those given."""
    said = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(
        value
        for key, value in numbers.items()
        if key.partition("{")[0] == name and all(each in key for each in said)
    )
