"""What raw ASGI applications of tiles share: types, headers, conditional requests, errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any

from api.problems import Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

NO_BODY: Message = {"type": "http.response.body", "body": b""}
METHODS = b"GET, HEAD, OPTIONS"
PREFLIGHT: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", METHODS),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-max-age", b"86400"),
    (b"allow", METHODS),
]
NOT_AT_ALL = (b"q=0", b"q=0.", b"q=0.0", b"q=0.00", b"q=0.000")


def read_headers(headers: Sequence[tuple[bytes, bytes]]) -> tuple[bool, bytes | None]:
    """Whether the client takes gzip, and its If-None-Match."""
    gzip, asked = False, None
    for name, value in headers:
        if name == b"accept-encoding":
            gzip = takes_gzip(value)
        elif name == b"if-none-match":
            asked = value if asked is None else asked + b", " + value
    return gzip, asked


def takes_gzip(value: bytes) -> bool:
    """RFC 9110's Accept-Encoding: what is said of gzip goes before what is said of `*`."""
    told = {}
    for part in value.lower().split(b","):
        coding, _, quality = part.partition(b";")
        told[coding.strip()] = quality.replace(b" ", b"") not in NOT_AT_ALL
    return told.get(b"gzip", told.get(b"*", False))


def matches(asked: bytes, etag: bytes) -> bool:
    """RFC 9110's weak comparison with any of a list, or `*`."""
    bare = etag.removeprefix(b"W/")
    tags = [tag.strip() for tag in asked.split(b",")]
    return b"*" in tags or any(tag.removeprefix(b"W/") == bare for tag in tags)


async def send_empty(send: Send, status: HTTPStatus, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send(NO_BODY)


async def send_problem(send: Send, problem: Problem) -> None:
    headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    headers.append((b"content-length", b"%d" % len(problem.body)))
    status = problem.status.value
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": problem.body})


def method_refused(method: str) -> Problem:
    allowed = METHODS.decode()
    problem = Problem(HTTPStatus.METHOD_NOT_ALLOWED, f"{method}: tiles answer {allowed}")
    problem.headers["allow"] = allowed
    return problem
