"""`/collections/{id}/diff`: what differs between two revisions of a layer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from api.deps import BaseUrlDep, LayerDep, StoreDep, refuse_unknown_parameters
from api.links import as_json, link, with_parameters
from layers.errors import QueryRefused
from layers.history import MAX_CHANGES, DiffQuery, read_diff
from layers.revisions import resolve

router = APIRouter(tags=["analysts"], dependencies=[Depends(refuse_unknown_parameters)])


def _after(cursor: str | None) -> int:
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 17):
        raise QueryRefused("cursor", cursor, "use the link `next` of a page as it stands")
    return int(cursor or 0)


@router.get("/collections/{collection_id}/diff", summary="What differs between two revisions")
async def get_diff(  # noqa: PLR0913
    layer: LayerDep,
    store: StoreDep,
    base_url: BaseUrlDep,
    since: Annotated[str, Query(description="a revision, or an instant (RFC 3339)")],
    until: Annotated[
        str | None, Query(description="a revision, or an instant; now without it")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_CHANGES, description="changes on a page")] = 100,
    cursor: Annotated[str | None, Query(description="from the link `next`; opaque")] = None,
) -> Response:
    first = await resolve(store, layer.id, "since", since)
    last = await resolve(store, layer.id, "until", until or "9999-12-31T23:59:59Z")
    if first > last:
        raise QueryRefused("since", since, f"is later than until, revision {last}")
    query = DiffQuery(layer=layer.layer, since=first, until=last, after=_after(cursor), limit=limit)
    found = await read_diff(store, query)
    here = f"{base_url}/collections/{layer.id}/diff"
    asked = {"since": str(first), "until": str(last), "limit": str(limit)}
    links = [link("self", with_parameters(here, asked), "application/json")]
    if found.next_after is not None:
        more = asked | {"cursor": str(found.next_after)}
        links.append(link("next", with_parameters(here, more), "application/json"))
    return as_json({
        "layer": layer.id, "since": first, "until": last, "counts": found.counts,
        "changes": found.changes, "links": links,
    })  # fmt: skip
