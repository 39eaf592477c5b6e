"""The real thing: `quartier up` with the sample city, and Debian's chromium looking at it."""

from __future__ import annotations

import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.conftest import make_home

ROOT = Path(__file__).resolve().parents[2]
QUARTIER = Path(sys.executable).with_name("quartier")
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
UP_TIMEOUT_S = 240
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
]  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(slots=True)
class Up:
    """A running `quartier up`: where it answers, where it lives, what it said."""

    url: str
    home: Path
    process: subprocess.Popen[str]
    log: Path

    def said(self) -> str:
        return self.log.read_text()

    def start_again(self) -> None:
        """Start it where it lived; it answers at another address."""
        again = start_up(self.home, self.log)
        self.url, self.process = again.url, again.process


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def start_up(home: Path, log: Path, command: str = "up") -> Up:
    """Start `quartier up` and return once it answers."""
    port = free_port()
    told = {"QUARTIER_HOME": str(home), "QUARTIER_PORT": str(port), "QUARTIER_WORKERS": "1"}
    with log.open("a") as out:
        process = subprocess.Popen(
            [QUARTIER, command], env=os.environ | told, stdout=out, stderr=out, text=True
        )
    up = Up(f"http://127.0.0.1:{port}", home, process, log)
    deadline = time.monotonic() + UP_TIMEOUT_S
    while not _ready(up.url):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"quartier {command} did not come up:\n{up.said()}")
        time.sleep(0.2)
    return up


def stop(up: Up) -> int:
    """Press Ctrl-C and wait for the end; returns the exit code."""
    up.process.send_signal(signal.SIGINT)
    return up.process.wait(timeout=60)


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    folder = make_home("quartier-e2e-")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def city(home: Path) -> Iterator[Up]:
    """The sample city, loaded and served by the command itself."""
    subprocess.run([sys.executable, "-m", "data.sample_city", "data/sample"], cwd=ROOT, check=True)
    up = start_up(home, home / "up.log")
    yield up
    if up.process.poll() is None:
        stop(up)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@dataclass  # without slots: playwright hangs its own attributes on who listens
class Watched:
    """A page, the errors it told and the hosts it asked."""

    page: Page
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._on_request)
        self.page.on("requestfailed", self._on_failed)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _on_failed(self, request: Request) -> None:
        """A stream ends when its page is left, which a browser calls a failure."""
        left = request.resource_type == "eventsource" and request.failure == "net::ERR_ABORTED"
        if not left:
            self.errors.append(f"{request.url}: {request.failure}")

    def _on_request(self, request: Request) -> None:
        if request.url.startswith(("http:", "https:", "ws:")):
            self.hosts.add(request.url.split("/")[2])

    def settled(self, patience_s: float = 60) -> bytes:
        """A picture of the map once it has stopped changing: a busy machine pauses, too."""
        deadline, last, alike = time.monotonic() + patience_s, b"", 0
        while time.monotonic() < deadline:
            self.page.wait_for_load_state("networkidle")
            picture = self.page.locator("canvas.maplibregl-canvas").screenshot()
            alike = alike + 1 if picture == last else 0
            if alike == 2:
                return picture
            last = picture
            self.page.wait_for_timeout(400)
        raise AssertionError("the map does not come to rest")


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A page of 1280 × 800 by day."""
    page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
    yield Watched(page)
    page.close()


@pytest.fixture
def host_page(city: Up, tmp_path: Path) -> Iterator[str]:
    """A page on another origin that holds the embed as WordPress would."""
    (tmp_path / "index.html").write_text(
        "<!doctype html><title>A tourism site</title><link rel=icon href=data:,><h1>By bike</h1>"
        f'<iframe sandbox="allow-scripts" security="restricted" title="map" width="600"'
        f' height="400" src="{city.url}/embed/city#?secret=abc123"></iframe>'
    )

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *_: Any) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()
        thread.join()
