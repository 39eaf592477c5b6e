"""Tiles of tilesets, answered by raw ASGI in front of the tiles of layers."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from isal import isal_zlib

from api.deps import TRACKING
from api.problems import problem_of
from api.tile_http import (
    NO_BODY,
    PREFLIGHT,
    App,
    Headers,
    Receive,
    Scope,
    Send,
    matches,
    method_refused,
    read_headers,
    send_empty,
    send_problem,
)
from layers.feed import Feed
from layers.tilesets import PublishedTileset
from tiles.address import TileAddress
from tiles.archive import GZIP_MAGIC, TileKind
from tiles.errors import AddressRefused, TilesetUnavailable
from tiles.tilesets import TilesetRequest, Tilesets

ENDINGS = {kind.value: kind for kind in TileKind} | {"jpeg": TileKind.JPG, "pbf": TileKind.MVT}
PREFIX, RETINA = "/tiles/", "@2x"
COMMON: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"ETag"),
    (b"vary", b"Accept-Encoding"),
    (b"x-content-type-options", b"nosniff"),
]
INLINE_BYTES = 64_000  # unpacked at once; more than that would hold up the other requests
MOST_BYTES = 64 * 2**20
UNPACK_ERROR: Any = isal_zlib.error


class Asking(NamedTuple):
    """What the headers of a request say."""

    gzip: bool
    etags: bytes | None
    head: bool


class TilesetPath:
    """Answers `/tiles/{id}/{z}/{x}/{y}.{ending}` where the id is a tileset's; hands everything
    else to `app`.
    """

    def __init__(self, app: App, tilesets: Tilesets, feed: Feed) -> None:
        self.app = app
        self._tilesets = tilesets
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        published = self._named(scope)
        if published is None:
            await self.app(scope, receive, send)
        elif scope["method"] in ("GET", "HEAD"):
            await self._answer(published, scope, send)
        elif scope["method"] == "OPTIONS":
            await send_empty(send, HTTPStatus.NO_CONTENT, PREFLIGHT)
        else:
            await send_problem(send, method_refused(scope["method"]))

    def _named(self, scope: Scope) -> PublishedTileset | None:
        """The tileset whose tile is asked for, if it is one's."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            return None
        if not self._feed.generation:  # nothing has been read yet
            return None
        tilesets = self._feed.catalog.tilesets
        if not tilesets:
            return None
        first, slash, _ = scope["path"][len(PREFIX) :].partition("/")
        return tilesets.get(first) if slash else None

    async def _answer(self, published: PublishedTileset, scope: Scope, send: Send) -> None:
        gzip, etags = read_headers(scope["headers"])
        asking = Asking(gzip, etags, scope["method"] == "HEAD")
        try:
            request = parse(scope["path"], scope["query_string"])
            found = await self._tilesets.find(published, request)
            headers = _headers(published, request.kind, found.validator, asking)
            if etags is not None and matches(etags, dict(headers)[b"etag"]):
                await _send(send, HTTPStatus.NOT_MODIFIED, headers, b"")
                return
            body, validator = await self._tilesets.read(found)
            headers = _headers(published, request.kind, validator, asking)
            if body is None:
                await _send(send, HTTPStatus.NO_CONTENT, headers, b"")
                return
            if request.kind is TileKind.MVT and body.startswith(GZIP_MAGIC):
                if asking.gzip:
                    headers.append((b"content-encoding", b"gzip"))
                else:
                    body = await _unpacked(published.id, body)
        except Exception as exc:
            await send_problem(send, problem_of(exc))
            return
        headers.append((b"content-type", request.kind.media_type.encode()))
        headers.append((b"content-length", b"%d" % len(body)))
        await _send(send, HTTPStatus.OK, headers, b"" if asking.head else body)


def parse(path: str, query_string: bytes) -> TilesetRequest:
    """Raises AddressRefused."""
    parts = path[len(PREFIX) :].split("/")
    if len(parts) != 4:
        raise AddressRefused("path", path, "write /tiles/{id}/{z}/{x}/{y}.mvt, .png, .webp or .jpg")
    row, _, ending = parts[3].partition(".")
    if ending not in ENDINGS:
        raise AddressRefused("format", ending, f"write one of {', '.join(TileKind)}")
    at = TileAddress.parse(parts[1], parts[2], row.removesuffix(RETINA))
    query: dict[str, list[str]] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if not name.startswith(TRACKING):
            query.setdefault(name, []).append(value)
    scale = 2 if row.endswith(RETINA) else 1
    return TilesetRequest(at=at, kind=ENDINGS[ending], scale=scale, query=query)


def _headers(
    published: PublishedTileset, kind: TileKind, validator: str, asking: Asking
) -> Headers:
    """Those of every answer; only vector tiles differ by encoding."""
    encoding = ("-gz" if asking.gzip else "-id") if kind is TileKind.MVT else ""
    declared = published.tileset
    age = f"max-age={declared.max_age_s}" if declared.max_age_s is not None else "no-cache"
    return [
        *COMMON,
        (b"etag", f'W/"{validator}{encoding}"'.encode()),
        (b"cache-control", age.encode()),
    ]


async def _unpacked(tileset_id: str, body: bytes) -> bytes:
    try:
        if len(body) <= INLINE_BYTES:
            return _gunzip(body)
        return await asyncio.to_thread(_gunzip, body)
    except UNPACK_ERROR as exc:
        raise TilesetUnavailable(tileset_id, "this tile cannot be unpacked") from exc


def _gunzip(body: bytes) -> bytes:
    unpacked: bytes = isal_zlib.decompressobj(31).decompress(body, MOST_BYTES)
    return unpacked


async def _send(send: Send, status: HTTPStatus, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": body} if body else NO_BODY)
