"""What clients of others say in words of their own, and what it means here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from tests.api.conftest import Service, serving
from tests.conftest import Copies, Database, copied
from tests.examples import TREES

pytestmark = [pytest.mark.db, pytest.mark.anyio]
ITEMS = "/collections/trees/items"


def fill(database: Database) -> None:
    database.declare(TREES)
    database.run(
        "INSERT INTO city.trees (number, genus, planted, geom) SELECT n,"
        " CASE WHEN n % 2 = 0 THEN 'Tilia' ELSE 'ÉRABLE' END, date '2019-12-26' + n,"
        " ST_Point(4.81, 45.2, 4326)"
        " FROM generate_series(1, 10) n"
    )


cities = copied(fill)


@pytest.fixture
async def service(cities: Copies) -> AsyncIterator[Service]:
    with cities() as database:
        async with serving(database) as running:
            yield running


async def matched(service: Service, filter_: str) -> int:
    answer = await service.get(f"{ITEMS}?filter-lang=cql-text&filter={quote(filter_)}")
    assert answer.status_code == 200, answer.text
    count: int = answer.json()["numberMatched"]
    return count


async def test_gdal_finds_its_own_name_of_cql2_text_in_the_document(service: Service) -> None:
    told = (await service.get("/api")).json()["components"]["parameters"]["filter-lang"]
    assert told["schema"]["enum"] == ["cql2-text", "cql2-json", "cql-text"]


async def test_filters_as_gdal_writes_them_are_read_as_cql2_text(service: Service) -> None:
    assert await matched(service, "(genus = 'Tilia') AND (fid > 4)") == 3
    assert await matched(service, "NOT ((genus IS NULL))") == 10


async def test_ilike_of_gdal_is_like_without_regard_to_case(service: Service) -> None:
    assert await matched(service, "genus ILIKE 'til%'") == 5
    assert await matched(service, "genus NOT ILIKE 'éra%'") == 5
    assert await matched(service, "genus LIKE 'til%'") == 0


async def test_a_day_as_gdal_writes_it_is_that_day(service: Service) -> None:
    assert await matched(service, "planted >= '2020-01-01T'") == 5
    answer = await service.get(f"{ITEMS}?planted=2020-01-02T")
    assert (answer.status_code, answer.json()["numberMatched"]) == (200, 1)


async def test_an_offset_of_nothing_asks_for_the_first_page(service: Service) -> None:
    """As ogc-client has it in every address; there is no other offset."""
    first = await service.get(f"{ITEMS}?limit=3")
    again = await service.get(f"{ITEMS}?limit=3&offset=0")
    assert again.json()["features"] == first.json()["features"]
    refused = await service.get(f"{ITEMS}?limit=3&offset=3")
    assert refused.status_code == 400
    assert "next" in refused.json()["fix"]


async def test_a_system_is_checked_also_where_nothing_is_in_it(service: Service) -> None:
    for name in ("crs", "bbox-crs", "filter-crs"):
        answer = await service.get(f"{ITEMS}?{name}=http://www.opengis.net/def/crs/0/unsupported")
        assert (answer.status_code, answer.json()["parameter"]) == (400, name)


async def test_a_box_at_a_pole_costs_little_of_points(cities: Copies) -> None:
    """The suite of OGC asks for one of every collection, and takes no refusal."""
    with cities() as database:
        database.run(
            "INSERT INTO city.trees (number, geom) SELECT n, ST_Point(4.81, 45.2, 4326)"
            " FROM generate_series(11, 3000) n"
        )
        database.run("ANALYZE city.trees")
        async with serving(database, query_cost=5_000) as service:
            for box in ("-180,85,180,90", "-180,-90,180,-85"):
                answer = await service.get(f"{ITEMS}?bbox={box}")
                assert answer.status_code == 200, answer.text
                assert answer.json()["numberMatched"] == 0
