"""What a worker knows stays true, whatever happens to the database it reads."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from tests.api.conftest import Service, serving
from tests.api.test_tiles import HOME, decoded, url
from tests.conftest import Database
from tests.db.test_hostile_sql import NAMES
from tests.examples import PARKS, TREES, layer

pytestmark = [pytest.mark.db, pytest.mark.anyio]

TREE = (
    "INSERT INTO city.trees (number, genus, geom) VALUES ('1', '{0}', ST_Point(4.85, 45.2, 4326))"
)


async def eventually(service: Service, path: str, status: int) -> None:
    for _ in range(100):
        if (await service.get(path)).status_code == status:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{path} never answered {status}")


async def test_a_declaration_that_cannot_be_read_hides_its_own_layer_and_no_other(
    database: Database,
) -> None:
    database.declare(TREES, PARKS)
    async with serving(database) as service:
        database.run(
            "UPDATE quartier.layers SET declaration = declaration || '{\"detail_zoom\": 14}'"
            " WHERE id = 'parks'"
        )
        database.run("NOTIFY quartier")
        await eventually(service, "/collections/parks", 404)
        database.run(TREE.format("Tilia"))
        await eventually(service, url(HOME), 200)
        assert (await service.get("/health/ready")).status_code == 200


async def test_after_any_error_the_feed_begins_anew(database: Database) -> None:
    database.declare(TREES)
    async with serving(database) as service:
        database.run("ALTER VIEW quartier.public_layers RENAME TO elsewhere")
        database.run("NOTIFY quartier")
        await eventually(service, "/health/ready", 503)
        database.run("ALTER VIEW quartier.elsewhere RENAME TO public_layers")
        database.run(TREE.format("Tilia"))
        await eventually(service, "/health/ready", 200)
        await eventually(service, url(HOME), 200)


async def test_a_read_that_is_cut_off_leaves_no_trace(database: Database) -> None:
    database.declare(TREES)
    database.run(TREE.format("Tilia"))
    async with serving(database) as service:
        feed = service.parts.feed
        before = (await service.get(url(HOME))).headers["etag"]
        for task in feed._tasks:
            task.cancel()
        database.run("UPDATE city.trees SET genus = 'Acer'")
        for pause_s in (0.0, 0.0005, 0.001, 0.002, 0.004, 0.008):
            reading = asyncio.create_task(feed.read())
            await asyncio.sleep(pause_s)
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
            known = feed.log_of("trees").revision
            assert known == feed.catalog.layer("trees").revision
        await feed.read()
        assert (await service.get(url(HOME))).headers["etag"] != before


async def test_layers_of_the_same_name_in_two_databases_never_share_an_etag(
    database: Database,
) -> None:
    database.declare(TREES)
    database.run(TREE.format("Tilia"))
    async with serving(database) as service:
        one = (await service.get(url(HOME))).headers["etag"]
        database.run("UPDATE quartier.layer_state SET salt = gen_random_uuid()")
        await service.caught_up()
        assert (await service.get(url(HOME))).headers["etag"] != one


async def test_a_revision_that_goes_back_begins_the_log_anew(database: Database) -> None:
    """As after the restore of a backup under a running worker."""
    database.declare(TREES)
    database.run(TREE.format("Tilia"))
    async with serving(database) as service:
        for genus in ("Acer", "Ulmus", "Quercus"):
            database.run(f"UPDATE city.trees SET genus = '{genus}'")
        await service.caught_up()
        database.run("DELETE FROM quartier.changes; UPDATE quartier.layer_state SET revision = 1")
        await service.caught_up()
        assert (await service.get(url(HOME))).status_code == 200


async def test_a_layer_whose_rights_are_gone_is_503_until_that_is_known(
    database: Database,
) -> None:
    database.declare(TREES)
    database.run(TREE.format("Tilia"))
    async with serving(database) as service:
        database.run("REVOKE SELECT ON city.trees FROM quartier_web")
        for path in (url(HOME), "/collections/trees/items"):
            assert (await service.get(path)).status_code == 503


async def test_a_layer_whose_columns_have_any_name_is_served(database: Database) -> None:
    odd = layer(id="odd", geometry="point", columns=[{"name": name} for name in NAMES], tile=NAMES)
    database.declare(odd)
    database.run("INSERT INTO city.odd (current, geom) VALUES ('a', ST_Point(4.85, 45.2, 4326))")
    async with serving(database) as service:
        tile = decoded((await service.get(url(HOME, "odd"))).content)
        assert tile["odd"]["features"][0]["properties"] == {"current": "a"}
        [feature] = (await service.get("/collections/odd/items")).json()["features"]
        assert feature["properties"] == dict.fromkeys(NAMES) | {"current": "a"}


async def test_head_is_answered_wherever_get_is(database: Database) -> None:
    database.declare(TREES)
    async with serving(database) as service:
        for path in ("/collections", "/tiles/trees.json", "/health/live", "/collections/trees"):
            head = await service.client.head(path)
            get = await service.client.get(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-type"] == get.headers["content-type"]
        missing = await service.client.head("/collections/shrubs")
        assert (missing.status_code, missing.content) == (404, b"")


async def test_a_box_without_area_finds_what_stands_on_it(database: Database) -> None:
    database.declare(TREES)
    database.run(TREE.format("Tilia"))
    async with serving(database) as service:
        for box in ("4.85,45.2,4.85,45.2", "4.85,45,4.85,46", "4,45.2,5,45.2"):
            page = json.loads((await service.get(f"/collections/trees/items?bbox={box}")).text)
            assert page["numberMatched"] == page["numberReturned"] == 1


async def test_counts_follow_the_revision(database: Database) -> None:
    database.declare(TREES)
    async with serving(database) as service:
        for count in (0, 1, 2):
            page = (await service.get("/collections/trees/items")).json()
            assert (page["numberMatched"], page["revision"]) == (count, count)
            database.run(TREE.format(f"{count}"))


async def test_a_parameter_given_twice_is_refused(database: Database) -> None:
    database.declare(TREES)
    async with serving(database) as service:
        answer = await service.get("/collections/trees/items?limit=1&limit=2")
    assert answer.status_code == 400
    assert answer.json()["parameter"] == "limit"


@pytest.mark.parametrize(
    ("accepts", "packed"),
    [
        ("gzip", True), ("GZIP", True), ("gzip, deflate, br, zstd", True), ("*", True),
        ("*;q=0, gzip", True), ("br;q=1.0, gzip;q=0.5", True), ("gzip;q=0", False),
        ("gzip; q=0.000", False), ("*;q=0", False), ("identity", False), ("", False),
        ("gzip;q=0, *", False), ("gzipped", False),
    ],
)  # fmt: skip
async def test_gzip_is_sent_to_those_who_take_it(
    database: Database, accepts: str, packed: bool
) -> None:
    database.declare(TREES)
    database.run(TREE.format("Tilia"))
    async with serving(database) as service:
        answer = await service.get(url(HOME), accept_encoding=accepts)
    assert (answer.headers.get("content-encoding") == "gzip") == packed


async def test_slow_questions_keep_no_news_from_tiles(database: Database) -> None:
    database.declare(TREES)
    async with serving(database, query_connections=1) as service:
        await service.caught_up()
        async with service.parts.queries.connection():
            database.run(TREE.format("Tilia"))
            await eventually(service, url(HOME), 200)
