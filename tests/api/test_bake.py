"""`quartier bake` fills the shared tier, goes on where it was cut off, and makes what changed."""

from __future__ import annotations

from pathlib import Path

import mercantile
import pytest

from layers.catalog import Bounds
from tests.api.conftest import serving
from tests.conftest import Database
from tests.examples import TREES
from tiles.bake import BakeJob, BakeReport, fill
from tiles.disk_cache import DiskCache

pytestmark = [pytest.mark.db, pytest.mark.anyio]

JOB = BakeJob(layers="trees", minzoom=10, maxzoom=14)
ROOM = 2**26


@pytest.fixture
def planted(database: Database) -> Database:
    """A street of trees."""
    database.declare(TREES)
    database.run(
        "INSERT INTO city.trees (number, genus, geom)"
        " SELECT i, 'Tilia', ST_Point(4.8 + i * 0.004, 45.2, 4326) FROM generate_series(1, 40) i"
    )
    return database


async def baked(database: Database, folder: Path, job: BakeJob = JOB) -> BakeReport:
    return await fill(database.urls.web, DiskCache(folder, ROOM), job)


async def test_baked_tiles_are_served_without_the_database(
    planted: Database, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    tier = DiskCache(tmp_path, ROOM)
    report = await fill(planted.urls.web, tier, JOB, lambda *told: seen.append(told))
    assert report.made > 15
    assert (report.ready, report.empty, report.lost) == (0, 0, 0.0)
    assert set(report.by_zoom) == set(range(10, 15))
    assert seen[-1] == (report.made, report.made)
    async with serving(planted, cache_url=tmp_path.as_uri()) as service:
        await service.lose_database()
        answers = [
            await service.get(f"/tiles/trees/14/{at.x}/{at.y}.mvt")
            for at in mercantile.tiles(4.78, 45.2, 4.98, 45.2, zooms=[14])
        ]
    found = [answer.status_code for answer in answers]
    assert found.count(200) == report.by_zoom[14]


async def test_a_second_run_makes_nothing_and_a_run_after_an_edit_what_it_touched(
    planted: Database, tmp_path: Path
) -> None:
    first = await baked(planted, tmp_path)
    again = await baked(planted, tmp_path)
    assert (again.made, again.ready) == (0, first.made)
    planted.run("UPDATE city.trees SET genus = 'Acer' WHERE number = '20'")
    after = await baked(planted, tmp_path)
    assert 5 <= after.made <= 10
    assert after.made + after.ready == first.made


async def test_a_run_that_is_cut_off_goes_on_where_it_was(
    planted: Database, tmp_path: Path
) -> None:
    def stop(done: int, _: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await fill(planted.urls.web, DiskCache(tmp_path, ROOM), JOB, stop)
    report = await baked(planted, tmp_path)
    assert report.ready >= 9
    assert (await baked(planted, tmp_path)).made == 0


async def test_a_tier_that_keeps_nothing_is_told(planted: Database, tmp_path: Path) -> None:
    report = await fill(planted.urls.web, DiskCache(tmp_path, 100), JOB)
    assert report.lost == 1.0


async def test_an_area_and_a_composite_can_be_baked(planted: Database, tmp_path: Path) -> None:
    box = Bounds(4.8, 45.1, 4.83, 45.3)
    part = BakeJob(layers="trees", minzoom=14, maxzoom=14, bbox=box)
    whole = BakeJob(layers="trees", minzoom=14, maxzoom=14)
    assert 0 < (await baked(planted, tmp_path, part)).made < 4
    assert (await baked(planted, tmp_path, whole)).ready < 4
