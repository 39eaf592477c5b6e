"""One table from exceptions to answers: RFC 9457 problem+json, naming the parameter and the fix."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.streams import StreamsFull
from layers.errors import (
    FeatureNotFound,
    LayerNotFound,
    LayersError,
    MapNotFound,
    QueryRefused,
    StoreBusy,
    StoreUnavailable,
)
from tiles.errors import AddressRefused, TilesError, TilesetUnavailable

RETRY_AFTER_S = "2"
STATUS: dict[type[Exception], HTTPStatus] = {
    LayerNotFound: HTTPStatus.NOT_FOUND,
    MapNotFound: HTTPStatus.NOT_FOUND,
    FeatureNotFound: HTTPStatus.NOT_FOUND,
    QueryRefused: HTTPStatus.BAD_REQUEST,
    AddressRefused: HTTPStatus.BAD_REQUEST,
    StoreBusy: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    StreamsFull: HTTPStatus.SERVICE_UNAVAILABLE,
    TilesetUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}

log = structlog.get_logger()


class Problem:
    """What went wrong, ready to be sent: status, headers and body."""

    def __init__(self, status: HTTPStatus, detail: str, **more: object) -> None:
        self.status = status
        content: dict[str, Any] = {"title": status.phrase, "status": status.value, "detail": detail}
        self.body = orjson.dumps(content | more, default=str)
        self.headers = {
            "content-type": "application/problem+json",
            "cache-control": "no-store",
            "access-control-allow-origin": "*",
        }
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            self.headers["retry-after"] = RETRY_AFTER_S

    def response(self) -> Response:
        return Response(self.body, self.status.value, self.headers)


def problem_of(exc: Exception) -> Problem:
    """The answer to an exception; one that nobody meant shows nothing of itself."""
    status = next((STATUS[kind] for kind in type(exc).__mro__ if kind in STATUS), None)
    if status is None:
        log.error("unexpected error", exc_info=exc)
        return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "something went wrong on our side")
    if isinstance(exc, QueryRefused | AddressRefused):
        return Problem(status, str(exc), parameter=exc.parameter, value=exc.value, fix=exc.fix)
    return Problem(status, str(exc))


def install(app: FastAPI) -> None:
    """Answer every error of the application by the table."""

    async def expected(_: Request, exc: Exception) -> Response:
        return problem_of(exc).response()

    async def invalid(_: Request, exc: Exception) -> Response:
        assert isinstance(exc, RequestValidationError)
        first = exc.errors()[0]
        name = str(first["loc"][-1])
        return Problem(
            HTTPStatus.BAD_REQUEST,
            f"{name}={first.get('input')}: {first['msg']}",
            parameter=name,
            value=first.get("input"),
            fix=first["msg"],
        ).response()

    async def http(_: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        problem = Problem(HTTPStatus(exc.status_code), exc.detail)
        problem.headers.update(exc.headers or {})
        return problem.response()

    for kind in (LayersError, TilesError, Exception):
        app.add_exception_handler(kind, expected)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
