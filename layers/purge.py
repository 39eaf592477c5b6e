"""A row erased for good: from the layer, its history, the quarantine and the records of runs.

The GDPR's article 17. What lies outside the database (kept files, caches) the caller removes, as
the receipt says. Dead rows stay on disk until PostgreSQL reuses their place, which `vacuum` allows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import psycopg
import sqlalchemy as sa

from layers.errors import ChangeRefused
from layers.model import Layer
from layers.sql import ident
from layers.tables import CITY, HISTORY

ERASED = "[erased]"


@dataclass(frozen=True, slots=True)
class Purged:
    """The keys that may not come back, as digests that only this database can make."""

    secret: bytes = b""
    digests: frozenset[str] = frozenset()

    def holds(self, key: str) -> bool:
        return digest_of(key, self.secret) in self.digests


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was erased, in numbers. `files` are the SHA-256 of kept files that held the layer."""

    layer: str
    rows: int
    past_rows: int
    withheld: int
    records: int
    revision: int
    files: list[str]
    by: str
    note: str


def digest_of(key: str, secret: bytes) -> str:
    return hashlib.blake2b(key.encode(), key=secret, digest_size=16).hexdigest()


def purged_keys(connection: sa.Connection, layer_id: str) -> Purged:
    """What must not be loaded into the layer again."""
    digests = connection.scalars(
        sa.text("SELECT unnest(digests) FROM quartier.purges WHERE layer_id = :layer"),
        {"layer": layer_id},
    ).all()
    return Purged(_secret(connection), frozenset(digests)) if digests else Purged()


def _secret(connection: sa.Connection) -> bytes:
    found = sa.text("SELECT value FROM quartier.secrets WHERE name = 'purge'")
    return bytes(connection.scalar(found) or b"")


def erase(  # noqa: PLR0913
    connection: sa.Connection,
    layer: Layer,
    *,
    key: str | None,
    fid: int | None,
    by: str,
    note: str,
) -> Receipt:
    """Erase the row of a key or a fid, and all that is known of it. The caller commits.

    Raises ChangeRefused where nothing is known of it.
    """
    table, past = f"{CITY}.{ident(layer.id)}", f"{HISTORY}.{ident(layer.id)}"
    connection.execute(sa.text("SELECT quartier.lock(:layer)"), {"layer": layer.id})
    known = connection.execute(
        sa.text(
            f"SELECT fid, source_key FROM {table} WHERE source_key = :key OR fid = :fid UNION"
            f" SELECT fid, source_key FROM {past} WHERE source_key = :key OR fid = :fid"
        ),
        {"key": key, "fid": fid},
    ).all()
    fids = sorted({row.fid for row in known})
    keys = _all_keys(connection, layer, fids, {row.source_key for row in known}, key)
    withheld = _forget_withheld(connection, layer, keys)
    if not fids and not withheld:
        asked = f"key {key!r}" if key is not None else f"fid {fid}"
        raise ChangeRefused(f"layer {layer.id}: nothing is known of {asked}")
    rows, past_rows = (
        connection.execute(
            sa.text(f"DELETE FROM {each} WHERE fid = ANY (:fids)"), {"fids": fids}
        ).rowcount
        for each in (table, past)
    )  # the first moves rows to history, from where the second takes them
    revision = connection.scalar(
        sa.text("SELECT quartier.allocate_revision(:layer, 0, 0, 0)"), {"layer": layer.id}
    )
    connection.execute(
        sa.text("SELECT quartier.touch_everything(:layer, :revision)"),
        {"layer": layer.id, "revision": revision},
    )
    receipt = Receipt(
        layer=layer.id, rows=rows, past_rows=past_rows - rows, withheld=withheld,
        records=_blacken(connection, layer, keys), revision=int(revision or 0),
        files=_files(connection, layer), by=by, note=note,
    )  # fmt: skip
    secret = _secret(connection)
    connection.execute(
        sa.text(
            "INSERT INTO quartier.purges (layer_id, digests, purged_by, note, receipt)"
            " VALUES (:layer, :digests, :by, :note, CAST(:receipt AS jsonb))"
        ),
        {
            "layer": layer.id, "digests": [digest_of(each, secret) for each in keys],
            "by": by, "note": note, "receipt": json.dumps(asdict(receipt)),
        },
    )  # fmt: skip
    return receipt


def _all_keys(
    connection: sa.Connection, layer: Layer, fids: list[int], known: set[str], asked: str | None
) -> list[str]:
    """Every key that these rows ever had."""
    found = connection.scalars(
        sa.text(
            f"SELECT source_key FROM {HISTORY}.{ident(layer.id)} WHERE fid = ANY (:fids) UNION"
            f" SELECT source_key FROM {CITY}.{ident(layer.id)} WHERE fid = ANY (:fids)"
        ),
        {"fids": fids},
    )
    return sorted({*known, *found} | ({asked} if asked is not None else set()))


def _forget_withheld(connection: sa.Connection, layer: Layer, keys: list[str]) -> int:
    """Entries of the quarantine under these keys, and what was accepted of them."""
    gone = connection.execute(
        sa.text(
            "DELETE FROM quartier.quarantine WHERE layer_id = :layer AND source_key = ANY (:keys)"
            " RETURNING fingerprint"
        ),
        {"layer": layer.id, "keys": keys},
    ).all()
    prints = [row.fingerprint for row in gone if row.fingerprint]
    connection.execute(
        sa.text(
            "DELETE FROM quartier.accepted_rows WHERE layer_id = :layer"
            " AND fingerprint = ANY (:prints)"
        ),
        {"layer": layer.id, "prints": prints},
    )
    return len(gone)


def _blacken(connection: sa.Connection, layer: Layer, keys: Iterable[str]) -> int:
    """Take the keys out of what runs said; how many records that touched."""
    touched = 0
    for key in keys:
        touched += connection.execute(
            sa.text(
                "UPDATE quartier.runs SET message = replace(message, :key, :erased)"
                " WHERE layer_id = :layer AND position(:key IN message) > 0"
            ),
            {"layer": layer.id, "key": key, "erased": ERASED},
        ).rowcount
    return touched


def _files(connection: sa.Connection, layer: Layer) -> list[str]:
    """Every file that was ever loaded into the layer: any may hold the row."""
    found = connection.scalars(
        sa.text(
            "SELECT DISTINCT s ->> 'sha256' FROM quartier.runs r,"
            " jsonb_array_elements(r.sources) s WHERE r.layer_id = :layer ORDER BY 1"
        ),
        {"layer": layer.id},
    )
    return [sha256 for sha256 in found if sha256]


def vacuum(ingest_url: str, layer: Layer) -> None:
    """Have the places of erased rows overwritten when they are used again."""
    with psycopg.connect(ingest_url, autocommit=True) as connection:
        for table in (f"{CITY}.{ident(layer.id)}", f"{HISTORY}.{ident(layer.id)}"):
            connection.execute(f"VACUUM {table}".encode())
        connection.execute("VACUUM quartier.quarantine, quartier.runs, quartier.changes")
