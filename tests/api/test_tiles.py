"""Tiles over HTTP: right bytes, right validators, never stale."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import AsyncIterator
from typing import Any

import mapbox_vector_tile
import mercantile
import pytest

from api.tile_path import TilePath
from layers.errors import StoreBusy
from tests.api.conftest import NOWHERE, Service, serving
from tests.conftest import Copies, Database, copied
from tests.examples import CALLS, PARKS, TREES
from tiles.parts import Budget

pytestmark = [pytest.mark.db, pytest.mark.anyio]

HOME = mercantile.tile(4.85, 45.2, 14)
FAR = mercantile.tile(5.35, 45.2, 14)


def url(at: mercantile.Tile, layers: str = "trees") -> str:
    return f"/tiles/{layers}/{at.z}/{at.x}/{at.y}.mvt"


def decoded(body: bytes) -> dict[str, Any]:
    tile: dict[str, Any] = mapbox_vector_tile.decode(body, {"y_coord_down": True})
    return tile


def fill(database: Database) -> None:
    """Two trees far apart and a park."""
    database.declare(TREES, PARKS, CALLS)
    database.run(
        "INSERT INTO city.trees (number, genus, height, planted, geom) VALUES"
        " ('1', 'Tilia', 12.5, '2020-02-29', ST_Point(4.85, 45.2, 4326)),"
        " ('2', 'Acer', NULL, NULL, ST_Point(5.35, 45.2, 4326)),"
        " ('3', 'Lost', NULL, NULL, NULL)"
    )
    database.run(
        "INSERT INTO city.parks (name, geom)"
        " VALUES ('Park', ST_MakeEnvelope(4.849, 45.199, 4.851, 45.201, 4326))"
    )


cities = copied(fill)


@pytest.fixture
async def service(cities: Copies) -> AsyncIterator[tuple[Service, Database]]:
    with cities() as database:
        async with serving(database) as running:
            yield running, database


Served = tuple[Service, Database]


async def test_a_tile_holds_the_features_with_their_ids_and_declared_attributes(
    service: Served,
) -> None:
    answer = await service[0].get(url(HOME))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.mapbox-vector-tile"
    assert answer.headers["content-encoding"] == "gzip"
    layer = decoded(answer.content)["trees"]
    assert layer["extent"] == 4096
    assert [(f["id"], f["properties"]) for f in layer["features"]] == [
        (1, {"genus": "Tilia", "height": 12.5, "planted": "2020-02-29"})
    ]


async def test_a_composite_holds_every_layer_asked(service: Served) -> None:
    answer = await service[0].get(url(HOME, "parks,trees"))
    assert set(decoded(answer.content)) == {"parks", "trees"}


async def test_a_tile_with_nothing_to_draw_is_204_with_a_validator(service: Served) -> None:
    answer = await service[0].get(url(mercantile.tile(20, 20, 14)))
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["etag"]


async def test_the_same_tile_twice_has_the_same_bytes(service: Served) -> None:
    first, second = await service[0].get(url(HOME)), await service[0].get(url(HOME))
    assert first.content == second.content
    assert first.headers["etag"] == second.headers["etag"]


async def test_every_worker_gives_the_same_tile_the_same_etag_and_bytes(service: Served) -> None:
    running, database = service
    async with serving(database) as other:
        one, two = await running.get(url(HOME)), await other.get(url(HOME))
    assert one.headers["etag"] == two.headers["etag"]
    assert one.content == two.content


async def test_a_client_that_has_the_tile_is_told_so_before_any_work(service: Served) -> None:
    running, database = service
    etag = (await running.get(url(HOME))).headers["etag"]
    async with serving(database) as fresh:
        await fresh.lose_database()
        answer = await fresh.get(url(HOME), if_none_match=etag)
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == etag
    assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "form", ["{0}", '"x", {0}', "*", "{1}"], ids=["one", "list", "any", "strong"]
)
async def test_if_none_match_is_compared_weakly_and_may_be_a_list(
    service: Served, form: str
) -> None:
    etag = (await service[0].get(url(HOME))).headers["etag"]
    asked = form.format(etag, etag.removeprefix("W/"))
    assert (await service[0].get(url(HOME), if_none_match=asked)).status_code == 304


async def test_another_etag_is_answered_with_the_tile(service: Served) -> None:
    assert (await service[0].get(url(HOME), if_none_match='W/"old"')).status_code == 200


async def test_encodings_have_etags_of_their_own_and_the_same_tile(service: Served) -> None:
    packed = await service[0].get(url(HOME))
    plain = await service[0].get(url(HOME), accept_encoding="identity")
    refused = await service[0].get(url(HOME), accept_encoding="gzip;q=0")
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in refused.headers
    assert plain.content == packed.content == refused.content
    assert plain.headers["etag"] != packed.headers["etag"]


async def test_head_is_get_without_the_body(service: Served) -> None:
    head = await service[0].client.head(url(HOME), headers={"accept-encoding": "gzip"})
    get = await service[0].get(url(HOME))
    assert head.content == b""
    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.headers["etag"] == get.headers["etag"]


async def test_an_edit_by_psql_changes_the_etag_of_touched_tiles_and_of_no_other(
    service: Served,
) -> None:
    running, database = service
    before = [(await running.get(url(at))).headers["etag"] for at in (HOME, FAR)]
    database.run("UPDATE city.trees SET genus = 'Ulmus' WHERE number = '1'")
    await running.caught_up()
    home, far = await running.get(url(HOME)), await running.get(url(FAR))
    assert home.headers["etag"] != before[0]
    assert decoded(home.content)["trees"]["features"][0]["properties"]["genus"] == "Ulmus"
    assert far.headers["etag"] == before[1]


async def test_a_moved_feature_changes_both_its_old_and_its_new_tile(service: Served) -> None:
    running, database = service
    before = [(await running.get(url(at))).headers["etag"] for at in (HOME, FAR)]
    database.run("UPDATE city.trees SET geom = ST_Point(5.35, 45.2, 4326) WHERE number = '1'")
    await running.caught_up()
    after = [await running.get(url(at)) for at in (HOME, FAR)]
    assert [answer.status_code for answer in after] == [204, 200]
    assert [answer.headers["etag"] for answer in after] != before
    assert len(decoded(after[1].content)["trees"]["features"]) == 2


async def test_a_change_reaches_a_worker_by_itself_within_two_seconds(service: Served) -> None:
    running, database = service
    before = (await running.get(url(HOME))).headers["etag"]
    database.run("DELETE FROM city.trees WHERE number = '1'")
    for _ in range(40):
        if (answer := await running.get(url(HOME))).headers["etag"] != before:
            break
        await asyncio.sleep(0.05)
    assert answer.status_code == 204


async def test_a_worker_that_heard_nothing_files_a_tile_under_the_revision_it_saw(
    service: Served,
) -> None:
    """A deaf worker that renders after a change catches up before it names the tile."""
    running, database = service
    await running.parts.feed.stop()
    database.run("UPDATE city.trees SET genus = 'Ulmus' WHERE number = '1'")
    deaf = await running.get(url(HOME))
    assert decoded(deaf.content)["trees"]["features"][0]["properties"]["genus"] == "Ulmus"
    async with serving(database) as hearing:
        assert (await hearing.get(url(HOME))).headers["etag"] == deaf.headers["etag"]


async def test_a_feature_in_the_buffer_is_drawn_on_both_sides_of_the_seam(
    service: Served,
) -> None:
    running, database = service
    bounds = mercantile.bounds(HOME)
    edge = bounds.east - (bounds.east - bounds.west) / 256
    database.run(
        "UPDATE city.trees SET geom = ST_Point(:lon, 45.2, 4326) WHERE number = '1'", lon=edge
    )
    await running.caught_up()
    neighbour = mercantile.Tile(HOME.x + 1, HOME.y, HOME.z)
    sides = [decoded((await running.get(url(at))).content)["trees"] for at in (HOME, neighbour)]
    xs = [side["features"][0]["geometry"]["coordinates"][0] for side in sides]
    assert 4070 <= xs[0] <= 4090
    assert xs[1] == xs[0] - 4096


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/tiles/trees/23/0/0.mvt", "z"),
        ("/tiles/trees/-1/0/0.mvt", "z"),
        ("/tiles/trees/3/8/0.mvt", "x"),
        ("/tiles/trees/3/0/8.mvt", "y"),
        ("/tiles/trees/3/0/1.5.mvt", "y"),
        ("/tiles/trees/3/٣/1.mvt", "x"),
        ("/tiles/trees,trees/3/0/0.mvt", "layers"),
        ("/tiles/calls/3/0/0.mvt", "layers"),
        ("/tiles/trees/3/0/0.mvt?filter=x", "filter"),
    ],
)
async def test_an_address_that_is_no_tile_says_what_is_wrong(
    service: Served, path: str, parameter: str
) -> None:
    answer = await service[0].get(path)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["access-control-allow-origin"] == "*"
    problem = answer.json()
    assert problem["parameter"] == parameter
    assert problem["fix"]


async def test_an_unknown_layer_is_404(service: Served) -> None:
    answer = await service[0].get("/tiles/shrubs/3/0/0.mvt")
    assert answer.status_code == 404
    assert "shrubs" in answer.json()["detail"]


async def test_tracking_parameters_are_let_through(service: Served) -> None:
    assert (await service[0].get(url(HOME) + "?utm_source=x")).status_code == 200


async def test_another_method_is_405_and_options_is_answered(service: Served) -> None:
    assert (await service[0].client.post(url(HOME))).status_code == 405
    preflight = await service[0].client.options(url(HOME))
    assert preflight.headers["access-control-allow-origin"] == "*"


async def test_a_withdrawn_layer_is_gone_and_comes_back(service: Served) -> None:
    running, database = service
    database.declare(PARKS, CALLS)
    await running.caught_up()
    assert (await running.get(url(HOME))).status_code == 404
    database.declare(TREES, PARKS, CALLS)
    await running.caught_up()
    assert (await running.get(url(HOME))).status_code == 200


async def test_a_new_declaration_changes_the_etag(service: Served) -> None:
    running, database = service
    before = (await running.get(url(HOME))).headers["etag"]
    database.declare(TREES.model_copy(update={"tile": ("genus",)}), PARKS, CALLS)
    await running.caught_up()
    answer = await running.get(url(HOME))
    assert answer.headers["etag"] != before
    assert decoded(answer.content)["trees"]["features"][0]["properties"] == {"genus": "Tilia"}


async def test_a_tile_of_too_many_features_holds_an_even_sample_and_says_so(
    service: Served,
) -> None:
    _, database = service
    database.run(
        "INSERT INTO city.trees (number, geom) SELECT 'n' || n, ST_Point(4.843 + n * 0.00002, 45.2,"
        " 4326) FROM generate_series(1, 500) n"
    )
    async with serving(database, budget=Budget(features=100)) as small:
        first = await small.get(url(HOME))
    assert first.headers["quartier-truncated"] == "trees;kept=100;of=501"
    xs = [f["geometry"]["coordinates"][0] for f in decoded(first.content)["trees"]["features"]]
    assert len(xs) == 100
    assert max(xs) - min(xs) > 1500, "spread over the tile, not its first rows"
    async with serving(database, budget=Budget(features=100)) as other:
        assert (await other.get(url(HOME))).content == first.content


async def test_many_clients_of_one_cold_tile_cost_one_query(service: Served) -> None:
    running, _ = service
    asked = 0
    fetch = running.parts.tiles.fetchrow

    async def counted(sql: str, *args: object) -> Any:
        nonlocal asked
        asked += 1
        return await fetch(sql, *args)

    running.parts.tiles.fetchrow = counted  # type: ignore[method-assign]
    answers = await asyncio.gather(*(running.get(url(HOME)) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert asked == 1


async def test_when_all_connections_are_taken_the_answer_is_503_with_a_time(
    service: Served,
) -> None:
    running, _ = service

    async def busy(sql: str, *args: object) -> Any:
        raise StoreBusy("everyone waits")

    running.parts.tiles.fetchrow = busy  # type: ignore[method-assign]
    answer = await running.get(url(HOME))
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.headers["cache-control"] == "no-store"


async def test_a_failure_is_not_remembered(service: Served) -> None:
    running, _ = service
    fetch = running.parts.tiles.fetchrow

    async def broken(sql: str, *args: object) -> Any:
        raise OSError("the disk")

    running.parts.tiles.fetchrow = broken  # type: ignore[method-assign]
    failed = await running.get(url(HOME))
    assert failed.status_code == 500
    assert "disk" not in failed.text
    running.parts.tiles.fetchrow = fetch  # type: ignore[method-assign]
    assert (await running.get(url(HOME))).status_code == 200


async def test_cached_tiles_are_served_while_the_database_is_away(service: Served) -> None:
    running, _ = service
    await running.get(url(HOME))
    await running.lose_database()
    assert (await running.get(url(HOME))).status_code == 200
    assert (await running.get(url(FAR))).status_code == 503


async def test_what_is_served_while_nothing_is_heard_of_changes_says_so(service: Served) -> None:
    running, _ = service
    fresh = await running.get(url(HOME))
    assert "cache-status" not in fresh.headers
    await running.lose_database()
    running.parts.feed._url = NOWHERE
    running.parts.feed._tasks[0].cancel()
    running.parts.feed._tasks[0] = asyncio.create_task(running.parts.feed._follow())
    for _ in range(50):
        await asyncio.sleep(0.05)
        stale = await running.get(url(HOME), if_none_match=fresh.headers["etag"])
        if "cache-status" in stale.headers:
            break
    assert stale.status_code == 304
    assert re.fullmatch(r"quartier; hit; ttl=-\d+", stale.headers["cache-status"])


async def test_a_worker_that_never_reached_the_database_says_503_not_404(
    database: Database,
) -> None:
    async with serving(database, web_database_url=NOWHERE) as running:
        for path in (url(HOME), "/collections", "/maps/city"):
            answer = await running.get(path)
            assert answer.status_code == 503
            assert answer.headers["retry-after"]


async def test_a_client_that_leaves_cancels_its_query(service: Served) -> None:
    running, _ = service
    cancelled = asyncio.Event()
    begun = asyncio.Event()

    async def slow(sql: str, *args: object) -> Any:
        begun.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def leave() -> dict[str, Any]:
        await begun.wait()
        return {"type": "http.disconnect"}

    async def refuse(message: Any) -> None:
        raise AssertionError(message)

    async def nothing(*_: Any) -> None:
        return

    running.parts.tiles.fetchrow = slow  # type: ignore[method-assign]
    parts = running.parts
    path = TilePath(nothing, parts.renderer, parts.feed, parts.announcements)
    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": url(HOME), "query_string": b"", "headers": [],
    }  # fmt: skip
    await path(scope, leave, refuse)
    await asyncio.wait_for(cancelled.wait(), 1)


async def test_the_gzip_body_is_a_gzip_file(service: Served) -> None:
    async with service[0].client.stream(
        "GET", url(HOME), headers={"accept-encoding": "gzip"}
    ) as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert "trees" in decoded(gzip.decompress(raw))


async def test_tilejson_names_the_layers_and_their_fields(service: Served) -> None:
    document = (await service[0].get("/tiles/parks,trees.json")).json()
    assert document["tilejson"] == "3.0.0"
    assert document["tiles"] == ["http://city.test/tiles/parks,trees/{z}/{x}/{y}.mvt"]
    fields = {layer["id"]: layer["fields"] for layer in document["vector_layers"]}
    assert fields["trees"] == {"genus": "String", "height": "Number", "planted": "String"}
    west, south, east, north = document["bounds"]
    assert west <= 4.85 <= 5.35 <= east
    assert south <= 45.2 <= north


async def test_tilejson_of_a_table_says_that_it_has_no_tiles(service: Served) -> None:
    answer = await service[0].get("/tiles/calls.json")
    assert answer.status_code == 400
    assert "no geometry" in answer.json()["detail"]
