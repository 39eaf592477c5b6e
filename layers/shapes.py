"""Overviews of lines and polygons: what low zooms draw in the place of each geometry.

`city_overview.<id>__shapes` has a row for each band of zooms and feature, simplified to half a
pixel of the band's last zoom, with the columns that travel in tiles; from zoom 14, and at the
layer's last zoom, tiles are made of the table itself. A feature smaller than a pixel is a pixel,
or not there, as often as keeps the density right. `city_overview.<id>__labels` has one point in
each polygon.

All of it is a function of the row, so triggers keep it true by making the rows anew that changed.
What takes the whole layer is done by `layers.shape_batch`: borders simplified together, and lines
joined into chains. A chain is a row whose `fid` is minus the least `fid` of its members; these are
`#part_of` it and have no geometry. What of this a change makes untrue is undone until the next
batch. (No declared column can have a name with `#`.)
"""

from __future__ import annotations

import hashlib

from layers.columns import Column, GeometryType
from layers.model import Layer
from layers.sql import ident

OVERVIEW = "city_overview"
FORMAT = "3"  # raise it when the same rows are to give other shapes
FIRST_TRUE_ZOOM = 14  # from here on tiles show geometries as they are
LAST_CHAIN_ZOOM = 11  # above it each line is drawn by itself
WORLD = 40075016.68557849  # metres of EPSG:3857 around the equator
TILE_PIXELS = 512  # of MapLibre; where tiles are drawn smaller, so are their shapes
DRAWN = frozenset({GeometryType.LINE, GeometryType.POLYGON, GeometryType.MIXED})


def has_shapes(layer: Layer) -> bool:
    return layer.geometry in DRAWN


def has_labels(layer: Layer) -> bool:
    return layer.geometry is GeometryType.POLYGON


def has_batch(layer: Layer) -> bool:
    """Whether something is made of several rows together."""
    return layer.overview.coverage or bool(layer.overview.merge_by)


def band_of(layer: Layer, z: int) -> int | None:
    """The last zoom of the band that a tile of zoom `z` is made of; None for the table itself."""
    if has_shapes(layer) and layer.minzoom <= z < min(layer.maxzoom, FIRST_TRUE_ZOOM):
        return z | 1
    return None


def pixel_m(z: int) -> float:
    """The side of a pixel at zoom `z`, in metres of EPSG:3857."""
    return WORLD / TILE_PIXELS / 2.0**z


def bands(layer: Layer) -> list[int]:
    """The last zooms of a layer's bands, finest first."""
    used = {band_of(layer, z) for z in range(FIRST_TRUE_ZOOM)}
    return sorted((band for band in used if band is not None), reverse=True)


def chain_bands(layer: Layer) -> list[int]:
    return [band for band in bands(layer) if band <= LAST_CHAIN_ZOOM]


def chain_columns(layer: Layer) -> list[str]:
    """The columns that lines of one chain agree in: those declared, and those by which maps
    colour and filter lines.
    """
    if not layer.overview.merge_by:
        return []
    named = [*layer.overview.merge_by, *([layer.category] if layer.category else [])]
    if layer.time:
        named += [layer.time.start, *([layer.time.end] if layer.time.end else [])]
    return list(dict.fromkeys(named))


def chain_order(layer: Layer) -> dict[str, str]:
    """How SQL orders lines by each column of the priority that a chain's lines may differ in; the
    chain has the value of the first.
    """
    if not layer.overview.merge_by:
        return {}
    return {
        name.removeprefix("-"): "DESC NULLS LAST" if name.startswith("-") else "ASC NULLS LAST"
        for name in layer.priority
        if name.removeprefix("-") not in chain_columns(layer)
    }


def carried(layer: Layer) -> list[Column]:
    """The columns that shapes carry, so that a tile is read from one table: those that travel in
    tiles or put features in order.
    """
    priority = {name.removeprefix("-") for name in layer.priority}
    travelling = {column.name for column in layer.tile_columns}
    return [column for column in layer.columns if column.name in priority | travelling]


def signature(layer: Layer) -> str:
    """A hash of all that the rows of a layer's overview depend on beside its table."""
    carries = [(column.name, column.type.value) for column in carried(layer)]
    joined = (layer.overview.coverage, chain_columns(layer), chain_order(layer))
    said = (FORMAT, bands(layer), has_labels(layer), *joined, carries)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:12]


def shapes_name(layer: Layer) -> str:
    return f"{layer.id}__shapes"


def labels_name(layer: Layer) -> str:
    return f"{layer.id}__labels"


def shapes_table(layer: Layer) -> str:
    return f"{OVERVIEW}.{ident(shapes_name(layer))}"


def labels_table(layer: Layer) -> str:
    return f"{OVERVIEW}.{ident(labels_name(layer))}"


def names_of(layer: Layer) -> list[str]:
    names = [shapes_name(layer)] if has_shapes(layer) else []
    return [*names, labels_name(layer)] if has_labels(layer) else names


def tables_of(layer: Layer) -> list[str]:
    """The tables that readers of the layer's tiles read beside its own."""
    return [f"{OVERVIEW}.{ident(name)}" for name in names_of(layer)]
