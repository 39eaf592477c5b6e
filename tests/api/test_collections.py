"""Layers and features as GeoJSON over HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ingest.run import Job, run
from tests.api.conftest import Service, serving
from tests.conftest import Copies, Database, copied
from tests.examples import ANYTHING, CALLS, TREES

pytestmark = [pytest.mark.db, pytest.mark.anyio]
ITEMS = "/collections/trees/items"


def fill(database: Database) -> None:
    """Twenty-five trees on a line east of 4.8, one without a place; odd places; some calls."""
    database.declare(TREES, CALLS, ANYTHING)
    database.run(
        "INSERT INTO city.trees (number, genus, height, planted, geom) SELECT n, 'Tilia', n,"
        " '2020-01-01', ST_Point(4.8 + n * 0.01, 45.2, 4326) FROM generate_series(1, 25) n"
    )
    database.run("INSERT INTO city.trees (number) VALUES ('lost')")
    database.run("INSERT INTO city.calls (day, calls) VALUES ('2026-01-01', 4), ('2026-01-02', 5)")
    database.run(
        "INSERT INTO city.anything (name, geom) VALUES ('fiji', ST_Point(179.5, -17, 4326)),"
        " ('samoa', ST_Point(-179.5, -17, 4326)), ('pole', ST_Point(0, 89, 4326))"
    )


cities = copied(fill)


@pytest.fixture
async def service(cities: Copies) -> AsyncIterator[Service]:
    with cities() as database:
        async with serving(database) as running:
            yield running


async def names(service: Service, bbox: str) -> list[str]:
    answer = await service.get(f"/collections/anything/items?bbox={bbox}")
    return [feature["properties"]["name"] for feature in answer.json()["features"]]


async def test_every_published_layer_is_listed_with_its_extent_and_licence(
    service: Service,
) -> None:
    collections = {c["id"]: c for c in (await service.get("/collections")).json()["collections"]}
    assert set(collections) == {"anything", "calls", "trees"}
    trees = collections["trees"]
    assert trees["licence"] == "CC-BY-4.0"
    assert trees["revision"] == 2
    [[west, south, east, north]] = trees["extent"]["spatial"]["bbox"]
    assert (west, south, east, north) == pytest.approx((4.81, 45.2, 5.05, 45.2))
    assert "extent" not in collections["calls"]


async def test_a_page_is_geojson_with_the_revision_and_honest_counts(service: Service) -> None:
    answer = await service.get(ITEMS + "?limit=2")
    assert answer.headers["content-type"] == "application/geo+json"
    page = answer.json()
    assert page["type"] == "FeatureCollection"
    assert (page["numberMatched"], page["numberReturned"], page["revision"]) == (26, 2, 2)
    assert page["features"][0] == {
        "type": "Feature",
        "id": 1,
        "geometry": {"type": "Point", "coordinates": [4.81, 45.2]},
        "properties": {"number": "1", "genus": "Tilia", "height": 1, "planted": "2020-01-01"},
    }


async def test_following_next_gives_every_feature_once(service: Service) -> None:
    seen: list[Any] = []
    url: str | None = ITEMS + "?limit=7"
    while url:
        page = (await service.get(url.removeprefix("http://city.test"))).json()
        seen += [feature["id"] for feature in page["features"]]
        url = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    assert seen == sorted(set(seen))
    assert len(seen) == 26


async def test_the_next_link_keeps_the_bbox(service: Service) -> None:
    page = (await service.get(ITEMS + "?limit=2&bbox=4.8,45,4.9,46")).json()
    following = next(link["href"] for link in page["links"] if link["rel"] == "next")
    assert "bbox=4.8%2C45%2C4.9%2C46" in following
    assert page["numberMatched"] == 10


async def test_a_row_without_a_place_has_a_null_geometry(service: Service) -> None:
    page = (await service.get(ITEMS + "?limit=100")).json()
    assert page["features"][-1]["geometry"] is None


async def test_a_bbox_may_cross_the_antimeridian_or_reach_the_pole(service: Service) -> None:
    assert await names(service, "179,-18,-179,-16") == ["fiji", "samoa"]
    assert await names(service, "179,-18,180,-16") == ["fiji"]
    assert await names(service, "-180,80,180,90") == ["pole"]
    assert await names(service, "-180,-90,180,90") == ["fiji", "samoa", "pole"]


async def test_a_bbox_of_six_numbers_leaves_the_heights_out(service: Service) -> None:
    assert await names(service, "179,-18,0,180,-16,100") == ["fiji"]


async def test_a_table_without_geometry_has_items(service: Service) -> None:
    page = (await service.get("/collections/calls/items")).json()
    assert page["numberMatched"] == 2
    assert page["features"][0]["geometry"] is None
    assert page["features"][0]["properties"] == {"day": "2026-01-01", "calls": 4}


async def test_one_feature_is_found_by_its_id(service: Service) -> None:
    feature = (await service.get(ITEMS + "/3")).json()
    assert (feature["id"], feature["properties"]["number"]) == (3, "3")


@pytest.mark.parametrize("fid", ["999", "x", "-1", "99999999999999999999", "1e3"])
async def test_a_feature_that_is_not_there_is_404(service: Service, fid: str) -> None:
    answer = await service.get(f"{ITEMS}/{fid}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("bbox=1,2,3", "bbox"),
        ("bbox=1,2,3,x", "bbox"),
        ("bbox=1,2,3,nan", "bbox"),
        ("bbox=1,50,3,40", "bbox"),
        ("bbox=181,0,182,1", "bbox"),
        ("bbox=", "bbox"),
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=many", "limit"),
        ("cursor=x", "cursor"),
        ("bboks=1,2,3,4", "bboks"),
        ("limit=1&filter=x", "filter"),
    ],
)
async def test_a_wrong_parameter_is_named_with_its_value_and_the_fix(
    service: Service, query: str, parameter: str
) -> None:
    answer = await service.get(f"{ITEMS}?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["parameter"] == parameter
    assert problem["fix"]
    assert problem["status"] == 400


async def test_a_misspelt_parameter_is_told_its_name(service: Service) -> None:
    assert "did you mean bbox?" in (await service.get(ITEMS + "?bboks=1,2,3,4")).json()["fix"]


async def test_rows_of_a_plain_table_lie_in_no_bbox(service: Service) -> None:
    answer = await service.get("/collections/calls/items?bbox=-180,-90,180,90")
    assert answer.status_code == 200
    assert answer.json()["features"] == []


async def test_an_unknown_collection_or_path_is_a_problem(service: Service) -> None:
    for path in ("/collections/shrubs", "/collections/shrubs/items", "/nowhere"):
        answer = await service.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


async def test_any_origin_may_read_null_included(service: Service) -> None:
    answer = await service.get(ITEMS, origin="null")
    assert answer.headers["access-control-allow-origin"] in ("*", "null")


async def test_what_goes_wrong_inside_is_not_told(service: Service) -> None:
    await service.lose_database()
    answer = await service.get(ITEMS)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert "secret" not in answer.text
    assert "word" not in answer.text


async def test_readiness_says_whether_the_database_answers(service: Service) -> None:
    assert (await service.get("/health/live")).status_code == 200
    await service.caught_up()
    await service.lose_database()
    answer = await service.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["database"] is False


async def test_long_answers_travel_compressed(service: Service) -> None:
    packed = await service.get(ITEMS + "?limit=100")
    plain = await service.get(ITEMS + "?limit=100", accept_encoding="identity")
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()


async def test_a_layer_tells_where_its_rows_come_from_and_how_many_are_withheld(
    database: Database, tmp_path: Path
) -> None:
    database.declare(TREES)
    path = tmp_path / "trees.csv"
    path.write_text("number,genus,height,planted,lon,lat\n1,Acer,2,2020-01-01,4.8,45.2\n,,,,,\n")
    run(database.urls.ingest, Job(layer=TREES, files=(path,)))
    async with serving(database) as service:
        told = (await service.get("/collections/trees")).json()
        assert told["withheld"] == {"rows": 1, "of": 2, "says": "1 of 2 rows withheld"}
        [source] = told["provenance"]["sources"]
        assert (source["name"], source["bytes"]) == ("trees.csv", path.stat().st_size)
        assert source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert str(tmp_path) not in str(told)
        assert told["provenance"]["revision"] == told["revision"] == 1
        database.run("DELETE FROM quartier.runs", role="owner")
        assert "provenance" not in (await service.get("/collections/trees")).json()
