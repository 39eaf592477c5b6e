"""Where a tile is. One argument order, everywhere: z, x, y."""

from __future__ import annotations

from typing import NamedTuple, Self

from layers.model import MAX_ZOOM
from tiles.errors import AddressRefused

MAX_LAYERS = 32  # in one composite tile


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


def parse_layers(text: str) -> tuple[str, ...]:
    """The layer ids of a composite, in the order asked; raises AddressRefused."""
    ids = tuple(text.split(","))
    if len(ids) > MAX_LAYERS:
        raise AddressRefused("layers", f"{len(ids)} ids", f"ask for {MAX_LAYERS} layers at most")
    if len(set(ids)) < len(ids):
        raise AddressRefused("layers", text, "name each layer once")
    return ids
