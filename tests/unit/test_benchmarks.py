"""What the benchmarks measure with: were it wrong, so would be every figure."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest

from benchmarks import result
from benchmarks.browser import HttpCache, Page
from benchmarks.client import Client
from benchmarks.result import Result
from benchmarks.walk import LAPTOP, PHONE, Screen, View, tiles_in, walk

PLACES = [(0.2769, 0.4443), (0.2771, 0.4441), (0.2773, 0.4446), (0.2768, 0.4449)]


class Tile(StreamRequestHandler):
    """Answers every GET: with 304 to whoever has the ETag, in chunks where the path says so."""

    server: TileServer

    def handle(self) -> None:
        self.server.connections += 1
        while line := self.rfile.readline():
            path, known = line.split()[1].decode(), False
            while (header := self.rfile.readline()) not in (b"\r\n", b""):
                known |= header.lower() == b'if-none-match: "one"\r\n'
            self.server.asked.append((path, known))
            if known:
                self.wfile.write(b'HTTP/1.1 304 Not Modified\r\nETag: "one"\r\n\r\n')
            elif "chunks" in path:
                self.wfile.write(
                    b'HTTP/1.1 200 OK\r\nETag: "one"\r\nTransfer-Encoding: chunked\r\n\r\n'
                    b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n"
                )
            else:
                age = b"60" if "fresh" in path else b"0"
                self.wfile.write(
                    b'HTTP/1.1 200 OK\r\nETag: "one"\r\nContent-Length: 5\r\n'
                    b"Cache-Control: max-age=" + age + b"\r\n\r\nhello"
                )


class TileServer(ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Tile)
        self.connections = 0
        self.asked: list[tuple[str, bool]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> Iterator[TileServer]:
    with TileServer() as serving:
        thread = Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def test_a_walk_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    assert list(walk(3, PLACES, PHONE)) == list(walk(3, PLACES, PHONE))
    assert list(walk(3, PLACES, PHONE)) != list(walk(4, PLACES, PHONE))


@pytest.mark.parametrize("screen", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_the_tiles_of_a_view_cover_it_and_no_more(screen: Screen) -> None:
    for view in walk(1, PLACES, screen):
        tiles = tiles_in(view, screen, 17)
        z = min(math.floor(view.zoom), 17)
        assert {at.z for at in tiles} == {z}
        assert len(set(tiles)) == len(tiles)
        for x, y in (view.moved(screen, wide, high) for wide in (-0.5, 0, 0.5)
                     for high in (-0.5, 0, 0.5)):  # fmt: skip
            assert (z, math.floor(x * 2**z), math.floor(y * 2**z)) in tiles
        side = 512 * 2 ** (view.zoom - z)
        across = math.ceil(screen.width / side) + 1, math.ceil(screen.height / side) + 1
        assert len(tiles) <= across[0] * across[1]


def test_the_tile_in_the_middle_is_asked_for_first() -> None:
    x, y = PLACES[0]
    first = tiles_in(View(x, y, 14.3), LAPTOP, 17)[0]
    assert first == (14, math.floor(x * 2**14), math.floor(y * 2**14))


def test_a_client_reads_chunks_as_it_reads_a_length(server: TileServer) -> None:
    with Client(server.url) as client:
        assert client.get("/chunks").body == b"hello world"
        assert client.get("/whole").body == b"hello"


def _visit(server: TileServer, cache: HttpCache, *views: list[str]) -> Page:
    return asyncio.run(_visiting(server, cache, *views))


async def _visiting(server: TileServer, cache: HttpCache, *views: list[str]) -> Page:
    page = Page(server.url, cache)
    try:
        for paths in views:
            await page.show(paths)
    finally:
        await page.close()
    return page


def test_a_page_asks_for_a_tile_once_and_another_page_asks_whether_it_changed(
    server: TileServer,
) -> None:
    cache = HttpCache()
    first = _visit(server, cache, ["/a", "/b"], ["/b", "/c"])
    assert sorted(server.asked) == [("/a", False), ("/b", False), ("/c", False)]
    assert [each.status for each in first.fetched] == [200] * 3
    again = _visit(server, cache, ["/a", "/b"])
    assert [(each.status, each.bytes) for each in again.fetched] == [(304, 0)] * 2


def test_a_tile_that_is_still_fresh_is_not_asked_for(server: TileServer) -> None:
    cache = HttpCache()
    _visit(server, cache, ["/fresh"])
    again = _visit(server, cache, ["/fresh"])
    assert (again.fetched, again.from_cache) == ([], 1)
    assert server.asked == [("/fresh", False)]


def test_a_page_opens_six_connections_at_most(server: TileServer) -> None:
    page = _visit(server, HttpCache(), [f"/{number}" for number in range(40)])
    assert sorted(each.path for each in page.fetched) == sorted(f"/{n}" for n in range(40))
    assert server.connections == 6


def test_what_only_an_earlier_view_wanted_is_given_up(server: TileServer) -> None:
    async def fling() -> Page:
        page = Page(server.url, HttpCache())
        await page.pass_by([f"/passed/{number}" for number in range(40)], 0)
        await page.show(["/end"])
        await page.close()
        return page

    page = asyncio.run(fling())
    assert [each.path for each in page.fetched] == ["/end"]
    assert page.given_up == 40


def test_results_are_rounded_and_the_newest_alone_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result, "RESULTS", tmp_path)
    (tmp_path / "zooms-2020-01-02.json").write_text("{}")
    (tmp_path / "zooms-wide-2020-01-02.json").write_text("{}")
    found = Result(title="", columns=["", "ms"], rows=[["a", 1.23456]], raw={"x": [0.000123456]})
    path = result.write("zooms", found, "rows", {"cores": 2})
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(
        [path.name, "zooms-wide-2020-01-02.json"]
    )
    said = json.loads(path.read_text())
    assert (said["rows"], said["raw"]) == ([["a", 1.23]], {"x": [0.000123]})
