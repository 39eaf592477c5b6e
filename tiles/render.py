"""From an address to a finished, cached, compressed tile. The only I/O of `tiles`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from layers.catalog import Catalog, PublishedLayer
from layers.changes import ChangeLog
from layers.errors import StoreUnavailable
from tiles.address import TileAddress, TileLayer
from tiles.cache import Entry, SharedTier, TileCache
from tiles.drawn import Drawn, draw
from tiles.fullness import Fullness
from tiles.packing import compress, decompress
from tiles.parts import Budget, Database, Part, make_parts
from tiles.tally import Tally
from tiles.tiers import Found, Tiers, Wanted

__all__ = ["Renderer", "compress", "decompress"]

TILE_FORMAT = "4"  # raise it when the same rows are to give other bytes
ATTEMPTS = 5


class Knowledge(Protocol):
    """What is published, and when which place of it last changed."""

    @property
    def catalog(self) -> Catalog: ...
    def log_of(self, layer_id: str) -> ChangeLog: ...
    async def catch_up(self, layer_id: str, revision: int) -> None: ...


class Renderer:
    """Makes tiles, one at a time for each address and version, however many ask.

    Workers that have a `shared` tier in common make each tile once.
    """

    def __init__(  # noqa: PLR0913 - each is a part
        self,
        database: Database,
        knowledge: Knowledge,
        cache: TileCache,
        shared: SharedTier | None = None,
        budget: Budget | None = None,
        filtering: Database | None = None,
    ) -> None:
        """`filtering`: what asks for parts of layers, so that these keep no others waiting."""
        self._database = database
        self._filtering = filtering or database
        self._knowledge = knowledge
        self._budget = budget or Budget()
        self._fullness = Fullness()
        self.tally = Tally()
        self.tiers = Tiers(cache, shared, self.tally)

    def validator(self, asked: Sequence[TileLayer], at: TileAddress) -> str:
        """What the tile's ETag is made of; costs neither a query nor the tile.

        Raises LayerNotFound, and AddressRefused for a layer that cannot be shown so.
        """
        drawn = self._drawn(asked)
        return _validator(drawn, [self._version(each.published, at) for each in drawn])

    def _drawn(self, asked: Sequence[TileLayer]) -> list[Drawn]:
        return draw(self._knowledge.catalog, asked)

    def _version(self, layer: PublishedLayer, at: TileAddress) -> int:
        if not layer.layer.covers(at.z):
            return 0
        return self._knowledge.log_of(layer.id).last_changed(*at)

    async def render(self, asked: Sequence[TileLayer], at: TileAddress) -> Entry:
        """The tile as it is now, from the cache where it has it.

        Raises LayerNotFound, AddressRefused, StoreBusy, StoreUnavailable.
        """
        return (await self.find(asked, at)).entry

    async def find(self, asked: Sequence[TileLayer], at: TileAddress) -> Found:
        """As `render`, and where the tile came from."""
        return await self.tiers.find(
            Wanted(
                key=f"{','.join(layer.key for layer in asked)}/{at.z}/{at.x}/{at.y}",
                validator=lambda: self.validator(asked, at),
                make=lambda: self._make(asked, at),
            )
        )

    async def _make(self, asked: Sequence[TileLayer], at: TileAddress) -> Entry:
        """Render until the log is known up to what the snapshots saw: that is its validator."""
        is_narrowed = any(layer.narrowed is not None for layer in asked)
        database = self._filtering if is_narrowed else self._database
        for _ in range(ATTEMPTS):
            before = self._drawn(asked)
            shown = [each for each in before if each.layer.covers(at.z)]
            parts, body = await make_parts(database, shown, at, self._budget, self._fullness)
            for part in parts:
                await self._knowledge.catch_up(part.drawn.wanted.id, part.revision)
            if self._settled(parts, at) and _same_shape(before, self._drawn(asked)):
                told = tuple(said for part in parts if (said := part.told))
                return Entry(validator=self.validator(asked, at), body=body, truncated=told)
        raise StoreUnavailable("the layer changes faster than its tile can be made")

    def _settled(self, parts: Sequence[Part], at: TileAddress) -> bool:
        """Whether no part's tile changed after the snapshot it was made from."""
        return all(
            self._knowledge.log_of(part.drawn.wanted.id).last_changed(*at) <= part.revision
            for part in parts
        )


def _same_shape(before: Sequence[Drawn], after: Sequence[Drawn]) -> bool:
    """Whether nothing changed meanwhile that decides which statement makes the tile."""
    return [_shape(each.published) for each in before] == [_shape(each.published) for each in after]


def _shape(published: PublishedLayer) -> tuple[str, int]:
    return published.config_hash, published.detail_zoom


def _validator(drawn: Sequence[Drawn], versions: Sequence[int]) -> str:
    said = "|".join(
        f"{each.wanted.key}:{each.published.config_hash}:{version}"
        for each, version in zip(drawn, versions, strict=True)
    )
    return hashlib.blake2b(f"{TILE_FORMAT}|{said}".encode(), digest_size=9).hexdigest()
