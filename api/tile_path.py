"""The fast path: tile requests answered by raw ASGI, in front of FastAPI's router.

A request for a tile that is in memory costs one dictionary look-up while nothing in the
database has changed; after any change, the validator is worked out anew, which costs arithmetic
and neither a query nor the tile.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable
from http import HTTPStatus
from typing import NamedTuple

from api.problems import problem_of
from api.tile_answers import (
    FOR_EVER,
    NO_BODY,
    PREFLIGHT,
    Answer,
    App,
    Hot,
    Message,
    Receive,
    Scope,
    Send,
    method_refused,
    send_empty,
    send_problem,
    tags_of,
    unchanged,
)
from api.tile_filters import TileAsked, narrowed, read_tile_asked
from api.tile_headers import cache_control, etag_held, read_headers
from layers.catalog import Catalog
from layers.errors import StoreBusy
from layers.feed import Feed
from tiles.address import TileAddress, TileLayer, parse_layers
from tiles.announced import Announcements, parse_revisions
from tiles.background import Background
from tiles.errors import AddressRefused
from tiles.render import Renderer
from tiles.tally import Source, Tally
from tiles.tiers import Found

__all__ = ["App", "Message", "TilePath"]

PREFIX, SUFFIX = "/tiles/", ".mvt"
HOT_PATHS = 20_000  # paths whose answer is remembered whole, at most
HEEDED = 10_000  # query strings that are known to ask for nothing more than is known,
HEEDED_BYTES = 256  # none of them longer
PATIENCE_S = 0.02  # before a tile is watched for a client that leaves
HOT_HITS = 16  # bodies sent from memory after which a tile is worth packing better
WORTH_PACKING = 512  # bytes
CLOCK_S = 60.0  # for which words that mean a day are taken to mean the same
NOTHING = TileAsked(None, {})
HOLD_BACK_S, MOST_HELD_BACK = 1.0, 2_000


class Wanted(NamedTuple):
    """The tile that a path names, and the part of it that parameters ask for. `key` is what its
    answer is remembered by, `until` the time at which the same words ask for something else.
    """

    key: str
    asked: tuple[TileLayer, ...]
    at: TileAddress
    until: float = FOR_EVER

    @classmethod
    def parse(cls, path: str) -> Wanted:
        parts = path[len(PREFIX) : -len(SUFFIX)].split("/")
        if len(parts) != 4:
            raise AddressRefused("path", path, "write /tiles/{layers}/{z}/{x}/{y}.mvt")
        return cls(path, parse_layers(parts[0]), TileAddress.parse(*parts[1:]))

    @property
    def is_whole(self) -> bool:
        return all(layer.narrowed is None for layer in self.asked)

    def narrowed_by(self, asked: TileAsked, query: bytes, catalog: Catalog) -> Wanted:
        """The same tile of the parts of its layers that are asked for."""
        if not asked.narrowing:
            return self
        until = time.time() + CLOCK_S if asked.by_clock else FOR_EVER
        layers = narrowed(self.asked, asked.narrowing, catalog)
        return Wanted(key_of(self.key, query), layers, self.at, until)


def key_of(path: str, query: bytes) -> str:
    return f"{path}?{query.decode('latin-1')}"


class TilePath:
    """Answers `/tiles/{layers}/{z}/{x}/{y}.mvt`; hands everything else to `app`."""

    def __init__(
        self,
        app: App,
        renderer: Renderer,
        feed: Feed,
        announcements: Announcements,
        hot_bytes: int = 2**26,
    ) -> None:
        self._app = app
        self._renderer = renderer
        self._feed = feed
        self._announcements = announcements
        self._tally = renderer.tally
        self._background = Background()
        self._hot: dict[str, Hot] = {}
        self._hot_bytes = 0
        self._most_hot_bytes = hot_bytes
        self._heeded: dict[bytes, int] = {}
        self._touched: list[tuple[Hot, Answer]] = []
        self._held_back = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if not path.endswith(SUFFIX):
            await self._app(scope, receive, send)
        elif scope["method"] in ("GET", "HEAD"):
            await self._answer(path, scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await send_empty(send, HTTPStatus.NO_CONTENT, PREFLIGHT)
        else:
            await send_problem(send, method_refused(scope["method"]))

    async def _answer(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        takes, tags = read_headers(scope["headers"])
        query = scope["query_string"]
        generation = self._feed.generation
        if query and self._heeded.get(query) != generation:
            hot = self._hot.get(key_of(path, query))
        else:
            hot = self._hot.get(path)
        if (
            hot is None
            or hot.generation != generation
            or (hot.until is not FOR_EVER and hot.until < time.time())
        ):
            await self._answer_anew(path, scope, receive, send)
            return
        if tags is not None and (tag := etag_held(tags, hot.tags)) is not None:
            answer = hot.unchanged[tag]
        else:
            answer = hot.answer(takes)
        if not answer.is_kept:
            self._count(answer, Source.HOT)
        elif answer.sent:
            answer.sent += 1
        else:
            answer.sent = 1
            self._touched.append((hot, answer))
        await send(answer.start if self._feed.is_current else self._marked(answer.start))
        await send(NO_BODY if scope["method"] == "HEAD" else answer.body)

    async def _answer_anew(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Nothing is at hand that is sure to hold: work out what the tile's version is now."""
        takes, tags = read_headers(scope["headers"])
        wanted: Wanted | None = None
        try:
            asked = await self._heed(scope["query_string"])
            wanted = Wanted.parse(path)
            wanted = wanted.narrowed_by(asked, scope["query_string"], self._feed.catalog)
            source, answer = Source.VERSION, self._still_good(wanted, tags)
            if answer is None:
                hot = await self._find(wanted, receive)
                if hot is None:
                    return  # the client has left
                source, answer = hot.found.source, hot.answer(takes)
        except Exception as exc:
            if isinstance(exc, StoreBusy) and wanted is not None and not wanted.is_whole:
                await self._hold_back()
            problem = problem_of(exc)
            self._tally.answers[problem.status.value, Source.NONE] += 1
            await send_problem(send, problem)
            return
        self._count(answer, source)
        await send(self._marked(answer.start))
        await send(NO_BODY if scope["method"] == "HEAD" else answer.body)

    async def _hold_back(self) -> None:
        """Let a client that asks for more filters than can be answered wait for the news of it: who
        is told at once asks at once again, and a flood of that keeps everybody else waiting.
        """
        if self._held_back < MOST_HELD_BACK:
            self._held_back += 1
            try:
                # not all at one time, or they all come back at one time
                await asyncio.sleep(HOLD_BACK_S * random.uniform(0.5, 1.5))
            finally:
                self._held_back -= 1

    def _marked(self, start: Message) -> Message:
        """While nothing is heard of changes, what is served may be stale, and says for how long
        (RFC 9211: a ttl below zero).
        """
        if self._feed.is_current:
            return start
        status = b"quartier; hit; ttl=-%d" % self._feed.stale_for_s
        return {**start, "headers": [*start["headers"], (b"cache-status", status)]}

    async def _heed(self, query_string: bytes) -> TileAsked:
        """Read what is asked; catch up with the revisions a client was told of."""
        if not query_string:
            return NOTHING
        generation = self._feed.generation
        asked = read_tile_asked(query_string)
        told = asked.revisions
        is_known = told is None or await self._announcements.heed(parse_revisions(told))
        if is_known and not asked.narrowing and len(query_string) <= HEEDED_BYTES:
            if len(self._heeded) >= HEEDED:
                self._heeded.clear()
            self._heeded[query_string] = generation
        return asked

    def _still_good(self, wanted: Wanted, tags: bytes | None) -> Answer | None:
        """The news that the client has this very version, before anything is made."""
        if tags is None:
            return None
        validator = self._renderer.validator(wanted.asked, wanted.at)
        tag = etag_held(tags, tags_of(validator))
        return None if tag is None else unchanged(tag, self._cache_control(wanted))

    def _cache_control(self, wanted: Wanted) -> bytes:
        catalog = self._feed.catalog
        return cache_control([catalog.layer(each.id).layer for each in wanted.asked])

    async def _find(self, wanted: Wanted, receive: Receive) -> Hot | None:
        generation = self._feed.generation
        found = await _unless_gone(self._renderer.find(wanted.asked, wanted.at), receive)
        if found is None:
            return None
        hot = Hot.of(wanted.key, found, generation, self._cache_control(wanted), wanted.until)
        old = self._hot.get(wanted.key)
        if old is not None and old.found.entry.validator == found.entry.validator:
            hot.hits = old.hits
        if wanted.is_whole or found.source is Source.MEMORY:  # a part must be asked for twice
            self._remember(wanted.key, hot)
        return hot

    def _remember(self, path: str, hot: Hot) -> None:
        """Keep the answer at hand. When full, begin anew: the cache behind still has the tiles."""
        if (old := self._hot.pop(path, None)) is not None:
            self._hot_bytes -= old.room
        self._hot_bytes += hot.room
        if len(self._hot) >= HOT_PATHS or self._hot_bytes > self._most_hot_bytes:
            self._hot.clear()
            self._hot_bytes = hot.room
        self._hot[path] = hot

    def _count(self, answer: Answer, source: Source) -> None:
        self._tally.answers[answer.status, source] += 1
        self._tally.sent_bytes += answer.size

    def gather(self) -> Tally:
        """What was counted since the last time; tiles that turned out hot are sent to be packed
        better. To be called every second or so, so that the fast path need only count.
        """
        touched, self._touched = self._touched, []
        for hot, answer in touched:
            self._tally.answers[answer.status, Source.HOT] += answer.sent
            self._tally.sent_bytes += answer.size * answer.sent
            if answer.size:
                self._heat(hot, answer.sent)
            answer.sent = 0
        return self._tally.take()

    def _heat(self, hot: Hot, hits: int) -> None:
        hot.hits += hits
        if hot.hits >= HOT_HITS and not hot.found.entry.is_tight and hot.size >= WORTH_PACKING:
            hot.hits = 0
            self._background.run(self._improve(hot))

    async def _improve(self, hot: Hot) -> None:
        found = hot.found
        better = await self._renderer.tiers.improve(found.key, found.entry)
        path = hot.path
        if better is not None and self._hot.get(path) is hot:
            found = found._replace(entry=better)
            self._remember(path, Hot.of(path, found, hot.generation, hot.cache_control, hot.until))


async def _unless_gone(work: Awaitable[Found], receive: Receive) -> Found | None:
    """What was found, or None when the client leaves first: its query is then cancelled.

    Most tiles are made before it would be worth asking whether anybody still waits.
    """
    making = asyncio.ensure_future(work)
    if not (await asyncio.wait({making}, timeout=PATIENCE_S))[0]:
        leaving = asyncio.ensure_future(_left(receive))
        await asyncio.wait({making, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
    if making.done():
        return making.result()
    making.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await making
    return None


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
