"""TileJSON 3.0 of a composite of layers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from layers.catalog import Bounds, PublishedLayer
from layers.model import Column, ColumnType, in_language

FIELD_TYPES = {
    ColumnType.INTEGER: "Number",
    ColumnType.NUMBER: "Number",
    ColumnType.BOOLEAN: "Boolean",
}
WORLD = Bounds(-180.0, -85.0511287798066, 180.0, 85.0511287798066)


def tilejson(layers: Sequence[PublishedLayer], base_url: str, *languages: str) -> dict[str, Any]:
    """The document that MapLibre, QGIS and GDAL read; URLs are absolute.

    A tile URL carries no version: clients keep tiles and ask whether they are still good.
    Clients show `attribution` as HTML, so what the catalogue says is escaped.
    """
    ids = ",".join(layer.id for layer in layers)
    declared = [published.layer for published in layers]
    bounds = _on_the_grid(Bounds.around(published.extent for published in layers) or WORLD)
    return {
        "tilejson": "3.0.0",
        "name": ", ".join(in_language(layer.title, *languages) for layer in declared),
        "description": " ".join(
            filter(None, (in_language(layer.description, *languages) for layer in declared))
        ),
        "version": "1.0.0",
        "attribution": ", ".join(dict.fromkeys(escape(layer.attribution) for layer in declared)),
        "scheme": "xyz",
        "tiles": [f"{base_url}/tiles/{ids}/{{z}}/{{x}}/{{y}}.mvt"],
        "minzoom": min(layer.minzoom for layer in declared),
        "maxzoom": max(layer.maxzoom for layer in declared),
        "bounds": [round(number, 6) for number in bounds],
        "center": _centre(bounds, declared[0].minzoom),
        "vector_layers": [
            {
                "id": layer.id,
                "description": in_language(layer.title, *languages),
                "minzoom": layer.minzoom,
                "maxzoom": layer.maxzoom,
                "fields": {column.name: _field(column) for column in layer.tile_columns},
            }
            for layer in declared
        ],
    }


def _field(column: Column) -> str:
    return FIELD_TYPES.get(column.type, "String")


def _on_the_grid(bounds: Bounds) -> Bounds:
    """The part that tiles can show: they end at ±85.05°."""
    west, south, east, north = bounds
    return Bounds(west, max(south, WORLD.south), east, min(north, WORLD.north))


def _centre(bounds: Bounds, zoom: int) -> list[float]:
    west, south, east, north = bounds
    return [round((west + east) / 2, 6), round((south + north) / 2, 6), zoom]
