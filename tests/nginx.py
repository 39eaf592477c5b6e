"""A real nginx with the committed configuration, on a free port, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONF = Path(__file__).resolve().parents[1] / "docker" / "nginx.conf"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
PATIENCE_S = 10


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def rendered(folder: Path, port: int, upstream: str, text: str | None = None) -> Path:
    """The configuration with our paths, port and server in the place of a deployment's."""
    text = CONF.read_text() if text is None else text
    (folder / "cache").mkdir(parents=True, exist_ok=True)
    for committed, ours in (
        ("/var/cache/nginx", str(folder / "cache")),
        ("/run/nginx.pid", str(folder / "nginx.pid")),
        ("/dev/stderr", str(folder / "error.log")),
        ("server quartier:8000;", f"server {upstream};"),
        ("listen 80;", f"listen 127.0.0.1:{port};"),
    ):
        assert committed in text, f"{committed} is not in the configuration"
        text = text.replace(committed, ours)
    if os.geteuid() == 0:
        text = "user root;\n" + text  # its own user cannot reach into a test's folder
    conf = folder / "nginx.conf"
    conf.write_text(text)
    return conf


def command(folder: Path, conf: Path) -> list[str]:
    log = folder / "error.log"
    return [NGINX, "-e", str(log), "-p", str(folder), "-c", str(conf), "-g", "daemon off;"]


@contextmanager
def edge(folder: Path, upstream: str, text: str | None = None) -> Iterator[str]:
    """nginx in front of `host:port`; gives its address once it listens."""
    port = free_port()
    conf = rendered(folder, port, upstream, text)
    process = subprocess.Popen(command(folder, conf))
    try:
        _await(port, process, folder / "error.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=PATIENCE_S)


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    process.kill()
    raise AssertionError(f"nginx does not listen:\n{log.read_text() if log.exists() else ''}")
