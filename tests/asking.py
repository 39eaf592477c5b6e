"""Tiles as the statements of tiles answer the web's role, asked one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import asyncpg
import mapbox_vector_tile

from layers.catalog import PublishedLayer
from layers.model import Layer
from tests.conftest import Database
from tiles.address import Show, TileAddress, TileLayer
from tiles.drawn import Drawn
from tiles.fullness import Fullness
from tiles.packing import decompress
from tiles.parts import Budget, Part, make_parts
from tiles.query import TileQuery

HUGE = Budget(features=10**7, bytes=10**9)


class Asker:
    """One connection, as the web's role unless another is named."""

    def __init__(self, database: Database, role: str = "web") -> None:
        self._database = database
        self._runner = asyncio.Runner()
        self._connection = self._runner.run(asyncpg.connect(getattr(database.urls, role)))
        self.asked: list[str] = []  # statements that parts were made by

    def run(self, sql: str, *args: object) -> None:
        self._runner.run(self._connection.execute(sql, *args))

    def row(self, query: TileQuery) -> Any:
        row = self._runner.run(self._connection.fetchrow(query.sql, *query.args))
        assert row is not None
        return row

    def tile(self, query: TileQuery) -> bytes:
        return query.made(self.row(query)).tile

    def parts(
        self,
        drawn: Sequence[Drawn],
        at: TileAddress,
        budget: Budget = HUGE,
        fullness: Fullness | None = None,
    ) -> tuple[list[Part], bytes]:
        """The shares of a tile and the whole of it, packed."""
        return self._runner.run(
            make_parts(
                _OneAtATime(self._connection, self.asked), drawn, at, budget, fullness or Fullness()
            )
        )

    def whole(
        self,
        drawn: Sequence[Drawn],
        at: TileAddress,
        budget: Budget = HUGE,
        fullness: Fullness | None = None,
    ) -> bytes:
        packed = self.parts(drawn, at, budget, fullness)[1]
        return decompress(packed) if packed else b""

    def drawn(self, of: Layer, show: Show = Show.FEATURES) -> Drawn:
        """The layer as it is published now."""
        return Drawn(TileLayer(of.id, show), published(self._database, of))

    def close(self) -> None:
        self._runner.run(self._connection.close())
        self._runner.close()


class _OneAtATime:
    """A connection answers one statement at a time; the parts of a composite ask at once."""

    def __init__(self, connection: Any, asked: list[str]) -> None:
        self._connection = connection
        self._asked = asked
        self._turn = asyncio.Lock()

    async def fetchrow(self, sql: str, *args: object) -> Any:
        async with self._turn:
            self._asked.append(sql)
            return await self._connection.fetchrow(sql, *args)


@contextmanager
def asking(database: Database, role: str = "web") -> Iterator[Asker]:
    asker = Asker(database, role)
    try:
        yield asker
    finally:
        asker.close()


def published(database: Database, of: Layer) -> PublishedLayer:
    [(revision, detail, depth)] = database.run(
        "SELECT revision, detail_zoom, cube_depth FROM quartier.layer_state WHERE layer_id = :id",
        id=of.id,
    )
    return PublishedLayer(
        layer=of, revision=revision, changed_at=None, config_hash="",
        detail_zoom=detail, cube_depth=depth,
    )  # fmt: skip


def decoded(tile: bytes) -> dict[str, Any]:
    """What a tile holds, y counted from the north as the tile does."""
    if not tile:
        return {}
    found: dict[str, Any] = mapbox_vector_tile.decode(tile, default_options={"y_coord_down": True})
    return found


def features(tile: bytes) -> list[dict[str, Any]]:
    return [each for layer in decoded(tile).values() for each in layer["features"]]
