"""The change feed ends when it is told to."""

from __future__ import annotations

import asyncio

import pytest

from layers.feed import Feed
from layers.store import Store

NOWHERE = "postgresql://nobody@127.0.0.1:9/nothing"


@pytest.mark.parametrize("steps", range(6))
def test_being_stopped_while_news_arrives_is_not_forgotten(steps: int) -> None:
    """Else a server that is told to end goes on listening for ever."""

    async def stopped() -> bool:
        feed = Feed(Store(NOWHERE, size=1), NOWHERE)

        async def follow() -> None:
            while True:
                feed._wake.clear()
                await feed._sleep_until_woken(None)

        following = asyncio.create_task(follow())
        await asyncio.sleep(0.01)
        feed._wake.set()
        for _ in range(steps):  # the news is on its way to whoever waits
            await asyncio.sleep(0)
        following.cancel()
        await asyncio.wait([following], timeout=0.5)
        return following.done()

    assert asyncio.run(stopped())
