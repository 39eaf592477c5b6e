"""TileJSON 3.0 of a composite of layers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from layers.catalog import Bounds
from layers.columns import Column, ColumnType, in_language
from layers.overviews import groups_of
from tiles.address import Show
from tiles.cell_query import OTHER, count_of
from tiles.drawn import Drawn
from tiles.label_query import AREA, has_area

FIELD_TYPES = {
    ColumnType.INTEGER: "Number",
    ColumnType.NUMBER: "Number",
    ColumnType.BOOLEAN: "Boolean",
}
CELL_FIELDS = {
    "point_count": "Number",
    "cluster": "Boolean",
    "point_count_abbreviated": "String",
    "expansion_zoom": "Number",
}
WORLD = Bounds(-180.0, -85.0511287798066, 180.0, 85.0511287798066)


def tilejson(
    drawn: Sequence[Drawn], base_url: str, *languages: str, asked: str = ""
) -> dict[str, Any]:
    """The document that MapLibre, QGIS and GDAL read; URLs are absolute. `asked`: the query that
    tiles are to be asked for with.

    A tile URL carries no version: clients keep tiles and ask whether they are still good.
    Clients show `attribution` as HTML, so what the catalogue says is escaped.
    """
    ids = ",".join(each.name for each in drawn)
    declared = [each.layer for each in drawn]
    bounds = _on_the_grid(Bounds.around(each.published.extent for each in drawn) or WORLD)
    return {
        "tilejson": "3.0.0",
        "name": ", ".join(in_language(layer.title, *languages) for layer in declared),
        "description": " ".join(
            filter(None, (in_language(layer.description, *languages) for layer in declared))
        ),
        "version": "1.0.0",
        "attribution": ", ".join(dict.fromkeys(escape(layer.attribution) for layer in declared)),
        "scheme": "xyz",
        "tiles": [f"{base_url}/tiles/{ids}/{{z}}/{{x}}/{{y}}.mvt{'?' if asked else ''}{asked}"],
        "minzoom": min(layer.minzoom for layer in declared),
        "maxzoom": max(layer.maxzoom for layer in declared),
        "bounds": [round(number, 6) for number in bounds],
        "center": _centre(bounds, declared[0].minzoom),
        "vector_layers": [
            {
                "id": each.name,
                "description": in_language(each.layer.title, *languages),
                "minzoom": each.layer.minzoom,
                "maxzoom": each.layer.maxzoom,
                "fields": _fields(each),
            }
            for each in drawn
        ],
    }


def _fields(drawn: Drawn) -> dict[str, str]:
    """What a feature may carry, at any zoom: counts stand in cells, columns on features."""
    if drawn.wanted.show is Show.HEAT:
        return {"point_count": "Number"}
    fields = {column.name: _field(column) for column in drawn.layer.tile_columns}
    if drawn.wanted.show is Show.LABELS:
        return fields | ({AREA: "Number"} if has_area(drawn.layer) else {})
    if drawn.shows_cells(drawn.layer.minzoom):
        groups = [*groups_of(drawn.layer), OTHER] if groups_of(drawn.layer) else []
        fields |= CELL_FIELDS | {count_of(group): "Number" for group in groups}
    return fields


def _field(column: Column) -> str:
    return FIELD_TYPES.get(column.type, "String")


def _on_the_grid(bounds: Bounds) -> Bounds:
    """The part that tiles can show: they end at ±85.05°."""
    west, south, east, north = bounds
    return Bounds(west, max(south, WORLD.south), east, min(north, WORLD.north))


def _centre(bounds: Bounds, zoom: int) -> list[float]:
    west, south, east, north = bounds
    return [round((west + east) / 2, 6), round((south + north) / 2, 6), zoom]
