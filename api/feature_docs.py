"""What OpenAPI tells of requests for features, whose parameters are read by `feature_params`."""

from __future__ import annotations

from typing import Any

from api.everything_docs import PROBLEM
from api.feature_answers import FORMS
from api.openapi_parts import FACET_PARAMETERS, GROUP_PARAMETERS, ITEM_PARAMETERS, PARAMETERS

TEXT: dict[str, Any] = {"type": "string"}
OF_ONE = ("crs", "properties", "skipGeometry", "precision", "zoom", "as_of")
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
ITEMS: dict[str, Any] = {"parameters": [*ITEM_PARAMETERS.values(), PARAMETERS["f-items"]]}
ITEM: dict[str, Any] = {
    "parameters": [*(ITEM_PARAMETERS[name] for name in OF_ONE), PARAMETERS["f-item"]]
}
SEARCH: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {name: told["schema"] for name, told in ITEM_PARAMETERS.items()}
                    | {"filter": {"anyOf": [TEXT, {"type": "object"}]}},
                }
            }
        },
    }
}
GROUPS: dict[str, Any] = {"parameters": list(GROUP_PARAMETERS.values())}
FACETS: dict[str, Any] = {"parameters": list(FACET_PARAMETERS.values())}
