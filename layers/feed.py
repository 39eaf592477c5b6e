"""What a worker knows of the database, kept true by LISTEN and by reading the change log.

The durable log is the truth; a notification only says that there is something to read. After any
gap the log is read from the last revision known.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

import asyncpg
import structlog

from layers.catalog import Catalog, PublishedLayer
from layers.changes import ChangeLog
from layers.errors import LayersError, StoreUnavailable
from layers.facts import Facts, facts_query
from layers.map import Map
from layers.model import Layer
from layers.published_tilesets import TILESETS, readable_tilesets
from layers.store import CONNECT_TIMEOUT_S, Store, store_errors

CHANNEL = "quartier"
RECONNECT_S = 0.5
HEARTBEAT_S = 5.0  # a connection that died silently is noticed within this
FACTS_PAUSE_S = 2.0  # counts and extents of a busy layer are taken at most this often,
FACTS_SHARE = 0.05  # and for no more than this share of the time,
FACTS_PAUSE_MOST_S = 60.0  # but as often as that

STATE = """
    SELECT id, declaration::text AS declaration, config_hash, revision, base_revision, log_epoch,
           changed_at, salt, detail_zoom, cube_depth
    FROM quartier.public_layers ORDER BY id"""
MAPS = "SELECT id, declaration::text AS declaration FROM quartier.public_maps ORDER BY id"
CHANGES = """
    SELECT z, cell, revision, parts FROM quartier.public_changes
    WHERE layer_id = $1 AND revision > $2"""

log = structlog.get_logger()


class Feed:
    """One a worker. `generation` grows whenever anything it knows has changed."""

    def __init__(self, store: Store, url: str, measuring: Store | None = None) -> None:
        """`measuring`: what layers are counted by, where nobody waits for that."""
        self._store = store
        self._measuring = measuring or store
        self._url = url
        self._logs: dict[str, ChangeLog] = {}
        self._declared: dict[str, tuple[str, Layer]] = {}
        self._facts: dict[str, Facts] = {}
        self._state: dict[str, Any] = {}
        self._reading = asyncio.Lock()
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._facts_wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._catalog: Catalog | None = None
        self._current_until: float | None = None
        self.generation = 0

    @property
    def catalog(self) -> Catalog:
        """What is published; raises StoreUnavailable until it has been read for the first time."""
        if self._catalog is None:
            raise StoreUnavailable("the catalogue has not been read yet; PostGIS is away")
        return self._catalog

    @property
    def is_current(self) -> bool:
        return self.generation > 0 and self._current_until is None

    @property
    def stale_for_s(self) -> int:
        """Seconds since changes were last heard of; 0 while they are."""
        if self._current_until is None:
            return 0
        return max(1, int(time.monotonic() - self._current_until))

    async def start(self) -> None:
        """Read everything once, then follow. A database that is away is waited for."""
        with contextlib.suppress(LayersError):
            await self.read()
            await self._take_facts()
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._measure())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def log_of(self, layer_id: str) -> ChangeLog:
        """The layer's change log; raises LayerNotFound."""
        self.catalog.layer(layer_id)
        return self._logs[layer_id]

    async def catch_up(self, layer_id: str, revision: int) -> None:
        """Return once the log is known up to `revision`, which some snapshot has seen."""
        async with self._reading:
            if self._logs[layer_id].revision < revision:
                await self._read()

    async def newer_than(self, generation: int) -> int:
        """Return, with the generation, once more is known than at the one given."""
        while self.generation <= generation:
            await self._news.wait()
        return self.generation

    async def read(self) -> None:
        """Bring all that is known up to one snapshot of the database."""
        async with self._reading:
            await self._read()

    async def _read(self) -> None:
        """Read in one snapshot; nothing is taken over before all of it is known, and then all at
        once, so that a read that is cut off leaves no trace.
        """
        async with (
            self._store.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            layers = await connection.fetch(STATE)
            maps = await connection.fetch(MAPS)
            tilesets = await connection.fetch(TILESETS)
            news = [
                (row, await self._changes(connection, row)) for row in layers if self._differs(row)
            ]
        for row, changes in news:
            self._take_over(row, changes)
        self._publish(layers, maps, tilesets, bool(news))

    def _differs(self, row: Any) -> bool:
        known = self._state.get(row["id"])
        return known is None or tuple(known) != tuple(row)

    def _continues(self, row: Any) -> bool:
        """Whether what is known of the log goes on: same database, same epoch, no way back."""
        known, state = self._logs.get(row["id"]), self._state.get(row["id"])
        return (
            known is not None
            and state is not None
            and known.epoch == row["log_epoch"]
            and known.revision <= row["revision"]
            and state["salt"] == row["salt"]
        )

    async def _changes(self, connection: Any, row: Any) -> Any:
        since = row["base_revision"]
        if self._continues(row):
            since = max(since, self._logs[row["id"]].revision)
        if row["revision"] <= since:
            return []
        return await connection.fetch(CHANGES, row["id"], since)

    def _take_over(self, row: Any, changes: Any) -> None:
        if not self._continues(row):
            self._logs[row["id"]] = ChangeLog(epoch=row["log_epoch"])
        log_ = self._logs[row["id"]]
        log_.touch(changes)
        log_.advance(row["revision"], row["base_revision"])
        self._state[row["id"]] = row

    def _publish(self, layers: Any, maps: Any, tilesets: Any, changed: bool) -> None:
        published = {row["id"]: each for row in layers if (each := self._readable(row)) is not None}
        shown = {row["id"]: map_ for row in maps if (map_ := _readable_map(row)) is not None}
        files = readable_tilesets(tilesets)
        before = self._catalog
        if (
            changed
            or before is None
            or (published.keys(), shown, files)
            != (before.layers.keys(), before.maps, before.tilesets)
        ):
            self._catalog = Catalog(layers=published, maps=shown, tilesets=files)
            self.generation += 1
            self._facts_wanted.set()
            news, self._news = self._news, asyncio.Event()
            news.set()

    def _readable(self, row: Any) -> PublishedLayer | None:
        """A declaration that this version cannot read hides its own layer and no other."""
        try:
            return self._published(row)
        except ValueError as exc:
            log.error("a layer's declaration cannot be read", layer=row["id"], reason=str(exc))
            return None

    def _published(self, row: Any) -> PublishedLayer:
        text = row["declaration"]
        if self._declared.get(row["id"], ("", None))[0] != text:
            self._declared[row["id"]] = (
                text,
                Layer.model_validate(json.loads(text)).as_published(),
            )
        facts = self._facts.get(row["id"])
        return PublishedLayer(
            layer=self._declared[row["id"]][1],
            revision=row["revision"],
            changed_at=row["changed_at"],
            config_hash=row["config_hash"],
            extent=facts.extent if facts else None,
            interval=facts.interval if facts else None,
            count=facts.rows if facts else None,
            detail_zoom=row["detail_zoom"],
            cube_depth=row["cube_depth"],
        )

    async def _follow(self) -> None:
        """Listen for ever; while nobody listens, nothing known is sure to be current."""
        while True:
            try:
                async with store_errors():
                    await self._listen()
            except LayersError as exc:
                log.warning("the change feed is away", reason=str(exc))
            except Exception:
                log.exception("the change feed failed and begins anew")
            if self._current_until is None:
                self._current_until = time.monotonic()
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(self._url, timeout=CONNECT_TIMEOUT_S)
        lost = asyncio.Event()

        def on_loss(_: object) -> None:
            lost.set()
            self._wake.set()

        connection.add_termination_listener(on_loss)
        try:
            await connection.add_listener(CHANNEL, lambda *_: self._wake.set())
            while not lost.is_set():
                self._wake.clear()
                await self.read()
                self._current_until = None
                await self._sleep_until_woken(connection)
        finally:
            connection.terminate()
            await asyncio.sleep(0)  # the loop closes the socket in its next round
        raise StoreUnavailable("the listening connection was closed")

    async def _sleep_until_woken(self, connection: Any) -> None:
        while not self._wake.is_set():
            try:
                async with asyncio.timeout(HEARTBEAT_S):  # wait_for may forget a cancellation
                    await self._wake.wait()
            except TimeoutError:
                await connection.execute("SELECT 1", timeout=CONNECT_TIMEOUT_S)

    async def _measure(self) -> None:
        """Keep counts and extents near the truth without asking at every change."""
        while True:
            await self._facts_wanted.wait()
            self._facts_wanted.clear()
            begun = time.monotonic()
            await self._take_facts()
            took = time.monotonic() - begun
            pause = min(FACTS_PAUSE_MOST_S, took / FACTS_SHARE - took)
            await asyncio.sleep(max(FACTS_PAUSE_S, pause))

    async def _take_facts(self) -> None:
        for published in list(self.catalog.layers.values()):
            facts = self._facts.get(published.id)
            if facts is None or facts.revision != published.revision:
                await self._take_facts_of(published)
        known = self.catalog
        self._catalog = Catalog(
            layers={layer_id: self._published(self._state[layer_id]) for layer_id in known.layers},
            maps=known.maps,
            tilesets=known.tilesets,
        )

    async def _take_facts_of(self, published: PublishedLayer) -> None:
        """A layer that cannot be counted keeps the figures it had; the others go on."""
        try:
            row = await self._measuring.fetchrow(facts_query(published.layer))
            facts = Facts.of(published.layer, published.revision, row)
        except Exception as exc:
            log.warning("a layer could not be counted", layer=published.id, reason=str(exc))
            return
        self._facts[published.id] = facts


def _readable_map(row: Any) -> Map | None:
    try:
        return Map.model_validate_json(row["declaration"])
    except ValueError as exc:
        log.error("a map's declaration cannot be read", map=row["id"], reason=str(exc))
        return None
