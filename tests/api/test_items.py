"""Features over HTTP: what is asked for, in which order, in which form, and never twice."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyogrio
import pyproj
import pytest
import shapely
from shapely.geometry import shape

from api.feature_streams import HELD
from layers.feature_query import Cursor
from tests.api.conftest import Service, serving
from tests.conftest import Copies, Database, copied
from tests.examples import CALLS, layer

pytestmark = [pytest.mark.db, pytest.mark.anyio]

SHOPS = layer(
    id="shops",
    geometry="point",
    time_zone="Europe/Paris",
    columns=[
        {"name": "name"},
        {"name": "kind"},
        {"name": "size", "type": "number"},
        {"name": "floors", "type": "integer"},
        {"name": "opened", "type": "date"},
        {"name": "seen", "type": "datetime"},
        {"name": "open", "type": "boolean"},
        {"name": "from", "type": "time"},
        {"name": "tags", "type": "json", "separator": ","},
        {"name": "limit"},
    ],
    category="kind",
    time="opened",
)
WORKS = layer(
    id="works",
    geometry="polygon",
    columns=[
        {"name": "name"},
        {"name": "starts", "type": "date"},
        {"name": "ends", "type": "date"},
    ],
    time={"start": "starts", "end": "ends"},
)
ITEMS = "/collections/shops/items"
BASE = "http://city.test"
CRS = "http://www.opengis.net/def/crs/"


def fill(database: Database) -> None:
    database.declare(SHOPS, WORKS, CALLS)
    database.run(
        'INSERT INTO city.shops (name, kind, size, floors, opened, seen, open, "from", tags,'
        ' "limit", geom) SELECT'
        " CASE mod(n, 4) WHEN 0 THEN 'Café ' || n WHEN 1 THEN 'Bäckerei, \"' || n || '\"'"
        "  WHEN 2 THEN E'Two\\nlines ' || n ELSE NULL END,"
        " (ARRAY['food', 'books', ''])[1 + mod(n, 3)],"
        " CASE WHEN mod(n, 5) > 0 THEN n / 4.0 END, mod(n, 3), date '2026-01-01' + n,"
        " timestamptz '2026-03-29 00:30Z' + n * interval '1 hour', mod(n, 2) = 0,"
        " time '08:00' + n * interval '1 minute', CASE WHEN mod(n, 2) = 0 THEN '[\"a\", \"b\"]'"
        "  ELSE '[\"c\"]' END::jsonb, 'l' || n,"
        " CASE WHEN n < 38 THEN ST_Point(2.3 + n * 0.001, 48.85 + mod(n, 7) * 0.001, 4326) END"
        " FROM generate_series(1, 40) n"
    )
    database.run(
        "INSERT INTO city.works (name, starts, ends, geom) VALUES"
        " ('past', '2026-01-01', '2026-01-31', ST_MakeEnvelope(2.30, 48.85, 2.31, 48.86, 4326)),"
        " ('now', '2026-01-15', NULL, ST_Reverse(ST_MakeEnvelope(2.32, 48.85, 2.33, 48.86, 4326))),"
        " ('later', '2026-03-01', '2026-03-02',"
        "  ST_Buffer(ST_Point(2.34, 48.86, 4326), 0.005, 16)), ('never', NULL, NULL, NULL)"
    )
    database.run("INSERT INTO city.calls (day, calls) VALUES ('2026-01-01', 4), ('2026-01-02', 5)")


cities = copied(fill)


@pytest.fixture
async def city(cities: Copies) -> AsyncIterator[tuple[Service, Database]]:
    with cities() as database:
        async with serving(database) as running:
            await running.caught_up()
            yield running, database


@pytest.fixture
async def service(city: tuple[Service, Database]) -> Service:
    return city[0]


async def ask(service: Service, asked: str, path: str = ITEMS) -> dict[str, Any]:
    answer = await service.get(f"{path}?{asked}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def ids(service: Service, asked: str, path: str = ITEMS) -> list[int]:
    return [each["id"] for each in (await ask(service, asked, path))["features"]]


def cursor(*said: object) -> str:
    """One that no page ever gave."""
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")


def following(page: dict[str, Any]) -> str | None:
    return next((link["href"] for link in page["links"] if link["rel"] == "next"), None)


async def walk(service: Service, asked: str) -> list[int]:
    """The ids of all pages, in the order they came."""
    url, found = f"{ITEMS}?{asked}", list[int]()
    while url:
        answer = await service.get(url.removeprefix(BASE))
        assert answer.status_code == 200, answer.text
        found += [each["id"] for each in answer.json()["features"]]
        url = following(answer.json()) or ""
    return found


# Which features ----------------------------------------------------------------------------------


async def test_a_filter_may_come_as_text_as_json_or_in_a_body(service: Service) -> None:
    text = "kind = 'food' AND size > 3"
    tree = {"op": "and", "args": [
        {"op": "=", "args": [{"property": "kind"}, "food"]},
        {"op": ">", "args": [{"property": "size"}, 3]},
    ]}  # fmt: skip
    wanted = await ids(service, f"filter={quote(text)}&filter-lang=cql2-text")
    assert wanted == [15, 18, 21, 24, 27, 33, 36, 39] or len(wanted) > 5
    assert await ids(service, f"filter={quote(json.dumps(tree))}") == wanted
    for filter_ in (text, tree):
        answer = await service.client.post("/collections/shops/search", json={"filter": filter_})
        assert [each["id"] for each in answer.json()["features"]] == wanted


async def test_a_column_may_be_asked_for_by_its_value(service: Service) -> None:
    same = quote("kind='food' AND open AND floors = 0")
    assert await ids(service, "kind=food&open=true&floors=0") == await ids(
        service, f"filter={same}"
    )
    assert await ids(service, "opened=2026-01-11") == [10]
    assert await ids(service, "seen=2026-03-29T10:30:00Z") == [10]
    assert await ids(service, "from=08:10") == [10]
    assert await ids(service, "fid=3") == [3]
    assert await ids(service, "size=0.25") == [1]
    assert len(await ids(service, "limit=3")) == 3  # a column named like a parameter is not meant


async def test_a_day_is_a_day_in_the_layers_time_zone(service: Service) -> None:
    """The 29th of March 2026 has 23 hours in Paris; the first of them begins at 23:00Z."""
    of_day = await ids(service, "seen=2026-03-29&limit=100")
    assert of_day == list(range(1, 22))


async def test_a_datetime_meets_what_lasts(service: Service) -> None:
    works = "/collections/works/items"
    for asked, names in {
        "2026-01-20": ["past", "now"],
        "2026-01-31T23:30:00Z": ["past", "now"],
        "2026-02-01/2026-02-28": ["now"],
        "../2025-12-31": [],
        "2026-03-02/..": ["now", "later"],
        "2026-03-02/": ["now", "later"],
    }.items():
        page = await ask(service, f"datetime={asked}", works)
        assert [each["properties"]["name"] for each in page["features"]] == names, asked
    assert await ids(service, "datetime=2026-01-03/2026-01-05") == [2, 3, 4]
    refused = await service.get("/collections/calls/items?datetime=2026-01-01")
    assert refused.status_code == 400
    assert "have no time" in refused.json()["detail"]


async def test_words_are_found_whatever_their_case_and_accents(service: Service) -> None:
    assert await ids(service, "q=CAFE&limit=100") == list(range(4, 41, 4))
    assert await ids(service, "q=cafe 12") == [12]
    assert await ids(service, "q=lines 6,backerei 5") == [5, 6, 25, 26]
    assert await ids(service, "q=100%25") == []
    assert await ids(service, "q=l%5C") == []


async def test_ids_are_asked_for_together(service: Service) -> None:
    assert await ids(service, "ids=7,3,3,99") == [3, 7]


async def test_a_box_may_be_in_another_system_in_its_own_order(service: Service) -> None:
    wanted = await ids(service, "bbox=2.3035,48.8,2.3065,48.9")
    assert sorted(wanted) == [4, 5, 6]  # in order of where they are, in every system
    turned = f"bbox=48.8,2.3035,48.9,2.3065&bbox-crs={CRS}EPSG/0/4326"
    assert await ids(service, turned) == wanted
    to_metres = pyproj.Transformer.from_crs(4326, 2154, always_xy=True).transform
    (west, south), (east, north) = to_metres(2.3035, 48.84), to_metres(2.3065, 48.86)
    box = f"bbox={west},{south},{east},{north}&bbox-crs=EPSG:2154"
    assert await ids(service, box) == wanted
    nowhere = f"bbox=2.3,148.8,2.4,148.9&bbox-crs={CRS}EPSG/0/4326"
    assert await ids(service, nowhere) == []
    plain = await service.get("/collections/calls/items?bbox=1,2,3,4")
    assert plain.json()["features"] == []


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("limit=unlimited", "write a whole number from 1 to 10000"),
        ("limit=0", "write a whole number from 1 to 10000"),
        ("filter=knd='a'", "did you mean kind?"),
        ("sortby=siz", "did you mean size?"),
        ("sortby=tags", "features can be sorted by fid, name"),
        ("properties=nme", "did you mean name?"),
        ("crs=EPSG:9999", "write one of http"),
        ("bbox-crs=x&bbox=1,2,3,4", "write one of http"),
        ("bbox=1,2,3", "has 3 numbers"),
        ("bbox=a,b,c,d", "write west,south,east,north"),
        ("bbox=200,1,201,2", "longitudes lie within"),
        ("datetime=soon", "is no instant"),
        ("datetime=../..", "at least one end"),
        ("ids=a", "write ids of features"),
        ("precision=99", "from 0 to 15"),
        ("zoom=99", "from 0 to 22"),
        ("skipGeometry=maybe", "write true or false"),
        ("cursor=xyz", "use the link `next`"),
        ("cursor=WzEsInkiXQ", "use the link `next`"),
        ("f=xml", "write one of geojson"),
        ("floors=many", "write an integer"),
        ("open=1", "write true or false"),
        ("opened=2026-13-01", "is no date"),
        ("nmae=x", "did you mean name?"),
        ("limit=1&limit=2", "is given more than once"),
        ("filter-lang=cql&filter=true", "write one of cql2-text"),
        ("filter-lang=cql", "write one of cql2-text"),
        ("as_of=99", "the newest revision is"),
    ],
)
async def test_what_cannot_be_asked_is_a_400_that_names_the_parameter(
    service: Service, asked: str, told: str
) -> None:
    answer = await service.get(f"{ITEMS}?{asked}")
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert told in answer.json()["detail"]
    assert answer.json()["parameter"] in asked


async def test_a_map_of_the_whole_world_may_ask_for_more_than_there_is(service: Service) -> None:
    for half in (20037509, 40075016, "1e308"):
        box = f"bbox=-{half},-{half},{half},{half}&bbox-crs=EPSG:3857"
        assert (await ask(service, box))["numberMatched"] == 37, half
    beside = "bbox=30000000,0,40000000,10000000&bbox-crs=EPSG:3857"
    assert (await ask(service, beside))["numberMatched"] == 0


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (f"bbox=2,48,3,49&cursor={cursor(1, 3, ['cell'], ['abc'])}", 400),
        (f"bbox=2,48,3,49&cursor={cursor(1, 3, ['cell'], ['9' * 30])}", 400),
        (f"bbox=2,48,3,49&cursor={cursor(1, 3, ['cell'], [None])}", 400),
        ("bbox=0,0,5e-324,0&bbox-crs=EPSG:2154", 200),
        ("bbox=-1e308,-1e308,1e308,1e308&bbox-crs=EPSG:2154", 200),
        ("bbox=nan,nan,nan,nan&bbox-crs=EPSG:2154", 400),
        ("as_of=0001-01-01T00:00:00%2B23:00", 400),
        ("as_of=9999-12-31T23:59:59-23:00", 400),
        ("filter=floors<-9223372036854775808", 200),
    ],
)
async def test_no_number_at_the_end_of_its_range_is_an_error_of_ours(
    service: Service, asked: str, status: int
) -> None:
    assert (await service.get(f"{ITEMS}?{asked}")).status_code == status


async def test_what_a_filter_cannot_work_out_is_its_own_fault(service: Service) -> None:
    answer = await service.get(f"{ITEMS}?filter={quote('size ^ 9999 > 1')}")
    assert answer.status_code == 400
    assert "out of range" in answer.json()["detail"]


async def test_what_no_number_is_gives_nothing(service: Service) -> None:
    assert await ids(service, f"filter={quote('(size - 5) ^ 0.5 >= 0')}&limit=100") == await ids(
        service, f"filter={quote('size >= 5')}&limit=100"
    )
    assert await ids(service, f"filter={quote('(size - size) ^ -1 > 0')}") == []


async def test_a_number_is_written_as_numbers_are(service: Service) -> None:
    for said in ("floors=1_0", "size=1_0", "floors=%D9%A1", "floors= 1"):
        assert (await service.get(f"{ITEMS}?{said}")).status_code == 400, said


async def test_a_cursor_of_values_that_are_none_is_the_cursors_fault(service: Service) -> None:
    page = await ask(service, "limit=5&sortby=opened")
    told = (following(page) or "").partition("cursor=")[2]
    wrong = Cursor(1, 3, ("not a day",), ("opened",)).encode()
    assert told
    answer = await service.get(f"{ITEMS}?limit=5&sortby=opened&cursor={wrong}")
    assert (answer.status_code, answer.json()["parameter"]) == (400, "cursor")


async def test_what_would_cost_too_much_is_refused_with_advice(cities: Copies) -> None:
    with cities() as database:
        async with serving(database, query_cost=2) as running:
            await running.caught_up()
            answer = await running.get(f"{ITEMS}?q=cafe")
            assert answer.status_code == 422
            assert "add a bbox" in answer.json()["advice"]
            assert (await running.get(ITEMS)).status_code == 200


# In which order ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sort", ["size", "-size", "kind,-size", "-opened", "name", "-name,fid", "open,-seen", "-fid"]
)
async def test_a_walk_in_any_order_meets_each_feature_once(
    city: tuple[Service, Database], sort: str
) -> None:
    service, database = city
    keys = ", ".join(
        f'"{each.lstrip("-")}" {"DESC" if each.startswith("-") else "ASC"} NULLS LAST'
        for each in sort.split(",")
    )
    wanted = [fid for (fid,) in database.run(f"SELECT fid FROM city.shops ORDER BY {keys}, fid")]
    assert await walk(service, f"sortby={sort}&limit=7") == wanted
    assert await walk(service, f"sortby={sort}&limit=40") == wanted


async def test_a_walk_is_of_one_revision_whatever_is_written_meanwhile(
    city: tuple[Service, Database],
) -> None:
    service, database = city
    wanted = await walk(service, "sortby=-size&limit=9&kind=food")
    page = await ask(service, "sortby=-size&limit=4&kind=food")
    seen, revision = [each["id"] for each in page["features"]], page["revision"]
    for statement in (
        "UPDATE city.shops SET size = 1000 - coalesce(size, 0)",
        "DELETE FROM city.shops WHERE mod(fid, 4) = 3",
        "INSERT INTO city.shops (name, kind, size) VALUES ('new', 'food', 5)",
    ):
        database.run(statement)
        url = following(page)
        assert url is not None
        page = (await service.get(url.removeprefix(BASE))).json()
        assert (page["revision"], page["numberMatched"]) == (revision, len(wanted))
        seen += [each["id"] for each in page["features"]]
    assert seen == wanted[: len(seen)]
    assert len(seen) >= 12
    assert (await ask(service, "limit=1"))["revision"] > revision


async def test_a_walk_goes_on_where_its_past_is_no_longer_kept(
    city: tuple[Service, Database],
) -> None:
    service, database = city
    page = await ask(service, "limit=10")
    database.run("DELETE FROM city.shops WHERE fid IN (3, 15)")
    database.run("DELETE FROM quartier.revisions WHERE layer_id = 'shops' AND revision < 2")
    url = following(page)
    assert url is not None
    page = (await service.get(url.removeprefix(BASE))).json()
    assert [each["id"] for each in page["features"]] == [11, 12, 13, 14, 16, 17, 18, 19, 20, 21]
    assert page["revision"] == 2


async def test_a_cursor_of_another_order_is_refused(service: Service) -> None:
    url = following(await ask(service, "limit=5&sortby=size"))
    assert url is not None
    answer = await service.get(url.removeprefix(BASE).replace("sortby=size", "sortby=name"))
    assert answer.status_code == 400
    assert "is of features sorted by size" in answer.json()["detail"]


async def test_a_search_is_walked_by_its_body(service: Service) -> None:
    body: dict[str, Any] | None = {"sortby": ["-size", "name"], "limit": 9, "floors": 1}
    seen: list[int] = []
    while body:
        answer = await service.client.post("/collections/shops/search", json=body)
        assert answer.status_code == 200, answer.text
        seen += [each["id"] for each in answer.json()["features"]]
        body = next((x["body"] for x in answer.json()["links"] if x["rel"] == "next"), None)
    assert seen == await walk(service, "sortby=-size,name&floors=1&limit=40")
    for wrong in ("[1]", "{", '{"bbox": {"a": 1}}', '{"what": 1}'):
        answer = await service.client.post("/collections/shops/search", content=wrong)
        assert answer.status_code == 400, wrong


async def test_a_search_may_hold_the_shape_of_a_district_and_no_more(service: Service) -> None:
    shape_ = shapely.Point(2.32, 48.853).buffer(0.01, quad_segs=2_000)
    body = {"filter": {"op": "s_intersects", "args": [
        {"property": "geom"}, json.loads(shapely.to_geojson(shape_))]}}  # fmt: skip
    assert len(json.dumps(body)) > 200_000
    answer = await service.client.post("/collections/shops/search", json=body)
    assert len(answer.json()["features"]) > 10
    body["padding"] = "x" * 2**20  # type: ignore[assignment]
    assert (await service.client.post("/collections/shops/search", json=body)).status_code == 413


# What of them ------------------------------------------------------------------------------------


async def test_columns_and_geometry_may_be_left_out(service: Service) -> None:
    [feature] = (await ask(service, "ids=1&properties=size,kind"))["features"]
    assert feature["properties"] == {"kind": "books", "size": 0.25}
    assert feature["geometry"] is not None
    [feature] = (await ask(service, "ids=1&properties=&skipGeometry=true"))["features"]
    assert (feature["properties"], feature["geometry"]) == ({}, None)


async def test_coordinates_come_in_the_system_asked_for_and_its_order(service: Service) -> None:
    path = "/collections/shops/items/5"
    plain = await service.get(path)
    assert plain.headers["content-crs"] == f"<{CRS}OGC/1.3/CRS84>"
    longitude, latitude = plain.json()["geometry"]["coordinates"]
    turned = await service.get(f"{path}?crs={CRS}EPSG/0/4326")
    assert turned.headers["content-crs"] == f"<{CRS}EPSG/0/4326>"
    assert turned.json()["geometry"]["coordinates"] == [latitude, longitude]
    lambert = (await service.get(f"{path}?crs=EPSG:2154")).json()["geometry"]["coordinates"]
    to_metres = pyproj.Transformer.from_crs(4326, 2154, always_xy=True).transform
    assert lambert == pytest.approx(to_metres(longitude, latitude), abs=0.01)
    many = await service.get(f"{ITEMS}?ids=5&crs=EPSG:2154&precision=0")
    assert many.json()["features"][0]["geometry"]["coordinates"] == [round(n) for n in lambert]


async def test_shapes_are_as_coarse_as_a_zoom_needs_and_turn_as_geojson_wants(
    service: Service,
) -> None:
    works = "/collections/works/items"
    fine, coarse = [
        [shape(each["geometry"]) for each in page["features"] if each["geometry"]]
        for page in (await ask(service, "", works), await ask(service, "zoom=8", works))
    ]
    points = [shapely.get_num_coordinates(each[2]) for each in (coarse, fine)]
    assert points[0] < points[1]
    assert all(shapely.is_ccw(shapely.get_exterior_ring(each)) for each in fine)


# In which form -----------------------------------------------------------------------------------


async def test_csv_keeps_every_value(service: Service) -> None:
    answer = await service.get(f"{ITEMS}?f=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    features = (await ask(service, "limit=100"))["features"]
    assert len(rows) == 40
    for row, feature in zip(rows, features, strict=True):
        told = feature["properties"]
        assert row["name"] == (told["name"] or "")
        assert (row["kind"], row["fid"]) == (told["kind"], str(feature["id"]))
        assert row["size"] == ("" if told["size"] is None else f"{told['size']:g}")
        assert row["seen"] == told["seen"]
        assert row["open"] == str(told["open"]).lower()
        assert (row["opened"], row["from"]) == (told["opened"], told["from"])
        assert json.loads(row["tags"]) == told["tags"]
        place = (
            [float(row[axis]) for axis in ("longitude", "latitude")] if row["latitude"] else None
        )
        assert place == (feature["geometry"] and feature["geometry"]["coordinates"])
    assert ',"",' in answer.text  # an empty text is told from a missing one


async def test_csv_of_shapes_has_wkt_and_of_tables_neither(service: Service) -> None:
    answer = await service.get("/collections/works/items?f=csv&properties=name")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert shapely.from_wkt(rows[0]["geometry"]).geom_type == "Polygon"
    answer = await service.get("/collections/calls/items?f=csv")
    assert answer.text.splitlines()[0] == "fid,day,calls"


async def test_lines_of_geojson_are_the_features(service: Service) -> None:
    wanted = (await ask(service, "limit=100"))["features"]
    answer = await service.get(f"{ITEMS}?f=geojsonl")
    assert [json.loads(line) for line in answer.text.splitlines()] == wanted
    answer = await service.get(ITEMS, accept="application/geo+json-seq")
    records = answer.text.split("\x1e")[1:]
    assert [json.loads(record) for record in records] == wanted


async def test_a_page_of_lines_links_to_the_next(service: Service) -> None:
    url, lines = f"{ITEMS}?f=csv&limit=15&sortby=-fid", list[str]()
    while url:
        answer = await service.get(url.removeprefix(BASE))
        lines += answer.text.splitlines()
        link = answer.headers.get("link", "")
        url = link[1:].partition(">")[0] if 'rel="next"' in link else ""
    rows = list(csv.DictReader(io.StringIO("\n".join(lines))))
    assert len({row["fid"] for row in rows}) == 40


@pytest.mark.parametrize("path", ["shops", "works", "calls"])
async def test_flatgeobuf_is_read_by_gdal(service: Service, path: str, tmp_path: Path) -> None:
    answer = await service.get(f"/collections/{path}/items?f=fgb")
    assert answer.headers["content-type"] == "application/flatgeobuf"
    file = tmp_path / "a.fgb"
    file.write_bytes(answer.content)
    info = pyogrio.read_info(file)
    wanted = (await ask(service, "limit=100", f"/collections/{path}/items"))["features"]
    assert info["features"] == len(wanted)
    if path == "shops":
        types = dict(zip(info["fields"], info["ogr_types"], strict=True))
        assert types["size"] == "OFTReal"
        assert types["seen"] == "OFTDateTime"
        table = pyogrio.raw.read(file)[3]
        assert list(table[list(info["fields"]).index("name")]) == [
            each["properties"]["name"] for each in wanted
        ]


@pytest.mark.parametrize("asked", ["", "&bbox=2,48,3,49", "&as_of=1", "&sortby=-fid"])
async def test_flatgeobuf_holds_no_more_than_was_asked_for(
    service: Service, asked: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.fgb"
    file.write_bytes((await service.get(f"{ITEMS}?f=fgb&limit=3{asked}")).content)
    fids = pyogrio.raw.read(file, columns=["fid"])[3][0]
    assert list(fids) == await ids(service, f"limit=3{asked}")


async def test_a_page_for_people_is_html(service: Service) -> None:
    answer = await service.get(ITEMS, accept="text/html")
    assert answer.headers["content-type"].startswith("text/html")
    assert "Café 4" in answer.text
    answer = await service.get(f"{ITEMS}/4?f=html")
    assert "Café 4" in answer.text


async def test_who_takes_none_of_the_forms_is_told_which_there_are(service: Service) -> None:
    answer = await service.get(ITEMS, accept="image/png")
    assert answer.status_code == 406
    assert "application/geo+json" in answer.json()["detail"]


# What stands around them -------------------------------------------------------------------------


async def test_every_answer_names_its_revision_and_what_it_holds(service: Service) -> None:
    page = await ask(service, "limit=4&kind=food")
    assert (page["numberReturned"], page["revision"]) == (4, 1)
    assert page["numberMatched"] == len(await ids(service, "limit=100&kind=food"))
    rels = {link["rel"] for link in page["links"]}
    assert rels >= {"self", "next", "alternate", "collection"}
    assert "kind=food" in (following(page) or "")
    for form in ("csv", "geojsonl", "geojsonseq", "fgb", "html"):
        answer = await service.get(f"{ITEMS}?f={form}&limit=2")
        assert answer.status_code == 200
        if form != "html":
            assert answer.headers["quartier-revision"] == "1"


async def test_an_unchanged_page_is_a_304_until_the_layer_changes(
    city: tuple[Service, Database],
) -> None:
    service, database = city
    for path in (f"{ITEMS}?limit=3&kind=food", f"{ITEMS}/4", f"{ITEMS}?f=csv"):
        first = await service.get(path)
        tag = first.headers["etag"]
        again = await service.get(path, if_none_match=f'"x", {tag}')
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    other = await service.get(f"{ITEMS}?limit=3&kind=books")
    assert (
        other.headers["etag"] != (await service.get(f"{ITEMS}?limit=3&kind=food")).headers["etag"]
    )
    database.run("UPDATE city.shops SET size = 1 WHERE fid = 4")
    await service.caught_up()
    changed = await service.get(f"{ITEMS}/4", if_none_match=tag)
    assert changed.status_code == 200


async def test_a_column_that_is_added_makes_another_answer(
    city: tuple[Service, Database],
) -> None:
    service, database = city
    path = "/collections/calls/items"
    tag = (await service.get(path)).headers["etag"]
    more = layer(**(CALLS.model_dump() | {"columns": [*CALLS.columns, {"name": "reason"}]}))
    database.declare(SHOPS, WORKS, more)
    await service.caught_up()
    answer = await service.get(path, if_none_match=tag)
    assert answer.status_code == 200
    assert "reason" in answer.json()["features"][0]["properties"]


async def test_head_says_what_get_would(service: Service) -> None:
    for path in (f"{ITEMS}?limit=3", f"{ITEMS}/4", f"{ITEMS}?f=geojsonl"):
        got = await service.get(path)
        head = await service.client.head(path, headers={"accept-encoding": "gzip"})
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["etag"] == got.headers["etag"]
        assert head.headers["content-type"] == got.headers["content-type"]


async def test_a_feature_that_is_not_there_is_a_404(service: Service) -> None:
    for fid in ("999", "x", "-1", "9" * 30):
        assert (await service.get(f"{ITEMS}/{fid}")).status_code == 404
    wrong = await service.get(f"{ITEMS}/4?limit=3")
    assert wrong.status_code == 400
    assert "one takes crs" in wrong.json()["detail"]


async def test_one_feature_can_be_had_as_it_was(city: tuple[Service, Database]) -> None:
    service, database = city
    database.run("UPDATE city.shops SET name = 'changed' WHERE fid = 4")
    await service.caught_up()
    for as_of, name in (("1", "Café 4"), ("2", "changed")):
        answer = await service.get(f"{ITEMS}/4?as_of={as_of}")
        assert answer.json()["properties"]["name"] == name
        assert answer.json()["revision"] == int(as_of)


async def test_more_files_at_once_than_may_be_made_are_told_to_come_back(cities: Copies) -> None:
    with cities() as database:
        async with serving(database, exports=1) as running:
            await running.caught_up()
            async with running.parts.exports.turn():
                answer = await running.get(f"{ITEMS}?f=csv")
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert (await running.get(f"{ITEMS}?f=csv")).status_code == 200


async def test_files_that_nobody_fetches_do_not_fill_the_disk(cities: Copies) -> None:
    with cities() as database:
        async with serving(database, exports=1) as running:
            await running.caught_up()
            waiting = [running.parts.exports.spool() for _ in range(HELD)]
            answer = await running.get(f"{ITEMS}?f=csv")
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
            waiting.pop().close()
            for _ in range(3):
                assert (await running.get(f"{ITEMS}?f=csv")).status_code == 200
            for spool in waiting:
                spool.close()
