"""What operators measure: counts of all workers, as Prometheus reads them.

Workers count in plain numbers (`tiles.tally`) and hand them over here every second. Where
PROMETHEUS_MULTIPROC_DIR is set (`api.serve` does), the library keeps each worker's numbers in a
file of that directory, and any worker can tell the sum.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from tiles.cache import Usage
from tiles.tally import Tally

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
OPEN_ENDED = "/changes"
GATHER_S = 1.0  # how far behind the counts of the other workers may be
RENDER_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """One worker's hold on the numbers. They begin at nothing with each start of the server."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._answers = Counter(
            "quartier_tile_answers", "Answers to tile requests, and where they came from",
            ["status", "source"], registry=registry,
        )  # fmt: skip
        self._sent = Counter(
            "quartier_tile_sent_bytes", "Bytes of tiles, as they were sent", registry=registry
        )
        self._render_s = Histogram(
            "quartier_tile_render_seconds", "Time to make a tile that was in no cache",
            buckets=RENDER_S, registry=registry,
        )  # fmt: skip
        self._joins = Counter(
            "quartier_tile_joins", "Requests that joined another one for the same tile in their"
            " worker", registry=registry,
        )  # fmt: skip
        self._lock_waits = Counter(
            "quartier_tile_lock_waits", "Tiles that another worker was making already",
            registry=registry,
        )  # fmt: skip
        self._truncated = Counter(
            "quartier_tile_truncated", "Tiles made that could not hold all features of a layer",
            ["layer"], registry=registry,
        )  # fmt: skip
        self._recompressed = Counter(
            "quartier_tile_recompressed", "Tiles asked for often: packed better, or not for want of"
            " room in the queue", ["outcome"], registry=registry,
        )  # fmt: skip
        self._requests_s = Histogram(
            "quartier_request_seconds", "Time to answer what is no tile, by route",
            ["route", "status"], buckets=RENDER_S, registry=registry,
        )  # fmt: skip
        self._at_hand = Counter(
            "quartier_answers_at_hand", "Answers with features that were sent as they were kept",
            registry=registry,
        )  # fmt: skip
        self._held_bytes = Gauge(
            "quartier_cache_bytes", "Bytes that the caches of all workers hold", ["tier"],
            registry=registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self._held = Gauge(
            "quartier_cache_entries", "Tiles that the caches of all workers hold", ["tier"],
            registry=registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self._shared_bytes = Gauge(
            "quartier_shared_cache_bytes", "Bytes that the cache shared by the workers holds",
            registry=registry, multiprocess_mode="livemostrecent",
        )  # fmt: skip

    def add(self, tally: Tally) -> None:
        for (status, source), count in tally.answers.items():
            self._answers.labels(status, source).inc(count)
        for layer, count in tally.truncated.items():
            self._truncated.labels(layer).inc(count)
        for outcome, count in tally.recompressed.items():
            self._recompressed.labels(outcome).inc(count)
        for seconds in tally.render_s:
            self._render_s.observe(seconds)
        for counter, count in (
            (self._sent, tally.sent_bytes),
            (self._joins, tally.joins),
            (self._lock_waits, tally.lock_waits),
        ):
            if count:
                counter.inc(count)

    def answered(self, route: str, status: int, seconds: float) -> None:
        self._requests_s.labels(route, str(status)).observe(seconds)

    def at_hand(self, count: int) -> None:
        self._at_hand.inc(count)

    def hold(self, memory: Usage, shared: Usage | None) -> None:
        """Say what the caches hold now."""
        self._held_bytes.labels("memory").set(memory.bytes)
        self._held.labels("memory").set(memory.entries or 0)
        if shared is not None:
            self._shared_bytes.set(shared.bytes)

    def text(self) -> bytes:
        """The numbers of all workers, dead ones included: what was counted was counted."""
        folder = os.environ.get(FOLDER)
        if folder is None:
            return generate_latest(self._registry)
        _forget_the_dead(Path(folder))
        registry = CollectorRegistry()
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


class Meter:
    """Hands what a worker counted to its metrics: every second, when they are read, at the end."""

    def __init__(
        self,
        tallied: Callable[[], Tally],
        usage: Callable[[], Awaitable[tuple[Usage, Usage | None]]],
        at_hand: Callable[[], int] = lambda: 0,
    ) -> None:
        """`at_hand` tells how many answers were sent as they were kept, since it was last asked."""
        self._tallied = tallied
        self._usage = usage
        self._at_hand = at_hand
        self._metrics = Metrics()

    async def measure(self) -> bytes:
        """The numbers of all workers, as Prometheus reads them."""
        await self._gather()
        return await asyncio.to_thread(self._metrics.text)

    async def gather_for_ever(self) -> None:
        while True:
            await asyncio.sleep(GATHER_S)
            await self._gather()

    def gather_last(self) -> None:
        """Hand over the last counts; caches that are about to close hold nothing."""
        self._metrics.add(self._tallied())
        self._metrics.at_hand(self._at_hand())

    def count(self, route: str, status: int, seconds: float) -> None:
        """A request that the router answered; one that stays open is no matter of seconds."""
        if route != OPEN_ENDED:
            self._metrics.answered(route, status, seconds)

    async def _gather(self) -> None:
        self._metrics.add(self._tallied())
        self._metrics.at_hand(self._at_hand())
        self._metrics.hold(*await self._usage())


def _forget_the_dead(folder: Path) -> None:
    """What a worker holds it holds no more once it is dead."""
    for path in folder.glob("gauge_live*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
