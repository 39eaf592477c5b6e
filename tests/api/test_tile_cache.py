"""Tiles that were made before: packed as a client likes them, kept as a layer allows, shared by
workers, there while the database is away, and never older than what a client was told of.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import brotli
import httpx
import pytest

from api import tile_path
from api.tile_path import HOT_HITS, TilePath
from layers.errors import StoreUnavailable
from tests.api.conftest import NOWHERE, Service, serving
from tests.api.test_tiles import FAR, HOME, decoded, url
from tests.conftest import Copies, Database, copied
from tests.examples import CALLS, PARKS, TREES
from tests.redis import redis_server
from tiles.parts import Budget

pytestmark = [pytest.mark.db, pytest.mark.anyio]

RENAME = "UPDATE city.trees SET genus = '{0}' WHERE number = '1'"
Served = tuple[Service, Database]


def fill(database: Database) -> None:
    """Trees near each other."""
    database.declare(TREES, PARKS, CALLS)
    database.run(
        "INSERT INTO city.trees (number, genus, geom) SELECT n::text, 'Tilia',"
        " ST_Point(4.85 + n * 0.00001, 45.2, 4326) FROM generate_series(1, 200) n"
    )


cities = copied(fill)


@pytest.fixture
async def service(cities: Copies) -> AsyncIterator[Served]:
    with cities() as database:
        async with serving(database) as running:
            yield running, database


async def raw(service: Service, path: str, accepts: str) -> tuple[httpx.Response, bytes]:
    """An answer and its body as it travelled."""
    asked = service.client.stream("GET", path, headers={"accept-encoding": accepts})
    async with asked as answer:
        return answer, b"".join([chunk async for chunk in answer.aiter_raw()])


async def made_hot(service: Service) -> None:
    """Ask until the tile is packed better, as the worker's round of every second would see it."""
    for _ in range(HOT_HITS + 1):
        await service.get(url(HOME))
    service.tiles.gather()
    await service.tiles._background.finish(10)


async def test_a_tile_that_turns_out_hot_is_sent_in_brotli_to_those_who_take_it(
    service: Served,
) -> None:
    running, _ = service
    cold, first = await raw(running, url(HOME), "gzip, br")
    assert cold.headers["content-encoding"] == "gzip"
    await made_hot(running)
    hot, smaller = await raw(running, url(HOME), "gzip, br")
    assert hot.headers["content-encoding"] == "br"
    assert brotli.decompress(smaller) == gzip.decompress(first)
    assert len(smaller) < len(first)
    assert hot.headers["etag"] == cold.headers["etag"].replace("-gz", "-br")
    tight, packed = await raw(running, url(HOME), "gzip, br;q=0.5")
    assert tight.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == gzip.decompress(first)
    assert len(packed) <= len(first)
    plain, body = await raw(running, url(HOME), "identity")
    assert "content-encoding" not in plain.headers
    assert body == gzip.decompress(first)


async def test_a_tile_packed_better_is_gone_with_its_version(service: Served) -> None:
    running, database = service
    await running.get(url(HOME))
    await made_hot(running)
    database.run(RENAME.format("Ulmus"))
    await running.caught_up()
    answer, body = await raw(running, url(HOME), "gzip, br")
    assert answer.headers["content-encoding"] == "gzip"
    assert b"Ulmus" in gzip.decompress(body)


async def test_a_client_that_has_the_tile_in_another_encoding_is_told_that_it_has_it(
    service: Served,
) -> None:
    running, _ = service
    gz = (await running.get(url(HOME))).headers["etag"]
    for suffix in ("-gz", "-br", "-id"):
        held = gz.replace("-gz", suffix)
        for accepts in ("gzip", "br", "identity"):
            answer = await running.get(url(HOME), if_none_match=held, accept_encoding=accepts)
            assert answer.status_code == 304
            assert answer.headers["etag"] == held, "of the one it has, which is what it updates"


async def test_layers_say_how_long_a_tile_may_be_kept_and_problems_are_not_kept(
    service: Served,
) -> None:
    running, database = service
    plain = await running.get(url(HOME))
    assert plain.headers["cache-control"] == "max-age=0, s-maxage=1, stale-if-error=86400"
    database.declare(TREES.model_copy(update={"max_age_s": 60, "s_maxage_s": 300}), PARKS, CALLS)
    await running.caught_up()
    lasting = await running.get(url(HOME))
    assert lasting.headers["cache-control"] == "max-age=60, s-maxage=300, stale-if-error=86400"
    again = await running.get(url(HOME), if_none_match=lasting.headers["etag"])
    assert again.headers["cache-control"] == lasting.headers["cache-control"]
    for path in (url(HOME, "shrubs"), url(HOME) + "?filter=x"):
        assert (await running.get(path)).headers["cache-control"] == "no-store"


async def test_a_worker_that_heard_nothing_answers_no_older_tile_than_was_announced(
    service: Served,
) -> None:
    running, database = service
    before = await running.get(url(HOME))
    await running.parts.feed.stop()
    for number, genus in enumerate(("Ulmus", "Acer"), 2):
        database.run(RENAME.format(genus))
        assert (await running.get(url(HOME))).headers["etag"] == before.headers["etag"]
        told = await running.get(f"{url(HOME)}?utm_source=x&revision=trees:{number},parks:0")
        genera = {f["properties"]["genus"] for f in decoded(told.content)["trees"]["features"]}
        assert genus in genera
        asked = f"{url(HOME)}?revision=trees:{number}"
        again = await running.get(asked, if_none_match=before.headers["etag"])
        assert again.status_code == 200, "nor is the client told that its own is good"
        before = told


async def test_an_announced_revision_is_answered_from_the_same_memory(service: Served) -> None:
    running, database = service
    plain = await running.get(url(HOME))
    revision = database.value("SELECT revision FROM quartier.layer_state WHERE layer_id = 'trees'")
    await running.lose_database()
    for number in (revision, revision, 0):
        told = await running.get(f"{url(HOME)}?revision=trees:{number}")
        assert (told.status_code, told.content) == (200, plain.content)
        assert told.headers["etag"] == plain.headers["etag"]


async def test_a_revision_the_database_has_not_reached_is_answered_with_what_is_there(
    service: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, _ = service
    reads, read = 0, running.parts.feed._read

    async def counted() -> None:
        nonlocal reads
        reads += 1
        await read()

    monkeypatch.setattr(running.parts.feed, "_read", counted)
    asked = [running.get(f"{url(HOME)}?revision=trees:{10**9 + n}") for n in range(100)]
    answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {200}
    assert reads <= 5


async def test_an_announced_revision_that_cannot_be_looked_for_is_503_and_not_an_older_tile(
    service: Served,
) -> None:
    running, _ = service
    await running.get(url(HOME))
    await running.lose_database()
    answer = await running.get(f"{url(HOME)}?revision=trees:99")
    assert answer.status_code == 503
    assert (await running.get(url(HOME))).status_code == 200


@pytest.mark.parametrize(
    "query",
    ["revision=", "revision=trees", "revision=trees:x", "revision=shrubs:1",
     "revision=trees:1&revision=trees:1", "revision=trees:1&filter=x"],
)  # fmt: skip
async def test_a_revision_that_makes_no_sense_is_refused_with_the_fix(
    service: Served, query: str
) -> None:
    answer = await service[0].get(f"{url(HOME)}?{query}")
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["parameter"] in ("revision", "filter")
    assert problem["fix"]


async def cannot(sql: str, *args: object) -> Any:
    raise StoreUnavailable("PostGIS is away")


async def test_workers_share_tiles_on_disk_and_keep_them_over_a_restart(
    service: Served, tmp_path: Path
) -> None:
    _, database = service
    where: dict[str, Any] = {"cache_url": (tmp_path / "tiles").as_uri()}
    async with serving(database, **where) as one, serving(database, **where) as two:
        first = await one.get(url(HOME))
        await one.parts.renderer.tiers._background.finish(5)
        two.parts.tiles.fetchrow = cannot  # type: ignore[method-assign]
        second = await two.get(url(HOME))
        assert second.content == first.content
        assert second.headers["etag"] == first.headers["etag"]
        assert (await two.get(url(FAR))).status_code == 503
        database.run(RENAME.format("Ulmus"))
        await two.caught_up()
        assert (await two.get(url(HOME))).status_code == 503, "not an older one"


async def test_workers_of_several_machines_share_tiles_in_redis(service: Served) -> None:
    _, database = service
    with redis_server() as redis:
        where: dict[str, Any] = {"cache_url": redis.url}
        async with serving(database, **where) as one, serving(database, **where) as two:
            first = await one.get(url(HOME))
            await one.parts.renderer.tiers._background.finish(5)
            two.parts.tiles.fetchrow = cannot  # type: ignore[method-assign]
            assert (await two.get(url(HOME))).content == first.content
            redis.stop()
            assert (await one.get(url(FAR))).status_code == 204, "without it as well"


async def test_tiles_of_the_shared_tier_are_served_while_the_database_is_away_and_say_so(
    service: Served, tmp_path: Path
) -> None:
    _, database = service
    where: dict[str, Any] = {"cache_url": (tmp_path / "tiles").as_uri()}
    async with serving(database, **where) as one:
        await one.get(url(HOME))
        await one.parts.renderer.tiers._background.finish(5)
        async with serving(database, **where) as two:
            await two.lose_database()
            feed = two.parts.feed
            feed._url = NOWHERE
            feed._tasks[0].cancel()
            feed._tasks[0] = asyncio.create_task(feed._follow())
            for _ in range(50):
                if not feed.is_current:
                    break
                await asyncio.sleep(0.05)
            stale = await two.get(url(HOME))
            assert stale.status_code == 200
            assert stale.headers["cache-status"].startswith("quartier; hit; ttl=-")


async def test_what_is_answered_is_counted(service: Served) -> None:
    running, _ = service
    etag = (await running.get(url(HOME))).headers["etag"]
    for _ in range(3):
        await running.get(url(HOME))
    await running.get(url(HOME), if_none_match=etag)
    await running.get(url(HOME), accept_encoding="identity")
    await running.get(url(FAR), if_none_match=etag.replace("W/", ""))
    await running.get("/tiles/trees/3/9/9.mvt")
    text = (await running.get("/metrics")).text
    for line in (
        'quartier_tile_answers_total{source="rendered",status="200"} 1.0',
        'quartier_tile_answers_total{source="hot",status="200"} 4.0',
        'quartier_tile_answers_total{source="hot",status="304"} 1.0',
        'quartier_tile_answers_total{source="rendered",status="204"} 1.0',
        'quartier_tile_answers_total{source="none",status="400"} 1.0',
        "quartier_tile_render_seconds_count 2.0",
        'quartier_cache_entries{tier="memory"} 2.0',
    ):
        assert line in text, line
    assert "text/plain" in (await running.get("/metrics")).headers["content-type"]


async def test_tiles_that_could_not_hold_everything_are_counted_by_layer(service: Served) -> None:
    _, database = service
    async with serving(database, budget=Budget(features=100)) as small:
        await small.get(url(HOME, "trees,parks"))
        text = (await small.get("/metrics")).text
    assert 'quartier_tile_truncated_total{layer="trees"} 1.0' in text


async def test_query_strings_are_not_remembered_without_end(
    service: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tile_path, "HEEDED", 10)
    for number in range(25):
        assert (await service[0].get(f"{url(HOME)}?utm_source={number}")).status_code == 200
    assert isinstance(service[0].tiles, TilePath)
    assert len(service[0].tiles._heeded) <= 10
