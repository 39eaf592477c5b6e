"""How full tiles were, to guess how full they are: a tile of many rows is made here, one of few by
the database. A wrong guess costs a millisecond or some; the tile is the same.
"""

from __future__ import annotations

from tiles.address import TileAddress

MANY = 1500  # rows: of more, a tile is made here in less time
REMEMBERED = 20_000  # tiles


class Fullness:
    """Rows of the tiles that were made last, by what they show and where."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, int, int, int], int] = {}

    def is_large(self, name: str, at: TileAddress) -> bool:
        """As large as the last time; else a child is taken to have half of what its parent has, and
        a tile nobody knows to be small.
        """
        known = self._rows.get((name, *at))
        if known is None:
            known = self._rows.get((name, at.z - 1, at.x // 2, at.y // 2), 0) // 2
        return known > MANY

    def tell(self, name: str, at: TileAddress, rows: int) -> None:
        self._rows.pop((name, *at), None)  # so that the oldest stand first
        self._rows[name, *at] = rows
        if len(self._rows) > REMEMBERED:
            for key in list(self._rows)[: REMEMBERED // 4]:
                del self._rows[key]
