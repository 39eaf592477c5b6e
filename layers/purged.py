"""What was erased from a layer for good, and must not come back with a load."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class Purged:
    """The keys that may not come back, as digests that only this database can make."""

    secret: bytes = b""
    digests: frozenset[str] = frozenset()

    def holds(self, key: str) -> bool:
        return digest_of(key, self.secret) in self.digests


def digest_of(key: str, secret: bytes) -> str:
    return hashlib.blake2b(key.encode(), key=secret, digest_size=16).hexdigest()


def purged_keys(connection: sa.Connection, layer_id: str) -> Purged:
    """What must not be loaded into the layer again."""
    digests = connection.scalars(
        sa.text("SELECT unnest(digests) FROM quartier.purges WHERE layer_id = :layer"),
        {"layer": layer_id},
    ).all()
    return Purged(purge_secret(connection), frozenset(digests)) if digests else Purged()


def purge_secret(connection: sa.Connection) -> bytes:
    """What the digests of this database are made with."""
    found = sa.text("SELECT value FROM quartier.secrets WHERE name = 'purge'")
    return bytes(connection.scalar(found) or b"")
