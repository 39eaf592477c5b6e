"""Links, and answers in JSON, as every router writes them."""

from __future__ import annotations

from urllib.parse import urlencode

import orjson
from fastapi import Response

JSON = "application/json"
GEOJSON = "application/geo+json"


def as_json(content: object, media_type: str = JSON) -> Response:
    return Response(orjson.dumps(content), media_type=media_type)


def link(rel: str, href: str, media_type: str, title: str | None = None) -> dict[str, str]:
    """A link as OGC API and RFC 8288 have it; `href` is absolute."""
    found = {"rel": rel, "href": href, "type": media_type}
    return found if title is None else found | {"title": title}


def with_parameters(base: str, parameters: dict[str, str]) -> str:
    return f"{base}?{urlencode(parameters)}" if parameters else base
