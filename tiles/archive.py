"""What every file of tiles has in common, whatever its format."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from layers.catalog import Bounds
from tiles.address import TileAddress
from tiles.errors import ArchiveBroken

GZIP_MAGIC = b"\x1f\x8b"
BLOCKING = 0  # flags of preadv: wait for the disk


class TileKind(StrEnum):
    """What a stored tile is; the value is its ending in addresses."""

    MVT = "mvt"
    PNG = "png"
    WEBP = "webp"
    JPG = "jpg"

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self]


MEDIA_TYPES = {
    TileKind.MVT: "application/vnd.mapbox-vector-tile",
    TileKind.PNG: "image/png",
    TileKind.WEBP: "image/webp",
    TileKind.JPG: "image/jpeg",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveInfo:
    """What a file says of itself. `kinds` are the endings it can be asked with."""

    kinds: tuple[TileKind, ...]
    minzoom: int
    maxzoom: int
    bounds: Bounds
    centre: tuple[float, float, int] | None = None
    vector_layers: tuple[dict[str, Any], ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)


class FileState(NamedTuple):
    """Tells a file from the one that took its place, and from itself after a change."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Raises OSError where there is none, ArchiveBroken for what is no regular file."""
        return cls._from(path.stat())

    @classmethod
    def of_open(cls, descriptor: int) -> Self:
        return cls._from(os.fstat(descriptor))

    @classmethod
    def _from(cls, found: os.stat_result) -> Self:
        if not stat.S_ISREG(found.st_mode):
            raise ArchiveBroken("is not a regular file")
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class TileFile(Protocol):
    """An open archive. It is read by several threads at once.

    `state` is that of the file when it was opened; `mark` a hash of what it begins with; `inline`
    says that `read` with `wait=False` may be tried on the event loop.
    """

    info: ArchiveInfo
    state: FileState
    mark: str
    inline: bool

    @property
    def unchanged(self) -> bool:
        """Whether nobody wrote into the file since it was opened."""

    def read(self, at: TileAddress, *, wait: bool = True) -> bytes | None:
        """The tile as it is stored (vector tiles gzipped or bare), or None where there is none.

        With `wait=False`, raises BlockingIOError where the disk would have to be waited for.
        Raises ArchiveBroken.
        """

    def close(self) -> None: ...
