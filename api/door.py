"""The officer's door: reads the key of a request, and lets nobody try many."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Self, TypeVar

from api.settings import ApiSettings
from layers.errors import KeyRefused, LayersError
from layers.keys import KeyProof
from layers.officer import Officer
from layers.store import Store

T = TypeVar("T")
CONNECTIONS, QUEUE = 2, 32  # officers are few, and must not take what readers need
WRONG_KEYS, WINDOW_S = 10, 60.0  # as many from one address, in as many seconds
MOST_ADDRESSES, MOST_KEYS = 1_024, 256  # remembered; the oldest are forgotten


class DoorClosed(LayersError):
    """This process has no login for officers."""


class TooManyWrongKeys(LayersError):
    """An address showed wrong keys too often, and has to wait."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"too many wrong keys came from this address; wait {wait_s} s")
        self.wait_s = wait_s


class WrongKeys:
    """How many wrong keys came from where, of late.

    A key that was right before is always asked about: many people may share an address with
    whoever tries. It is remembered by a digest, and opens nothing by being remembered.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._right: OrderedDict[bytes, None] = OrderedDict()

    def check(self, address: str, digest: bytes | None = None) -> None:
        """Raise TooManyWrongKeys for an address that has to wait."""
        count, since = self._wrong.get(address, (0, 0.0))
        wait = since + WINDOW_S - self._clock()
        if count >= WRONG_KEYS and wait > 0 and digest not in self._right:
            raise TooManyWrongKeys(max(1, ceil(wait)))

    def wrong(self, address: str, digest: bytes | None = None) -> None:
        count, since = self._wrong.pop(address, (0, 0.0))
        if self._clock() >= since + WINDOW_S or not count:
            count, since = 0, self._clock()
        self._wrong[address] = (count + 1, since)
        if len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)
        if digest is not None:
            self._right.pop(digest, None)

    def right(self, digest: bytes) -> None:
        self._right[digest] = None
        self._right.move_to_end(digest)
        if len(self._right) > MOST_KEYS:
            self._right.popitem(last=False)


class Door:
    """Where requests with a key come in. Without a database nobody does."""

    def __init__(self, store: Store | None = None, wrong_keys: WrongKeys | None = None) -> None:
        self._store = store
        self._wrong_keys = wrong_keys or WrongKeys()

    @classmethod
    def from_settings(cls, settings: ApiSettings) -> Self:
        if settings.officer_database_url is None:
            return cls()
        url = settings.officer_database_url.get_secret_value()
        timeout_s = settings.query_timeout_s
        return cls(Store(url, size=CONNECTIONS, queue=QUEUE, timeout_s=timeout_s, writes=True))

    async def close(self) -> None:
        if self._store is not None:
            await self._store.close()

    async def ask(
        self,
        authorization: str | None,
        address: str,
        question: Callable[[Officer], Awaitable[T]],
    ) -> T:
        """Ask in the name of the key that `Authorization` holds. Raises KeyRefused,
        TooManyWrongKeys, DoorClosed, and what the question raises.
        """
        if self._store is None:
            raise DoorClosed(
                "this process has no login for officers; start it with quartier serve, or set"
                " QUARTIER_OFFICER_DATABASE_URL"
            )
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise KeyRefused("show a key: Authorization: Bearer qk_…")
        try:
            proof = KeyProof.of(key.strip())
        except KeyRefused:
            self._wrong_keys.check(address)
            self._wrong_keys.wrong(address)
            raise
        known = hashlib.sha256(b"door" + proof.digest).digest()
        self._wrong_keys.check(address, known)
        try:
            answer = await question(Officer(self._store, proof))
        except KeyRefused as exc:
            if exc.is_unknown:  # one that has expired or was revoked is nobody's guess
                self._wrong_keys.wrong(address, known)
            raise
        self._wrong_keys.right(known)
        return answer
