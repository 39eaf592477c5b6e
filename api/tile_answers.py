"""Answers to requests for tiles, ready to be sent."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from api.problems import Problem
from api.tile_headers import BROTLI, GZIP, IDENTITY, PREFERRED, Takes, etag_of
from tiles.cache import Entry
from tiles.packing import decompress
from tiles.tiers import Found

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

MVT = b"application/vnd.mapbox-vector-tile"
FOR_EVER = math.inf
NO_BODY: Message = {"type": "http.response.body", "body": b""}
COMMON: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"ETag, Quartier-Truncated"),
    (b"vary", b"Accept-Encoding"),
    (b"x-content-type-options", b"nosniff"),
]
PREFLIGHT: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, HEAD, OPTIONS"),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-max-age", b"86400"),
    (b"allow", b"GET, HEAD, OPTIONS"),
]


@dataclass(slots=True)
class Answer:
    """A tile in one encoding, or the news that it is unchanged. `size` is that of the body.

    `sent` counts how often it went out from a `Hot` since that was last gathered.
    """

    start: Message
    body: Message
    status: int
    size: int
    is_kept: bool = True
    sent: int = 0


@dataclass(slots=True)
class Hot:
    """The answers of an address while the feed's generation is this, and `until` a time. `hits`
    counts bodies sent.
    """

    path: str
    generation: int
    found: Found
    cache_control: bytes
    answers: dict[bytes, Answer]
    tags: tuple[bytes, ...]
    unchanged: dict[bytes, Answer]
    until: float = FOR_EVER
    hits: int = 0

    @classmethod
    def of(
        cls,
        path: str,
        found: Found,
        generation: int,
        cache_control: bytes,
        until: float = FOR_EVER,
    ) -> Hot:
        tags = tags_of(found.entry.validator)
        return cls(
            path=path,
            generation=generation,
            found=found,
            cache_control=cache_control,
            answers=_answers(found.entry, cache_control),
            tags=tags,
            unchanged={tag: unchanged(tag, cache_control) for tag in tags},
            until=until,
        )

    @property
    def size(self) -> int:
        return self.found.entry.size

    @property
    def room(self) -> int:
        """Bytes that it takes: what a filter is asked by may be longer than its tile."""
        return self.size + len(self.path)

    def answer(self, takes: Takes) -> Answer:
        """The best that a client takes of what there is. Identity is made when it is asked for."""
        for coding in takes:
            if (answer := self.answers.get(coding)) is not None:
                return answer
            if coding is IDENTITY:
                break
        answer = _packed(self.found.entry, self.cache_control, IDENTITY)
        answer.is_kept = False
        return answer


def tags_of(validator: str) -> tuple[bytes, ...]:
    return tuple(etag_of(validator, coding) for coding in PREFERRED)


def _answers(entry: Entry, cache_control: bytes) -> dict[bytes, Answer]:
    if not entry.body:
        empty = _empty(entry, cache_control)
        return dict.fromkeys(PREFERRED, empty)
    answers = {GZIP: _packed(entry, cache_control, GZIP)}
    if entry.brotli:
        answers[BROTLI] = _packed(entry, cache_control, BROTLI)
    return answers


def _head(entry: Entry, coding: bytes, cache_control: bytes) -> Headers:
    etag = etag_of(entry.validator, coding)
    headers: Headers = [*COMMON, (b"etag", etag), (b"cache-control", cache_control)]
    if entry.truncated:
        headers.append((b"quartier-truncated", ", ".join(entry.truncated).encode()))
    return headers


def _empty(entry: Entry, cache_control: bytes) -> Answer:
    headers = _head(entry, IDENTITY, cache_control)
    start = {"type": "http.response.start", "status": 204, "headers": headers}
    return Answer(start, NO_BODY, 204, 0)


def _packed(entry: Entry, cache_control: bytes, coding: bytes) -> Answer:
    body = entry.brotli if coding is BROTLI else entry.body
    if coding is IDENTITY:
        body = decompress(body)
    headers = _head(entry, coding, cache_control)
    headers += [(b"content-type", MVT), (b"content-length", b"%d" % len(body))]
    headers += [(b"content-encoding", coding)] if coding is not IDENTITY else []
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    return Answer(start, {"type": "http.response.body", "body": body}, 200, len(body))


def unchanged(etag: bytes, cache_control: bytes) -> Answer:
    headers: Headers = [*COMMON, (b"etag", etag), (b"cache-control", cache_control)]
    start = {"type": "http.response.start", "status": 304, "headers": headers}
    return Answer(start, NO_BODY, 304, 0)


def method_refused(method: str) -> Problem:
    problem = Problem(
        HTTPStatus.METHOD_NOT_ALLOWED, f"{method}: tiles answer GET, HEAD and OPTIONS"
    )
    problem.headers["allow"] = "GET, HEAD, OPTIONS"
    return problem


async def send_problem(send: Send, problem: Problem) -> None:
    headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    headers.append((b"content-length", b"%d" % len(problem.body)))
    status = problem.status.value
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": problem.body})


async def send_empty(
    send: Send, status: HTTPStatus, headers: Sequence[tuple[bytes, bytes]]
) -> None:
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
