"""Facets over HTTP: counts that respect each other, of one snapshot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from layers.revisions import resolve
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
    service: Service, unwritten: Database, asked: str, conditions: dict[str, str]
) -> None:
    names = ("operator", "district", "closed", "size")
    answer = await service.get(f"{FACETS}?facets={','.join(names)}&limit=1000&{asked}")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [facet["name"] for facet in told["facets"]] == list(names)
    for facet in told["facets"]:
        others = [said for name, said in conditions.items() if name != facet["name"]]
        rows = counted(unwritten, facet["name"], " AND ".join(["true", *others]))
        assert {each["value"]: each["count"] for each in facet["values"]} == rows
        assert facet["numberMatched"] == sum(rows.values())
        assert facet["numberValues"] == len(rows)
        counts = [each["count"] for each in facet["values"]]
        assert counts == sorted(counts, reverse=True)
    every = unwritten.value(
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
    service: Service, unwritten: Database
) -> None:
    [facet] = (await service.get(FACETS)).json()["facets"]
    assert facet["name"] == "operator"
    plain = (await service.get("/collections/calls/facets")).json()["facets"]
    texts = [column.name for column in CALLS.columns if column.type == "text"]
    assert [each["name"] for each in plain] == texts
    [years] = (await service.get(f"{FACETS}?facets=starts:year&limit=1000")).json()["facets"]
    rows = counted(unwritten, "date_trunc('year', starts)::date::text", "true")
    assert {each["value"]: each["count"] for each in years["values"]} == rows


async def test_a_limit_keeps_the_most_frequent_and_tells_how_many_there_are(
    service: Service, unwritten: Database
) -> None:
    [facet] = (await service.get(f"{FACETS}?facets=district&limit=3")).json()["facets"]
    rows = counted(unwritten, "district", "true")
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


async def test_facets_are_dear_together(unwritten: Database) -> None:
    names = "operator,district,closed,size"
    async with serving(unwritten, query_cost=100) as running:
        await running.caught_up()
        assert (await running.get(f"{FACETS}?facets=operator")).status_code == 200
        answer = await running.get(f"{FACETS}?facets={names}")
        assert answer.status_code == 422
        assert answer.json()["cost"] > answer.json()["most"]


NAMED = layer(
    id="named",
    geometry="none",
    columns=[
        *({"name": name, "type": "integer"} for name in ("f", "q", "ids", "limit", "facets")),
        {"name": "datetime", "type": "date"},
        {"name": "as_of", "type": "integer"},
        {"name": "at", "type": "datetime"},
        {"name": "opens", "type": "time"},
        {"name": "hash", "type": "integer"},
        {"name": "note"},
        {"name": "tags", "type": "json", "separator": ","},
    ],
    category="tags",
    time="datetime",
    time_zone="Europe/Paris",
)
BIG = 2**53


@pytest.fixture
async def named(database: Database) -> AsyncIterator[Service]:
    """Columns called like parameters, and values of every type."""
    database.declare(NAMED)
    database.run(
        'INSERT INTO city.named (f, q, ids, "limit", facets, datetime, as_of, at, opens, hash,'
        " note) SELECT n, n, n, n, n, date '2024-12-01' + 30 * n, n,"
        " timestamptz '2025-06-01 21:00Z' + n * interval '1 hour', time '09:00' + n * interval"
        f" '1 hour', {BIG} + n, 'oak' FROM generate_series(1, 6) n"
    )
    async with serving(database) as running:
        await running.caught_up()
        yield running


async def told_by(service: Service, asked: str) -> dict[str, Any]:
    answer = await service.get(f"/collections/named/facets?{asked}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def chosen_in(facet: dict[str, Any]) -> list[Any]:
    return [each["value"] for each in facet["values"] if each.get("selected")]


@pytest.mark.parametrize("asked", ["f=json", "q=oak", "ids=1,2", "limit=2", "datetime=2025-01-30"])
async def test_a_parameter_is_no_choice_in_a_column_of_its_name(named: Service, asked: str) -> None:
    name = asked.partition("=")[0]
    told = await told_by(named, f"facets={name}&{asked}")
    [facet] = told["facets"]
    assert chosen_in(facet) == []
    assert facet["numberMatched"] == told["numberMatched"]


async def test_a_column_called_facets_can_be_one(named: Service) -> None:
    [facet] = (await told_by(named, "facets=facets"))["facets"]
    assert (facet["numberValues"], chosen_in(facet)) == (6, [])


@pytest.mark.parametrize(
    ("facet", "chosen", "value"),
    [
        ("at", "at=2025-06-01T23:00:00Z", "2025-06-01T23:00:00+00:00"),
        ("at", "at=2025-06-02T01:00:00%2B02:00", "2025-06-01T23:00:00+00:00"),
        ("at:day", "at=2025-06-02", "2025-06-02"),
        ("opens", "opens=11:00", "11:00:00"),
        ("hash", f"hash={BIG + 1}", BIG + 1),
    ],
)
async def test_what_was_chosen_is_marked_whatever_its_type(
    named: Service, facet: str, chosen: str, value: Any
) -> None:
    [told] = (await told_by(named, f"facets={facet}&{chosen}"))["facets"]
    assert chosen_in(told) == [value]


async def test_a_day_that_was_chosen_marks_every_instant_of_it(named: Service) -> None:
    [told] = (await told_by(named, "facets=at&at=2025-06-02"))["facets"]
    assert len(chosen_in(told)) == 6  # from midnight in Paris on
    [none] = (await told_by(named, "facets=at&at=2025-06-01"))["facets"]
    assert chosen_in(none) == []


async def test_the_past_is_found_once_for_all_facets(
    named: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    async def resolving(*args: Any) -> int:
        found.append(await resolve(*args))
        return found[-1]

    monkeypatch.setattr("api.feature_asking.resolve", resolving)
    told = await told_by(named, "facets=at,hash,note,f&hash=3&note=oak&as_of=2099-01-01T00:00:00Z")
    assert found == [told["revision"]]


async def test_where_the_category_makes_no_groups_it_is_the_texts(named: Service) -> None:
    assert [each["name"] for each in (await told_by(named, ""))["facets"]] == ["note"]
