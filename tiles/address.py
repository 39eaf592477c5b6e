"""Where a tile is. One argument order, everywhere: z, x, y."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Self

from layers.columns import MAX_ZOOM
from tiles.errors import AddressRefused
from tiles.narrowed import Narrowed

MAX_LAYERS = 64  # in one composite tile


class TileAddress(NamedTuple):
    """A z/x/y address of WebMercatorQuad known to exist; y counts from the north."""

    z: int
    x: int
    y: int

    @classmethod
    def parse(cls, z: str, x: str, y: str) -> Self:
        """Read three texts; raises AddressRefused naming the one that is wrong."""
        zoom = _whole("z", z, MAX_ZOOM)
        last = (1 << zoom) - 1
        return cls(zoom, _whole("x", x, last), _whole("y", y, last))


def _whole(name: str, text: str, last: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 8):
        raise AddressRefused(name, text, f"write a whole number from 0 to {last}")
    number = int(text)
    if number > last:
        raise AddressRefused(name, text, f"must be from 0 to {last} at this zoom")
    return number


class Show(StrEnum):
    """What a tile shows of a layer: its features, or something made of them."""

    FEATURES = "features"
    HEAT = "heat"
    LABELS = "labels"


class TileLayer(NamedTuple):
    """A layer of a tile: `trees`, or a presentation of it such as `trees:heat`."""

    id: str
    show: Show = Show.FEATURES
    narrowed: Narrowed | None = None

    @property
    def name(self) -> str:
        """Its name in addresses and in the tile."""
        return self.id if self.show is Show.FEATURES else f"{self.id}:{self.show}"

    @property
    def key(self) -> str:
        """What caches know it by: with the part of it that is wanted."""
        return self.name if self.narrowed is None else f"{self.name}~{self.narrowed.key}"


def parse_layers(text: str) -> tuple[TileLayer, ...]:
    """The layers of a composite, in the order asked; raises AddressRefused."""
    names = text.split(",")
    if len(names) > MAX_LAYERS:
        raise AddressRefused("layers", f"{len(names)} ids", f"ask for {MAX_LAYERS} layers at most")
    if len(set(names)) < len(names):
        raise AddressRefused("layers", text, "name each layer once")
    return tuple(_layer(name) for name in names)


def _layer(name: str) -> TileLayer:
    layer_id, colon, show = name.partition(":")
    if not colon:
        return TileLayer(name)
    if show not in (Show.HEAT, Show.LABELS):
        raise AddressRefused(
            "layers", name, f"write {layer_id}, {layer_id}:heat or {layer_id}:labels"
        )
    return TileLayer(layer_id, Show(show))
