"""One table from exceptions to answers: RFC 9457 problem+json, naming the parameter and the fix."""

from __future__ import annotations

import traceback
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.door import DoorClosed, TooManyWrongKeys
from api.negotiate import NotAcceptable
from api.streams import StreamsFull
from api.tileset_documents import NoSuchTile
from layers.errors import (
    ChangeRefused,
    FeatureNotFound,
    KeyRefused,
    LayerNotFound,
    LayersError,
    MapNotFound,
    QueryRefused,
    QueryTooCostly,
    RunNotFound,
    ScopeMissing,
    StoreBusy,
    StoreUnavailable,
)
from tiles.errors import AddressRefused, TilesError, TilesetUnavailable

RETRY_AFTER_S = "2"
LARGEST, LONGEST = 1 << 53, 2_000  # of a value that is shown again
STATUS: dict[type[Exception], HTTPStatus] = {
    LayerNotFound: HTTPStatus.NOT_FOUND,
    MapNotFound: HTTPStatus.NOT_FOUND,
    FeatureNotFound: HTTPStatus.NOT_FOUND,
    RunNotFound: HTTPStatus.NOT_FOUND,
    NoSuchTile: HTTPStatus.NOT_FOUND,
    QueryRefused: HTTPStatus.BAD_REQUEST,
    QueryTooCostly: HTTPStatus.UNPROCESSABLE_ENTITY,
    KeyRefused: HTTPStatus.UNAUTHORIZED,
    ScopeMissing: HTTPStatus.FORBIDDEN,
    ChangeRefused: HTTPStatus.CONFLICT,
    TooManyWrongKeys: HTTPStatus.TOO_MANY_REQUESTS,
    DoorClosed: HTTPStatus.SERVICE_UNAVAILABLE,
    AddressRefused: HTTPStatus.BAD_REQUEST,
    NotAcceptable: HTTPStatus.NOT_ACCEPTABLE,
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
        if status is HTTPStatus.UNAUTHORIZED:
            self.headers["www-authenticate"] = 'Bearer realm="Quartier"'

    def response(self) -> Response:
        return Response(self.body, self.status.value, self.headers)


def problem_of(exc: Exception) -> Problem:
    """The answer to an exception; one that nobody meant shows nothing of itself."""
    status = next((STATUS[kind] for kind in type(exc).__mro__ if kind in STATUS), None)
    if status is None:
        # The places and never the values: among those are rows, and what came with the request.
        log.error("unexpected error", exception="".join(traceback.format_exception(exc)).rstrip())
        return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "something went wrong on our side")
    if isinstance(exc, QueryRefused | AddressRefused):
        return Problem(status, str(exc), parameter=exc.parameter, value=exc.value, fix=exc.fix)
    if isinstance(exc, QueryTooCostly):
        told = {"cost": round(exc.cost), "most": round(exc.most), "advice": exc.advice}
        return Problem(status, str(exc), **told)
    problem = Problem(status, str(exc))
    if isinstance(exc, TooManyWrongKeys):
        problem.headers["retry-after"] = str(exc.wait_s)
    return problem


def _shown(value: object) -> object:
    """What was given, fit for JSON: a body may hold numbers and letters that JSON cannot say."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) < LARGEST:
        return value
    return str(value)[:LONGEST].encode("utf-8", "replace").decode()


def install(app: FastAPI) -> None:
    """Answer every error of the application by the table."""

    async def expected(_: Request, exc: Exception) -> Response:
        return problem_of(exc).response()

    async def invalid(_: Request, exc: Exception) -> Response:
        assert isinstance(exc, RequestValidationError)
        first = exc.errors()[0]
        name, value = str(first["loc"][-1]), _shown(first.get("input"))
        return Problem(
            HTTPStatus.BAD_REQUEST,
            f"{name}={value}: {first['msg']}",
            parameter=name,
            value=value,
            fix=first["msg"],
        ).response()

    async def http(_: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        problem = Problem(HTTPStatus(exc.status_code), exc.detail)
        problem.headers.update(exc.headers or {})
        return problem.response()

    for kind in (LayersError, TilesError, NotAcceptable, NoSuchTile, Exception):
        app.add_exception_handler(kind, expected)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
