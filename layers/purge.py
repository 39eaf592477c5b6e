"""A row erased for good: from the layer, its history, the quarantine and the records of runs.

The GDPR's article 17. What lies outside the database (kept files, caches) the caller removes, as
the receipt says. Dead rows stay on disk until PostgreSQL reuses their place, which `vacuum` allows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import psycopg
import sqlalchemy as sa

from layers.errors import ChangeRefused
from layers.locks import RUN_LOCK
from layers.model import Layer
from layers.privacy_rows import public_fid
from layers.purged import digest_of, purge_secret, purged_keys
from layers.quarantine import fingerprint_of
from layers.sql import ident
from layers.tables import CITY, HISTORY, past_table, rows_table

ERASED = "[erased]"


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
    table, past = rows_table(layer), past_table(layer)
    _keep_loads_away(connection, layer)
    connection.execute(sa.text("SELECT quartier.lock(:layer)"), {"layer": layer.id})
    fids, keys = _all_lives(connection, layer, key, fid)
    withheld = _forget_withheld(connection, layer, keys)
    again = key is not None and purged_keys(connection, layer.id).holds(key)
    if not fids and not withheld and not again:
        asked = f"key {key!r}" if key is not None else f"fid {fid}"
        raise ChangeRefused(f"layer {layer.id}: nothing is known of {asked}")
    rows, past_rows = (
        connection.execute(
            sa.text(f"DELETE FROM {each} WHERE fid = ANY (:fids)"), {"fids": fids}
        ).rowcount
        for each in (table, past)
    )  # the first moves rows to history, from where the second takes them
    if layer.privacy is not None:  # what was published of it went with it, and left a past too
        published = sa.text(
            f"DELETE FROM {HISTORY}.{ident(layer.id)} h"
            f" USING unnest(CAST(:fids AS bigint[])) f (fid) WHERE h.fid = {public_fid('f.fid')}"
        )
        connection.execute(published, {"fids": fids})
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
    _register(connection, receipt, keys)
    return receipt


def _register(connection: sa.Connection, receipt: Receipt, keys: list[str]) -> None:
    """Keep the receipt, and digests of the keys, so that no load brings the row back."""
    secret = purge_secret(connection)
    connection.execute(
        sa.text(
            "INSERT INTO quartier.purges (layer_id, digests, purged_by, note, receipt)"
            " VALUES (:layer, :digests, :by, :note, CAST(:receipt AS jsonb))"
        ),
        {
            "layer": receipt.layer, "digests": [digest_of(each, secret) for each in keys],
            "by": receipt.by, "note": receipt.note, "receipt": json.dumps(asdict(receipt)),
        },
    )  # fmt: skip


def _keep_loads_away(connection: sa.Connection, layer: Layer) -> None:
    """A load that has read its file would put the row back."""
    free = connection.scalar(
        sa.text("SELECT pg_try_advisory_xact_lock(:space, hashtext(:layer))"),
        {"space": RUN_LOCK, "layer": layer.id},
    )
    if not free:
        raise ChangeRefused(f"layer {layer.id}: an ingest is running; wait for its end")


def _all_lives(
    connection: sa.Connection, layer: Layer, key: str | None, fid: int | None
) -> tuple[list[int], list[str]]:
    """Every fid and every key that the row ever had: a row that was deleted and came back has
    several fids, one that was renamed several keys.
    """
    parts = (
        f"SELECT fid, source_key FROM {table} WHERE source_key = ANY (:keys) OR fid = ANY (:fids)"
        for table in (rows_table(layer), past_table(layer))
    )
    statement = sa.text(" UNION ".join(parts))
    fids, keys = _asked_fids(connection, layer, fid), {key} if key is not None else set()
    while True:
        known = connection.execute(statement, {"keys": list(keys), "fids": list(fids)}).all()
        more_fids = fids | {row.fid for row in known}
        more_keys = keys | {row.source_key for row in known}
        if (more_fids, more_keys) == (fids, keys):
            return sorted(row for row in {each.fid for each in known}), sorted(keys)
        fids, keys = more_fids, more_keys


def _asked_fids(connection: sa.Connection, layer: Layer, fid: int | None) -> set[int]:
    """The fid of the row itself: that of a private one is published as another number."""
    if fid is None:
        return set()
    if layer.privacy is None:
        return {fid}
    found = connection.scalars(
        sa.text(
            " UNION ".join(
                f"SELECT t.fid FROM {table} t WHERE {public_fid('t.fid')} = :fid"
                for table in (rows_table(layer), past_table(layer))
            )
        ),
        {"fid": fid},
    )
    return set(found)


def _forget_withheld(connection: sa.Connection, layer: Layer, keys: list[str]) -> int:
    """Entries of the quarantine under these keys, and all whose key nobody can tell: any of them
    may be of the row, and the next load withholds again what is still wrong.
    """
    gone = connection.execute(
        sa.text(
            "DELETE FROM quartier.quarantine WHERE layer_id = :layer"
            " AND (source_key = ANY (:keys) OR source_key IS NULL) RETURNING source_key"
        ),
        {"layer": layer.id, "keys": keys},
    ).all()
    accepted = connection.execute(
        sa.text("SELECT fingerprint, reason FROM quartier.accepted_rows WHERE layer_id = :layer"),
        {"layer": layer.id},
    ).all()
    theirs = [
        row.fingerprint
        for row in accepted
        if any(fingerprint_of(key, row.reason) == row.fingerprint for key in keys)
    ]
    connection.execute(
        sa.text(
            "DELETE FROM quartier.accepted_rows WHERE layer_id = :layer"
            " AND fingerprint = ANY (:theirs)"
        ),
        {"layer": layer.id, "theirs": theirs},
    )
    return sum(row.source_key is not None for row in gone)


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
        city, history = f"{CITY}.{ident(layer.id)}", f"{HISTORY}.{ident(layer.id)}"
        for table in {city, history, rows_table(layer), past_table(layer)}:
            connection.execute(f"VACUUM {table}".encode())
        connection.execute("VACUUM quartier.quarantine, quartier.runs, quartier.changes")
