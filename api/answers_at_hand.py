"""Answers with features that are at hand: the same question, asked again while nothing of its layer
has changed, costs one look at the layer's revision, which all share who ask at a time.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from api.tile_answers import NO_BODY, App, Message, Receive, Scope, Send
from api.tile_headers import etag_held
from layers.catalog import PublishedLayer
from layers.errors import StoreUnavailable
from layers.feed import Feed
from layers.filters.read import depends_on_the_day
from layers.freshness import Freshness

PREFIX, DOORS = "/collections/", ("/items", "/aggregate", "/facets")
MOST_BYTES, MOST_OF_ONE = 32 * 2**20, 2**20
OVERHEAD = 1_000  # bytes of an entry beside its body
KEPT_304 = (b"etag", b"cache-control", b"vary", b"quartier-revision", b"content-crs")
EXPOSED = (
    "ETag", "Link", "Content-Crs", "Retry-After", "Quartier-Revision", "Quartier-Truncated",
)  # fmt: skip
SHARED = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", ", ".join(EXPOSED).encode()),
)


class Question(NamedTuple):
    """All that an answer depends on beside the layer: its links name the host, too."""

    path: str
    query: bytes
    host: bytes
    accept: bytes
    packed: bool

    @property
    def depends_on_the_day(self) -> bool:
        return depends_on_the_day(unquote_to_bytes(self.query).decode("latin-1"))


@dataclass(slots=True)
class Answer:
    published: PublishedLayer
    start: Message
    body: bytes
    etag: bytes


@dataclass(slots=True)
class _Heard:
    """An answer as it goes by."""

    start: Message | None = None
    body: list[bytes] = field(default_factory=list)
    size: int = 0
    is_whole: bool = False

    def hear(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = message
        elif message["type"] == "http.response.body":
            piece = message.get("body", b"")
            self.size += len(piece)
            if self.size <= MOST_OF_ONE:
                self.body.append(piece)
            self.is_whole = not message.get("more_body", False)


class AnswersAtHand:
    """Keeps answers of `/collections/{id}/items`, `/aggregate` and `/facets` as they were sent,
    within so many bytes, those that were asked for last.
    """

    def __init__(
        self, app: App, feed: Feed, fresh: Freshness, most_bytes: int = MOST_BYTES
    ) -> None:
        self._app = app
        self._feed = feed
        self._fresh = fresh
        self._most = most_bytes
        self._bytes = 0
        self._known: OrderedDict[Question, Answer] = OrderedDict()
        self._served = 0

    def served(self) -> int:
        """How many answers were sent since this was last asked."""
        served, self._served = self._served, 0
        return served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_question(scope) or not self._feed.is_current:
            await self._app(scope, receive, send)
            return
        question, tags = _question(scope)
        layer_id = question.path[len(PREFIX) :].partition("/")[0]
        published = self._feed.catalog.layers.get(layer_id)
        answer = self._known.get(question)
        if answer is not None and answer.published is published and await self._holds(answer):
            if question in self._known:
                self._known.move_to_end(question)
            self._served += 1
            await _send(scope, answer, tags, send)
        else:
            await self._ask(question, published, scope, receive, send)

    async def _holds(self, answer: Answer) -> bool:
        """Whether the layer is still at the answer's revision, as the database says."""
        with contextlib.suppress(StoreUnavailable):
            return await self._fresh.revision(answer.published.id) == answer.published.revision
        return False

    async def _ask(
        self,
        question: Question,
        published: PublishedLayer | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        heard = _Heard()

        async def hearing(message: Message) -> None:
            heard.hear(message)
            await send(message)

        await self._app(scope, receive, hearing)
        if published is not None and scope["method"] == "GET":
            self._keep(question, published, heard)

    def _keep(self, question: Question, published: PublishedLayer, heard: _Heard) -> None:
        """Keep what holds for as long as the layer stays as it is."""
        if heard.start is None or heard.start["status"] != 200 or not heard.is_whole:
            return
        headers = dict(heard.start["headers"])
        is_current = headers.get(b"quartier-revision") == b"%d" % published.revision
        if not is_current or heard.size > MOST_OF_ONE or question.depends_on_the_day:
            return
        start = {**heard.start, "headers": _for_everybody(heard.start["headers"])}
        answer = Answer(published, start, b"".join(heard.body), headers[b"etag"])
        self._forget(question)
        self._known[question] = answer
        self._bytes += _size(question, answer)
        while self._bytes > self._most:
            self._forget(next(iter(self._known)))

    def _forget(self, question: Question) -> None:
        if (old := self._known.pop(question, None)) is not None:
            self._bytes -= _size(question, old)


def _size(question: Question, answer: Answer) -> int:
    """What is kept of both: a long question is in its answer's headers again."""
    asked = len(question.path) + len(question.query) + len(question.host) + len(question.accept)
    told = sum(len(name) + len(value) for name, value in answer.start["headers"])
    return asked + told + len(answer.body) + OVERHEAD


def _is_question(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return False
    path: str = scope["path"]
    return path.startswith(PREFIX) and any(door in path for door in DOORS)


def _question(scope: Scope) -> tuple[Question, bytes | None]:
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        found.setdefault(name, value)  # of several the first, as who answers reads them
    packed = b"gzip" in found.get(b"accept-encoding", b"")
    host = scope.get("scheme", "").encode() + b"://" + found.get(b"host", b"")
    question = Question(
        scope["path"], scope["query_string"], host, found.get(b"accept", b""), packed
    )
    return question, found.get(b"if-none-match")


def _for_everybody(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers, with what pages of other sites may read whether or not one of them asked."""
    return [*(pair for pair in headers if not pair[0].startswith(b"access-control-")), *SHARED]


async def _send(scope: Scope, answer: Answer, tags: bytes | None, send: Send) -> None:
    if tags is not None and etag_held(tags, (answer.etag,)) is not None:
        kept: list[Any] = [pair for pair in answer.start["headers"] if pair[0] in KEPT_304]
        await send({**answer.start, "status": 304, "headers": [*kept, *SHARED]})
        await send(NO_BODY)
        return
    await send(answer.start)
    if scope["method"] == "HEAD":
        await send(NO_BODY)
    else:
        await send({"type": "http.response.body", "body": answer.body})
