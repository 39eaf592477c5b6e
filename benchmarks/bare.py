"""The least that an ASGI application can do: send what was made before. No routing, no logic.

`python -m benchmarks.bare ANSWERS PORT` serves it exactly as `quartier serve` serves ours.
"""

from __future__ import annotations

import itertools
import os
import pickle
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from granian import Granian

from api.serve import serve
from api.settings import ApiSettings
from benchmarks.client import Answer

ANSWERS = "BENCHMARK_ANSWERS"
ADDED = {b"server", b"date"}  # by the server, whatever the application says
Message = Mapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def write_answers(path: Path, answers: list[Answer]) -> None:
    path.write_bytes(pickle.dumps(answers))


def create() -> App:
    """The factory that granian calls in each worker."""
    answers = pickle.loads(Path(os.environ[ANSWERS]).read_bytes())
    turns = itertools.cycle([(_start(answer), _body(answer)) for answer in answers])

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _live(receive, send)
            return
        start, body = next(turns)
        await send(start)
        await send(body)

    return app


def _start(answer: Answer) -> Message:
    headers = [(name, value) for name, value in answer.headers if name not in ADDED]
    return {"type": "http.response.start", "status": answer.status, "headers": headers}


def _body(answer: Answer) -> Message:
    return {"type": "http.response.body", "body": answer.body}


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def main(answers: str, port: str) -> None:
    os.environ[ANSWERS] = answers

    def instead(_: str, **settings: Any) -> Any:
        return Granian("benchmarks.bare:create", **settings)

    with patch("api.serve.Granian", instead):
        serve("", ApiSettings(port=int(port)), Path("/nowhere"))


if __name__ == "__main__":
    main(*sys.argv[1:])
