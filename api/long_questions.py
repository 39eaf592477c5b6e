"""Long questions are read beside the others: a shape of a megabyte may take seconds to be checked,
in which the tiles of everybody else would wait.
"""

from __future__ import annotations

import asyncio

from api.feature_params import Asked, Wanted, wanted
from layers.catalog import PublishedLayer
from layers.errors import StoreBusy

LONG = 4_096  # bytes; what is shorter is read in a few milliseconds
MOST_WAITING = 8


class LongQuestions:
    """Reads one of them at a time; a few may wait, one more is told to come back."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._there = 0
        self._turn = asyncio.Lock()

    async def read(self, asked: Asked, published: PublishedLayer, size: int) -> Wanted:
        """What parameters of so many bytes ask for; raises QueryRefused, StoreBusy."""
        if size <= LONG:
            return wanted(asked, published)
        if self._there >= self._most:
            raise StoreBusy(f"{self._there} long questions are being read already")
        self._there += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(wanted, asked, published)
        finally:
            self._there -= 1
