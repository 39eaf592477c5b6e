"""An HTTP client that costs as little as can be: one connection, GET, nothing else."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; header names in small letters."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def header(self, name: bytes) -> bytes:
        return dict(self.headers).get(name, b"")


class Client:
    """Keeps its connection; a server that closes it is an error."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = parts.netloc.encode()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def get(self, path: str, **headers: str) -> Answer:
        lines = [f"GET {path} HTTP/1.1".encode(), b"host: " + self._host]
        lines += [f"{name.replace('_', '-')}: {said}".encode() for name, said in headers.items()]
        self._socket.sendall(b"\r\n".join([*lines, b"", b""]))
        got = b""
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self._more()
        first, *rest = got[:end].split(b"\r\n")
        status = int(first.split(b" ", 2)[1])
        named = tuple((n.lower(), v.strip()) for n, _, v in (line.partition(b":") for line in rest))
        bodiless = status in (204, 304)
        length = 0 if bodiless else int(dict(named)[b"content-length"])
        chunks, have = [got[end + 4 :]], len(got) - end - 4
        while have < length:
            chunks.append(self._more())
            have += len(chunks[-1])
        return Answer(status, named, b"".join(chunks))

    def _more(self) -> bytes:
        if not (data := self._socket.recv(1 << 18)):
            raise ConnectionError("the server closed the connection")
        return data
