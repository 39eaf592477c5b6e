"""What a tile holds, for people and for scripts."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiles.address import TileAddress
from tiles.archive import GZIP_MAGIC, TileKind
from tiles.errors import ArchiveBroken
from tiles.packing import decompress

EXAMPLES = 3
TYPES = {bool: "Boolean", int: "Number", float: "Number", str: "String"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTile:
    """A tile taken apart. `body` is as stored: gzip or bare for vector tiles."""

    name: str
    at: TileAddress
    kind: TileKind
    body: bytes
    validator: str | None = None
    truncated: Sequence[str] = ()
    revisions: Mapping[str, int] = field(default_factory=dict)

    @property
    def raw(self) -> bytes:
        try:
            return decompress(self.body) if self.body.startswith(GZIP_MAGIC) else self.body
        except Exception as exc:
            raise ArchiveBroken(f"this tile cannot be unpacked: {exc}") from exc

    @property
    def gzipped(self) -> int:
        """Bytes on the wire."""
        if self.kind is not TileKind.MVT or self.body.startswith(GZIP_MAGIC) or not self.body:
            return len(self.body)
        return len(gzip.compress(self.body, mtime=0))

    def layers(self) -> dict[str, Any]:
        """The layers of a vector tile as mapbox-vector-tile reads them, y from the north."""
        if self.kind is not TileKind.MVT or not self.body:
            return {}
        import mapbox_vector_tile  # half a second that only those who look need wait for

        try:
            found: dict[str, Any] = mapbox_vector_tile.decode(self.raw, {"y_coord_down": True})
        except ArchiveBroken:
            raise
        except Exception as exc:
            raise ArchiveBroken(f"this tile is no vector tile: {exc}") from exc
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything, features and coordinates included."""
        return {
            "tile": self.name,
            "z": self.at.z,
            "x": self.at.x,
            "y": self.at.y,
            "format": self.kind.value,
            "bytes": len(self.raw),
            "bytes_gzip": self.gzipped,
            "validator": self.validator,
            "revisions": dict(self.revisions),
            "truncated": list(self.truncated),
            "layers": self.layers(),
        }


@dataclass(frozen=True, slots=True)
class ShownLayer:
    """One MVT layer, summed up."""

    name: str
    extent: int
    features: int
    geometries: Mapping[str, int]
    attributes: Sequence[tuple[str, str, int, str]]  # name, type, how many have it, examples


def summed_up(name: str, layer: Mapping[str, Any]) -> ShownLayer:
    features = layer["features"]
    geometries = Counter(str(each["geometry"]["type"]) for each in features)
    return ShownLayer(name, layer["extent"], len(features), dict(geometries), _attributes(features))


def _attributes(features: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, int, str]]:
    values: dict[str, list[Any]] = {}
    for feature in features:
        for name, value in feature["properties"].items():
            values.setdefault(name, []).append(value)
    return [
        (
            name,
            ", ".join(sorted({TYPES.get(type(value), "?") for value in found})),
            len(found),
            ", ".join(str(value) for value in list(dict.fromkeys(found))[:EXAMPLES]),
        )
        for name, found in values.items()
    ]
