"""What can go wrong in `tiles`.

TilesError
├── AddressRefused        no such tile; carries the parameter, its value and what is allowed
├── TilesetUnavailable    a tileset's file is missing or cannot be read; carries its id
├── ArchiveBroken         a file is not what its ending says, or holds nonsense
├── ExportRefused         an archive cannot be made as asked
└── CacheNotEmptied       what workers share could not be emptied
"""

from __future__ import annotations


class TilesError(Exception):
    """Anything `tiles` says on purpose. Its text may be shown to anyone."""


class AddressRefused(TilesError):
    """z, x or y is no place in the tile pyramid, or the list of layers is no list of layers."""

    def __init__(self, parameter: str, value: object, fix: str) -> None:
        super().__init__(f"{parameter}={value}: {fix}")
        self.parameter = parameter
        self.value = value
        self.fix = fix


class ArchiveBroken(TilesError):
    """A file is not what its ending says, or holds nonsense."""


class TilesetUnavailable(TilesError):
    """A tileset's file is missing or cannot be read. Where it lies is told to the log alone."""

    def __init__(self, tileset_id: str, reason: str) -> None:
        super().__init__(f"tileset {tileset_id!r}: {reason}")
        self.tileset_id = tileset_id


class ExportRefused(TilesError):
    """An archive cannot be made as asked."""


class CacheNotEmptied(TilesError):
    """What workers share could not be emptied: some tiles may still lie there."""
