"""Tiles of tilesets, answered by raw ASGI in front of the tiles of layers."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from isal import isal_zlib

from api.deps import TRACKING
from api.problems import problem_of
from api.tile_answers import (
    COMMON,
    NO_BODY,
    PREFLIGHT,
    App,
    Headers,
    Receive,
    Scope,
    Send,
    method_refused,
    send_empty,
    send_problem,
)
from api.tile_headers import GZIP, IDENTITY, cache_control, etag_held, etag_of, read_headers
from layers.feed import Feed
from layers.tilesets import PublishedTileset
from tiles.address import TileAddress
from tiles.announced import PARAMETER
from tiles.archive import GZIP_MAGIC, TileKind
from tiles.errors import AddressRefused, TilesetUnavailable
from tiles.tilesets import TilesetRequest, Tilesets

ENDINGS = {kind.value: kind for kind in TileKind} | {"jpeg": TileKind.JPG, "pbf": TileKind.MVT}
PREFIX, RETINA = "/tiles/", "@2x"
INLINE_BYTES = 64_000  # unpacked at once; more than that would hold up the other requests
MOST_BYTES = 64 * 2**20
UNPACK_ERROR: Any = isal_zlib.error


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
        takes, tags = read_headers(scope["headers"])
        coding = GZIP if GZIP in takes else IDENTITY
        try:
            request = parse(scope["path"], scope["query_string"])
            if request.kind is not TileKind.MVT:
                coding = IDENTITY  # pictures are packed already
            found = await self._tilesets.find(published, request)
            own = [etag_of(found.validator, each) for each in (coding, GZIP, IDENTITY)]
            if tags is not None and (held := etag_held(tags, own)) is not None:
                await _send(send, HTTPStatus.NOT_MODIFIED, _headers(published, held), b"")
                return
            body, validator = await self._tilesets.read(found)
            headers = _headers(published, etag_of(validator, coding))
            if body is None:
                await _send(send, HTTPStatus.NO_CONTENT, headers, b"")
                return
            if request.kind is TileKind.MVT and body.startswith(GZIP_MAGIC):
                if coding is GZIP:
                    headers.append((b"content-encoding", GZIP))
                else:
                    body = await _unpacked(published.id, body)
        except Exception as exc:
            await send_problem(send, problem_of(exc))
            return
        headers.append((b"content-type", request.kind.media_type.encode()))
        headers.append((b"content-length", b"%d" % len(body)))
        await _send(send, HTTPStatus.OK, headers, b"" if scope["method"] == "HEAD" else body)


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
        if name != PARAMETER and not name.startswith(TRACKING):
            query.setdefault(name, []).append(value)
    scale = 2 if row.endswith(RETINA) else 1
    return TilesetRequest(at=at, kind=ENDINGS[ending], scale=scale, query=query)


def _headers(published: PublishedTileset, etag: bytes) -> Headers:
    return [
        *COMMON,
        (b"etag", etag),
        (b"cache-control", cache_control([published.tileset])),
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
