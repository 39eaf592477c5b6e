"""Our own tiles of a layer, as statements and as addresses, and how they are made cold again."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg

from benchmarks.city import City
from benchmarks.client import Client
from layers.catalog import PublishedLayer
from layers.model import Layer
from tiles.address import TileAddress, TileLayer
from tiles.drawn import Drawn
from tiles.fullness import Fullness
from tiles.parts import first_query
from tiles.query import MAX_FEATURES, TileQuery

NOTICED_S = 30  # in which a worker hears of a change
NOWHERE = TileAddress(17, 0, 0)  # an empty tile, so that nothing is made by asking for it


def tile_path(layer: Layer, at: TileAddress) -> str:
    return f"/tiles/{layer.id}/{at.z}/{at.x}/{at.y}.mvt"


def published(city: City, layer: Layer) -> PublishedLayer:
    """The layer with the zooms that were chosen for it."""
    with psycopg.connect(city.urls.web) as connection:
        found = connection.execute(
            "SELECT revision, detail_zoom, cube_depth FROM quartier.public_layers WHERE id = %s",
            (layer.id,),
        ).fetchone()
    assert found is not None, layer.id
    revision, detail, cube = found
    return PublishedLayer(
        layer=layer, revision=revision, changed_at=None, config_hash="",
        detail_zoom=detail, cube_depth=cube,
    )  # fmt: skip


def statement(layer: PublishedLayer, at: TileAddress, fullness: Fullness) -> TileQuery:
    """What the renderer asks first for this tile."""
    return first_query(Drawn(TileLayer(layer.id), layer), at, MAX_FEATURES, fullness)


def make_cold(city: City, client: Client, layers: Sequence[Layer]) -> None:
    """Touch every tile, so that nobody has one of them, and wait until the client's worker knows.

    The server goes on, with its statements prepared, as it does after a city's own update.
    """
    probes = {layer.id: tile_path(layer, NOWHERE) for layer in layers}
    before = {name: client.get(path).header(b"etag") for name, path in probes.items()}
    with psycopg.connect(city.urls.ingest) as connection:
        for layer in layers:
            connection.execute(
                "SELECT quartier.touch_everything(%(id)s,"
                " quartier.allocate_revision(%(id)s, 0, 0, 0))",
                {"id": layer.id},
            )
    deadline = time.monotonic() + NOTICED_S
    for name, path in probes.items():
        while client.get(path, if_none_match=before[name].decode()).status == 304:
            if time.monotonic() > deadline:
                raise RuntimeError(f"no worker heard that {name} changed")
            time.sleep(0.02)
