"""Answers that go on: bounded in number, ended when the client leaves or the process does."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from http import HTTPStatus
from types import FrameType
from typing import Any

import structlog
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from layers.errors import LayersError

STUCK_S = 60.0  # a client that takes nothing for so long is let go
FAREWELL_S = 1.0  # for the end of an answer to be taken, by a client that may be stuck or gone
HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back until its buffer is full
}

log = structlog.get_logger()


class StreamsFull(LayersError):
    """This worker keeps as many streams as it may."""


class Streams:
    """The open streams of a worker, `most` at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._open: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return self._taken

    def check(self) -> None:
        """Raise StreamsFull where there is no room for one more."""
        if self._closed or self._taken >= self._most:
            raise StreamsFull(f"{self._taken} streams are open and no more are taken here")

    @contextlib.contextmanager
    def room(self) -> Iterator[None]:
        """A place among the streams; raises StreamsFull. Many may have found room by `check`
        before the first of them took it.
        """
        self.check()
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    @contextlib.contextmanager
    def keeping(self, writing: asyncio.Task[None]) -> Iterator[None]:
        self._open.add(writing)
        if self._closed:
            writing.cancel()
        try:
            yield
        finally:
            self._open.discard(writing)

    def close(self) -> None:
        """End every stream, politely: clients come back to whoever serves then."""
        self._closed = True
        for writing in self._open:
            writing.cancel()

    def close_on_signals(self) -> None:
        """Close on SIGINT and SIGTERM, then do what was done on them before.

        Granian waits for every open answer before it tells the application to shut down, and
        kills a worker whose streams outlast its patience. Call it in the running loop, after
        the server has set its own handlers.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = _before(
                signal.getsignal(number), lambda: loop.call_soon_threadsafe(self.close)
            )
            signal.signal(number, handler)
            signal.siginterrupt(number, False)


def _before(then: Any, first: Callable[[], object]) -> Callable[[int, FrameType | None], None]:
    def handler(number: int, frame: FrameType | None) -> None:
        first()
        if callable(then):
            then(number, frame)

    return handler


class EventStream(Response):
    """Server-Sent Events, for as long as the client stays and the process lives.

    Nothing is gathered for a client that reads slowly: the next event is made when it has taken
    the last.
    """

    media_type = "text/event-stream"
    charset = "utf-8"

    def __init__(self, streams: Streams, events: AsyncGenerator[bytes, None]) -> None:
        self.status_code = HTTPStatus.OK
        self.background = None
        self.body = b""
        self._streams = streams
        self._events = events
        self.init_headers(HEADERS)
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.room():
            await self._answer(receive, send)

    async def _answer(self, receive: Receive, send: Send) -> None:
        start: Message = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        writing = asyncio.ensure_future(self._write(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            with self._streams.keeping(writing):
                await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(writing, leaving)
        farewell = asyncio.ensure_future(_say_farewell(send))
        await asyncio.wait({farewell}, timeout=FAREWELL_S)
        await _ended(farewell)

    async def _write(self, send: Send) -> None:
        async with contextlib.aclosing(self._events) as events:
            async for text in events:
                async with asyncio.timeout(STUCK_S):
                    await send({"type": "http.response.body", "body": text, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _say_farewell(send: Send) -> None:
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception) and not isinstance(outcome, OSError | TimeoutError):
            log.error("a stream failed", exc_info=outcome)
