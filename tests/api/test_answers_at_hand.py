"""Answers that are kept: the same bytes, and never those of before a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
import pytest

from api.answers_at_hand import AnswersAtHand
from tests.api.conftest import Service, serving
from tests.conftest import Copies, Database, copied
from tests.examples import TREES

pytestmark = [pytest.mark.db, pytest.mark.anyio]
ITEMS = "/collections/trees/items"
SPELT = r'{"op": "<", "args": [{"property": "planted"}, {"op": "\u0074oday", "args": []}]}'


def fill(database: Database) -> None:
    database.declare(TREES)
    database.run(
        "INSERT INTO city.trees (number, genus, planted, geom) SELECT n, 'Tilia',"
        " date '2026-01-01', ST_Point(4.8 + n * 0.01, 45.2, 4326) FROM generate_series(1, 25) n"
    )


cities = copied(fill)


@pytest.fixture
async def city(cities: Copies) -> AsyncIterator[tuple[Service, Database]]:
    with cities() as database:
        async with serving(database) as running:
            await running.caught_up()
            yield running, database


async def served(service: Service) -> float:
    """How many answers were sent as they were kept, until now."""
    text = (await service.get("/metrics")).text
    line = next(x for x in text.splitlines() if x.startswith("quartier_answers_at_hand_total "))
    return float(line.split()[1])


async def test_a_question_asked_again_is_answered_alike(city: tuple[Service, Database]) -> None:
    service, _ = city
    for path in (f"{ITEMS}?limit=3", f"{ITEMS}/4", f"{ITEMS}?f=csv&limit=5"):
        before = await served(service)
        first, again = await service.get(path), await service.get(path)
        assert await served(service) == before + 1
        assert (again.status_code, again.content) == (200, first.content)
        for name in ("etag", "content-type", "quartier-revision", "vary"):
            assert again.headers[name] == first.headers[name]
        head = await service.client.head(path, headers={"accept-encoding": "gzip"})
        assert (head.status_code, head.content) == (200, b"")
        same = await service.get(path, if_none_match=first.headers["etag"])
        assert (same.status_code, same.content) == (304, b"")


async def test_a_change_is_seen_at_once(city: tuple[Service, Database]) -> None:
    service, database = city
    await service.get(f"{ITEMS}/4")
    assert (await service.get(f"{ITEMS}/4")).json()["properties"]["genus"] == "Tilia"
    database.run("UPDATE city.trees SET genus = 'Acer' WHERE fid = 4")
    await service.caught_up()
    changed = await service.get(f"{ITEMS}/4")
    assert changed.json()["properties"]["genus"] == "Acer"
    assert changed.headers["quartier-revision"] == "2"


async def test_what_asks_otherwise_is_not_answered_alike(city: tuple[Service, Database]) -> None:
    service, _ = city
    path = f"{ITEMS}?limit=3"
    for _ in range(2):
        assert (await service.get(path)).headers["content-type"] == "application/geo+json"
        assert "html" in (await service.get(path, accept="text/html")).headers["content-type"]
        named = await service.get(path, host="other.test")
        assert named.json()["numberReturned"] == 3
        plain = await service.get(path, accept_encoding="identity")
        assert "content-encoding" not in plain.headers


async def test_a_header_that_comes_twice_changes_no_answer_of_others(
    city: tuple[Service, Database],
) -> None:
    service, _ = city
    plain = [("accept", "application/geo+json"), ("accept-encoding", "identity")]
    for number, first in enumerate((("accept", "text/csv"), ("accept-encoding", "gzip"))):
        path = f"{ITEMS}?limit=20&precision={number}"
        await service.client.get(path, headers=[first, *plain])
        told = await service.client.get(path, headers=plain)
        assert told.headers["content-type"] == "application/geo+json"
        assert "content-encoding" not in told.headers


async def test_pages_of_other_sites_may_read_the_headers_of_any_answer(
    city: tuple[Service, Database],
) -> None:
    service, _ = city
    path = f"{ITEMS}?limit=3&f=csv"
    first = await service.get(path)
    for headers in ({"origin": "https://a.test"}, {"origin": "null", "if_none_match": "*"}):
        answer = await service.get(path, **headers)
        assert answer.headers["access-control-allow-origin"] == "*"
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"ETag", "Link", "Quartier-Revision"} <= set(exposed), first.headers


async def test_long_questions_take_room_as_well(cities: Copies) -> None:
    with cities() as database:
        async with serving(database) as running:
            await running.caught_up()
            at_hand = AnswersAtHand(
                running.asked, running.parts.feed, running.parts.fresh, most_bytes=200_000
            )
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app=at_hand), base_url="http://city.test"
            )
            for number in range(12):
                long = "x" * 40_000
                answer = await client.get(f"{ITEMS}/4?utm_source={long}{number}")
                assert answer.status_code == 200
            assert len(at_hand._known) < 6


async def test_what_depends_on_the_day_or_failed_is_not_kept(
    city: tuple[Service, Database],
) -> None:
    service, _ = city
    for path in (
        f"{ITEMS}?filter=planted<today()",
        f"{ITEMS}?filter=planted<%74oday()",
        f"{ITEMS}?filter=" + quote(SPELT),
        f"{ITEMS}?limit=0",
        f"{ITEMS}/999",
    ):
        before = await served(service)
        for _ in range(3):
            await service.get(path)
        assert await served(service) == before


async def test_requests_are_counted_by_their_route(city: tuple[Service, Database]) -> None:
    service, _ = city
    await service.get(f"{ITEMS}?limit=7")
    await service.get(f"{ITEMS}?limit=0")
    text = (await service.get("/metrics")).text
    route = 'quartier_request_seconds_count{route="/collections/{collection_id}/items"'
    for status in ("200", "400"):
        assert f'{route},status="{status}"}}' in text


async def test_slow_questions_keep_no_answer_at_hand_waiting(cities: Copies) -> None:
    with cities() as database:
        async with serving(database, query_connections=1) as running:
            await running.caught_up()
            first = await running.get(f"{ITEMS}?limit=3")
            async with running.parts.queries.connection():
                again = await asyncio.wait_for(running.get(f"{ITEMS}?limit=3"), 2)
            assert (again.status_code, again.content) == (200, first.content)
