"""Tiles that are in memory, and 304, against an application that only sends the same bytes."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.addresses import drawn, path_of
from benchmarks.bare import write_answers
from benchmarks.city import City
from benchmarks.client import Answer, Client
from benchmarks.result import Result
from benchmarks.rounds import interleaved, ratio
from benchmarks.servers import bare_serving, quartier_serving
from benchmarks.wrk import Load, wrk

TILES = {15: 30, 16: 60}
CONNECTIONS = 16
ROUNDS, ROUND_S, WARM_S = 11, 2.0, 3.0
SETTLE_ROUNDS = 40
TARGET = 0.85


def measure(city: City) -> Result:
    city.load()
    paths = [path_of(city, at) for tiles in drawn(city, TILES).values() for at in tiles]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(quartier_serving(city))
        asked = folder / "paths"
        asked.write_text("".join(f"{path}\n" for path in paths))
        settled(ours, paths, asked)
        whole, unchanged = captured(ours, paths)
        urls = {"tile": ours, "304": ours}
        for name, answers in {"bare tile": whole, "bare 304": unchanged}.items():
            write_answers(folder / name, answers)
            urls[name] = stack.enter_context(bare_serving(city, folder / name))
        tags = [answer.header(b"etag").decode() for answer in whole]
        tagged = folder / "tagged"
        tagged.write_text("".join(f"{p} {tag}\n" for p, tag in zip(paths, tags, strict=True)))
        load = partial(wrk, connections=CONNECTIONS, seconds=ROUND_S)
        for url in urls.values():
            wrk(url, asked, connections=CONNECTIONS, seconds=WARM_S)
        found = interleaved(
            ROUNDS,
            {
                name: partial(load, urls[name], tagged if "304" in name else asked)
                for name in ("tile", "bare tile", "304", "bare 304")
            },
        )
    return _result(found, whole)


def settled(url: str, paths: Sequence[str], asked: Path) -> None:
    """Ask until every worker has every tile packed as well as it ever will be: all that is
    measured against it has to send the same bytes.
    """
    before: list[int] = []
    for _ in range(SETTLE_ROUNDS):
        wrk(url, asked, connections=CONNECTIONS, seconds=WARM_S)
        time.sleep(WARM_S)
        seen = [[len(answer.body) for answer in captured(url, paths)[0]] for _ in range(8)]
        if all(sizes == before for sizes in seen):
            return
        before = seen[0]
    raise RuntimeError(f"{url} does not come to rest")


def captured(url: str, paths: Sequence[str]) -> tuple[list[Answer], list[Answer]]:
    """What the server answers to each path, and what to one who has it already."""
    with Client(url) as client:
        whole = [client.get(path, accept_encoding="gzip") for path in paths]
        unchanged = [
            client.get(path, accept_encoding="gzip", if_none_match=answer.header(b"etag").decode())
            for path, answer in zip(paths, whole, strict=True)
        ]
    _expect(whole, 200)
    _expect(unchanged, 304)
    return whole, unchanged


def _expect(answers: Sequence[Answer], status: int) -> None:
    if others := {answer.status for answer in answers} - {status}:
        raise RuntimeError(f"expected {status}, got {sorted(others)}")


def _result(found: dict[str, list[Load]], whole: Sequence[Answer]) -> Result:
    rates = {name: [load["per_s"] for load in loads] for name, loads in found.items()}
    rows: list[list[object]] = []
    for name in ("tile", "304"):
        rows.append(
            [
                name,
                statistics.median(rates[name]),
                statistics.median(rates[f"bare {name}"]),
                ratio(rates[name], rates[f"bare {name}"]),
                statistics.median(load["p99_ms"] for load in found[name]),
                statistics.median(load["p99_ms"] for load in found[f"bare {name}"]),
            ]
        )
    mean = statistics.mean(len(answer.body) for answer in whole) / 1000
    return Result(
        title=f"Cached: {len(whole)} tiles, {mean:.0f} kB each, {CONNECTIONS} connections",
        columns=["answer", "per s", "bare, per s", "ratio", "p99 ms", "bare, p99 ms"],
        rows=rows,
        targets={"target": f"ratio ≥ {TARGET}"},
        raw={"rounds": found},
    )
