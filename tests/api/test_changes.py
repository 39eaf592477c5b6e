"""`/changes`: what changed, to whoever listens, and to whoever comes back."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import mercantile
import orjson
import pytest

from api.streams import Streams
from layers.change_cells import Cell
from tests.api.conftest import Service, serving
from tests.api.test_tiles import HOME, url
from tests.conftest import Database
from tests.examples import CALLS, PARKS, TREES
from tests.unit.layers.test_change_cells import touches

pytestmark = [pytest.mark.db, pytest.mark.anyio]

PATIENCE_S = 10.0
PLANT = (
    "INSERT INTO city.trees (number, genus, geom)"
    " VALUES ('{0}', 'Tilia', ST_Point({1}, 45.2, 4326))"
)
PARK = (
    "INSERT INTO city.parks (name, geom)"
    " VALUES ('p', ST_MakeEnvelope(4.8, 45.2, 4.81, 45.21, 4326))"
)


class Event(NamedTuple):
    kind: str
    id: str
    layers: dict[str, Any]

    def cells(self, layer: str) -> list[list[int]]:
        cells: list[list[int]] = self.layers[layer]["cells"]
        return cells


@dataclass(slots=True)
class Listener:
    """A client of the stream: its answer's head, and events as they come."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]
        self.came.set()

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def text(self) -> str:
        """What stands up to the next empty line."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := re.match(rb"(.*?)\n\n", self.body, re.S)):
                self.came.clear()
                await self.came.wait()
        text = found[1].decode()
        del self.body[: found.end()]
        return text

    async def event(self, kind: str = "change") -> Event:
        """The next event, which must be of this kind."""
        text = await self.text()
        if not text.startswith("id: "):
            return await self.event(kind)
        lines = dict(line.split(": ", 1) for line in text.split("\n"))
        assert lines["event"] == kind, text
        return Event(lines["event"], lines["id"], orjson.loads(lines["data"])["layers"])

    async def silence(self, seconds: float = 0.4) -> None:
        await asyncio.sleep(seconds)
        assert b"event:" not in self.body, bytes(self.body)


@contextlib.asynccontextmanager
async def listening(service: Service, query: str = "", **headers: str) -> AsyncIterator[Listener]:
    listener = Listener()
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": "/changes", "raw_path": b"/changes", "query_string": query.encode(),
        "headers": [(b"host", b"city.test"), (b"accept-encoding", b"gzip"), *named],
        "server": ("city.test", 80), "client": ("127.0.0.1", 9), "root_path": "",
    }  # fmt: skip
    running = asyncio.ensure_future(service.asked(scope, listener.receive, listener.send))
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not listener.status:
                await listener.came.wait()
        yield listener
    finally:
        listener.left.set()
        await asyncio.wait_for(running, PATIENCE_S)


async def test_who_connects_hears_the_state_and_then_each_change(database: Database) -> None:
    database.declare(TREES, PARKS)
    database.run(PLANT.format(1, 4.85))
    async with serving(database) as service, listening(service, "layers=trees,parks") as listener:
        state = await listener.event("state")
        assert state.id == "parks:0,trees:1"
        assert state.layers["trees"].keys() == {"revision", "updated", "configuration"}
        database.run(PLANT.format(2, 4.86))
        change = await listener.event()
        assert change.id == "parks:0,trees:2"
        assert list(change.layers) == ["trees"], "parks did not change"
        [cell] = change.cells("trees")
        at = mercantile.tile(4.86, 45.2, 29)
        assert cell == [29, at.x, at.y]


async def test_the_answer_is_a_stream_that_no_one_keeps_or_packs(database: Database) -> None:
    database.declare(TREES)
    async with (
        serving(database) as service,
        listening(service, origin="https://elsewhere.example") as listener,
    ):
        assert listener.status == 200
        assert listener.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert listener.headers["cache-control"] == "no-store"
        assert listener.headers["x-accel-buffering"] == "no"
        assert listener.headers["access-control-allow-origin"] == "*"
        assert "content-encoding" not in listener.headers
        assert "content-length" not in listener.headers
        assert (await listener.text()).startswith("retry: ")


async def test_who_comes_back_hears_exactly_what_was_missed(database: Database) -> None:
    database.declare(TREES, PARKS)
    async with serving(database) as service:
        async with listening(service, "layers=trees,parks") as listener:
            await listener.event("state")
            database.run(PLANT.format(1, 4.85))
            heard = (await listener.event()).id
        for number, longitude in ((2, 4.86), (3, 4.87)):
            database.run(PLANT.format(number, longitude))
        database.run(PARK)
        await service.caught_up()
        for asked in ({"query": f"layers=trees,parks&since={heard}"}, {"last_event_id": heard}):
            async with listening(service, **asked) as listener:
                change = await listener.event()
                assert change.id == "parks:1,trees:3"
                places = [mercantile.tile(x, 45.2, 29) for x in (4.86, 4.87)]
                assert change.cells("trees") == [[29, at.x, at.y] for at in places]
                assert change.layers["parks"]["revision"] == 1
                assert (await listener.event("state")).id == change.id
        async with listening(service, last_event_id=change.id) as listener:
            await listener.event("state")
            await listener.silence()


async def test_the_header_goes_before_the_address_which_is_older(database: Database) -> None:
    """An EventSource that reconnects asks the address it was made with."""
    database.declare(TREES)
    database.run(PLANT.format(1, 4.85))
    async with serving(database) as service:
        asked = listening(service, "layers=trees&since=trees:0", last_event_id="trees:1")
        async with asked as listener:
            await listener.event("state")
            await listener.silence()


async def test_a_worker_that_is_behind_catches_up_before_it_answers(database: Database) -> None:
    database.declare(TREES)
    async with serving(database) as service:
        for task in service.parts.feed._tasks:
            task.cancel()
        database.run(PLANT.format(1, 4.85))
        database.run(PLANT.format(2, 4.86))
        async with listening(service, "layers=trees&since=trees:1") as listener:
            change = await listener.event()
            assert change.id == "trees:2"
            at = mercantile.tile(4.86, 45.2, 29)
            assert change.cells("trees") == [[29, at.x, at.y]]


async def test_a_worker_that_cannot_catch_up_is_a_503(database: Database) -> None:
    database.declare(TREES)
    async with serving(database) as service:
        await service.lose_database()
        async with listening(service, "layers=trees&since=trees:1") as listener:
            assert listener.status == 503
            assert listener.headers["retry-after"]


async def test_a_revision_that_never_was_is_answered_with_everything(database: Database) -> None:
    """As after the restore of a backup."""
    database.declare(TREES)
    database.run(PLANT.format(1, 4.85))
    async with (
        serving(database) as service,
        listening(service, "layers=trees&since=trees:99") as listener,
    ):
        change = await listener.event()
        assert (change.id, change.layers["trees"]["all"]) == ("trees:1", True)


async def test_many_commits_close_to_each_other_are_one_event(database: Database) -> None:
    database.declare(TREES)
    async with serving(database) as service, listening(service, "layers=trees") as listener:
        await listener.event("state")
        with database.connect() as connection:
            for number in range(5):
                connection.exec_driver_sql(PLANT.format(number, 4.85 + number / 100))
        change = await listener.event()
        assert change.id == "trees:5"
        assert len(change.cells("trees")) == 5
        await listener.silence()


async def test_a_rolled_back_edit_and_one_that_changes_nothing_are_not_told(
    database: Database,
) -> None:
    database.declare(TREES)
    database.run(PLANT.format(1, 4.85))
    async with serving(database) as service, listening(service, "layers=trees") as listener:
        await listener.event("state")
        database.run("UPDATE city.trees SET genus = genus")
        with contextlib.suppress(ZeroDivisionError), database.transaction() as connection:
            connection.exec_driver_sql(PLANT.format(2, 4.85))
            raise ZeroDivisionError
        await listener.silence()


async def test_truncate_and_a_new_declaration_are_told_as_everything(database: Database) -> None:
    database.declare(TREES)
    database.run(PLANT.format(1, 4.85))
    async with serving(database) as service, listening(service, "layers=trees") as listener:
        before = await listener.event("state")
        database.run("TRUNCATE city.trees")
        change = await listener.event()
        assert (change.id, change.layers["trees"]["all"]) == ("trees:2", True)
        assert change.cells("trees") == [[0, 0, 0]]
        database.declare(TREES.model_copy(update={"tile": ("genus",)}))
        change = await listener.event()
        assert (change.id, change.layers["trees"]["all"]) == ("trees:2", True)
        async with listening(service, "layers=trees&since=trees:2") as again:
            after = await again.event("state")
            known, told = (each.layers["trees"]["configuration"] for each in (before, after))
            assert known != told, "who was away compares configurations"


async def test_who_names_no_layer_hears_of_those_that_come_and_go(database: Database) -> None:
    database.declare(TREES)
    async with serving(database) as service, listening(service) as listener:
        assert (await listener.event("state")).id == "trees:0"
        database.declare(TREES, PARKS)
        change = await listener.event()
        assert change.id == "parks:0,trees:0"
        assert change.layers["parks"]["all"] is True
        database.declare(PARKS)
        change = await listener.event()
        assert change.id == "parks:0"
        assert (change.layers["trees"]["withdrawn"], change.layers["trees"]["all"]) == (True, True)


async def test_a_table_without_places_changes_no_tile(database: Database) -> None:
    database.declare(CALLS)
    async with serving(database) as service, listening(service, "layers=calls") as listener:
        await listener.event("state")
        database.run("INSERT INTO city.calls (day, calls) VALUES ('2026-01-01', 3)")
        change = await listener.event()
        assert (change.id, change.cells("calls")) == ("calls:1", [])


async def test_a_great_change_is_told_in_few_cells_that_hold_every_changed_tile(
    database: Database,
) -> None:
    database.declare(TREES)
    async with serving(database) as service, listening(service, "layers=trees") as listener:
        await listener.event("state")
        database.run(
            "INSERT INTO city.trees (number, genus, geom) SELECT n::text, 'Tilia',"
            " ST_Point(4.8 + (n % 70) / 700.0, 45.1 + (n / 70) / 700.0, 4326)"
            " FROM generate_series(0, 4899) n"
        )
        cells = (await listener.event()).cells("trees")
        assert 64 < len(cells) <= 256
        log = service.parts.feed.log_of("trees")
        for z in range(10, 17):
            for at in mercantile.tiles(4.84, 45.14, 4.86, 45.16, z):
                told = any(touches_of(cell, at) for cell in cells)
                assert told or log.last_changed(at.z, at.x, at.y) == 0


def touches_of(cell: list[int], at: mercantile.Tile) -> bool:
    return touches(Cell(*cell), at.z, at.x, at.y)


@pytest.mark.parametrize(
    ("query", "status", "parameter"),
    [
        ("layers=shrubs", 404, None),
        ("layers=trees,shrubs", 404, None),
        ("layers=", 400, "layers"),
        ("layers=trees,trees", 400, "layers"),
        ("layers=trees&since=yesterday", 400, "since"),
        ("layer=trees", 400, "layer"),
        ("layers=trees&layers=parks", 400, "layers"),
    ],
)
async def test_a_question_that_is_wrong_is_told_so(
    database: Database, query: str, status: int, parameter: str | None
) -> None:
    database.declare(TREES, PARKS)
    async with serving(database) as service:
        answer = await service.get(f"/changes?{query}")
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json().get("parameter") == parameter


async def test_a_broken_last_event_id_is_named_as_the_header_it_came_in(
    database: Database,
) -> None:
    database.declare(TREES)
    async with serving(database) as service:
        answer = await service.get("/changes", last_event_id="7")
        assert (answer.status_code, answer.json()["parameter"]) == (400, "Last-Event-ID")


async def test_beyond_its_bound_a_worker_takes_no_more_streams(database: Database) -> None:
    database.declare(TREES)
    async with serving(database, streams=1) as service:
        async with listening(service) as listener:
            assert listener.status == 200
            refused = await service.get("/changes")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        async with listening(service) as listener:
            assert listener.status == 200


async def test_head_tells_of_the_stream_and_opens_none(database: Database) -> None:
    database.declare(TREES)
    async with serving(database) as service:
        head = await asyncio.wait_for(service.client.head("/changes"), PATIENCE_S)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith("text/event-stream")
        assert len(service.parts.streams) == 0


async def test_streams_hold_no_connection_to_the_database(database: Database) -> None:
    database.declare(TREES)
    async with (
        serving(database, query_connections=1) as service,
        contextlib.AsyncExitStack() as all_,
    ):
        for _ in range(20):
            await all_.enter_async_context(listening(service))
        assert (await service.get("/collections/trees/items")).status_code == 200
        count = database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND usename = 'quartier_web'"
        )
        assert count <= 3, "one to listen, one to ask, one for tiles"


async def test_a_silent_stream_beats_so_that_no_proxy_takes_it_for_dead(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routers.changes.HEARTBEAT_S", 0.1)
    database.declare(TREES)
    async with serving(database) as service, listening(service) as listener:
        await listener.event("state")
        await asyncio.sleep(0.35)
        assert listener.body.count(b":\n\n") in (2, 3, 4)


async def test_the_house_closes_while_somebody_listens(database: Database) -> None:
    database.declare(TREES)
    streams: Streams | None = None
    async with contextlib.AsyncExitStack() as inner:
        async with serving(database) as service:
            streams = service.parts.streams
            await inner.enter_async_context(listening(service))
            assert len(streams) == 1
        assert len(streams) == 0


async def test_after_an_event_the_tile_is_new_and_its_neighbours_are_not(
    database: Database,
) -> None:
    database.declare(TREES)
    database.run(PLANT.format(1, 4.85))
    far = mercantile.tile(5.4, 45.2, HOME.z)
    async with serving(database) as service, listening(service, "layers=trees") as listener:
        await listener.event("state")
        before = [(await service.get(url(at))).headers["etag"] for at in (HOME, far)]
        database.run("UPDATE city.trees SET genus = 'Acer'")
        [cell] = (await listener.event()).cells("trees")
        after = [(await service.get(url(at))).headers["etag"] for at in (HOME, far)]
        assert [touches_of(cell, at) for at in (HOME, far)] == [True, False]
        assert [old == new for old, new in zip(before, after, strict=True)] == [False, True]
