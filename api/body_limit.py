"""No request brings more than a form would: what is larger is refused before anybody reads it."""

from __future__ import annotations

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import Problem

MOST_BYTES = 64 * 1024
SEARCHED, MOST_SEARCHED = "/search", 1024 * 1024  # a search may hold the shape of a district


class BodyLimit:
    """Reads a body to its end before the application does, and answers 413 where it has none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        most = MOST_SEARCHED if scope["path"].endswith(SEARCHED) else MOST_BYTES
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return  # the client has gone
            body += message.get("body", b"")
            if len(body) > most:
                told = f"a request holds at most {most // 1024} KiB"
                problem = Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told)
                await problem.response()(scope, receive, send)
                return
            if not message.get("more_body", False):
                break
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)
