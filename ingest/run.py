"""One run: read, stage, merge, publish. It ends published, unchanged or refused."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ingest.errors import IngestError, SourceRefused
from ingest.gates import Acceptance, Finding, GatesHeld, findings_of, keys_finding
from ingest.known_rows import KnownRows, known_rows
from ingest.profile import Profile, Sieve
from ingest.raw_store import RawStore
from ingest.read import read
from ingest.repeats import HEX_DIGITS, Repeats
from ingest.report import Counts, Report
from ingest.rows import Batch, Refusal
from ingest.sources.shapefile import SHAPEFILE
from layers.engine import owner_engine, store_errors
from layers.errors import LayersError, StoreUnavailable
from layers.known_keys import read_keys
from layers.model import Layer
from layers.runs import RunRecord, Withheld
from layers.write import (
    LINE,
    ROW,
    Known,
    LayerMoved,
    Merged,
    Stage,
    Terms,
    drop_stage,
    publish,
    stage,
)

Progress = Callable[[str, int, int, int], None]  # what is done, bytes read, bytes in all, rows


def _no_progress(doing: str, done: int, total: int, rows: int) -> None:
    return


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


@dataclass(slots=True)
class _Tally:
    """What has been read so far. `unnamed` counts withheld rows whose key could not be read."""

    read: int = 0
    quarantined: int = 0
    cells: int = 0
    without_place: int = 0
    unnamed: int = 0

    def add(self, batch: Batch, has_geometry: bool) -> None:
        whole = [refusal for refusal in batch.refusals if refusal.column is None]
        self.read += batch.read
        self.quarantined += len(whole)
        self.cells += len(batch.refusals) - len(whole)
        self.unnamed += sum(refusal.key is None for refusal in whole)
        if has_geometry:
            self.without_place += batch.rows.column("geom").null_count


def run(ingest_url: str, job: Job, progress: Progress = _no_progress) -> Report:
    """Load the files into their layer.

    A refused run raises SourceRefused or a LayersError after its record and its quarantine have
    been written; the layer is then as it was.
    """
    started = time.monotonic()
    engine = owner_engine(ingest_url)
    try:
        with (
            store_errors(),
            engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            record = RunRecord(connection, job.layer.id)
            record.check(job.layer)
            _check_files(job)
            sources = describe_sources(job.files)
            if job.raw is not None:
                _keep(job.raw, sources)
            record.start(sources, version("quartier"))
            try:
                with store_errors():
                    job = _heeding(record, job, sources)
                    try:
                        return _Run(ingest_url, engine, record, job, progress, started).go(sources)
                    except LayerMoved:  # what was taken as known is so no more
                        record.begin_again()
                        drop_stage(connection, record.id)
                        again = _Run(ingest_url, engine, record, job, progress, started)
                        return again.go(sources, skip_known=False)
            except StoreUnavailable as exc:  # perhaps in the middle of the commit
                with suppress(SQLAlchemyError):
                    record.lost(str(exc))
                raise
            except Exception as exc:
                known = isinstance(exc, (IngestError, LayersError))
                message = str(exc) if known else f"unexpected {type(exc).__name__}"
                with suppress(SQLAlchemyError):
                    record.finish("refused", message=message)
                raise
            finally:
                with suppress(SQLAlchemyError):  # of a lost server; the next run clears up
                    drop_stage(connection, record.id)
                    record.release()
    finally:
        engine.dispose()


def _heeding(record: RunRecord, job: Job, sources: Sequence[dict[str, Any]]) -> Job:
    """The job, with what somebody accepted of a refused run of the same files; a word given with
    the job itself goes before it.
    """
    if job.accepted is not None:
        return job
    found = record.waiting_acceptance(sources, config_hash=reading_hash(job))
    if found is None:
        return job
    accepted = Acceptance(gates=tuple(found.gates), by=found.by, note=found.note, run=found.run)
    return replace(job, accepted=accepted)


def _check_files(job: Job) -> None:
    if not job.files:
        raise SourceRefused(job.layer.id, "no file given, and source.files names none that exists")
    for path in job.files:
        if path.is_dir():
            raise SourceRefused(str(path), "is a folder, not a file; give the files in it")
        if not path.is_file():
            raise SourceRefused(str(path), "there is no such file; check the path")


def _check_unchanged(job: Job, sources: Sequence[dict[str, Any]]) -> None:
    """What was read is what was hashed, kept, and perhaps accepted."""
    was = {(source["path"], source["sha256"]) for source in sources}
    for source in describe_sources(job.files):
        if (source["path"], source["sha256"]) not in was:
            raise SourceRefused(source["name"], "changed while it was read; run it again")


def describe_sources(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Name, size, SHA-256 and time of change of each file, in order of their names; the files
    that lie beside a shapefile and are part of it too, marked so.
    """
    described = []
    for path, beside in sorted(_with_parts(files)):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        one = {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}
        one |= {"modified": changed, "path": str(path.absolute())}
        described.append(one | ({"beside": True} if beside else {}))
    return described


def _with_parts(files: Sequence[Path]) -> set[tuple[Path, bool]]:
    """Each file, and whether it was only found beside one."""
    parts = {
        (path.with_name(other.name), True)
        for path in files
        if path.suffix.lower() == ".shp"
        for other in path.parent.iterdir()
        if other.stem == path.stem and other.suffix.lower().removeprefix(".") in SHAPEFILE
    }
    given = set(files)
    return {(path, False) for path in given} | {each for each in parts if each[0] not in given}


def _keep(raw: RawStore, sources: Sequence[dict[str, Any]]) -> None:
    for source in sources:
        raw.keep(Path(source["path"]), source["sha256"])


def _checksum(sources: Sequence[dict[str, Any]]) -> str:
    return hashlib.sha256("".join(source["sha256"] for source in sources).encode()).hexdigest()


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


class _Run:
    def __init__(  # noqa: PLR0913
        self,
        url: str,
        engine: sa.Engine,
        record: RunRecord,
        job: Job,
        progress: Progress,
        started: float,
    ) -> None:
        self._url = url
        self._engine = engine
        self._record = record
        self._job = job
        self._progress = progress
        self._started = started
        self._tally = _Tally()
        self._repeats = Repeats()
        self._facts: tuple[dict[str, Any], ...] = ()
        self._findings: list[Finding] = []
        self._before: Profile | None = None
        self._profile = Profile()
        self._known: KnownRows | None = None

    def go(self, sources: Sequence[dict[str, Any]], *, skip_known: bool = True) -> Report:
        """Load, staging only rows that are not known, where that can be told and is wanted.

        Raises LayerMoved where somebody changed the layer meanwhile.
        """
        checksum, config = _checksum(sources), reading_hash(self._job)
        baseline = self._record.baseline()
        self._before = Profile.of(baseline) if baseline else None
        self._record.read_as(config)
        if self._seen_before(checksum, config):
            return self._end(
                "unchanged", checksum, config, Merged(revision=self._record.revision())
            )
        at = self._record.revision()
        with closing(adbc_driver_postgresql.dbapi.connect(self._url)) as arrow:
            if skip_known and self._may_know(config, at):
                self._known = known_rows(read_keys(arrow, self._job.layer))
            with stage(arrow, self._job.layer, self._record.id) as staged:
                self._read_into(staged)
        _check_unchanged(self._job, sources)
        if self._tally.read == 0:
            raise SourceRefused(self._job.files[0].name, "holds no rows; the layer stays as it was")
        self._check_gates()
        self._progress("publishing", 1, 1, self._tally.read)
        terms = Terms(
            may_delete=self._is_complete(),
            maybe_equal=self._repeats.rows(),
            check_known=self._check_known,
            known=self._left_over(at),
        )
        merged = publish(self._engine, self._job.layer, self._record.id, terms)
        return self._end("published" if merged.changed else "unchanged", checksum, config, merged)

    def _may_know(self, config: str, at: int) -> bool:
        """Whether the layer holds just what the last load left, of rows that their keys tell."""
        layer, last = self._job.layer, self._record.last()
        return (
            not layer.key
            and layer.privacy is None
            and layer.source.complete
            and not self._job.partial
            and last is not None
            and (last.config_hash, last.revision) == (config, at)
        )

    def _left_over(self, at: int) -> Known | None:
        if self._known is None:
            return None
        return Known(at=at, gone=self._known.gone() if self._is_complete() else [])

    def _seen_before(self, checksum: str, config: str) -> bool:
        """Whether the same bytes, read the same way, made what is published now."""
        last = self._record.last()
        return (
            not self._job.again
            and last is not None
            and (last.checksum, last.config_hash) == (checksum, config)
            and (
                self._job.once
                or (
                    last.revision == self._record.revision()
                    and self._record.is_untouched(self._job.layer, last.revision)
                )
            )
        )

    def _read_into(self, staged: Stage) -> None:
        """Read one batch while the one before is on its way to the stage."""
        sieve = Sieve(self._job.layer, self._before, self._record.accepted(), self._record.purged())
        with (
            read(self._job.layer, self._job.files) as reading,
            ThreadPoolExecutor(max_workers=1) as sender,
        ):
            sent: Future[None] | None = None
            for batch in map(sieve.sift, reading):
                self._tally.add(batch, self._job.layer.has_geometry)
                rows = self._wanted(batch.rows)
                self._record.quarantine([_withheld(refusal) for refusal in batch.refusals])
                if sent is not None:
                    sent.result()
                sent = sender.submit(staged.append, _stage_rows(rows))
                self._progress("reading", batch.bytes_read, reading.total_bytes, self._tally.read)
            if sent is not None:
                sent.result()
        self._facts = tuple(asdict(facts) for facts in reading.facts)
        headers = {name for facts in reading.facts for name in facts.headers}
        self._profile = sieve.finish(sorted(headers), partial=self._job.partial)

    def _wanted(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Those that have to be staged: all, or all that are not known."""
        if self._job.layer.key:
            return rows
        if self._known is not None:
            sifted = self._known.sift(rows.column("source_key"))
            place = rows.schema.get_field_index("source_key")
            rows = rows.filter(sifted.wanted).set_column(place, "source_key", sifted.keys)
        new = rows.filter(pc.equal(pc.utf8_length(rows.column("source_key")), HEX_DIGITS))
        self._repeats.add(new.column("source_key"), new.column("row"))
        return rows

    def _check_gates(self) -> None:
        """Stop the load, its figures remembered, where it does not hold its gates."""
        found = findings_of(self._job.layer, self._profile, self._before, self._job.accepted)
        self._hold(found)

    def _check_known(self, known: int, moved: int) -> None:
        found = keys_finding(self._job.layer, known, moved, self._job.accepted)
        if found is not None:
            self._hold([*self._findings, found])

    def _hold(self, findings: list[Finding]) -> None:
        self._findings = findings
        accepted = self._job.accepted
        self._record.remember(
            profile=self._profile.as_json(),
            gates=[finding.as_json() for finding in findings],
            accepted=accepted.as_json() if accepted else None,
            counts={"read": self._tally.read, "quarantined": self._tally.quarantined},
        )
        if any(finding.stops for finding in findings):
            raise GatesHeld(self._job.layer.id, findings)

    def _is_complete(self) -> bool:
        """Whether what the files lack is gone: they hold the whole layer, and every row of
        theirs can be told apart, the withheld ones too.
        """
        whole = self._job.layer.source.complete and not self._job.partial and not self._missing()
        return whole and (not self._job.layer.key or self._tally.unnamed == 0)

    def _missing(self) -> str:
        """What a source says itself of rows it left out."""
        said = (facts["notes"].get("incomplete") for facts in self._facts)
        return next(filter(None, said), "")

    def _end(self, state: str, checksum: str, config: str, merged: Merged) -> Report:
        counts = Counts(
            read=self._tally.read,
            inserted=merged.inserted,
            updated=merged.updated,
            unchanged=merged.unchanged + (self._known.unchanged if self._known else 0),
            quarantined=self._tally.quarantined,
            duplicates=merged.duplicates,
            deleted=merged.deleted,
            cells=self._tally.cells,
            without_place=self._tally.without_place,
        )
        message = "; ".join(filter(None, [self._message(state, counts), merged.note]))
        self._record.finish(
            state, checksum=checksum, config_hash=config, revision=merged.revision,
            counts=asdict(counts), facts=list(self._facts), message=message,
        )  # fmt: skip
        accepted = self._job.accepted
        if accepted is not None and accepted.run is not None:
            self._record.use_acceptance(accepted.run)
        return Report(
            layer=self._job.layer.id,
            run=self._record.id,
            state=state,
            revision=merged.revision,
            counts=counts,
            facts=self._facts,
            gates=tuple(finding.as_json() for finding in self._findings),
            seconds=time.monotonic() - self._started,
            message=message,
        )

    def _message(self, state: str, counts: Counts) -> str:
        if state == "unchanged" and not counts.read:
            return "the same bytes as last time; nothing to do"
        whole = self._job.layer.source.complete and not self._job.partial
        if whole and self._missing():
            return f"the source says that it is not whole ({self._missing()}): nothing was deleted"
        if whole and not self._is_complete():
            return "rows without a readable key were withheld, so nothing was deleted"
        return "every row is as it was" if state == "unchanged" else ""


def _withheld(refusal: Refusal) -> Withheld:
    return Withheld(
        file=refusal.file, line=refusal.line, row=refusal.row, column=refusal.column,
        key=refusal.key, reason=refusal.reason, content=refusal.content,
        fingerprint=refusal.fingerprint,
    )  # fmt: skip


def _stage_rows(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows under the stage's names; a declared column may be called `row` or `line` too."""
    names = list(rows.schema.names)
    names[names.index("row")] = ROW
    names[names.index("line")] = LINE
    return rows.rename_columns(names)
