"""Tiles of a part of a layer: every row that the filter means, and no other, at every zoom."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from urllib.parse import quote

import mapbox_vector_tile
import mercantile
import pytest

from tests.api.conftest import Service, serving
from tests.conftest import Copies, Database, copied
from tests.examples import CALLS, layer

pytestmark = [pytest.mark.db, pytest.mark.anyio]

CASES = layer(
    id="cases",
    geometry="point",
    time_zone="America/Mexico_City",
    columns=[
        {"name": "kind"},
        {"name": "at", "type": "datetime"},
        {"name": "size", "type": "number"},
        {"name": "place"},
    ],
    category="kind",
    time="at",
    overview={"groups": ["theft", "fraud"], "bucket": "month", "detail_zoom": 14},
    tile=["kind", "size"],
    maxzoom=16,
)
STREETS = layer(
    id="streets",
    geometry="line",
    columns=[{"name": "kind"}, {"name": "rank", "type": "integer"}, {"name": "name"}],
    overview={"merge_by": ["kind"]},
    tile=["kind"],
)
PARKS = layer(
    id="parks",
    geometry="polygon",
    columns=[
        {"name": "name"},
        {"name": "opened", "type": "date"},
        {"name": "free", "type": "boolean"},
    ],
    time="opened",
    tile=["name"],
)
LEFT, BOTTOM = -99.20, 19.30
KINDS = ("theft", "fraud", "arson", "noise", None)


def fill(database: Database) -> None:
    """Cases in a town over four months, some without a kind, a time or a place; streets, parks."""
    database.declare(CASES, STREETS, PARKS, CALLS)
    database.run(
        "INSERT INTO city.cases (kind, at, size, place, geom) SELECT"
        " (ARRAY['theft', 'fraud', 'arson', 'noise', NULL])[1 + mod(n * 7, 5)],"
        " CASE WHEN mod(n, 11) > 0 THEN"
        "  timestamptz '2026-01-01 06:00Z' + mod(n * 7919, 120 * 24) * interval '1 hour' END,"
        " mod(n, 100), 'Place ' || mod(n, 7),"
        " CASE WHEN mod(n, 13) > 0 THEN"
        f"  ST_Point({LEFT} + mod(n * 0.00317, 0.2), {BOTTOM} + mod(n * 0.00711, 0.2), 4326) END"
        " FROM generate_series(1, 3000) n"
    )
    database.run("UPDATE city.cases SET at = 'infinity' WHERE fid = 5")
    database.run("UPDATE city.cases SET at = '-infinity' WHERE fid = 6")
    database.run(
        "INSERT INTO city.streets (kind, rank, name, geom) SELECT"
        " CASE WHEN mod(n, 3) = 0 THEN 'main' ELSE 'side' END, mod(n, 4), 'Street ' || n,"
        f" ST_SetSRID(ST_MakeLine(ST_Point({LEFT} + n * 0.002, {BOTTOM} + (n / 10) * 0.01),"
        f" ST_Point({LEFT} + (n + 1) * 0.002, {BOTTOM} + (n / 10) * 0.01)), 4326)"
        " FROM generate_series(1, 60) n"
    )
    database.run(
        "INSERT INTO city.parks (name, opened, free, geom) SELECT 'Park ' || n,"
        " date '2020-01-01' + n * 100, mod(n, 2) = 0,"
        f" ST_MakeEnvelope({LEFT} + n * 0.01, {BOTTOM}, {LEFT} + n * 0.01 + 0.008,"
        f" {BOTTOM} + 0.008, 4326) FROM generate_series(1, 12) n"
    )
    database.declare(CASES, STREETS, PARKS, CALLS)  # chains of lines are made by a batch


cities = copied(fill)


@pytest.fixture
async def service(service: Service, unwritten: Database) -> tuple[Service, Database]:
    return service, unwritten


def town(z: int) -> list[mercantile.Tile]:
    return list(mercantile.tiles(LEFT - 0.02, BOTTOM - 0.02, LEFT + 0.24, BOTTOM + 0.24, z))


async def features(
    service: Service, z: int, asked: str, layers: str = "cases"
) -> list[dict[str, Any]]:
    """What all tiles of a zoom hold."""
    found: list[dict[str, Any]] = []
    for at in town(z):
        answer = await service.get(f"/tiles/{layers}/{at.z}/{at.x}/{at.y}.mvt?{asked}")
        assert answer.status_code in (200, 204), answer.text
        for drawn in mapbox_vector_tile.decode(answer.content).values():
            for feature in drawn["features"]:
                if is_inside(feature["geometry"]):
                    found.append(feature)
    return found


def is_inside(geometry: dict[str, Any]) -> bool:
    """Whether a point is of this tile and not of its buffer."""
    if geometry["type"] != "Point":
        return True
    x, y = geometry["coordinates"]  # y from the south
    return bool(0 <= x < 4096 and 0 < y <= 4096)


def said(filter_: str, **more: str) -> str:
    return "&".join(f"{name}={quote(value)}" for name, value in {"filter": filter_, **more}.items())


FILTERS = {
    "kind = 'theft'": "kind = 'theft'",
    "kind IN ('theft','fraud') AND at >= DATE('2026-02-01') AND at < DATE('2026-03-01')":
        "kind IN ('theft','fraud') AND at >= '2026-02-01 06:00Z' AND at < '2026-03-01 06:00Z'",
    "at >= DATE('2026-02-01')": "at >= '2026-02-01 06:00Z'",
    "at < DATE('2026-02-01')": "at < '2026-02-01 06:00Z'",
    "kind = 'arson'": "kind = 'arson'",
    "kind = 'fraud' AND at = DATE('2026-02-11')":
        "kind = 'fraud' AND at >= '2026-02-11 06:00Z' AND at < '2026-02-12 06:00Z'",
    "kind <> 'theft'": "kind <> 'theft'",
    "kind IS NULL": "kind IS NULL",
    "at IS NULL": "at IS NULL",
    "size > 50 AND place LIKE 'Place 3%'": "size > 50 AND place LIKE 'Place 3%'",
    "S_INTERSECTS(geom, BBOX(-99.15,19.35,-99.1,19.4))":
        "geom && ST_MakeEnvelope(-99.15,19.35,-99.1,19.4,4326)",
    "NOT (kind = 'theft' OR size < 90)": "NOT (kind = 'theft' OR size < 90)",
    "kind = 'theft' AND kind = 'fraud'": "false",
    "fid = 17": "fid = 17",
}  # fmt: skip


@pytest.mark.parametrize("filter_", FILTERS)
async def test_the_counts_of_all_tiles_add_up_to_what_sql_counts(
    service: tuple[Service, Database], filter_: str
) -> None:
    running, database = service
    where = FILTERS[filter_]
    rows = database.value(f"SELECT count(*) FROM city.cases WHERE ({where}) AND geom IS NOT NULL")
    for z in (0, 3, 7, 9, 10, 11, 12, 13):
        found = await features(running, z, said(filter_))
        assert sum(each["properties"]["point_count"] for each in found) == rows, z
    assert len(await features(running, 14, said(filter_))) == rows


async def test_cells_tell_their_groups_and_when_they_open(
    service: tuple[Service, Database],
) -> None:
    running, database = service
    by_cube = await features(running, 8, said("kind IN ('theft','fraud')"))
    by_rows = await features(running, 8, said("kind IN ('theft','fraud') AND fid > 0"))
    for counted in (by_cube, by_rows):
        for kind in ("theft", "fraud"):
            told = sum(each["properties"].get(f"point_count:{kind}", 0) for each in counted)
            assert told == database.value(
                "SELECT count(*) FROM city.cases WHERE kind = :kind AND geom IS NOT NULL", kind=kind
            )
    bare = [(e["geometry"], e["properties"]["point_count"]) for e in by_cube]
    assert bare == [(e["geometry"], e["properties"]["point_count"]) for e in by_rows]
    whole = {str(e["geometry"]): e["properties"] for e in await features(running, 8, "")}
    every = await features(running, 8, said("fid > 0"))
    for each in every:
        assert each["properties"] == whole[str(each["geometry"])]


@pytest.mark.parametrize("z", [8, 11, 12, 14, 15])
async def test_lines_and_polygons_are_those_of_the_filter(
    service: tuple[Service, Database], z: int
) -> None:
    running, database = service
    for layers, filter_ in (
        ("streets", "kind = 'main' AND rank > 1"),
        ("streets", "name IN ('Street 7', 'Street 31')"),
        ("parks", "free AND opened > DATE('2021-01-01')"),
    ):
        found = {each["id"] for each in await features(running, z, said(filter_), layers)}
        where = filter_.replace("DATE(", "date(")
        rows = database.run(f"SELECT fid FROM city.{layers} WHERE {where}")
        assert found == {fid for (fid,) in rows}


async def test_labels_and_heat_are_those_of_the_filter(
    service: tuple[Service, Database],
) -> None:
    running, database = service
    labels = await features(running, 14, said("free = true"), "parks:labels")
    assert sorted(each["properties"]["name"] for each in labels) == sorted(
        name for (name,) in database.run("SELECT name FROM city.parks WHERE free")
    )
    rows = database.value("SELECT count(*) FROM city.cases WHERE size > 50 AND geom IS NOT NULL")
    for z in (6, 15):
        heat = await features(running, z, said("size > 50"), "cases:heat")
        assert sum(each["properties"]["point_count"] for each in heat) == rows


async def test_a_datetime_is_a_filter_too(service: tuple[Service, Database]) -> None:
    running, _ = service
    for z in (5, 12, 14):
        february = await features(running, z, "datetime=2026-02-01/2026-02-28")
        same = await features(
            running, z, said("at >= DATE('2026-02-01') AND at < DATE('2026-03-01')")
        )
        assert february == same != []


async def test_filters_that_ask_the_same_share_a_tile(service: tuple[Service, Database]) -> None:
    running, _ = service
    at = town(9)[0]
    rendered = []
    for asked in (
        said("kind = 'theft' AND size > 5"),
        said("size > 5.0 AND kind='theft'"),
        said("NOT (size <= 5 OR NOT kind IN ('theft'))"),
        "kind=theft&" + said("size > 5"),
        said('{"op":"and","args":[{"op":"=","args":[{"property":"kind"},"theft"]},'
             '{"op":">","args":[{"property":"size"},5]}]}'),
    ):  # fmt: skip
        answer = await running.get(f"/tiles/cases/{at.z}/{at.x}/{at.y}.mvt?{asked}")
        rendered.append((answer.headers["etag"], len(running.parts.renderer.tally.render_s)))
    assert len(set(rendered)) == 1


async def test_a_filtered_tile_is_fresh_after_a_change(cities: Copies) -> None:
    with cities() as database:
        async with serving(database) as running:
            await running.caught_up()
            before = await features(running, 10, said("kind = 'theft'"))
            database.run("UPDATE city.cases SET kind = 'fraud' WHERE kind = 'theft' AND fid < 500")
            await running.caught_up()
            after = await features(running, 10, said("kind = 'theft'"))
            assert len(after) < len(before) or after != before
            rows = database.value(
                "SELECT count(*) FROM city.cases WHERE kind = 'theft' AND geom IS NOT NULL"
            )
            assert sum(each["properties"]["point_count"] for each in after) == rows


async def test_the_columns_of_a_tile_can_be_chosen(service: tuple[Service, Database]) -> None:
    running, _ = service
    for street in await features(running, 14, "properties=name,rank&fid=7", "streets"):
        assert street["properties"] == {"name": "Street 7", "rank": 3}
    for street in await features(running, 8, "properties=name&fid=7", "streets"):
        assert street["properties"] == {"name": "Street 7"}
    cases = await features(running, 14, "properties=place")
    assert {frozenset(each["properties"]) for each in cases} == {frozenset({"place"})}
    assert await features(running, 6, "properties=place") == await features(running, 6, "")


async def test_an_unchanged_filtered_tile_is_a_304(service: tuple[Service, Database]) -> None:
    running, _ = service
    at = town(9)[0]
    path = f"/tiles/cases/{at.z}/{at.x}/{at.y}.mvt?{said('size > 5')}"
    for _ in range(3):  # made, from memory, at hand
        answer = await running.get(path)
        assert (await running.get(path, if_none_match=answer.headers["etag"])).status_code == 304
    whole = await running.get(path.partition("?")[0])
    assert whole.headers["etag"] != answer.headers["etag"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("filter=knd='a'", "did you mean kind?"),
        ("filter=kind=", "expected a value"),
        ("knd=theft", "did you mean kind?"),
        ("size=many", "write a number"),
        ("properties=what", "columns are kind"),
        ("datetime=yesterday", "is no instant"),
        ("filter=true&filter=false", "is given more than once"),
        ("filter-lang=sql&filter=true", "write one of cql2-text, cql2-json"),
        ("filter-lang=sql", "write one of cql2-text, cql2-json"),
        ("filter-crs=EPSG:9", "write one of http"),
        ("limit=3", "is not a parameter here"),
        ("filter=" + "x" * 9000, "is too long for a tile"),
    ],
)
async def test_what_cannot_be_asked_of_a_tile_is_refused(
    service: tuple[Service, Database], asked: str, told: str
) -> None:
    running, _ = service
    answer = await running.get(f"/tiles/cases/3/1/3.mvt?{asked}")
    assert answer.status_code == 400
    assert told in answer.json()["detail"]


async def test_a_layer_of_a_composite_must_know_what_is_asked(
    service: tuple[Service, Database],
) -> None:
    running, _ = service
    answer = await running.get("/tiles/cases,parks/9/114/227.mvt?kind=theft")
    assert answer.status_code == 400
    at = town(9)[0]
    answer = await running.get(f"/tiles/cases,streets/{at.z}/{at.x}/{at.y}.mvt?kind=theft")
    assert set(mapbox_vector_tile.decode(answer.content)) == {"cases"}


async def test_a_costly_tile_is_refused_with_advice_and_a_cheap_one_is_not(cities: Copies) -> None:
    with cities() as database:
        database.run("ANALYZE city.cases")
        async with serving(database, filter_cost=60) as running:
            await running.caught_up()
            answer = await running.get("/tiles/cases/0/0/0.mvt?" + said("place LIKE '%3'"))
            assert answer.status_code == 422
            assert "whole months" in answer.json()["advice"]
            assert answer.json()["cost"] > answer.json()["most"]
            cheap = await running.get("/tiles/cases/0/0/0.mvt?" + said("fid = 17"))
            assert cheap.status_code == 200


async def test_a_flood_of_filters_is_told_to_come_back(cities: Copies) -> None:
    with cities() as database:
        async with serving(database, filter_connections=1, filter_queue=1) as running:
            await running.caught_up()
            asked = [f"/tiles/cases/0/0/0.mvt?{said(f'size > {n}.5')}" for n in range(40)]
            answers = await asyncio.gather(*(running.get(path) for path in asked))
            codes = {answer.status_code for answer in answers}
            assert codes <= {200, 204, 503}
            assert 503 in codes
            busy = next(answer for answer in answers if answer.status_code == 503)
            assert busy.headers["retry-after"]
            plain = await running.get("/tiles/cases/0/0/0.mvt")
            assert plain.status_code == 200


async def test_random_filters_and_zooms_add_up(service: tuple[Service, Database]) -> None:
    running, database = service
    drawn = random.Random(7)
    for _ in range(25):
        z = drawn.randrange(14)
        kind = drawn.choice(["theft", "fraud", "arson", "noise"])
        first = drawn.randrange(1, 5)
        last = drawn.randrange(first, 5)
        days = {1: 31, 2: 28, 3: 31, 4: 30}[last]
        asked = f"kind={kind}&datetime=2026-0{first}-01/2026-0{last}-{days}"
        rows = database.value(
            "SELECT count(*) FROM city.cases WHERE kind = :kind AND geom IS NOT NULL AND"
            " (at AT TIME ZONE 'America/Mexico_City')::date BETWEEN CAST(:a AS date)"
            " AND CAST(:b AS date)",
            kind=kind, a=f"2026-0{first}-01", b=f"2026-0{last}-{days}",
        )  # fmt: skip
        found = await features(running, z, asked)
        assert sum(each["properties"]["point_count"] for each in found) == rows


async def test_tilejson_tells_addresses_that_ask_for_the_same_part(
    service: tuple[Service, Database],
) -> None:
    running, _ = service
    answer = await running.get("/tiles/cases.json?kind=theft&filter=size%3E5&lang=es&utm_source=x")
    [template] = answer.json()["tiles"]
    assert template.endswith("/{z}/{x}/{y}.mvt?kind=theft&filter=size%3E5")
    path = template.removeprefix("http://city.test").format(z=0, x=0, y=0)
    tile = mapbox_vector_tile.decode((await running.get(path)).content)
    asked = said("kind = 'theft' AND size > 5")
    same = await running.get(f"/tiles/cases/0/0/0.mvt?{asked}")
    assert tile == mapbox_vector_tile.decode(same.content)
    plain = (await running.get("/tiles/cases.json")).json()
    assert plain["tiles"] == ["http://city.test/tiles/cases/{z}/{x}/{y}.mvt"]
    for wrong in ("knd=theft", "filter=size", "limit=3"):
        assert (await running.get(f"/tiles/cases.json?{wrong}")).status_code == 400


async def test_long_addresses_take_room_as_well(cities: Copies) -> None:
    with cities() as database:
        async with serving(database, cache_bytes=200_000) as running:  # a quarter is for addresses
            await running.caught_up()
            path = "/tiles/cases/16/14704/29145.mvt"
            for number in range(20):
                filtered = f"{path}?filter=" + quote(f"kind = '{'x' * 5_000}{number}'")
                for _ in range(3):
                    assert (await running.get(filtered)).status_code == 204
                assert (await running.get(f"{path}?utm_source={'x' * 5_000}{number}")).status_code
            assert sum(map(len, running.tiles._hot)) <= 50_000
            assert sum(map(len, running.tiles._heeded)) <= 50_000
