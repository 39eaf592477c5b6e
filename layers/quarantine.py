"""What is withheld from a layer: looked at, exported, accepted by name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from xxhash import xxh3_128_hexdigest

from layers.errors import ChangeRefused

COLUMNS = "id, file, line, column_name, source_key, reason, content, fingerprint IS NOT NULL AS can"


@dataclass(frozen=True, slots=True, kw_only=True)
class WithheldRow:
    """One entry of the quarantine. Without `column`, the whole row is withheld. `acceptable` rows
    could be published as they are.
    """

    id: int
    file: str
    line: int
    column: str | None
    key: str | None
    reason: str
    content: dict[str, Any]
    acceptable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentRun:
    """The run that withheld what is withheld now."""

    id: int
    rows: int
    withheld: int
    partial: bool
    sources: Sequence[dict[str, Any]]


def current_run(connection: sa.Connection, layer_id: str) -> CurrentRun:
    """Raises ChangeRefused where the layer was never loaded."""
    row = connection.execute(
        sa.text(
            "SELECT id, (counts ->> 'read')::bigint AS rows,"
            " (counts ->> 'quarantined')::bigint AS withheld,"
            " coalesce((profile ->> 'partial')::boolean, false) AS partial, sources"
            " FROM quartier.current_runs WHERE layer_id = :layer"
        ),
        {"layer": layer_id},
    ).first()
    if row is None:
        raise ChangeRefused(f"layer {layer_id} was never loaded, so nothing of it is withheld")
    return CurrentRun(**row._mapping)


def withheld_rows(connection: sa.Connection, run_id: int) -> Iterator[WithheldRow]:
    """Every entry of a run's quarantine, in the order of the source, one by one."""
    found = connection.execution_options(stream_results=True, yield_per=1000).execute(
        sa.text(f"SELECT {COLUMNS} FROM quartier.quarantine WHERE run_id = :run ORDER BY id"),
        {"run": run_id},
    )
    for row in found:
        yield WithheldRow(
            id=row.id, file=row.file, line=row.line, column=row.column_name, key=row.source_key,
            reason=row.reason, content=row.content, acceptable=row.can,
        )  # fmt: skip


def accept_rows(
    connection: sa.Connection, layer_id: str, ids: Sequence[int], *, by: str, note: str
) -> int:
    """Remember that these rows may be published from the next load on; how many they are.

    Raises ChangeRefused for one that is not withheld from the layer, or cannot be published.
    """
    run = current_run(connection, layer_id)
    known = connection.execute(
        sa.text(
            "SELECT id, reason, content, fingerprint FROM quartier.quarantine"
            " WHERE run_id = :run AND id = ANY (:ids) ORDER BY id"
        ),
        {"run": run.id, "ids": list(ids)},
    ).all()
    if missing := sorted(set(ids) - {row.id for row in known}):
        raise ChangeRefused(
            f"layer {layer_id}: nothing with the number {missing[0]} is withheld by its last load,"
            f" run {run.id}; see quartier quarantine list {layer_id}"
        )
    if unfit := next((row for row in known if row.fingerprint is None), None):
        raise ChangeRefused(
            f"layer {layer_id}: {unfit.id} cannot be published as it is ({unfit.reason});"
            " correct the source or the declaration, then quartier quarantine retry"
        )
    for row in known:
        connection.execute(
            sa.text(
                "INSERT INTO quartier.accepted_rows"
                " (layer_id, fingerprint, reason, content, accepted_by, note)"
                " VALUES (:layer, :fingerprint, :reason, CAST(:content AS jsonb), :by, :note)"
                " ON CONFLICT (layer_id, fingerprint) DO NOTHING"
            ),
            {
                "layer": layer_id, "fingerprint": row.fingerprint, "reason": row.reason,
                "content": json.dumps(row.content), "by": by, "note": note,
            },
        )  # fmt: skip
    return len(known)


def fingerprint_of(key: str, reason: str) -> str:
    """What an accepted row is known by: its key, or its content's, and the reason."""
    return xxh3_128_hexdigest(f"{key}\n{reason}".encode())


def accepted_fingerprints(connection: sa.Connection, layer_id: str) -> frozenset[str]:
    found = connection.scalars(
        sa.text("SELECT fingerprint FROM quartier.accepted_rows WHERE layer_id = :layer"),
        {"layer": layer_id},
    )
    return frozenset(found)
