"""A plain GeoTIFF over HTTP: the tiles of what was made of it, and of the next edition at once."""

from __future__ import annotations

from pathlib import Path

import mercantile
import numpy as np
import pytest
import structlog

from ingest.rasters import RasterJob, ingest_raster
from layers.tilesets import Tileset
from tests.api.conftest import serving
from tests.api.test_tilesets import Published, pixels, url
from tests.conftest import Database
from tests.examples import COMMON
from tests.rasters import EAST, NORTH, SOUTH, WEST, write_plain

pytestmark = [pytest.mark.db, pytest.mark.anyio]

DECLARED = {"id": "photo", "file": "photo.tif"}
MIDDLE = mercantile.tile((WEST + EAST) / 2, (SOUTH + NORTH) / 2, 14)


async def test_a_plain_raster_is_served_as_it_was_and_a_new_edition_shows_at_once(
    database: Database, tmp_path: Path
) -> None:
    async with serving(database) as running:
        city = Published(running, database, tmp_path)
        await city.publish(DECLARED)
        job = RasterJob(
            tileset=Tileset.model_validate(COMMON | DECLARED),
            declared=tmp_path / "photo.tif",
            given=None,
            folder=tmp_path / "rasters",
        )
        seen = []
        for grey in (40, 90):
            write_plain(tmp_path / "photo.tif", np.full((1, 1200, 1500), grey, "uint8"))
            ingest_raster(database.urls.ingest, job)
            (tmp_path / "photo.tif").rename(tmp_path / "gone.tif")
            await city.service.caught_up()
            with structlog.testing.capture_logs() as lines:
                answer = await city.get(url(MIDDLE))
            assert answer.status_code == 200, lines
            seen.append((int(pixels(answer.content)[0, 128, 128]), answer.headers["etag"]))
        assert [grey for grey, _ in seen] == [40, 90]
        assert seen[0][1] != seen[1][1]
