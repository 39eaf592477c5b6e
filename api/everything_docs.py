"""What `/openapi.json` tells of any answer, beside what FastAPI reads off the handlers.

Whatever is wrong with a request is a problem (RFC 9457); FastAPI's own 422 is never sent.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

Operation = dict[str, Any]
TEXT: dict[str, Any] = {"type": "string"}
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
FASTAPI_INVALID = "HTTPValidationError"
ANYWHERE = {"400": "a parameter is unknown or wrong: which one, and how to mend it"}
NAMED = {"404": "there is no such thing"}
NEGOTIATED = {"304": "unchanged", "406": "none of the forms there are is one that is accepted"}
BUSY = {"503": "busy, or the database is away; Retry-After tells when to come back"}
BODY = {"413": "the body is larger than a request may be"}
OFFICERS = {
    "401": "no valid key",
    "403": "too small a scope",
    "409": "it is not as the request takes it to be",
    "429": "too many wrong keys; Retry-After tells when to come back",
}


def document_every_answer(app: FastAPI) -> None:
    """Let the document of `app` tell of every status that may be answered."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            complete(generate())
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def complete(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _drop_own_422(operation["responses"])
            for status, said in _statuses(path, method, operation).items():
                told = {"description": said, **({} if status == "304" else PROBLEM)}
                operation["responses"][status] = operation["responses"].get(status, {}) | told
    for name in (FASTAPI_INVALID, "ValidationError"):
        document.get("components", {}).get("schemas", {}).pop(name, None)


def _drop_own_422(responses: dict[str, Any]) -> None:
    if FASTAPI_INVALID in str(responses.get("422")):
        del responses["422"]


def _statuses(path: str, method: str, operation: Operation) -> dict[str, str]:
    names = {each["name"] for each in operation.get("parameters", ())}
    is_officers = path.startswith("/runs")
    rules: list[tuple[bool, dict[str, str]]] = [
        (not path.startswith("/health"), ANYWHERE | BUSY),
        ("{" in path or bool(names & {"layers", "layer"}), NAMED),
        ("f" in names, NEGOTIATED),
        (method == "post", BODY),
        (is_officers, OFFICERS),
    ]
    found: dict[str, str] = {}
    for holds, statuses in rules:
        found |= statuses if holds else {}
    return found


def answering(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """The good answer of a handler, in these media types."""
    content: dict[str, Any] = {media_type: {} for media_type in media_types}
    return {200: {"description": "what was asked for", "content": content}}


def of_tiles(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """The good answers of what draws tiles."""
    empty: dict[int | str, dict[str, Any]] = {
        204: {"description": "nothing to draw here"},
        304: {"description": "unchanged"},
    }
    return answering(*media_types) | empty
