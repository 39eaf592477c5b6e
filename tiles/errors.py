"""What can go wrong in `tiles`.

TilesError
└── AddressRefused    no such tile; carries the parameter, its value and what is allowed
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
