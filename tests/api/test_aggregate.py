"""Groups of features over HTTP: their forms, their revision, and what is refused."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from shapely.geometry import shape

from api.feature_params import read_groups_asked
from layers.catalog import PublishedLayer
from layers.errors import StoreBusy
from layers.feature_query import FeatureQuery
from tests.api.conftest import Service, serving
from tests.conftest import Copies, Database, copied
from tests.examples import CALLS, layer

pytestmark = [pytest.mark.db, pytest.mark.anyio]

SHOPS = layer(
    id="shops",
    geometry="point",
    time_zone="Europe/Paris",
    columns=[
        {"name": "kind"},
        {"name": "size", "type": "number"},
        {"name": "floors", "type": "integer"},
        {"name": "open", "type": "boolean"},
        {"name": "seen", "type": "datetime"},
        {"name": "limit"},
    ],
    time="seen",
)
GROUPS = "/collections/shops/aggregate"


def fill(database: Database) -> None:
    database.declare(SHOPS, CALLS)
    database.run(
        'INSERT INTO city.shops (kind, size, floors, open, seen, "limit", geom) SELECT'
        " (ARRAY['food', '=books, \"old\"', NULL])[1 + mod(n, 3)], n / 4.0, mod(n, 4),"
        " mod(n, 2) = 0, timestamptz '2025-12-31 22:30Z' + n * interval '1 hour', 'x',"
        " CASE WHEN mod(n, 10) > 0 THEN ST_Point(2.3 + n / 1000.0, 48.85, 4326) END"
        " FROM generate_series(1, 90) n"
    )


cities = copied(fill)


async def test_groups_are_told_with_their_revision_and_add_up_to_the_items(
    service: Service,
) -> None:
    answer = await service.get(f"{GROUPS}?group_by=kind&measures=sum(size),max(floors)")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert [group["kind"] for group in told["groups"]] == ['=books, "old"', "food", None]
    assert told["groups"][1] == {
        "kind": "food", "count": 30, "sum(size)": sum(range(3, 91, 3)) / 4, "max(floors)": 3,
    }  # fmt: skip
    assert sum(group["count"] for group in told["groups"]) == told["numberMatched"] == 90
    assert (told["numberGroups"], told["numberReturned"]) == (3, 3)
    items = (await service.get("/collections/shops/items?limit=1")).json()
    assert items["numberMatched"] == 90
    assert str(told["revision"]) == answer.headers["quartier-revision"] == str(items["revision"])
    assert answer.headers["etag"] != (await service.get(f"{GROUPS}?group_by=open")).headers["etag"]


@pytest.mark.parametrize(
    "asked",
    ["bbox=2.3,48.8,2.33,48.9", "kind=food", "filter=size>10 AND open", "ids=1,2,3",
     "datetime=2026-01-01", "q=book", "bbox=2.3,48.8,2.35,48.9&open=true"],
)  # fmt: skip
async def test_the_features_are_those_that_items_would_tell(service: Service, asked: str) -> None:
    items = (await service.get(f"/collections/shops/items?{asked}")).json()
    told = (await service.get(f"{GROUPS}?{asked}&group_by=floors")).json()
    assert 0 < told["numberMatched"] == items["numberMatched"] < 90


async def test_days_are_those_of_the_layers_time_zone(service: Service) -> None:
    told = (await service.get(f"{GROUPS}?group_by=seen:day&limit=2")).json()
    assert told["groups"][0] == {"seen:day": "2026-01-01", "count": 24}


async def test_csv_tells_the_same_and_the_middle_of_a_cell(service: Service) -> None:
    asked = f"{GROUPS}?group_by=kind,open&grid=square:500"
    answer = await service.get(f"{asked}&f=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "shops-" in answer.headers["content-disposition"]
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert list(lines[0]) == ["kind", "open", "cell", "count", "longitude", "latitude"]
    groups = (await service.get(asked)).json()["groups"]
    assert len(lines) == len(groups)
    for line, group in zip(lines, groups, strict=True):
        assert line["kind"] == (group["kind"] or "")
        assert line["open"] == str(group["open"]).lower()
        assert int(line["count"]) == group["count"]
        if group["cell"] is None:
            assert (line["cell"], line["longitude"], group["longitude"]) == ("", "", None)
        else:
            for name in ("longitude", "latitude"):
                assert float(line[name]) == group[name]


async def test_geojson_draws_the_cells(service: Service) -> None:
    answer = await service.get(f"{GROUPS}?grid=hex:400&f=geojson")
    assert answer.headers["content-type"] == "application/geo+json"
    told = answer.json()
    assert told["type"] == "FeatureCollection"
    assert told["grid"] == {"shape": "hex", "side_m": 400.0, "latitude": 49}
    drawn = [each for each in told["features"] if each["geometry"] is not None]
    [without] = [each for each in told["features"] if each["geometry"] is None]
    assert without["properties"] == {"cell": None, "count": 9}
    assert sum(each["properties"]["count"] for each in drawn) == 81
    assert all(shape(each["geometry"]).is_valid for each in drawn)


async def test_accept_chooses_the_form_and_refuses_what_there_is_not(service: Service) -> None:
    assert (await service.get(GROUPS, accept="text/csv")).text == "count\n90\n"
    assert (await service.get(GROUPS, accept="image/png")).status_code == 406


async def test_an_answer_holds_until_the_layer_changes(cities: Copies) -> None:
    with cities() as database:
        async with serving(database) as running:
            await running.caught_up()
            asked = f"{GROUPS}?group_by=kind"
            first = await running.get(asked)
            again = await running.get(asked, if_none_match=first.headers["etag"])
            assert (again.status_code, again.content) == (304, b"")
            kept = await running.get(asked)
            assert (kept.content, kept.headers["etag"]) == (first.content, first.headers["etag"])
            head = await running.client.head(asked)
            assert (head.status_code, head.content) == (200, b"")
            database.run("DELETE FROM city.shops WHERE kind = 'food'")
            new = await running.get(asked, if_none_match=first.headers["etag"])
            assert new.status_code == 200
            assert new.json()["numberMatched"] == 60
            before = f"{asked}&as_of={first.headers['quartier-revision']}"
            assert (await running.get(before)).json()["groups"] == first.json()["groups"]


async def test_a_repeated_question_costs_one_look_at_the_revision(service: Service) -> None:
    asked = f"{GROUPS}?group_by=kind&measures=median(size)"
    first = await service.get(asked)
    store = service.parts.queries
    url, store.url = store.url, "postgresql://secret:word@127.0.0.1:9/none"
    await store.close()
    try:
        assert (await service.get(asked)).content == first.content
        assert (await service.get(f"{asked}&limit=7")).status_code == 503
    finally:
        store.url = url


@pytest.mark.parametrize(
    ("asked", "parameter", "told"),
    [
        ("group_by=knd", "group_by", "did you mean kind?"),
        ("group_by=kind:month", "group_by", "has no month"),
        ("measures=mean(kind)", "measures", "of numbers"),
        ("grid=hexagon", "grid", "write square:500"),
        ("grid=hex:500@81", "grid", "from -80 to 80"),
        ("sortby=size", "sortby", "groups have count"),
        ("limit=0", "limit", "from 1 to 10000"),
        ("limit=10001", "limit", "from 1 to 10000"),
        ("f=fgb", "f", "write one of json, csv, geojson"),
        ("crs=EPSG:3857", "crs", "is not a parameter here"),
        ("cursor=abc", "cursor", "is not a parameter here"),
        ("groupby=kind", "groupby", "did you mean group_by?"),
        ("group_by=kind&group_by=open", "group_by", "more than once"),
        ("filter=nothing=1", "filter", "there is no property"),
        ("datetime=someday", "datetime", "is no instant"),
    ],
)
async def test_what_makes_no_groups_is_refused_by_name_with_the_fix(
    service: Service, asked: str, parameter: str, told: str
) -> None:
    answer = await service.get(f"{GROUPS}?{asked}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["parameter"] == parameter
    assert told in problem["detail"]


async def test_rows_without_places_have_groups_and_no_cells(service: Service) -> None:
    assert (await service.get("/collections/calls/aggregate")).json()["numberMatched"] == 0
    answer = await service.get("/collections/calls/aggregate?grid=hex:500")
    assert answer.status_code == 400
    assert "have no place" in answer.json()["detail"]
    assert (await service.get("/collections/nothing/aggregate")).status_code == 404


async def test_a_question_that_costs_too_much_is_refused_with_advice(unwritten: Database) -> None:
    async with serving(unwritten, query_cost=2) as running:
        await running.caught_up()
        answer = await running.get(f"{GROUPS}?group_by=kind")
        assert answer.status_code == 422
        assert "add a bbox" in answer.json()["advice"]


ODD = layer(
    id="odd",
    geometry="point",
    columns=[
        {"name": "hash", "type": "integer"},
        {"name": "size", "type": "number"},
        {"name": "longitude"},
        {"name": "center"},
        {"name": "count"},
    ],
)
HUGE = 9_200_000_000_000_000_000


@pytest.fixture
async def odd(database: Database) -> AsyncIterator[Service]:
    """Numbers that are hard to hold, texts that are hard to quote, columns named like answers."""
    database.declare(ODD)
    database.run(
        'INSERT INTO city.odd (hash, size, longitude, center, "count", geom) VALUES'
        f" ({HUGE}, 1234567890123456, E'a\\rb', 'Hall', 'n', ST_Point(2, 48, 4326)),"
        f" ({HUGE}, 0.1, '', 'Hall', 'n', ST_Point(2, 48, 4326)),"
        f" ({HUGE}, 0.2, NULL, 'Hall', 'n', ST_Point(2, 48, 4326))"
    )
    async with serving(database) as running:
        await running.caught_up()
        yield running


async def test_sums_beyond_64_bits_are_told_and_numbers_are_not_rounded(odd: Service) -> None:
    asked = "/collections/odd/aggregate?measures=sum(hash),mean(hash),sum(size)"
    [group] = (await odd.get(asked)).json()["groups"]
    assert group["sum(hash)"] == pytest.approx(3 * HUGE)
    assert group["mean(hash)"] == pytest.approx(HUGE)
    assert group["sum(size)"] == 1234567890123456.3
    [small] = (await odd.get(f"{asked}&filter=size%3C1")).json()["groups"]
    assert small["sum(size)"] == 0.3  # and not 0.30000000000000004
    [large] = (await odd.get(f"{asked}&filter=size%3E1")).json()["groups"]
    assert (large["sum(size)"], large["sum(hash)"]) == (1234567890123456, HUGE)


async def test_columns_named_like_what_is_told_are_told_beside_it(odd: Service) -> None:
    asked = "/collections/odd/aggregate?group_by=longitude,center,count&grid=square:500"
    group = (await odd.get(asked)).json()["groups"][0]
    assert (group["column:longitude"], group["center"], group["column:count"]) == ("", "Hall", "n")
    assert (round(group["longitude"]), round(group["latitude"]), group["count"]) == (2, 48, 1)
    head = (await odd.get(f"{asked}&f=csv")).text.partition("\n")[0].split(",")
    assert len(head) == len(set(head))


async def test_csv_tells_an_empty_text_from_none_and_quotes_every_line_end(odd: Service) -> None:
    text = (await odd.get("/collections/odd/aggregate?group_by=longitude&f=csv")).text
    assert text == 'longitude,count\n"",1\n"a\rb",1\n,1\n'


REVISION = "SELECT revision FROM quartier.public_state WHERE layer_id = 'shops'"


async def test_a_grid_of_another_latitude_has_another_etag(cities: Copies) -> None:
    with cities() as database:
        async with serving(database) as running:
            await running.caught_up()
            asked = f"{GROUPS}?grid=square:500&as_of={database.value(REVISION)}"
            first = await running.get(asked)
            database.run("INSERT INTO city.shops (geom) VALUES (ST_Point(2, 20, 4326))")
            await running.caught_up()
            await running.parts.feed._take_facts()
            again = await running.get(asked, if_none_match=first.headers["etag"])
            assert (first.json()["grid"]["latitude"], again.json()["grid"]["latitude"]) == (49, 34)
            [link] = [each for each in first.json()["links"] if each["rel"] == "self"]
            same = await running.get(link["href"].removeprefix("http://city.test"))
            assert same.json()["groups"] == first.json()["groups"]


async def test_a_grid_waits_until_it_is_known_where_the_layer_lies() -> None:
    new = PublishedLayer(layer=SHOPS, revision=1, changed_at=None, config_hash="x")
    features = FeatureQuery(layer=SHOPS, geometry=False)
    with pytest.raises(StoreBusy, match="is not known yet"):
        read_groups_asked({"grid": "hex:500"}, features, new)
    told = read_groups_asked({"grid": "hex:500@48"}, features, new)
    assert str(told.grid) == "hex:500@48"
    measured = replace(new, count=0)
    assert str(read_groups_asked({"grid": "hex:0500.50"}, features, measured).grid) == "hex:500.5@0"
