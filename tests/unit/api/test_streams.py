"""Open answers: how many, and how they end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from api.streams import EventStream, Streams, StreamsFull

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Client:
    """The other side of one request: takes what is sent until it leaves."""

    def __init__(self, *, takes: int = 1_000_000) -> None:
        self.sent: list[Any] = []
        self._room = asyncio.Semaphore(takes)
        self._gone = asyncio.Event()

    async def receive(self) -> Any:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self._room.acquire()
        self.sent.append(message)

    def leave(self) -> None:
        self._gone.set()


class Ticking:
    """Events without end, and whether their maker was let go."""

    def __init__(self) -> None:
        self.made = 0
        self.ended = False

    async def events(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                self.made += 1
                yield b"data: tick\n\n"
                await asyncio.sleep(0.001)
        finally:
            self.ended = True


def opened(streams: Streams, client: Client, ticking: Ticking) -> asyncio.Task[None]:
    stream = EventStream(streams, ticking.events())
    return asyncio.ensure_future(stream({"type": "http"}, client.receive, client.send))


async def test_a_client_that_leaves_frees_its_place_and_its_events() -> None:
    streams, client, ticking = Streams(1), Client(), Ticking()
    running = opened(streams, client, ticking)
    await asyncio.sleep(0.02)
    with pytest.raises(StreamsFull):
        streams.check()
    client.leave()
    await asyncio.wait_for(running, 1)
    assert ticking.ended
    assert len(streams) == 0
    streams.check()


async def test_for_a_client_that_reads_nothing_one_event_is_made_and_no_more() -> None:
    streams, client, ticking = Streams(1), Client(takes=1), Ticking()
    running = opened(streams, client, ticking)
    await asyncio.sleep(0.05)
    assert ticking.made == 1
    client.leave()
    await asyncio.wait_for(running, 2)
    assert ticking.ended


async def test_a_client_that_is_stuck_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.streams.STUCK_S", 0.02)
    streams, client, ticking = Streams(1), Client(takes=1), Ticking()
    running = opened(streams, client, ticking)
    await asyncio.wait_for(running, 2)
    assert ticking.ended
    assert len(streams) == 0


async def test_a_closed_house_ends_every_stream_and_takes_no_more() -> None:
    streams, clients = Streams(5), [Client() for _ in range(3)]
    running = [opened(streams, client, Ticking()) for client in clients]
    await asyncio.sleep(0.02)
    streams.close()
    await asyncio.wait_for(asyncio.gather(*running), 1)
    for client in clients:
        assert client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    with pytest.raises(StreamsFull):
        streams.check()


async def test_a_signal_closes_the_streams_and_does_what_it_did_before() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heard: list[int] = []
    streams, client = Streams(1), Client()
    try:
        signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
        streams.close_on_signals()
        running = opened(streams, client, Ticking())
        await asyncio.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 1)
        assert heard == [signal.SIGTERM]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def test_clients_who_come_at_once_find_room_for_no_more_than_there_is() -> None:
    streams, clients = Streams(2), [Client() for _ in range(5)]
    for _ in clients:
        streams.check()
    running = [opened(streams, client, Ticking()) for client in clients]
    await asyncio.sleep(0.02)
    assert len(streams) == 2
    for client in clients:
        client.leave()
    outcomes = await asyncio.gather(*running, return_exceptions=True)
    assert [type(each) for each in outcomes].count(StreamsFull) == 3
    assert len(streams) == 0
