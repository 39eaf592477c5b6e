"""Requests that go through the router: counted and timed by their route, and logged as lines of
JSON where they were slow, or all of them where an operator wants that. What fails is logged where
it is known why.

A line holds no address of anybody.
"""

from __future__ import annotations

import time
from typing import Any

import structlog

from api.metrics import OPEN_ENDED, Meter
from api.tile_answers import App, Message, Receive, Scope, Send

SLOW_S = 1.0
log = structlog.get_logger()


class RequestLog:
    """Outermost of what FastAPI runs, so that a request's whole time is counted."""

    def __init__(self, app: App, meter: Meter, *, every: bool = False) -> None:
        self._app = app
        self._meter = meter
        self._every = every

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, told = time.perf_counter(), {"status": 0, "bytes": 0}

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
            elif message["type"] == "http.response.body":
                told["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counting)
        finally:
            self._tell(scope, told, time.perf_counter() - begun)

    def _tell(self, scope: Scope, told: dict[str, int], seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        status = told["status"]
        self._meter.count(route, status, seconds)
        if self._every or (seconds >= SLOW_S and route != OPEN_ENDED):
            line: dict[str, Any] = {
                "method": scope["method"],
                "path": scope["path"],
                "query": scope["query_string"].decode("latin-1")[:1_000],
                "route": route,
                **told,
                "ms": round(seconds * 1000, 1),
            }
            log.info("request", **line)
