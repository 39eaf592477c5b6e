"""An HTTP client that costs as little as can be: one connection, GET, nothing else."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

TIMEOUT_S = 120
Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; header names in small letters."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: bytes) -> bytes:
        return dict(self.headers).get(name, b"")


def request(path: str, host: str, headers: Mapping[str, str]) -> bytes:
    """The bytes that ask for a path."""
    lines = [f"GET {path} HTTP/1.1", f"host: {host}"]
    lines += [f"{name.replace('_', '-')}: {said}" for name, said in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def read_head(head: bytes) -> tuple[int, Headers]:
    """Status and headers of an answer."""
    first, *rest = head.split(b"\r\n")
    split = (line.partition(b":") for line in rest)
    return int(first.split(b" ", 2)[1]), tuple((n.lower(), v.strip()) for n, _, v in split)


def length_of(status: int, headers: Headers) -> int | None:
    """Bytes of the body; None where it comes in chunks."""
    if status in (204, 304):
        return 0
    said = dict(headers).get(b"content-length")
    return None if said is None else int(said)


class Client:
    """Keeps its connection; a server that closes it is an error, unless it may: then it is opened
    once more.
    """

    def __init__(self, url: str, *, may_close: bool = False) -> None:
        self._url, self._may_close = url, may_close
        self._open()

    def _open(self) -> None:
        parts = urlsplit(self._url)
        self._socket = socket.create_connection((parts.hostname, parts.port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = parts.netloc
        self._got = b""

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
        try:
            return self._get(path, headers)
        except ConnectionError:
            if not self._may_close:
                raise
        self._socket.close()
        self._open()
        return self._get(path, headers)

    def _get(self, path: str, headers: Mapping[str, str]) -> Answer:
        self._socket.sendall(request(path, self._host, headers))
        status, said = read_head(self._until(b"\r\n\r\n"))
        length = length_of(status, said)
        body = self._chunked() if length is None else self._exactly(length)
        return Answer(status, said, body)

    def _chunked(self) -> bytes:
        chunks = []
        while size := int(self._until(b"\r\n").partition(b";")[0], 16):
            chunks.append(self._exactly(size + 2)[:-2])
        self._exactly(2)
        return b"".join(chunks)

    def _until(self, end: bytes) -> bytes:
        while (at := self._got.find(end)) < 0:
            self._got += self._more()
        found, self._got = self._got[:at], self._got[at + len(end) :]
        return found

    def _exactly(self, length: int) -> bytes:
        chunks, have = [self._got], len(self._got)
        while have < length:
            chunks.append(self._more())
            have += len(chunks[-1])
        whole = b"".join(chunks)
        self._got = whole[length:]
        return whole[:length]

    def _more(self) -> bytes:
        if not (data := self._socket.recv(1 << 18)):
            raise ConnectionError("the server closed the connection")
        return data
