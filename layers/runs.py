"""The record of ingest runs. Written on its own connection, so that it outlives a refused run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from layers.engine import sqlstate
from layers.errors import ChangeRefused
from layers.locks import RUN_LOCK
from layers.model import Layer
from layers.partition_sql import division
from layers.purged import Purged, purged_keys
from layers.quarantine import accepted_fingerprints
from layers.schema_version import check_schema
from layers.sql import ident
from layers.tables import STAGE, past_table, rows_table

LAYER_ROW = "SELECT true FROM quartier.layer_state WHERE layer_id = :layer"
INTERRUPTED = "SELECT id FROM quartier.runs WHERE layer_id = :layer AND state = 'running'"
END_AS_IT_WAS = """
    UPDATE quartier.runs r SET finished_at = clock_timestamp(), revision = p.revision,
        state = CASE WHEN p.revision IS NULL THEN 'refused' ELSE 'published' END,
        message = CASE WHEN p.revision IS NULL THEN :message
                  ELSE 'interrupted after it had published' END
    FROM quartier.runs s
    LEFT JOIN quartier.revisions p ON p.layer_id = s.layer_id AND p.run_id = s.id
    WHERE s.id = r.id AND r.layer_id = :layer AND r.state = 'running'
      AND coalesce(r.id = CAST(:run AS bigint), true)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """What the last run that ended well saw and left."""

    checksum: str
    config_hash: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingAcceptance:
    """Gates that the next load of a refused run's files may pass, by whom and why."""

    run: int
    gates: Sequence[str]
    by: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """One row of `quartier.quarantine`. Without `column`, the whole row is withheld."""

    file: str
    line: int
    row: int
    column: str | None
    key: str | None
    reason: str
    content: dict[str, object]
    fingerprint: str | None = None


def check_published(connection: sa.Connection, layer: Layer) -> None:
    """Raise ChangeRefused unless the database holds the layer with just these columns."""
    row = connection.execute(
        sa.text(
            "SELECT declaration, withdrawn, division FROM quartier.layers"
            " JOIN quartier.layer_state ON layer_id = id WHERE id = :layer"
        ),
        {"layer": layer.id},
    ).first()
    if row is None:
        raise ChangeRefused(f"layer {layer.id} is not in the database; run quartier apply")
    if row.withdrawn:
        raise ChangeRefused(
            f"layer {layer.id} is withdrawn; declare it again and run quartier apply"
        )
    known = Layer.model_validate(row.declaration)
    has, wanted = ({c.name: c.type for c in of.columns} for of in (known, layer))
    odd = [name for name in has | wanted if has.get(name) != wanted.get(name)]
    if known.geometry != layer.geometry:
        odd.insert(0, "geometry")
    if row.division != division(layer):
        odd.append("partitions")
    if odd:
        raise ChangeRefused(
            f"layer {layer.id}: the database does not hold {', '.join(odd)} as declared;"
            " run quartier apply"
        )


class RunRecord:
    """One run of one layer, from its start to its end. The connection must be in autocommit."""

    def __init__(self, connection: sa.Connection, layer_id: str) -> None:
        self._connection = connection
        self.layer_id = layer_id
        self.id = 0

    def check(self, layer: Layer) -> None:
        """Raise ChangeRefused unless the layer is published as it is declared."""
        check_schema(self._connection)
        check_published(self._connection, layer)

    def start(self, sources: Sequence[dict[str, Any]], tool_version: str) -> None:
        """Take the layer for this run; raises ChangeRefused where another run has it."""
        free = self._connection.scalar(
            sa.text("SELECT pg_try_advisory_lock(:space, hashtext(:layer))"),
            {"space": RUN_LOCK, "layer": self.layer_id},
        )
        if not free:
            raise ChangeRefused(
                f"layer {self.layer_id}: another ingest is running; wait for its end"
            )
        self._bury_interrupted()
        self.id = int(
            self._connection.scalar(
                sa.text(
                    "INSERT INTO quartier.runs (layer_id, sources, tool_version)"
                    " VALUES (:layer, CAST(:sources AS jsonb), :version) RETURNING id"
                ),
                {
                    "layer": self.layer_id,
                    "sources": json.dumps(list(sources)),
                    "version": tool_version,
                },
            )
            or 0
        )

    def _bury_interrupted(self) -> None:
        """We hold the layer, so a run still marked running was killed: end it. And whatever is
        staged for the layer is nobody's: a run may be killed after its end was told.
        """
        told = {"layer": self.layer_id}
        if self._connection.execute(sa.text(INTERRUPTED), told).first():
            # What the server still does for it may be its commit, which holds the layer's row.
            self._connection.execute(sa.text(f"{LAYER_ROW} FOR UPDATE"), told)
            said = "interrupted before it could publish; the old revision stayed"
            self._connection.execute(sa.text(END_AS_IT_WAS), told | {"run": None, "message": said})
        self.drop_stages()

    def drop_stages(self) -> None:
        """Drop whatever is staged for the layer, which we hold."""
        left = self._connection.scalars(
            sa.text(
                "SELECT t.tablename FROM pg_tables t JOIN quartier.runs r"
                " ON t.tablename IN ('run_' || r.id, 'build_' || r.id, '__build_' || r.id)"
                f" WHERE t.schemaname = '{STAGE}' AND r.layer_id = :layer ORDER BY 1"
            ),
            {"layer": self.layer_id},
        ).all()
        for table in left:
            self._drop(table)

    def _drop(self, table: str) -> None:
        """Unless somebody reads it, as a dump of the database does: then the next run does so."""
        self._connection.execute(sa.text("SET lock_timeout = '2s'"))
        try:
            self._connection.execute(sa.text(f"DROP TABLE IF EXISTS {STAGE}.{ident(table)}"))
        except DBAPIError as exc:
            if sqlstate(exc) != "55P03":
                raise
        finally:
            self._connection.execute(sa.text("RESET lock_timeout"))

    def last(self) -> LastRun | None:
        row = self._connection.execute(
            sa.text(
                "SELECT checksum, config_hash, revision FROM quartier.runs WHERE layer_id = :layer"
                " AND state IN ('published', 'unchanged') AND checksum IS NOT NULL"
                " ORDER BY id DESC LIMIT 1"
            ),
            {"layer": self.layer_id},
        ).first()
        return LastRun(**row._mapping) if row else None

    def baseline(self) -> dict[str, Any] | None:
        """The figures of the last load of the whole layer."""
        found = self._connection.scalar(
            sa.text(
                "SELECT profile FROM quartier.runs WHERE layer_id = :layer"
                " AND state IN ('published', 'unchanged') AND profile IS NOT NULL"
                " AND NOT (profile ->> 'partial')::boolean ORDER BY id DESC LIMIT 1"
            ),
            {"layer": self.layer_id},
        )
        return dict(found) if found else None

    def accepted(self) -> frozenset[str]:
        """Fingerprints of rows that somebody vouched for."""
        return accepted_fingerprints(self._connection, self.layer_id)

    def purged(self) -> Purged:
        """The rows that must not come back."""
        return purged_keys(self._connection, self.layer_id)

    def remember(self, **values: Any) -> None:
        """Put figures into the record of a run that goes on."""
        sets = ", ".join(f"{name} = CAST(:{name} AS jsonb)" for name in values)
        encoded = {name: json.dumps(value) for name, value in values.items()}
        self._connection.execute(
            sa.text(f"UPDATE quartier.runs SET {sets} WHERE id = :run"), {"run": self.id, **encoded}
        )

    def waiting_acceptance(
        self, sources: Sequence[dict[str, Any]], *, config_hash: str
    ) -> WaitingAcceptance | None:
        """What somebody accepted of a refused run of these very files, read in this very way; void
        once a later run of the layer has ended well, or its rows have changed.
        """
        row = self._connection.execute(
            sa.text(
                "SELECT r.run, a.gates, a.accepted_by AS by, a.note FROM quartier.acceptances a"
                " JOIN quartier.run_reports r ON r.run = a.run_id"
                " JOIN quartier.runs q ON q.id = a.run_id AND q.config_hash = :config"
                " JOIN quartier.layer_state s ON s.layer_id = a.layer_id"
                " AND s.revision = a.revision"
                " WHERE a.layer_id = :layer AND a.used_by IS NULL AND NOT r.overtaken"
                " AND ARRAY(SELECT s ->> 'sha256'"
                " FROM jsonb_array_elements(r.sources) s ORDER BY 1)"
                " = CAST(:digests AS text[]) ORDER BY r.run DESC LIMIT 1"
            ),
            {
                "layer": self.layer_id,
                "config": config_hash,
                "digests": sorted(str(source["sha256"]) for source in sources),
            },
        ).first()
        return WaitingAcceptance(**row._mapping) if row else None

    def read_as(self, config_hash: str) -> None:
        """Remember how this run reads its files."""
        self._connection.execute(
            sa.text("UPDATE quartier.runs SET config_hash = :config WHERE id = :run"),
            {"run": self.id, "config": config_hash},
        )

    def use_acceptance(self, of_run: int) -> None:
        """Say that this run was published by what was accepted of an earlier one."""
        self._connection.execute(
            sa.text("UPDATE quartier.acceptances SET used_by = :run WHERE run_id = :of"),
            {"run": self.id, "of": of_run},
        )

    def revision(self) -> int:
        """The layer's revision now."""
        found = self._connection.scalar(
            sa.text("SELECT revision FROM quartier.layer_state WHERE layer_id = :layer"),
            {"layer": self.layer_id},
        )
        return int(found or 0)

    def is_untouched(self, layer: Layer, revision: int) -> bool:
        """Whether no row was changed after a revision that is still the newest: those of a private
        layer may be, and nobody sees it.
        """
        if layer.privacy is None:
            return True
        changed = (
            f"SELECT EXISTS (SELECT FROM {rows_table(layer)} WHERE since > :revision)"
            f" OR EXISTS (SELECT FROM {past_table(layer)} WHERE valid_to > :revision)"
        )
        return not self._connection.scalar(sa.text(changed), {"revision": revision})

    def begin_again(self) -> None:
        """Forget what this run has withheld so far."""
        self._connection.execute(
            sa.text("DELETE FROM quartier.quarantine WHERE run_id = :run"), {"run": self.id}
        )

    def quarantine(self, rows: Sequence[Withheld]) -> None:
        if not rows:
            return
        self._connection.execute(
            sa.text(
                "INSERT INTO quartier.quarantine (run_id, layer_id, file, line, row_number,"
                " column_name, source_key, reason, content, fingerprint) VALUES (:run, :layer,"
                " :file, :line, :row, :column, :key, :reason, CAST(:content AS jsonb),"
                " :fingerprint)"
            ),
            [
                {
                    "run": self.id, "layer": self.layer_id, "file": r.file, "line": r.line,
                    "row": r.row, "column": r.column, "key": r.key, "reason": r.reason,
                    "fingerprint": r.fingerprint,
                    "content": json.dumps(r.content, default=str).replace("\\u0000", ""),
                }
                for r in rows
            ],
        )  # fmt: skip

    def finish(self, state: str, **values: Any) -> None:
        """End the run: `state` is published, unchanged or refused."""
        jsonb = {"counts", "facts"}
        sets = ", ".join(
            f"{name} = CAST(:{name} AS jsonb)" if name in jsonb else f"{name} = :{name}"
            for name in values
        )
        encoded = {n: json.dumps(v) if n in jsonb else v for n, v in values.items()}
        self._connection.execute(
            sa.text(
                "UPDATE quartier.runs SET state = :state, finished_at = clock_timestamp()"
                f"{', ' + sets if sets else ''} WHERE id = :run"
            ),
            {"state": state, "run": self.id, **encoded},
        )

    def lost(self, message: str) -> None:
        """End the run after its database, or a connection, went away: whether it has published is
        what the database says. While that is not certain the run stays open, for the next one.
        """
        told = {"layer": self.layer_id}
        if self._connection.scalar(sa.text(f"{LAYER_ROW} FOR UPDATE SKIP LOCKED"), told):
            ended = told | {"run": self.id, "message": message}
            self._connection.execute(sa.text(END_AS_IT_WAS), ended)

    def release(self) -> None:
        self._connection.execute(
            sa.text("SELECT pg_advisory_unlock(:space, hashtext(:layer))"),
            {"space": RUN_LOCK, "layer": self.layer_id},
        )
