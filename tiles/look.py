"""Fetch one tile as the web would answer it, in this process."""

from __future__ import annotations

from pathlib import Path

from layers.feed import Feed
from layers.store import Store
from layers.tilesets import PublishedTileset
from tiles.address import TileAddress, parse_layers
from tiles.archive import TileKind
from tiles.cache import MemoryCache
from tiles.export import ids_of
from tiles.render import Renderer
from tiles.show import ShownTile
from tiles.tilesets import TilesetRequest, Tilesets, open_archive

CONNECTIONS = 2


async def live_tile(url: str, name: str, at: TileAddress) -> ShownTile:
    """A tile of layers or of a tileset. Raises LayersError, TilesError."""
    store = Store(url, size=CONNECTIONS, timeout_s=600)
    try:
        feed = Feed(store, url)
        await feed.read()
        if (published := feed.catalog.tilesets.get(name)) is not None:
            return await _of_tileset(published, at)
        wanted = parse_layers(name)
        entry = await Renderer(store, feed, MemoryCache(0)).render(wanted, at)
        return ShownTile(
            name=name,
            at=at,
            kind=TileKind.MVT,
            body=entry.body,
            validator=entry.validator,
            truncated=entry.truncated,
            revisions={each: feed.catalog.layer(each).revision for each in ids_of(wanted)},
        )
    finally:
        await store.close()


async def _of_tileset(published: PublishedTileset, at: TileAddress) -> ShownTile:
    tilesets = Tilesets()
    try:
        kind = (await tilesets.info(published)).kinds[0]
        found = await tilesets.find(published, TilesetRequest(at=at, kind=kind))
        body, validator = await tilesets.read(found)
    finally:
        await tilesets.close()
    return ShownTile(name=published.id, at=at, kind=kind, body=body or b"", validator=validator)


def stored_tile(path: Path, at: TileAddress) -> ShownTile:
    """A tile of a PMTiles or MBTiles file. Raises OSError, ArchiveBroken."""
    archive = open_archive(path)
    kind = archive.info.kinds[0]
    return ShownTile(name=path.name, at=at, kind=kind, body=archive.read(at) or b"")
