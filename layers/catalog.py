"""What is published now: a snapshot of the catalogue as the web reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from typing import NamedTuple

from layers.errors import LayerNotFound, MapNotFound
from layers.map import Map
from layers.model import Layer
from layers.tilesets import PublishedTileset


class Bounds(NamedTuple):
    """An extent in degrees, EPSG:4326, longitude first. `west` > `east` crosses 180°."""

    west: float
    south: float
    east: float
    north: float

    @classmethod
    def around(cls, extents: Iterable[Bounds | None]) -> Bounds | None:
        """The smallest extent that holds all of them, or None where there is none."""
        known = [extent for extent in extents if extent is not None]
        if not known:
            return None
        return cls(
            min(e.west for e in known),
            min(e.south for e in known),
            max(e.east for e in known),
            max(e.north for e in known),
        )


class Interval(NamedTuple):
    """From the first to the last instant, in UTC; None where it is open."""

    start: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLayer:
    """A layer and the state it is in.

    `revision` is 0 and `changed_at` None before the first row. `config_hash` changes with
    every part of the declaration that shows in a tile. Below `detail_zoom` a layer of points
    shows counted cells; its cube goes down to `cube_depth` (-1: there is none). `extent`, `count`
    and `interval` are figures of a revision that may be a few seconds older.
    """

    layer: Layer
    revision: int
    changed_at: datetime | None
    config_hash: str
    extent: Bounds | None = None
    interval: Interval | None = None
    count: int | None = None
    detail_zoom: int = 0
    cube_depth: int = -1

    @property
    def id(self) -> str:
        return self.layer.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All that is published at one moment. Withdrawn layers are not in it."""

    layers: Mapping[str, PublishedLayer]
    maps: Mapping[str, Map]
    tilesets: Mapping[str, PublishedTileset] = field(default_factory=dict)

    def layer(self, layer_id: str) -> PublishedLayer:
        """The layer of this id; raises LayerNotFound."""
        try:
            return self.layers[layer_id]
        except KeyError:
            raise LayerNotFound(layer_id, self._advice(layer_id)) from None

    def _advice(self, layer_id: str) -> str:
        if layer_id in self.tilesets:
            return "it is a tileset, which has tiles of its own and is asked for alone"
        near = get_close_matches(layer_id, [*self.layers, *self.tilesets], n=1)
        return f"did you mean {near[0]}?" if near else ""

    def map(self, map_id: str) -> Map:
        """The map of this id; raises MapNotFound."""
        try:
            return self.maps[map_id]
        except KeyError:
            raise MapNotFound(map_id) from None
