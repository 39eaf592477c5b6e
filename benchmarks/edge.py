"""Tiles through the nginx edge, against the same nginx sending the same bytes from plain files."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from benchmarks.addresses import drawn, path_of
from benchmarks.cached import CONNECTIONS, ROUND_S, TILES, WARM_S, captured, settled
from benchmarks.city import City
from benchmarks.client import Answer, Client
from benchmarks.result import Result
from benchmarks.rounds import interleaved, ratio
from benchmarks.servers import quartier_serving
from benchmarks.wrk import wrk
from tests.nginx import edge

ROUNDS = 7
TARGET = 0.7
FILES = """
worker_processes auto;
pid /run/nginx.pid;
error_log /dev/stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 10000;
    client_body_temp_path /var/cache/nginx/body;
    # server quartier:8000;
    server {{
        listen 80;
        root {root};
        default_type application/vnd.mapbox-vector-tile;
        add_header Content-Encoding gzip;
    }}
}}
"""


def measure(city: City) -> Result:
    city.load()
    paths = [path_of(city, at) for tiles in drawn(city, TILES).values() for at in tiles]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(quartier_serving(city))
        asked = folder / "paths"
        asked.write_text("".join(f"{path}\n" for path in paths))
        settled(ours, paths, asked)
        whole, _ = captured(ours, paths)
        _write_files(folder / "root", paths, whole)
        urls = {
            "edge": stack.enter_context(_nginx(folder / "edge", ours)),
            "files": stack.enter_context(_nginx(folder / "files", ours, folder / "root")),
        }
        for name, url in urls.items():
            wrk(url, asked, connections=CONNECTIONS, seconds=WARM_S)
            _expect_same(name, url, paths, whole)
        load = partial(wrk, connections=CONNECTIONS, seconds=ROUND_S)
        found = interleaved(ROUNDS, {name: partial(load, url, asked) for name, url in urls.items()})
    rates = {name: [load["per_s"] for load in loads] for name, loads in found.items()}
    late = {name: statistics.median(load["p99_ms"] for load in found[name]) for name in found}
    mean = statistics.mean(len(answer.body) for answer in whole) / 1000
    return Result(
        title=f"Edge: {len(whole)} tiles, {mean:.0f} kB each, {CONNECTIONS} connections",
        columns=["answer", "per s", "files, per s", "ratio", "p99 ms", "files, p99 ms"],
        rows=[
            [
                "tile",
                statistics.median(rates["edge"]),
                statistics.median(rates["files"]),
                ratio(rates["edge"], rates["files"]),
                late["edge"],
                late["files"],
            ]
        ],
        targets={"target": f"ratio ≥ {TARGET}"},
        raw={"rounds": found},
    )


def _nginx(folder: Path, upstream: str, root: Path | None = None) -> AbstractContextManager[str]:
    folder.mkdir()
    text = None if root is None else FILES.format(root=root)
    return edge(folder, upstream.removeprefix("http://"), text)


def _write_files(root: Path, paths: Sequence[str], whole: Sequence[Answer]) -> None:
    for path, answer in zip(paths, whole, strict=True):
        file = root / path.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(answer.body)


def _expect_same(name: str, url: str, paths: Sequence[str], whole: Sequence[Answer]) -> None:
    with Client(url) as client:
        for path, answer in zip(paths, whole, strict=True):
            if client.get(path, accept_encoding="gzip").body != answer.body:
                raise RuntimeError(f"{name} sends other bytes for {path}")
