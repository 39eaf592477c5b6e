"""A layer of a tile together with what is published under its id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from layers.catalog import Catalog, PublishedLayer
from layers.columns import GeometryType
from layers.filters.nodes import EVERYTHING
from layers.model import Layer
from layers.overviews import has_cells
from layers.shapes import has_labels
from tiles.address import Show, TileLayer
from tiles.errors import AddressRefused


class Drawn(NamedTuple):
    """What was asked for, and the layer as it is now."""

    wanted: TileLayer
    published: PublishedLayer

    @property
    def layer(self) -> Layer:
        """The layer, with the columns that are to travel."""
        layer, narrowed = self.published.layer, self.wanted.narrowed
        if narrowed is None or narrowed.columns is None:
            return layer
        return layer.model_copy(update={"tile": narrowed.columns})

    @property
    def is_narrowed(self) -> bool:
        """Whether the statements of whole layers do not make it: because a part is wanted, or
        columns that shapes of low zooms do not carry.
        """
        narrowed = self.wanted.narrowed
        if narrowed is None:
            return False
        return narrowed.where != EVERYTHING or not has_cells(self.published.layer)

    @property
    def name(self) -> str:
        """Its name in addresses and in the tile."""
        return self.wanted.name

    def shows_cells(self, z: int) -> bool:
        """Whether the tile holds counted cells in the place of points."""
        return (
            self.wanted.show is Show.FEATURES
            and has_cells(self.layer)
            and z < self.published.detail_zoom
        )

    def shows_features(self, z: int) -> bool:
        """Whether the tile holds features or their labels, which a budget may cut."""
        return self.wanted.show is not Show.HEAT and not self.shows_cells(z)


def draw(catalog: Catalog, asked: Sequence[TileLayer]) -> list[Drawn]:
    """The layers as they are published; raises LayerNotFound, and AddressRefused for one that
    cannot be shown so.
    """
    drawn = [Drawn(wanted, catalog.layer(wanted.id)) for wanted in asked]
    for each in drawn:
        _refuse_what_cannot_be_shown(each)
    return drawn


def _refuse_what_cannot_be_shown(drawn: Drawn) -> None:
    layer, show = drawn.layer, drawn.wanted.show
    if not layer.has_geometry:
        raise AddressRefused("layers", layer.id, "this layer has no geometry, so no tiles")
    if show is Show.HEAT and layer.geometry is not GeometryType.POINT:
        raise AddressRefused("layers", drawn.name, f"is for points; ask for {layer.id}")
    if show is Show.LABELS and not has_labels(layer):
        raise AddressRefused("layers", drawn.name, f"is for polygons; ask for {layer.id}")
