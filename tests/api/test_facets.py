"""Facets over HTTP: counts that respect each other, of one snapshot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.api.conftest import Service, serving
from tests.conftest import Copies, Database, copied
from tests.examples import CALLS, layer

pytestmark = [pytest.mark.db, pytest.mark.anyio]

SITES = layer(
    id="sites",
    geometry="point",
    time_zone="Europe/Paris",
    columns=[
        {"name": "operator"},
        {"name": "district", "type": "integer"},
        {"name": "closed", "type": "boolean"},
        {"name": "size", "type": "number"},
        {"name": "starts", "type": "date"},
    ],
    category="operator",
    time="starts",
)
FACETS = "/collections/sites/facets"


def fill(database: Database) -> None:
    database.declare(SITES, CALLS)
    database.run(
        "INSERT INTO city.sites (operator, district, closed, size, starts, geom) SELECT"
        " (ARRAY['water', 'gas', 'rail', NULL, ''])[1 + mod(n * n, 5)], mod(n, 20),"
        " CASE WHEN mod(n, 9) > 0 THEN mod(n, 2) = 0 END, mod(n, 3) + 0.5,"
        " date '2024-06-01' + n,"
        " ST_Point(2.3 + mod(n, 31) / 1000.0, 48.85 + mod(n, 7) / 1000.0, 4326)"
        " FROM generate_series(1, 700) n"
    )


cities = copied(fill)


@pytest.fixture(scope="module")
def city(cities: Copies) -> Iterator[Database]:
    """For tests that read only."""
    with cities() as database:
        yield database


@pytest.fixture
async def service(city: Database) -> AsyncIterator[Service]:
    async with serving(city) as running:
        await running.caught_up()
        yield running


def counted(city: Database, column: str, where: str) -> dict[Any, int]:
    rows = city.run(f"SELECT {column}, count(*) FROM city.sites t WHERE {where} GROUP BY 1")
    return {value: count for value, count in rows}  # noqa: C416 - rows are tuples of two


BOX = "2.305,48.851,2.32,48.854"
IN_BOX = f"ST_Intersects(geom, ST_MakeEnvelope({BOX}, 4326))"


@pytest.mark.parametrize(
    ("asked", "conditions"),
    [
        ("", {}),
        ("operator=gas", {"operator": "operator = 'gas'"}),
        ("operator=gas&district=4", {"operator": "operator = 'gas'", "district": "district = 4"}),
        ("closed=true&size=1.5", {"closed": "closed", "size": "size = 1.5"}),
        (f"bbox={BOX}", {"-": IN_BOX}),
        (f"bbox={BOX}&operator=rail&closed=false",
         {"-": IN_BOX, "operator": "operator = 'rail'", "closed": "NOT closed"}),
        ("filter=size>1&operator=", {"-": "size > 1", "operator": "operator = ''"}),
        ("datetime=2025-01-01/2025-12-31&district=3",
         {"-": "starts BETWEEN '2025-01-01' AND '2025-12-31'", "district": "district = 3"}),
    ],
)  # fmt: skip
async def test_each_facet_counts_under_what_was_chosen_in_the_others(
    service: Service, city: Database, asked: str, conditions: dict[str, str]
) -> None:
    names = ("operator", "district", "closed", "size")
    answer = await service.get(f"{FACETS}?facets={','.join(names)}&limit=1000&{asked}")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [facet["name"] for facet in told["facets"]] == list(names)
    for facet in told["facets"]:
        others = [said for name, said in conditions.items() if name != facet["name"]]
        rows = counted(city, facet["name"], " AND ".join(["true", *others]))
        assert {each["value"]: each["count"] for each in facet["values"]} == rows
        assert facet["numberMatched"] == sum(rows.values())
        assert facet["numberValues"] == len(rows)
        counts = [each["count"] for each in facet["values"]]
        assert counts == sorted(counts, reverse=True)
    every = city.value(
        f"SELECT count(*) FROM city.sites WHERE {' AND '.join(['true', *conditions.values()])}"
    )
    assert told["numberMatched"] == every
    items = (await service.get(f"/collections/sites/items?{asked}&limit=1")).json()
    assert items["numberMatched"] == every


async def test_what_was_chosen_is_marked(service: Service) -> None:
    answer = await service.get(
        f"{FACETS}?facets=operator,district,closed,size&operator=gas&district=4&closed=true&size=0.5"
    )
    chosen = {
        facet["name"]: [each["value"] for each in facet["values"] if each.get("selected")]
        for facet in answer.json()["facets"]
    }
    assert chosen == {"operator": ["gas"], "district": [4], "closed": [True], "size": [0.5]}


async def test_without_names_it_is_the_category_and_times_are_cut_to_units(
    service: Service, city: Database
) -> None:
    [facet] = (await service.get(FACETS)).json()["facets"]
    assert facet["name"] == "operator"
    plain = (await service.get("/collections/calls/facets")).json()["facets"]
    texts = [column.name for column in CALLS.columns if column.type == "text"]
    assert [each["name"] for each in plain] == texts
    [years] = (await service.get(f"{FACETS}?facets=starts:year&limit=1000")).json()["facets"]
    rows = counted(city, "date_trunc('year', starts)::date::text", "true")
    assert {each["value"]: each["count"] for each in years["values"]} == rows


async def test_a_limit_keeps_the_most_frequent_and_tells_how_many_there_are(
    service: Service, city: Database
) -> None:
    [facet] = (await service.get(f"{FACETS}?facets=district&limit=3")).json()["facets"]
    rows = counted(city, "district", "true")
    assert [each["count"] for each in facet["values"]] == sorted(rows.values())[:-4:-1]
    assert (facet["numberValues"], facet["numberMatched"]) == (20, 700)


async def test_an_answer_holds_until_the_layer_changes(cities: Copies) -> None:
    with cities() as database:
        async with serving(database) as running:
            await running.caught_up()
            first = await running.get(FACETS)
            again = await running.get(FACETS, if_none_match=first.headers["etag"])
            assert again.status_code == 304
            assert (await running.get(FACETS)).content == first.content
            database.run("DELETE FROM city.sites WHERE district = 4")
            new = await running.get(FACETS, if_none_match=first.headers["etag"])
            assert new.status_code == 200
            assert new.json()["numberMatched"] == 665
            assert new.headers["quartier-revision"] == str(new.json()["revision"])


@pytest.mark.parametrize(
    ("path", "parameter", "told"),
    [
        ("sites/facets?facets=oprator", "facets", "did you mean operator?"),
        ("sites/facets?facets=geom", "facets", "makes no groups"),
        ("sites/facets?facets=,", "facets", "names no column"),
        ("sites/facets?facets=", "facets", "names no column"),
        ("sites/facets?limit=1001", "limit", "from 1 to 1000"),
        ("sites/facets?f=csv", "f", "write one of json"),
        ("sites/facets?group_by=operator", "group_by", "is not a parameter here"),
        ("sites/facets?district=many", "district", "write an integer"),
    ],
)
async def test_what_is_no_facet_is_refused_by_name_with_the_fix(
    service: Service, path: str, parameter: str, told: str
) -> None:
    answer = await service.get(f"/collections/{path}")
    assert answer.status_code == 400
    assert answer.json()["parameter"] == parameter
    assert told in answer.json()["detail"]


async def test_facets_are_dear_together(city: Database) -> None:
    names = "operator,district,closed,size"
    async with serving(city, query_cost=100) as running:
        await running.caught_up()
        assert (await running.get(f"{FACETS}?facets=operator")).status_code == 200
        answer = await running.get(f"{FACETS}?facets={names}")
        assert answer.status_code == 422
        assert answer.json()["cost"] > answer.json()["most"]
