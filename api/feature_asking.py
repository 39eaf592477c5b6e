"""What requests for features have in common: how they are read, and what is answered where nothing
has changed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import Request, Response

from api.deps import base_url_of
from api.feature_answers import Asking
from api.feature_params import Wanted
from api.long_questions import LongQuestions
from layers.catalog import PublishedLayer
from layers.freshness import Freshness
from layers.revisions import resolve


def address_of(request: Request, layer: PublishedLayer, door: str) -> str:
    return f"{base_url_of(request)}/collections/{layer.id}/{door}"


async def features_asked(
    request: Request, layer: PublishedLayer, asked: dict[str, Any], body: bytes = b""
) -> Wanted:
    """The features that parameters ask for, of a revision that is resolved."""
    long_questions: LongQuestions = request.state.long_questions
    said = await long_questions.read(asked, layer, len(body or request.scope["query_string"]))
    if said.as_of is None:
        return said
    as_of = await resolve(request.state.store, layer.id, "as_of", said.as_of)
    return replace(said, query=replace(said.query, as_of=as_of))


async def unchanged(request: Request, asking: Asking) -> Response | None:
    """The news that a client has this answer; for pages and files before any feature is read."""
    held = request.headers.get("if-none-match")
    if held is None:
        return None
    tag = asking.etag(asking.published.revision)
    if held.strip() != "*" and tag not in [each.strip() for each in held.split(",")]:
        return None
    fresh: Freshness = request.state.fresh
    if await fresh.revision(asking.published.id) != asking.published.revision:
        return None
    headers = asking.headers(asking.published.revision)
    kept = ("etag", "cache-control", "vary", "quartier-revision")
    return Response(status_code=304, headers={name: headers[name] for name in kept})
