"""What OpenAPI tells of requests for features, whose parameters are read by `feature_params`."""

from __future__ import annotations

from typing import Any

from api.feature_answers import FORMS
from api.feature_params import DEFAULT_LIMIT, MAX_ZOOM, PARAMETERS
from layers.feature_query import MAX_DIGITS, MAX_LIMIT
from layers.filters.read import LANGUAGES

TEXT: dict[str, Any] = {"type": "string"}
WHOLE: dict[str, Any] = {"type": "integer", "minimum": 0}
LISTS = ("bbox", "ids", "properties", "sortby")
SCHEMAS: dict[str, dict[str, Any]] = {
    "bbox": {"type": "array", "minItems": 4, "maxItems": 6, "items": {"type": "number"}},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    "filter-lang": {"type": "string", "enum": list(LANGUAGES)},
    "ids": {"type": "array", "items": WHOLE},
    "properties": {"type": "array", "items": TEXT},
    "sortby": {"type": "array", "items": TEXT},
    "skipGeometry": {"type": "boolean", "default": False},
    "precision": {**WHOLE, "maximum": MAX_DIGITS},
    "zoom": {**WHOLE, "maximum": MAX_ZOOM},
    "f": {"type": "string", "enum": list(FORMS)},
}


def parameter(name: str) -> dict[str, Any]:
    """A parameter as OpenAPI describes it."""
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": PARAMETERS[name],
        "schema": SCHEMAS.get(name, TEXT),
        "style": "form",
        "explode": False,
    }


PROBLEM: dict[str, Any] = {
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["title", "status", "detail"],
                "properties": {
                    "title": TEXT, "status": {"type": "integer"}, "detail": TEXT,
                    "parameter": TEXT, "value": {}, "fix": TEXT,
                },
            }
        }
    }
}  # fmt: skip
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "features",
        "content": {media_type: {} for media_type in dict.fromkeys(FORMS.values())},
    },
    304: {"description": "unchanged"},
    **{
        status: {"description": told, **PROBLEM}
        for status, told in {
            400: "a parameter is wrong: which one, and how to mend it",
            404: "there is no such layer or feature",
            406: "none of the forms there are is one that is accepted",
            413: "the body is larger than a request may be",
            422: "the question would cost more than it may; with advice",
            429: "too many requests; Retry-After tells when to come back",
            503: "busy, or the database is away; Retry-After tells when to come back",
        }.items()
    },
}
ITEMS: dict[str, Any] = {"parameters": [parameter(name) for name in PARAMETERS]}
ITEM: dict[str, Any] = {
    "parameters": [
        parameter(name)
        for name in ("crs", "f", "properties", "skipGeometry", "precision", "zoom", "as_of")
    ]
}
SEARCH: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        name: SCHEMAS.get(name, TEXT) for name in PARAMETERS if name != "filter"
                    }
                    | {"filter": {"anyOf": [TEXT, {"type": "object"}]}},
                }
            }
        },
    }
}
