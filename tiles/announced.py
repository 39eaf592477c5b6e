"""Revisions that a client was told of: no answer of ours may be older.

A request carries `revision=<layer>:<n>[,<layer>:<n>…]`, as the change feed announced them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Protocol

from layers.catalog import Catalog
from layers.changes import ChangeLog
from layers.errors import LayerNotFound, QueryRefused

PARAMETER = "revision"
FORM = "write revision=<layer>:<number>, several separated by commas"
MOST_LAYERS = 100
MOST_DIGITS = 18
PAUSE_S = 0.1  # between two reads that found nothing new, whatever clients claim


class Log(Protocol):
    """What is known of changes, and how to know more."""

    @property
    def catalog(self) -> Catalog: ...
    def log_of(self, layer_id: str) -> ChangeLog: ...
    async def catch_up(self, layer_id: str, revision: int) -> None: ...


def parse_revisions(text: str) -> dict[str, int]:
    """Layer ids and the revisions announced; raises QueryRefused."""
    told: dict[str, int] = {}
    pairs = text.split(",")
    if len(pairs) > MOST_LAYERS:
        raise QueryRefused(PARAMETER, f"{len(pairs)} layers", f"name {MOST_LAYERS} at most")
    for pair in pairs:
        layer_id, colon, number = pair.partition(":")
        is_number = number.isascii() and number.isdigit() and len(number) <= MOST_DIGITS
        if not (layer_id and colon and is_number):
            raise QueryRefused(PARAMETER, text, FORM)
        if layer_id in told:
            raise QueryRefused(PARAMETER, text, f"names {layer_id} twice; name each layer once")
        told[layer_id] = int(number)
    return told


class Announcements:
    """Brings a worker's log up to what its clients were told."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        self._wanted: dict[str, int] = {}
        self._no_read_before = 0.0

    async def heed(self, told: Mapping[str, int]) -> bool:
        """Return once all that the database has of these revisions is known here; whether it had
        them all. Raises QueryRefused for a layer that is not published, StoreUnavailable.

        What a client claims may be wrong. So all who ask for more than is known share one read
        that begins after they asked, and one that did not help is not soon followed by another.
        """
        self._refuse_unknown(told)
        if not self._is_behind(told):
            return True
        for layer_id, revision in told.items():
            self._wanted[layer_id] = max(revision, self._wanted.get(layer_id, 0))
        if self._next is None:
            self._next = asyncio.ensure_future(self._read())
            self._next.add_done_callback(_look_at_failure)
        await asyncio.shield(self._next)
        return not self._is_behind(told)

    def _refuse_unknown(self, told: Mapping[str, int]) -> None:
        for layer_id, revision in told.items():
            try:
                self._log.catalog.layer(layer_id)
            except LayerNotFound as exc:
                said = f"{layer_id}:{revision}"
                raise QueryRefused(PARAMETER, said, f"{exc}; name published layers") from exc

    def _is_behind(self, told: Mapping[str, int]) -> bool:
        return self._lacking(told) is not None

    def _lacking(self, told: Mapping[str, int]) -> tuple[str, int] | None:
        """A layer and a revision of it that is not known yet, if there is one."""
        layers = self._log.catalog.layers
        for layer_id, revision in told.items():
            if layer_id in layers and self._log.log_of(layer_id).revision < revision:
                return layer_id, revision
        return None

    async def _read(self) -> None:
        """One read of the log, which brings every layer up. Others join until it begins."""
        async with self._turn:
            await asyncio.sleep(max(0.0, self._no_read_before - time.monotonic()))
            wanted, self._wanted, self._next = self._wanted, {}, None
            if (lacking := self._lacking(wanted)) is None:
                return
            try:
                await self._log.catch_up(*lacking)
            finally:
                if self._is_behind(wanted):
                    self._no_read_before = time.monotonic() + PAUSE_S


def _look_at_failure(reading: asyncio.Task[None]) -> None:
    """Those who waited have been told; perhaps all of them have left."""
    if not reading.cancelled():
        reading.exception()
