"""Runs as commands tell them: the same views that the officer's door shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from layers.errors import RunNotFound
from layers.officer import RunsQuery, Signature
from layers.sqlstates import meant_errors

ADDS_UP = ("inserted", "updated", "unchanged", "quarantined", "duplicates")


def list_runs(connection: sa.Connection, query: RunsQuery) -> list[dict[str, Any]]:
    rows = connection.execute(
        sa.text(
            "SELECT to_jsonb(r) - 'facts' AS run FROM quartier.run_reports r"
            " WHERE (CAST(:layer AS text) IS NULL OR r.layer = :layer)"
            " AND (CAST(:state AS text) IS NULL OR r.state = :state)"
            " AND (CAST(:before AS bigint) IS NULL OR r.run < :before)"
            " ORDER BY r.run DESC LIMIT :most"
        ),
        {
            "layer": query.layer, "state": query.state, "before": query.before,
            "most": query.limit,
        },
    )  # fmt: skip
    return [dict(row.run) for row in rows]


def show_run(connection: sa.Connection, run_id: int) -> dict[str, Any]:
    """All that is known of a run; raises RunNotFound."""
    found = connection.scalar(
        sa.text("SELECT to_jsonb(r) FROM quartier.run_reports r WHERE r.run = :run"),
        {"run": run_id},
    )
    if found is None:
        raise RunNotFound(f"no run {run_id}; see quartier runs list")
    return dict(found)


def withheld_by(connection: sa.Connection, run_id: int) -> Iterator[dict[str, Any]]:
    """What a run withheld, in the order of its source, one by one."""
    found = connection.execution_options(stream_results=True, yield_per=1000).scalars(
        sa.text(
            "SELECT to_jsonb(q) - 'run' FROM quartier.withheld q WHERE q.run = :run ORDER BY q.id"
        ),
        {"run": run_id},
    )
    for row in found:
        yield dict(row)


def freshness(connection: sa.Connection) -> list[dict[str, Any]]:
    """Of each layer, when it was loaded, checked and changed last, and whether it is late."""
    rows = connection.scalars(
        sa.text("SELECT to_jsonb(f) FROM quartier.freshness f ORDER BY f.layer")
    )
    return [dict(row) for row in rows]


def accept_gates(
    connection: sa.Connection, run_id: int, gates: Sequence[str], signed: Signature
) -> dict[str, Any]:
    """Let the next load of a refused run's files pass these gates; raises ChangeRefused."""
    with meant_errors():
        done = connection.scalar(
            sa.text("SELECT quartier.accept_gates(:run, CAST(:gates AS text[]), :by, :note, NULL)"),
            {"run": run_id, "gates": list(gates), "by": signed.by, "note": signed.note},
        )
    return dict(done or {})


def sources_of(connection: sa.Connection, run_id: int) -> list[dict[str, Any]]:
    """The files of a run with the folders they lay in, which tell those of one name apart."""
    found = connection.scalar(
        sa.text("SELECT sources FROM quartier.runs WHERE id = :run"), {"run": run_id}
    )
    return list(found or [])
