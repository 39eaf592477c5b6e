"""One run, from the files of a job to its record. It ends published, unchanged or refused.

What reads and merges rows (`ingest.load`) is imported once there are rows to read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from ingest.errors import IngestError
from ingest.files import check_files, checksum_of, describe_sources
from ingest.gates import Acceptance
from ingest.job import Job, Progress, Work, reading_hash
from ingest.raw_store import RawStore
from ingest.report import Counts, Report
from layers.engine import owner_engine, store_errors
from layers.errors import LayersError, StoreUnavailable
from layers.runs import RunRecord

__all__ = ["Job", "Progress", "run"]


def _no_progress(doing: str, done: int, total: int, rows: int) -> None:
    return


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
            check_files(job.layer.id, job.files)
            sources = describe_sources(job.files)
            if job.raw is not None:
                _keep(job.raw, sources)
            record.start(sources, version("quartier"))
            try:
                with store_errors():
                    work = Work(
                        job=_heeding(record, job, sources), url=ingest_url, engine=engine,
                        record=record, progress=progress, started=started, sources=sources,
                        checksum=checksum_of(sources), config=reading_hash(job),
                    )  # fmt: skip
                    return _done(work)
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
                    record.drop_stages()
                    record.release()
    finally:
        engine.dispose()


def _done(work: Work) -> Report:
    work.record.read_as(work.config)
    if _seen_before(work):
        message = "the same bytes as last time; nothing to do"
        return work.end("unchanged", work.record.revision(), message, counts=Counts())
    from ingest.load import load  # with pyarrow, ADBC and GDAL, which take a second to import

    return load(work)


def _seen_before(work: Work) -> bool:
    """Whether the same bytes, read the same way, made what is published now."""
    last = work.record.last()
    return (
        not work.job.again
        and last is not None
        and (last.checksum, last.config_hash) == (work.checksum, work.config)
        and (
            work.job.once
            or (
                last.revision == work.record.revision()
                and work.record.is_untouched(work.job.layer, last.revision)
            )
        )
    )


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


def _keep(raw: RawStore, sources: Sequence[dict[str, Any]]) -> None:
    for source in sources:
        raw.keep(Path(source["path"]), source["sha256"])
