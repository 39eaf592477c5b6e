"""So many questions an address may ask: a bucket of tokens each, which fills again as time goes.

Tiles are not counted, nor are answers that were at hand: they cost next to nothing. This machine's
own programs are not, unless they pass on whom they ask for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from http import HTTPStatus

from api.addresses import Network, address_of
from api.problems import Problem
from api.tile_answers import App, Receive, Scope, Send

COUNTED = ("/collections", "/tileMatrixSets", "/api", "/openapi.json")
MOST_ADDRESSES = 50_000


class RateLimit:
    """`per_s` 0: no limit. `trusted`: networks whose X-Forwarded-For is believed."""

    def __init__(
        self,
        app: App,
        *,
        per_s: float,
        burst: int,
        trusted: tuple[Network, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._per_s = per_s
        self._burst = float(burst)
        self._trusted = trusted
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._per_s <= 0 or scope["type"] != "http" or not scope["path"].startswith(COUNTED):
            await self._app(scope, receive, send)
            return
        address = address_of(scope, self._trusted)
        wait_s = 0.0 if address is None else self._take(address)
        if wait_s <= 0:
            await self._app(scope, receive, send)
            return
        told = f"more than {self._per_s:g} questions a second; come back in {math.ceil(wait_s)} s"
        problem = Problem(HTTPStatus.TOO_MANY_REQUESTS, told)
        problem.headers["retry-after"] = str(math.ceil(wait_s))
        await problem.response()(scope, receive, send)

    def _take(self, address: str) -> float:
        """Take a token; 0, or the seconds until there is one."""
        now = self._clock()
        left, since = self._buckets.get(address, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_s)
        if left < 1:
            self._buckets[address] = (left, now)
            return (1 - left) / self._per_s
        if len(self._buckets) >= MOST_ADDRESSES:
            self._forget_the_quiet(now)
        self._buckets[address] = (left - 1, now)
        return 0.0

    def _forget_the_quiet(self, now: float) -> None:
        """Those whose bucket is full again; where that is nobody, everybody."""
        full_after = self._burst / self._per_s
        kept = {a: b for a, b in self._buckets.items() if now - b[1] < full_after}
        self._buckets = kept if len(kept) < MOST_ADDRESSES else {}
