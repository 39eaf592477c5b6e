"""What to load, and the run that does it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ingest.gates import Acceptance, Finding
from ingest.raw_store import RawStore
from ingest.report import Counts, Report
from layers.model import Layer
from layers.runs import RunRecord

Progress = Callable[[str, int, int, int], None]  # what is done, bytes read, bytes in all, rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to load: a declared layer and the files that hold it.

    `partial` says that the files hold only some of the layer's rows, so nothing is deleted.
    `once` leaves the layer alone when these very bytes were loaded last, even if somebody has
    edited it since; otherwise they are merged again, and the source has the last word.
    `accepted` lets gates pass this time. `again` reads the same bytes once more. `raw` keeps a copy
    of each file.
    """

    layer: Layer
    files: tuple[Path, ...]
    partial: bool = False
    once: bool = False
    accepted: Acceptance | None = None
    again: bool = False
    raw: RawStore | None = None


def reading_hash(job: Job) -> str:
    """A hash of every part of the declaration that decides how rows are read and merged."""
    layer = job.layer
    told: dict[str, Any] = layer.model_dump(
        mode="json", include={"geometry", "key", "columns", "time_zone"}
    )
    for column in told["columns"]:
        for word in ("label", "description", "unit"):
            del column[word]
    told["source"] = layer.source.model_dump(mode="json", exclude={"files", "late_after_h"})
    told["partial"] = job.partial
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A job that has begun. `checksum` is of its files, `config` of how they are read."""

    job: Job
    url: str
    engine: sa.Engine
    record: RunRecord
    progress: Progress
    started: float
    sources: Sequence[dict[str, Any]]
    checksum: str
    config: str

    def end(  # noqa: PLR0913
        self,
        state: str,
        revision: int,
        message: str,
        *,
        counts: Counts,
        facts: Sequence[dict[str, Any]] = (),
        findings: Sequence[Finding] = (),
    ) -> Report:
        """Record how it ended well: `state` is published or unchanged."""
        self.record.finish(
            state, checksum=self.checksum, config_hash=self.config, revision=revision,
            counts=asdict(counts), facts=list(facts), message=message,
        )  # fmt: skip
        accepted = self.job.accepted
        if accepted is not None and accepted.run is not None:
            self.record.use_acceptance(accepted.run)
        return Report(
            layer=self.job.layer.id,
            run=self.record.id,
            state=state,
            revision=revision,
            counts=counts,
            facts=tuple(facts),
            gates=tuple(finding.as_json() for finding in findings),
            seconds=time.monotonic() - self.started,
            message=message,
        )
