"""The body of a search: any parameter as JSON has it, and nothing that ends in an error of ours."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.long_questions import LONG, LongQuestions
from layers.catalog import PublishedLayer
from layers.errors import StoreBusy
from tests.api.conftest import Service, serving
from tests.conftest import Copies, Database, copied
from tests.examples import TREES

pytestmark = [pytest.mark.db, pytest.mark.anyio]
ODD: list[Any] = [0, -1, 1.5, True, "", "x", [], [0], ["x"], [True], [1, 2, 3, 4], {}, {"op": 1}]
ALIKE: list[tuple[dict[str, Any], str]] = [
    ({"properties": ["genus"]}, "properties=genus"),
    ({"sortby": ["-number", "genus"]}, "sortby=-number,genus"),
    ({"ids": [2, 3]}, "ids=2,3"),
    ({"bbox": [4.8, 45.1, 4.82, 45.3]}, "bbox=4.8,45.1,4.82,45.3"),
    ({"as_of": 1}, "as_of=1"),
    ({"skipGeometry": True}, "skipGeometry=true"),
    ({"limit": 2, "precision": 3, "zoom": 12}, "limit=2&precision=3&zoom=12"),
    ({"number": 3}, "number=3"),
]  # fmt: skip


def fill(database: Database) -> None:
    database.declare(TREES)
    database.run(
        "INSERT INTO city.trees (number, genus, geom) SELECT n, 'Tilia',"
        " ST_Point(4.81 + n * 0.001, 45.2, 4326) FROM generate_series(1, 25) n"
    )


cities = copied(fill)


@pytest.fixture
async def service(cities: Copies) -> AsyncIterator[Service]:
    with cities() as database:
        async with serving(database) as running:
            yield running


async def names(service: Service) -> list[str]:
    document = (await service.get("/api")).json()
    told: dict[str, Any] = document["components"]["schemas"]["search"]["properties"]
    return [*told, "genus", "number"]


async def test_no_value_of_a_parameter_is_an_error_of_ours(service: Service) -> None:
    for name in await names(service):
        for value in ODD:
            answer = await service.client.post("/collections/trees/search", json={name: value})
            assert answer.status_code in (200, 400), (name, value)


async def test_the_document_tells_of_every_parameter_of_a_body(service: Service) -> None:
    document = (await service.get("/api")).json()
    of_items = {
        reference["$ref"].rpartition("/")[2]
        for reference in document["paths"]["/collections/trees/items"]["get"]["parameters"]
        if "$ref" in reference
    }
    told = document["components"]["schemas"]["search"]["properties"]
    assert of_items - {"f-items"} == told.keys() - {"f"}


@pytest.mark.parametrize(("body", "words"), ALIKE, ids=lambda value: str(value))
async def test_a_body_asks_what_an_address_asks(
    service: Service, body: dict[str, Any], words: str
) -> None:
    searched = await service.client.post("/collections/trees/search", json=body)
    listed = await service.get(f"/collections/trees/items?{words}")
    assert (searched.status_code, listed.status_code) == (200, 200)
    assert searched.json()["features"] == listed.json()["features"]


async def test_the_next_page_of_a_search_is_asked_in_the_words_of_the_first(
    service: Service,
) -> None:
    body = {"limit": 10, "properties": ["number"], "sortby": ["-number"]}
    seen: list[str] = []
    while body:
        page = (await service.client.post("/collections/trees/search", json=body)).json()
        seen += [each["properties"]["number"] for each in page["features"]]
        [body] = [each["body"] for each in page["links"] if each["rel"] == "next"] or [{}]
        assert body == {} or body["properties"] == ["number"]
    assert seen == sorted(map(str, range(1, 26)), reverse=True)


async def test_what_sites_hang_on_links_is_passed_over_in_a_body_too(service: Service) -> None:
    body = {"utm_source": "letter", "limit": 2}
    answer = await service.client.post("/collections/trees/search", json=body)
    assert answer.json()["numberReturned"] == 2


@pytest.mark.parametrize(
    "body",
    [
        '{"filter": %s}',
        '{"limit": %s}',
        '{"filter": {"op": "=", "args": [{"a": 1, "b": %s}, 1]}}',
        '{"filter": {"op": "=", "args": [{"type": "Point", "coordinates": %s}, 1]}}',
    ],
)
async def test_what_is_nested_very_deep_is_refused(service: Service, body: str) -> None:
    deep = body % ("[" * 1000 + "]" * 1000)
    answer = await service.client.post("/collections/trees/search", content=deep)
    assert answer.status_code == 400


async def test_more_values_than_a_statement_holds_are_the_filters_fault(service: Service) -> None:
    here = {"property": "geom"}
    parts = [
        {"op": "s_intersects", "args": [here, {"type": "Point", "coordinates": [n / 100, 45]}]}
        for n in range(5000)
    ]
    body = {"filter": {"op": "or", "args": parts}}
    answer = await service.client.post("/collections/trees/search", json=body)
    assert (answer.status_code, answer.json()["parameter"]) == (400, "filter")


async def test_a_shape_that_takes_long_to_be_checked_keeps_no_others_waiting(
    service: Service,
) -> None:
    """Spikes that all pass the middle, each of which is looked at against each."""
    turns = [n / 10_000 * math.pi for n in range(20_001)]
    star = [
        [5 + (1 + n % 2 * 3.9) * math.cos(turn), 5 + (1 + n % 2 * 3.9) * math.sin(turn)]
        for n, turn in enumerate(turns)
    ]
    star = [[round(x, 5), round(y, 5)] for x, y in star]
    shape = {"type": "Polygon", "coordinates": [[*star[:-1], star[0]]]}
    body = {"filter": {"op": "s_intersects", "args": [{"property": "geom"}, shape]}}
    content = json.dumps(body)
    asking = asyncio.create_task(service.client.post("/collections/trees/search", content=content))
    longest, begun = 0.0, time.perf_counter()
    last = begun
    while not asking.done():
        await asyncio.sleep(0.01)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    assert (await asking).status_code == 200
    assert longest < (last - begun) / 3


async def test_one_long_question_more_than_may_wait_is_told_to_come_back() -> None:
    questions = LongQuestions(most=2)
    published = PublishedLayer(layer=TREES, revision=1, changed_at=None, config_hash="x")
    asked = {"filter": "genus IN ('a')"}
    answers = await asyncio.gather(
        *(questions.read(asked, published, LONG + 1) for _ in range(4)), return_exceptions=True
    )
    assert [isinstance(each, StoreBusy) for each in answers] == [False, False, True, True]
    assert (await questions.read(asked, published, LONG + 1)).limit is None
