"""`quartier serve` with two workers: from commit to fresh tile, the feed being well or ill."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import mercantile
import psycopg
import pytest

from layers.setup import prepare_database
from tests.accept.house import House, Table, house
from tests.conftest import Database
from tests.examples import TREES

pytestmark = pytest.mark.db

EDITS = 200
PAUSED_EDITS = 20
FRESH_WITHIN_S = 0.1  # at the 95th percentile
TOLD_WITHIN_S = 0.5
FOUND_OUT_WITHIN_S = 15.0  # that a listening connection died without a word
STOPPED_WITHIN_S = 5.0
PATIENCE_S = 20.0
HOME = mercantile.tile(4.85, 45.2, 14)
TILE = f"/tiles/trees/{HOME.z}/{HOME.x}/{HOME.y}.mvt"
EDIT = "UPDATE city.trees SET genus = %s WHERE number = '1'"


@dataclass(frozen=True, slots=True)
class Serving:
    """A served house: where, by which processes, and its database."""

    url: str
    process: subprocess.Popen[bytes]
    database: Database

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def workers(self) -> list[int]:
        """The processes that hold what clients are connected to."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        children = [int(pid) for pid in listed.split()]
        return [pid for pid in children if _serves(pid)]

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def revision(self) -> int:
        found = self.database.value(
            "SELECT revision FROM quartier.layer_state WHERE layer_id = 'trees'"
        )
        assert isinstance(found, int)
        return found


def _serves(pid: int) -> bool:
    return b"granian" in Path(f"/proc/{pid}/cmdline").read_bytes() or any(
        "socket:" in link for link in _links(pid)
    )


def _links(pid: int) -> list[str]:
    links = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(each.readlink()))
    return links


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serving]:
    """Two workers and a tree."""
    with house(tmp_path) as home, serving(home) as running:
        running.database.declare(TREES)
        running.database.run(
            "INSERT INTO city.trees (number, genus, geom)"
            " VALUES ('1', 'g', ST_Point(4.85, 45.2, 4326))"
        )
        yield running


@contextlib.contextmanager
def serving(home: House) -> Iterator[Serving]:
    with home.served(workers=2) as (url, process), home.database() as database:
        yield Serving(url, process, database)


@contextlib.contextmanager
def a_connection_to_each_worker(
    served: Serving,
) -> Iterator[dict[int, http.client.HTTPConnection]]:
    """Whoever accepts a connection keeps it: ask until every worker has one of ours."""
    with contextlib.ExitStack() as opened:
        found: dict[int, http.client.HTTPConnection] = {}
        deadline = time.monotonic() + PATIENCE_S
        while len(found) < 2 and time.monotonic() < deadline:
            connection = served.connection()
            opened.callback(connection.close)
            tile(connection)
            found.setdefault(worker_of(served, connection.sock), connection)
        assert len(found) == 2, "both workers answer"
        yield found


def worker_of(served: Serving, ours: socket.socket) -> int:
    """The process at the other end of a connection."""
    here = f"{ours.getsockname()[1]:04X}"
    there = f"{served.port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *rest = line.split()
        if local.endswith(f":{there}") and remote.endswith(f":{here}"):
            inode = f"socket:[{rest[6]}]"
            return next(pid for pid in served.workers() if inode in _links(pid))
    raise AssertionError("no such connection")


def tile(connection: http.client.HTTPConnection, query: str = "") -> tuple[str, bytes]:
    """The ETag and the bytes of the tile the tree stands in."""
    connection.request("GET", TILE + query, headers={"Accept-Encoding": "identity"})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status in (200, 204), body
    return answer.headers["ETag"], body


@contextlib.contextmanager
def editor(served: Serving) -> Iterator[Callable[[str], float]]:
    """Makes one edit a transaction, and says when it was committed."""
    with psycopg.connect(served.database.urls.ingest, autocommit=True) as connection:

        def edit(genus: str) -> float:
            connection.execute(EDIT, (genus,))
            return time.monotonic()

        yield edit


@dataclass(slots=True)
class Stream:
    """A client of `/changes`: the times at which it was told of each vector."""

    socket: socket.socket
    told: dict[str, float] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)

    def follow(self) -> None:
        with contextlib.suppress(OSError), self.socket.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"id: "):
                    self.told[line[4:].decode().strip()] = time.monotonic()
        self.ended.set()


@contextlib.contextmanager
def streams(served: Serving, count: int, query: str = "") -> Iterator[list[Stream]]:
    asked = f"GET /changes?layers=trees{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    opened, threads = [], []
    for _ in range(count):
        opened.append(Stream(socket.create_connection(("127.0.0.1", served.port))))
        opened[-1].socket.sendall(asked)
        threads.append(threading.Thread(target=opened[-1].follow))
        threads[-1].start()
    try:
        until(lambda: all(stream.told for stream in opened))
        yield opened
    finally:
        for stream in opened:
            with contextlib.suppress(OSError):
                stream.socket.shutdown(socket.SHUT_RDWR)
        for thread, stream in zip(threads, opened, strict=True):
            thread.join()
            stream.socket.close()


def hear(listening: list[Stream], vector: str) -> None:
    until(lambda: all(vector in stream.told for stream in listening))


def until(condition: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def percentile(times: list[float], share: float) -> float:
    return sorted(times)[int(share * (len(times) - 1))]


def milliseconds(times: list[float]) -> tuple[str, str, str]:
    found = (statistics.median(times), percentile(times, 0.95), max(times))
    first, second, third = (f"{1000 * seconds:.1f}" for seconds in found)
    return first, second, third


def test_a_commit_is_in_the_tiles_of_both_workers_and_told_to_every_stream_at_once(
    served: Serving,
) -> None:
    fresh: dict[int, list[float]] = defaultdict(list)
    told: list[float] = []
    bodies: dict[str, bytes] = {}
    with (
        editor(served) as edit,
        a_connection_to_each_worker(served) as connections,
        streams(served, 6) as listening,
    ):
        for number in range(EDITS):
            genus = f"genus-{number}-"
            committed = edit(genus)
            stale = dict(connections)
            while stale:
                for worker, connection in list(stale.items()):
                    etag, body = tile(connection)
                    assert bodies.setdefault(etag, body) == body, "one ETag, one body"
                    if genus.encode() in body:
                        fresh[worker].append(time.monotonic() - committed)
                        del stale[worker]
                assert time.monotonic() - committed < PATIENCE_S
            vector = f"trees:{served.revision()}"
            hear(listening, vector)
            told += [stream.told[vector] - committed for stream in listening]
    table = Table("After a commit (ms)", ["what", "median", "p95", "most"])
    for number, times in enumerate(fresh.values(), 1):
        table.add(f"fresh tile, worker {number}", *milliseconds(times))
    table.add("told to a stream", *milliseconds(told))
    table.print()
    for times in fresh.values():
        assert percentile(times, 0.95) <= FRESH_WITHIN_S
    assert percentile(told, 0.95) <= TOLD_WITHIN_S


@contextlib.contextmanager
def paused_listeners(served: Serving) -> Iterator[None]:
    """The server's ends of the listening connections stand still: nothing they hear goes on."""
    backends = [
        int(pid)
        for (pid,) in served.database.run(
            "SELECT pid FROM pg_stat_activity WHERE usename = 'quartier_web'"
            " AND application_name <> 'quartier-web'"
        )
    ]
    assert len(backends) == 2, "one a worker"
    for pid in backends:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in backends:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def test_with_paused_listeners_an_announced_revision_is_fresh_and_the_rest_is_so_later(
    served: Serving,
) -> None:
    unannounced: list[bool] = []
    announced: list[float] = []
    with (
        editor(served) as edit,
        a_connection_to_each_worker(served) as connections,
        paused_listeners(served),
    ):
        for number in range(PAUSED_EDITS):
            genus = f"genus-{number}-"
            edit(genus)
            query = f"?revision=trees:{served.revision()}"
            for connection in connections.values():
                unannounced.append(genus.encode() in tile(connection)[1])
                asked = time.monotonic()
                assert genus.encode() in tile(connection, query)[1]
                announced.append(time.monotonic() - asked)
        committed = edit("the last")
        for connection in connections.values():
            while b"the last" not in tile(connection)[1]:
                assert time.monotonic() - committed < FOUND_OUT_WITHIN_S
                time.sleep(0.05)
        later = time.monotonic() - committed
    table = Table("Listeners paused", ["what", "median ms", "p95 ms", "most ms"])
    table.add("announced revision answered", *milliseconds(announced))
    table.add(f"unannounced: {unannounced.count(False)} of {len(unannounced)} were old", "", "", "")
    table.add("unannounced: found out after", f"{1000 * later:.0f}", "", "")
    table.print()
    assert not all(unannounced), "the listeners were paused indeed"


def test_a_closed_listener_is_opened_again_and_nothing_is_missed(served: Serving) -> None:
    with (
        editor(served) as edit,
        a_connection_to_each_worker(served) as connections,
        streams(served, 4) as listening,
    ):
        for number in range(5):
            served.database.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'quartier_web' AND application_name <> 'quartier-web'",
                role="owner",
            )
            genus = f"genus-{number}-"
            committed = edit(genus)
            for connection in connections.values():
                while genus.encode() not in tile(connection)[1]:
                    assert time.monotonic() - committed < PATIENCE_S
            vector = f"trees:{served.revision()}"
            hear(listening, vector)


def test_clients_that_vanish_leave_nothing_open(served: Serving) -> None:
    def open_sockets() -> int:
        return sum("socket:" in link for pid in served.workers() for link in _links(pid))

    before = open_sockets()
    with streams(served, 100):
        assert open_sockets() >= before + 100
    until(lambda: open_sockets() <= before)


def test_a_house_with_open_streams_stops_at_once_and_they_are_taken_up_by_the_next(
    tmp_path: Path,
) -> None:
    with house(tmp_path) as home, home.database() as database:
        prepare_database(database.urls.owner)
        database.declare(TREES)
        with serving(home) as first, streams(first, 20) as listening:
            interrupted = time.monotonic()
            first.process.send_signal(signal.SIGINT)
            assert first.process.wait(timeout=PATIENCE_S) == 0
            took = time.monotonic() - interrupted
            assert all(stream.ended.wait(PATIENCE_S) for stream in listening)
            [heard] = {vector for stream in listening for vector in stream.told}
        database.run(
            "INSERT INTO city.trees (number, geom) VALUES ('2', ST_Point(4.9, 45.2, 4326))"
        )
        with serving(home) as second, streams(second, 1, f"&since={heard}") as listening:
            assert set(listening[0].told) == {"trees:1"}
    print(f"\nStopped {took:.2f} s after SIGINT, with 20 streams open")
    assert heard == "trees:0"
    assert took < STOPPED_WITHIN_S
