"""A proxy between a client and the server, to know what was really asked."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

PATIENCE_S = 120
NOT_PASSED_ON = {"connection", "transfer-encoding", "content-length"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request and the status of its answer; a parameter given twice has both values."""

    method: str
    path: str
    parameters: dict[str, list[str]]
    status: int

    def said(self, name: str) -> str:
        return ",".join(self.parameters.get(name, []))


@dataclass(slots=True)
class Recorder:
    """Where clients ask, and what they have asked since `since_now`."""

    url: str
    asked: list[Asked] = field(default_factory=list)

    def since_now(self) -> None:
        self.asked.clear()

    def of(self, path: str) -> list[Asked]:
        return [each for each in self.asked if each.path == path]

    def refused(self) -> list[Asked]:
        """What a client asked in vain."""
        return [each for each in self.asked if each.status >= 400]


@contextmanager
def recording(upstream: str) -> Iterator[Recorder]:
    """Links in the answers lead through the proxy too: it keeps the name it was asked by."""
    at = urlsplit(upstream)
    assert at.hostname is not None

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = self.rfile.read(length) if length else None
            to = http.client.HTTPConnection(str(at.hostname), at.port, timeout=PATIENCE_S)
            with closing(to), suppress(ConnectionError):  # a client may have gone
                to.request(self.command, self.path, body, dict(self.headers))
                answer = to.getresponse()
                sent = answer.read()
                said = urlsplit(self.path)
                given = parse_qs(said.query, keep_blank_values=True)
                recorder.asked.append(Asked(self.command, said.path, given, answer.status))
                self.send_on(answer, sent)

        def send_on(self, answer: http.client.HTTPResponse, sent: bytes) -> None:
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in NOT_PASSED_ON:
                    self.send_header(name, value)
            if answer.status not in (204, 304):
                shown = answer.getheader("content-length") if self.command == "HEAD" else None
                self.send_header("content-length", shown or str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_HEAD = do_POST = do_OPTIONS = pass_on

        def log_message(self, *_: Any) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        recorder = Recorder(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield recorder
        server.shutdown()
        thread.join()
