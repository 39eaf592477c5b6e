"""From an address to a finished, cached, compressed tile. The only I/O of `tiles`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from layers.catalog import Catalog, PublishedLayer
from layers.changes import ChangeLog
from layers.errors import StoreUnavailable
from layers.model import Layer
from tiles.address import TileAddress
from tiles.cache import Entry, SharedTier, TileCache
from tiles.errors import AddressRefused
from tiles.packing import compress, decompress
from tiles.query import TileQuery, sample_query, tile_query
from tiles.tally import Tally
from tiles.tiers import Found, Tiers, Wanted

__all__ = ["Renderer", "compress", "decompress"]

TILE_FORMAT = "1"  # raise it when the same rows are to give other bytes
INLINE_BYTES = 64_000  # compressed at once; more than that would hold up the other requests
ATTEMPTS = 5


class Row(Protocol):
    """What a tile statement answers."""

    def __getitem__(self, name: str) -> object: ...


class Database(Protocol):
    """Runs a statement that answers one row."""

    async def fetchrow(self, sql: str, *args: object) -> Row: ...


class Knowledge(Protocol):
    """What is published, and when which place of it last changed."""

    @property
    def catalog(self) -> Catalog: ...
    def log_of(self, layer_id: str) -> ChangeLog: ...
    async def catch_up(self, layer_id: str, revision: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Part:
    """One layer's share of a tile, as some snapshot saw it."""

    layer_id: str
    revision: int
    tile: bytes
    truncated: bool


class Renderer:
    """Makes tiles, one at a time for each address and version, however many ask.

    Workers that have a `shared` tier in common make each tile once.
    """

    def __init__(
        self,
        database: Database,
        knowledge: Knowledge,
        cache: TileCache,
        shared: SharedTier | None = None,
    ) -> None:
        self._database = database
        self._knowledge = knowledge
        self.tally = Tally()
        self.tiers = Tiers(cache, shared, self.tally)

    def validator(self, ids: Sequence[str], at: TileAddress) -> str:
        """What the tile's ETag is made of; costs neither a query nor the tile.

        Raises LayerNotFound, and AddressRefused for a layer without geometry.
        """
        layers = [self._knowledge.catalog.layer(layer_id) for layer_id in ids]
        for layer in layers:
            if not layer.layer.has_geometry:
                raise AddressRefused("layers", layer.id, "this layer has no geometry, so no tiles")
        return _validator(layers, [self._version(layer, at) for layer in layers])

    def _version(self, layer: PublishedLayer, at: TileAddress) -> int:
        if not layer.layer.covers(at.z):
            return 0
        return self._knowledge.log_of(layer.id).last_changed(*at)

    async def render(self, ids: Sequence[str], at: TileAddress) -> Entry:
        """The tile as it is now, from the cache where it has it.

        Raises LayerNotFound, StoreBusy, StoreUnavailable.
        """
        return (await self.find(ids, at)).entry

    async def find(self, ids: Sequence[str], at: TileAddress) -> Found:
        """As `render`, and where the tile came from."""
        return await self.tiers.find(
            Wanted(
                key=f"{','.join(ids)}/{at.z}/{at.x}/{at.y}",
                validator=lambda: self.validator(ids, at),
                make=lambda: self._make(ids, at),
            )
        )

    async def _make(self, ids: Sequence[str], at: TileAddress) -> Entry:
        """Render until the log is known up to what the snapshots saw: that is its validator."""
        for _ in range(ATTEMPTS):
            layers = [self._knowledge.catalog.layer(layer_id) for layer_id in ids]
            drawn = [published.layer for published in layers if published.layer.covers(at.z)]
            parts = await self._parts(drawn, at)
            for part in parts:
                await self._knowledge.catch_up(part.layer_id, part.revision)
            again = [self._knowledge.catalog.layer(layer_id) for layer_id in ids]
            if self._settled(parts, at) and _same_configuration(layers, again):
                return await _finish(self.validator(ids, at), parts)
        raise StoreUnavailable("the layer changes faster than its tile can be made")

    async def _parts(self, layers: Sequence[Layer], at: TileAddress) -> list[Part]:
        if len(layers) == 1:
            return [await self._part(layers[0], at)]
        return list(await asyncio.gather(*(self._part(layer, at) for layer in layers)))

    async def _part(self, layer: Layer, at: TileAddress) -> Part:
        row = await self._run(tile_query(layer, at))
        if row["truncated"]:
            row = await self._run(sample_query(layer, at))
            if not row["truncated"]:  # it shrank meanwhile
                row = await self._run(tile_query(layer, at))
        revision, tile = row["revision"], row["tile"]
        assert isinstance(revision, int)
        assert isinstance(tile, bytes | None)
        return Part(layer.id, revision, tile or b"", bool(row["truncated"]))

    async def _run(self, query: TileQuery) -> Row:
        return await self._database.fetchrow(query.sql, *query.args)

    def _settled(self, parts: Sequence[Part], at: TileAddress) -> bool:
        """Whether no part's tile changed after the snapshot it was made from."""
        return all(
            self._knowledge.log_of(part.layer_id).last_changed(*at) <= part.revision
            for part in parts
        )


def _same_configuration(before: Sequence[PublishedLayer], after: Sequence[PublishedLayer]) -> bool:
    return [x.config_hash for x in before] == [x.config_hash for x in after]


def _validator(layers: Sequence[PublishedLayer], versions: Sequence[int]) -> str:
    said = "|".join(
        f"{layer.id}:{layer.config_hash}:{version}"
        for layer, version in zip(layers, versions, strict=True)
    )
    return hashlib.blake2b(f"{TILE_FORMAT}|{said}".encode(), digest_size=9).hexdigest()


async def _finish(validator: str, parts: Sequence[Part]) -> Entry:
    """A composite is its parts one after the other: an MVT is a sequence of layers."""
    raw = b"".join(part.tile for part in parts)
    truncated = tuple(part.layer_id for part in parts if part.truncated)
    if not raw:
        return Entry(validator=validator, body=b"", truncated=truncated)
    if len(raw) <= INLINE_BYTES:
        body = compress(raw)
    else:
        body = await asyncio.to_thread(compress, raw)
    return Entry(validator=validator, body=body, truncated=truncated)
