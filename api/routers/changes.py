"""`/changes`: which tiles change, as it happens (Server-Sent Events)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from api.change_events import (
    HEARTBEAT,
    RETRY,
    Known,
    Published,
    State,
    changes_between,
    describe,
    event,
    parse_vector,
    state_of,
)
from api.deps import refuse_unknown_parameters
from api.streams import EventStream, Streams
from layers.catalog import Catalog
from layers.errors import QueryRefused
from layers.feed import Feed
from tiles.announced import Announcements

GATHER_S = 0.1  # commits this close to each other are told as one
HEARTBEAT_S = 15.0  # a proxy takes a connection on which nothing moves for dead

router = APIRouter(tags=["map clients"], dependencies=[Depends(refuse_unknown_parameters)])


@dataclass(frozen=True, slots=True)
class News:
    """What a worker knows of changes, what clients claim of them, and who is listening."""

    feed: Feed
    announcements: Announcements
    streams: Streams


async def get_news(request: Request) -> News:
    state = request.state
    return News(state.feed, state.announcements, state.streams)


NewsDep = Annotated[News, Depends(get_news)]


@router.get(
    "/changes",
    summary="Which tiles change, as it happens: Server-Sent Events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def get_changes(
    news: NewsDep,
    layers: Annotated[str | None, Query(description="layer ids, such as trees,parks")] = None,
    since: Annotated[
        str | None, Query(description="the id of an event: what changed after")
    ] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Without `layers`, every published layer. `Last-Event-ID` goes before `since`."""
    news.streams.check()
    feed = news.feed
    ids = None if layers is None else _parse_layers(layers)
    _published(feed.catalog, ids, strict=True)
    heard = None
    if asked := last_event_id or since:
        heard = parse_vector("Last-Event-ID" if last_event_id else "since", asked)
        await _catch_up(feed.catalog, news.announcements, heard)
    return EventStream(news.streams, _follow(feed, ids, heard))


def _parse_layers(text: str) -> tuple[str, ...]:
    ids = tuple(text.split(","))
    if not text or len(set(ids)) < len(ids):
        raise QueryRefused("layers", text, "name each layer once, such as trees,parks")
    return ids


def _published(catalog: Catalog, ids: tuple[str, ...] | None, *, strict: bool = False) -> Published:
    """The layers asked for that are published. `strict` raises LayerNotFound where one is not."""
    if ids is None:
        return catalog.layers
    if strict:
        return {layer_id: catalog.layer(layer_id) for layer_id in ids}
    return {layer_id: catalog.layers[layer_id] for layer_id in ids if layer_id in catalog.layers}


async def _catch_up(
    catalog: Catalog, announcements: Announcements, heard: Mapping[str, int]
) -> None:
    """Know at least what another worker told; a layer may have been withdrawn since."""
    await announcements.heed({of: told for of, told in heard.items() if of in catalog.layers})


async def _follow(
    feed: Feed, ids: tuple[str, ...] | None, heard: Mapping[str, int] | None
) -> AsyncGenerator[bytes, None]:
    """What a client missed, the state, and then every change, until nobody listens."""
    generation, layers = feed.generation, _published(feed.catalog, ids)
    state = state_of(layers)
    yield RETRY
    if heard is not None and (missed := changes_between(_before(heard, ids), layers, feed.log_of)):
        yield event("change", state, missed)
    yield event("state", state, describe(layers))
    beat = _in(HEARTBEAT_S)
    while True:
        if not await _newer(feed, generation, beat):
            yield HEARTBEAT
            beat = _in(HEARTBEAT_S)
            continue
        await asyncio.sleep(GATHER_S)
        generation, layers = feed.generation, _published(feed.catalog, ids)
        if news := changes_between(state, layers, feed.log_of):
            state = state_of(layers)
            yield event("change", state, news)
            beat = _in(HEARTBEAT_S)


def _before(heard: Mapping[str, int], ids: tuple[str, ...] | None) -> State:
    return {
        layer_id: Known(revision)
        for layer_id, revision in heard.items()
        if ids is None or layer_id in ids
    }


def _in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def _newer(feed: Feed, generation: int, until: float) -> bool:
    """Whether more is known than at `generation`, at the latest at a time of the loop's clock."""
    try:
        async with asyncio.timeout_at(until):
            await feed.newer_than(generation)
    except TimeoutError:
        return False
    return True
