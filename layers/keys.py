"""Keys of the officer's door: made, listed, revoked, and what was done with them.

A key is a random text that is shown once. The web sends its SHA-256 to the database, which keeps
the SHA-256 of that: neither a log of statements nor a copy of the tables opens anything.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Self

import sqlalchemy as sa

from layers.errors import ChangeRefused, KeyRefused, LayerNotFound

ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
ID_LENGTH = 10
SECRET_BYTES = 32  # 256 bits, so that a plain hash is enough: there is nothing to guess
FORM = re.compile(r"qk_(?P<id>[a-z0-9]{10})_(?P<secret>[A-Za-z0-9_-]{43})")


class Scope(StrEnum):
    """What a key is for."""

    READ_RUNS = "runs:read"
    READ_QUARANTINE = "quarantine:read"
    ACCEPT = "runs:accept"
    ROLL_BACK = "data:rollback"


@dataclass(frozen=True, slots=True)
class KeyProof:
    """What is left of a key once it was read: its public id, and a digest that is never printed."""

    id: str
    digest: bytes = field(repr=False)

    @classmethod
    def of(cls, key: str) -> Self:
        """Raises KeyRefused for a text that is no key; the text is not repeated."""
        found = FORM.fullmatch(key)
        if found is None:
            raise KeyRefused("this is no key of Quartier's; they begin with qk_")
        return cls(found["id"], hashlib.sha256(key.encode()).digest())

    @property
    def kept(self) -> bytes:
        """What the database keeps."""
        return hashlib.sha256(self.digest).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key to be made: for whom, for what, for which layers (all without any), until when."""

    name: str
    scopes: tuple[Scope, ...]
    layers: tuple[str, ...] = ()
    expires_at: datetime | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("a key needs a name: whose it is, and where it is used")
        if not self.scopes:
            raise ValueError(f"a key needs a scope: {', '.join(Scope)}")
        if self.expires_at is not None and self.expires_at <= datetime.now(UTC):
            raise ValueError(f"{self.expires_at.isoformat()} is past; the key would open nothing")


def until(text: str) -> datetime:
    """When a key expires: at the instant given, or at the end of the day given (UTC)."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return datetime.combine(
                date.fromisoformat(text) + timedelta(days=1), datetime.min.time(), UTC
            )
        instant = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no day such as 2027-06-30, and no instant") from None
    if instant.tzinfo is None:
        raise ValueError(f"{text!r}: say its time zone, such as Z or +02:00")
    return instant


def create_key(connection: sa.Connection, new: NewKey, *, by: str) -> str:
    """Make a key and return it: nobody can read it again. The caller commits."""
    known = set(connection.scalars(sa.text("SELECT id FROM quartier.layers")))
    if unknown := [layer for layer in new.layers if layer not in known]:
        raise LayerNotFound(unknown[0], "a key reaches layers that are there; see quartier apply")
    identity = "".join(secrets.choice(ID_LETTERS) for _ in range(ID_LENGTH))
    key = f"qk_{identity}_{secrets.token_urlsafe(SECRET_BYTES)}"
    connection.execute(
        sa.text(
            "INSERT INTO quartier.keys (id, name, hash, scopes, layers, expires_at, created_by)"
            " VALUES (:id, :name, :hash, :scopes, :layers, :expires, :by)"
        ),
        {
            "id": identity, "name": new.name, "hash": KeyProof.of(key).kept,
            "scopes": [scope.value for scope in new.scopes],
            "layers": sorted(set(new.layers)) or None, "expires": new.expires_at, "by": by,
        },
    )  # fmt: skip
    connection.execute(
        sa.text("INSERT INTO quartier.key_uses (key_id) VALUES (:id)"), {"id": identity}
    )
    told = {
        "scopes": new.scopes,
        "layers": new.layers or None,
        "expires_at": new.expires_at.isoformat() if new.expires_at else None,
    }
    _record(connection, identity, "create", by=by, note=new.name, details=told)
    return key


def revoke_key(connection: sa.Connection, key_id: str, *, by: str, note: str) -> None:
    """From the next request on it opens nothing. The caller commits."""
    gone = connection.scalar(
        sa.text(
            "UPDATE quartier.keys SET revoked_at = now() WHERE id = :id AND revoked_at IS NULL"
            " RETURNING id"
        ),
        {"id": key_id},
    )
    if gone is None:
        raise ChangeRefused("no key that is not revoked has this id; see quartier keys list")
    _record(connection, key_id, "revoke", by=by, note=note, details={})


def list_keys(connection: sa.Connection) -> list[dict[str, Any]]:
    """Every key there was, the newest first, without its hash."""
    rows = connection.execute(
        sa.text(
            "SELECT k.id, k.name, k.scopes, k.layers, k.created_at, k.created_by, k.expires_at,"
            " k.revoked_at, u.last_used_at, CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked'"
            " WHEN k.expires_at <= now() THEN 'expired' ELSE 'valid' END AS state"
            " FROM quartier.keys k LEFT JOIN quartier.key_uses u ON u.key_id = k.id"
            " ORDER BY k.created_at DESC, k.id"
        )
    )
    return [dict(row._mapping) for row in rows]


def audit(connection: sa.Connection, *, key_id: str | None, most: int) -> list[dict[str, Any]]:
    """What was done to keys and with them, the newest first."""
    rows = connection.execute(
        sa.text(
            "SELECT done_at, key_id AS key, key_name AS name, action, done_by AS by, note,"
            " layer_id AS layer, run_id AS run, details, login FROM quartier.key_audit"
            " WHERE CAST(:key AS text) IS NULL OR key_id = :key ORDER BY id DESC LIMIT :most"
        ),
        {"key": key_id, "most": most},
    )
    return [dict(row._mapping) for row in rows]


def _record(  # noqa: PLR0913 - each is a column
    connection: sa.Connection,
    key_id: str,
    action: str,
    *,
    by: str,
    note: str,
    details: Mapping[str, Sequence[str] | str | None],
) -> None:
    connection.execute(
        sa.text(
            "INSERT INTO quartier.key_audit (key_id, key_name, action, done_by, note, details)"
            " SELECT id, name, :action, :by, :note, CAST(:details AS jsonb)"
            " FROM quartier.keys WHERE id = :id"
        ),
        {"id": key_id, "action": action, "by": by, "note": note, "details": json.dumps(details)},
    )
