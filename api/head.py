"""HEAD wherever GET is answered: the same headers, no body (RFC 9110, 9.3.2)."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

WITHOUT_BODY = "quartier.without_body"  # in the scope, where a body would be made for nobody


class HeadAsGet:
    """Asks the application inside for GET and keeps the body back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET", WITHOUT_BODY: True}, _nobody_waits, without_body)


async def _nobody_waits() -> Message:
    """For an answer that goes on for as long as its client stays."""
    return {"type": "http.disconnect"}
