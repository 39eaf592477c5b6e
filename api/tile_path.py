"""The fast path: tile requests answered by raw ASGI, in front of FastAPI's router.

A request for a tile that is in memory costs one dictionary look-up while nothing in the
database has changed; after any change, the validator is worked out anew, which costs arithmetic
and neither a query nor the tile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from api.deps import TRACKING
from api.problems import Problem, problem_of
from layers.catalog import Catalog
from layers.errors import QueryRefused
from layers.feed import Feed
from tiles.address import TileAddress, parse_layers
from tiles.cache import Entry
from tiles.errors import AddressRefused
from tiles.render import Renderer, decompress

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

PREFIX, SUFFIX = "/tiles/", ".mvt"
MVT = b"application/vnd.mapbox-vector-tile"
HOT_PATHS = 20_000  # paths whose answer is remembered whole, at most
PATIENCE_S = 0.02  # before a tile is watched for a client that leaves
NO_BODY: Message = {"type": "http.response.body", "body": b""}
COMMON: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"ETag, Quartier-Truncated"),
    (b"vary", b"Accept-Encoding"),
    (b"x-content-type-options", b"nosniff"),
]
NOT_AT_ALL = (b"q=0", b"q=0.", b"q=0.0", b"q=0.00", b"q=0.000")
PREFLIGHT: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, HEAD, OPTIONS"),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-max-age", b"86400"),
    (b"allow", b"GET, HEAD, OPTIONS"),
]


@dataclass(frozen=True, slots=True)
class Answer:
    """A tile ready to be sent in one encoding, or as a 304."""

    etag: bytes
    start: Message
    body: Message
    not_modified: Message


@dataclass(frozen=True, slots=True)
class Hot:
    """The answers of a path while the feed's generation is this."""

    generation: int
    gzip: Answer
    entry: Entry
    cache_control: bytes


class TilePath:
    """Answers `/tiles/{layers}/{z}/{x}/{y}.mvt`; hands everything else to `app`."""

    def __init__(self, app: App, renderer: Renderer, feed: Feed, hot_bytes: int = 2**26) -> None:
        self._app = app
        self._renderer = renderer
        self._feed = feed
        self._hot: dict[str, Hot] = {}
        self._hot_bytes = 0
        self._most_hot_bytes = hot_bytes

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
            await _send_empty(send, HTTPStatus.NO_CONTENT, PREFLIGHT)
        else:
            await _send_problem(send, _method_refused(scope["method"]))

    async def _answer(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        gzip, asked = _read_headers(scope["headers"])
        hot = self._hot.get(path)
        if hot is None or hot.generation != self._feed.generation or scope["query_string"]:
            try:
                _refuse_parameters(scope["query_string"])
                ids, at = _parse(path)
                if asked is not None and await self._still_good(ids, at, (gzip, asked), send):
                    return
                hot = await self._render(path, ids, at, receive)
            except Exception as exc:
                await _send_problem(send, problem_of(exc))
                return
            if hot is None:
                return  # the client has left
        answer = hot.gzip if gzip else _answer_of(hot.entry, hot.cache_control, gzip=False)
        if asked is not None and _matches(asked, answer.etag):
            await send(self._marked(answer.not_modified))
            await send(NO_BODY)
            return
        await send(self._marked(answer.start))
        await send(NO_BODY if scope["method"] == "HEAD" else answer.body)

    def _marked(self, start: Message) -> Message:
        """While nothing is heard of changes, what is served may be stale, and says for how long
        (RFC 9211: a ttl below zero).
        """
        if self._feed.is_current:
            return start
        status = b"quartier; hit; ttl=-%d" % self._feed.stale_for_s
        return {**start, "headers": [*start["headers"], (b"cache-status", status)]}

    async def _still_good(
        self, ids: Sequence[str], at: TileAddress, asked: tuple[bool, bytes], send: Send
    ) -> bool:
        """Tell a client that has this very version so, before anything is made."""
        gzip, tags = asked
        etag = _etag(self._renderer.validator(ids, at), gzip=gzip)
        if not _matches(tags, etag):
            return False
        cache_control = _cache_control(self._feed.catalog, ids)
        await send(self._marked(_not_modified(etag, cache_control)))
        await send(NO_BODY)
        return True

    async def _render(
        self, path: str, ids: Sequence[str], at: TileAddress, receive: Receive
    ) -> Hot | None:
        generation = self._feed.generation
        entry = await _unless_gone(self._renderer.render(ids, at), receive)
        if entry is None:
            return None
        cache_control = _cache_control(self._feed.catalog, ids)
        hot = Hot(generation, _answer_of(entry, cache_control, gzip=True), entry, cache_control)
        self._remember(path, hot)
        return hot

    def _remember(self, path: str, hot: Hot) -> None:
        """Keep the answer at hand. When full, begin anew: the cache behind still has the tiles."""
        if (old := self._hot.pop(path, None)) is not None:
            self._hot_bytes -= len(old.entry.body)
        self._hot_bytes += len(hot.entry.body)
        if len(self._hot) >= HOT_PATHS or self._hot_bytes > self._most_hot_bytes:
            self._hot.clear()
            self._hot_bytes = len(hot.entry.body)
        self._hot[path] = hot


def _parse(path: str) -> tuple[tuple[str, ...], TileAddress]:
    parts = path[len(PREFIX) : -len(SUFFIX)].split("/")
    if len(parts) != 4:
        raise AddressRefused("path", path, "write /tiles/{layers}/{z}/{x}/{y}.mvt")
    return parse_layers(parts[0]), TileAddress.parse(*parts[1:])


def _read_headers(headers: Sequence[tuple[bytes, bytes]]) -> tuple[bool, bytes | None]:
    """Whether the client takes gzip, and its If-None-Match."""
    gzip, asked = False, None
    for name, value in headers:
        if name == b"accept-encoding":
            gzip = _takes_gzip(value)
        elif name == b"if-none-match":
            asked = value if asked is None else asked + b", " + value
    return gzip, asked


def _takes_gzip(value: bytes) -> bool:
    """RFC 9110's Accept-Encoding: what is said of gzip goes before what is said of `*`."""
    if value == b"gzip" or value.startswith(b"gzip, "):
        return True
    told = {}
    for part in value.lower().split(b","):
        coding, _, quality = part.partition(b";")
        told[coding.strip()] = quality.replace(b" ", b"") not in NOT_AT_ALL
    return told.get(b"gzip", told.get(b"*", False))


def _matches(asked: bytes, etag: bytes) -> bool:
    """RFC 9110's weak comparison with any of a list, or `*`."""
    if asked == etag:
        return True
    bare = etag.removeprefix(b"W/")
    tags = [tag.strip() for tag in asked.split(b",")]
    return b"*" in tags or any(tag.removeprefix(b"W/") == bare for tag in tags)


def _refuse_parameters(query_string: bytes) -> None:
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if not name.startswith(TRACKING):
            raise QueryRefused(name, value, "is not a parameter here; tiles take none yet")


def _cache_control(catalog: Catalog, ids: Sequence[str]) -> bytes:
    """A layer may let clients keep its tiles; a composite keeps to its strictest layer."""
    ages = [catalog.layer(layer_id).layer.max_age_s for layer_id in ids]
    if any(age is None for age in ages):
        return b"no-cache"
    return f"max-age={min(age for age in ages if age is not None)}".encode()


def _etag(validator: str, *, gzip: bool) -> bytes:
    """Weak, because compression may be improved later; told apart by encoding all the same."""
    return f'W/"{validator}-{"gz" if gzip else "id"}"'.encode()


def _not_modified(etag: bytes, cache_control: bytes) -> Message:
    headers: Headers = [*COMMON, (b"etag", etag), (b"cache-control", cache_control)]
    return {"type": "http.response.start", "status": 304, "headers": headers}


def _answer_of(entry: Entry, cache_control: bytes, *, gzip: bool) -> Answer:
    etag = _etag(entry.validator, gzip=gzip)
    headers: Headers = [*COMMON, (b"etag", etag), (b"cache-control", cache_control)]
    if entry.truncated:
        headers.append((b"quartier-truncated", ",".join(entry.truncated).encode()))
    if not entry.body:
        start = {"type": "http.response.start", "status": 204, "headers": headers}
        return Answer(etag, start, NO_BODY, _not_modified(etag, cache_control))
    body = entry.body if gzip else decompress(entry.body)
    headers += [(b"content-type", MVT), (b"content-length", b"%d" % len(body))]
    headers += [(b"content-encoding", b"gzip")] if gzip else []
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    sent = {"type": "http.response.body", "body": body}
    return Answer(etag, start, sent, _not_modified(etag, cache_control))


async def _unless_gone(work: Awaitable[Entry], receive: Receive) -> Entry | None:
    """The entry, or None when the client leaves first: its query is then cancelled.

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


def _method_refused(method: str) -> Problem:
    problem = Problem(
        HTTPStatus.METHOD_NOT_ALLOWED, f"{method}: tiles answer GET, HEAD and OPTIONS"
    )
    problem.headers["allow"] = "GET, HEAD, OPTIONS"
    return problem


async def _send_problem(send: Send, problem: Problem) -> None:
    headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    headers.append((b"content-length", b"%d" % len(problem.body)))
    status = problem.status.value
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": problem.body})


async def _send_empty(send: Send, status: HTTPStatus, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
