"""TileJSON 3.0 of a tileset, from its declaration and what its file says of itself."""

from __future__ import annotations

from html import escape
from typing import Any

from layers.columns import in_language
from layers.tilesets import PublishedTileset
from tiles.archive import ArchiveInfo, TileKind


def tileset_json(
    published: PublishedTileset, info: ArchiveInfo, base_url: str, *languages: str
) -> dict[str, Any]:
    """URLs are absolute. A declared zoom narrows what the file has."""
    declared, kind = published.tileset, info.kinds[0]
    zooms = [x if x is not None else y for x, y in (
        (declared.minzoom, info.minzoom), (declared.maxzoom, info.maxzoom))]  # fmt: skip
    document = {
        "tilejson": "3.0.0",
        "name": in_language(declared.title, *languages),
        "description": in_language(declared.description, *languages),
        "version": "1.0.0",
        "attribution": escape(declared.attribution),
        "scheme": "xyz",
        "format": "pbf" if kind is TileKind.MVT else kind.value,
        "tiles": [f"{base_url}/tiles/{declared.id}/{{z}}/{{x}}/{{y}}.{kind}"],
        "minzoom": zooms[0],
        "maxzoom": zooms[1],
        "bounds": [round(number, 6) for number in info.bounds],
        "center": _centre(info, zooms[0]),
    }
    if kind is TileKind.MVT:
        document["vector_layers"] = [_layer(said) for said in info.vector_layers]
    return document


def _layer(said: dict[str, Any]) -> dict[str, Any]:
    return {**said, "fields": said.get("fields") or {}}


def _centre(info: ArchiveInfo, zoom: int) -> list[float]:
    if info.centre is not None:
        return list(info.centre)
    west, south, east, north = info.bounds
    return [round((west + east) / 2, 6), round((south + north) / 2, 6), zoom]
