"""Tiles at the addresses of OGC API – Tiles, answered by the fast path under its own.

`/collections/{id}/tiles/WebMercatorQuad/{tileMatrix}/{tileRow}/{tileCol}` has the row before the
column, and has only the tiles that the tileset says it has.
"""

from __future__ import annotations

from api.problems import problem_of
from api.tile_answers import App, Receive, Scope, Send, send_problem
from api.tileset_documents import NoSuchTile, check_tileset, limits_at
from layers.errors import QueryRefused
from layers.feed import Feed
from tiles.address import TileAddress
from tiles.errors import AddressRefused

PREFIX, SUFFIX = "/collections/", ".mvt"
FORM = b"f"
NAMES = {"z": "tileMatrix", "x": "tileCol", "y": "tileRow"}


class OgcTilePath:
    """Sends these requests to `tiles`, under the address that it knows, and all others to `app`."""

    def __init__(self, app: App, tiles: App, feed: Feed) -> None:
        self.app = app
        self._tiles = tiles
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self.app(scope, receive, send)
            return
        parts: list[str] = scope["path"].split("/")[2:]
        if len(parts) != 6 or parts[1] != "tiles":
            await self.app(scope, receive, send)
            return
        try:
            path = self._path(parts)
            query = _without_form(scope["query_string"])
        except Exception as exc:
            await send_problem(send, problem_of(exc))
        else:
            rewritten = {"path": path, "raw_path": path.encode(), "query_string": query}
            await self._tiles({**scope, **rewritten}, receive, send)

    def _path(self, parts: list[str]) -> str:
        """Where the fast path has the tile; raises NoSuchTile, LayerNotFound, AddressRefused."""
        layer_id, _, tile_matrix_set, matrix, row, column = parts
        published = self._feed.catalog.layer(layer_id)
        check_tileset(published, tile_matrix_set)
        at = _address(matrix, row, column.removesuffix(SUFFIX))
        if not published.layer.covers(at.z):
            zooms = f"{published.layer.minzoom} to {published.layer.maxzoom}"
            raise NoSuchTile(f"tileMatrix={at.z}: tiles of {layer_id!r} are of {zooms}")
        if not limits_at(published.extent, at.z).hold(at.y, at.x):
            raise NoSuchTile(f"tile {'/'.join(parts[3:])} lies outside the tileset's limits")
        return f"/tiles/{layer_id}/{at.z}/{at.x}/{at.y}.mvt"


def _address(matrix: str, row: str, column: str) -> TileAddress:
    """Raises AddressRefused, in the words of these addresses."""
    try:
        return TileAddress.parse(matrix, column, row)
    except AddressRefused as exc:
        raise AddressRefused(NAMES[exc.parameter], exc.value, exc.fix) from None


def _without_form(query_string: bytes) -> bytes:
    """The query without `f`, which has one value here; raises QueryRefused for another."""
    kept = []
    for part in query_string.split(b"&"):
        name, _, value = part.partition(b"=")
        if name != FORM:
            kept.append(part)
        elif value != b"mvt":
            raise QueryRefused("f", value.decode("latin-1"), "write mvt")
    return b"&".join(kept)
