"""Servers that run while they are measured, as processes of their own on free ports."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from benchmarks.city import QUARTIER, ROOT, City

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def quartier_serving(city: City, workers: int = 2, **settings: str) -> Iterator[str]:
    """`quartier serve` on the city; gives its URL once it is ready.

    Finished tiles are kept in the memory of each worker alone, where `settings` do not say
    otherwise: a tile that an earlier server left on disk would not be cold.
    """
    port = free_port()
    own = {"QUARTIER_PORT": str(port), "QUARTIER_WORKERS": str(workers)}
    environment = city.environment(**{"QUARTIER_CACHE_URL": "memory:", **own, **settings})
    with running([*QUARTIER, "serve"], environment, f"http://127.0.0.1:{port}") as url:
        yield url


@contextmanager
def bare_serving(city: City, answers: Path) -> Iterator[str]:
    """The bare application, under the same server with the same settings."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare", str(answers), str(port)]
    with running(command, city.environment(), f"http://127.0.0.1:{port}") as url:
        yield url


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], url: str, ready: str = "/health/ready"
) -> Iterator[str]:
    """A server of its own; gives its URL once it answers at the path `ready`."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
        try:
            _await(url + ready, process)
            yield url
        except Exception:
            log.seek(0)
            sys.stderr.write(log.read()[-5000:])
            raise
        finally:
            _end(process)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except urllib.error.HTTPError as exc:
            if exc.code == HTTPStatus.NOT_MODIFIED:  # the bare application knows nothing else
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{url} did not come up")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
