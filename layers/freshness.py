"""The revisions that layers are at now: asked of the database once for all who ask at a time.

What a worker has heard of changes is a few milliseconds old. Who has just written and reads what
was written shall find it, so an answer that is kept is sent only after this has been asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from layers.store import Store

STATE = "SELECT layer_id, revision FROM quartier.public_state"


class Freshness:
    """Those who come while a question is on its way share the next one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[Mapping[str, int]] | None = None

    async def revision(self, layer_id: str) -> int | None:
        """The layer's revision at some moment after this was asked. Raises StoreUnavailable."""
        if self._next is None:
            self._next = asyncio.create_task(self._ask())
        return (await asyncio.shield(self._next)).get(layer_id)

    async def _ask(self) -> Mapping[str, int]:
        async with self._turn:
            self._next = None  # who comes from now on may have written since
            rows = await self._store.fetch(STATE)
        return {row["layer_id"]: row["revision"] for row in rows}
