"""`quartier ingest` of a raster: check it, make it a COG if it is none, serve it from then on.

Whatever happens on the way, what was served stays: the new file is made beside and renamed when
whole, then its note is replaced, then the database names it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ingest.errors import SourceRefused
from ingest.raw_store import SPARE_BYTES
from layers.engine import owner_engine, store_errors
from layers.errors import ChangeRefused
from layers.kept_rasters import KeptRaster, forget_note, keep_note, kept_raster, remove_unused
from layers.schema_version import check_schema
from layers.tileset_steps import serve_file, served_now
from layers.tilesets import Tileset

UNFINISHED = ".new-"
ROOM = 1.4  # of the source's bytes: overviews are a third


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterJob:
    """A tileset and the file for it. `declared` is where the catalogue says the file is."""

    tileset: Tileset
    declared: Path
    given: Path | None
    folder: Path
    once: bool = False

    @property
    def source(self) -> Path:
        return self.given or self.declared


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterReport:
    """What became of it."""

    tileset: str
    state: str
    says: str
    file: str
    seconds: float


def ingest_raster(ingest_url: str, job: RasterJob) -> RasterReport:
    """Raises SourceRefused, ChangeRefused, StoreUnavailable: then nothing has changed."""
    started = time.monotonic()
    engine = owner_engine(ingest_url)
    try:
        with store_errors(), _alone(job.folder):
            with engine.connect() as connection:
                check_schema(connection)
                before = served_now(connection, job.tileset.id)
            if before is None:
                raise ChangeRefused(
                    f"tileset {job.tileset.id} is not in the database; run quartier apply"
                )
            file, says = _fit_file(job, before)
            with engine.begin() as connection:
                serve_file(connection, job.tileset.id, file)
            for _ in remove_unused(job.folder):
                pass
    finally:
        engine.dispose()
    return RasterReport(
        tileset=job.tileset.id,
        state="unchanged" if file == before else "published",
        says=says,
        file=str(file),
        seconds=time.monotonic() - started,
    )


def _fit_file(job: RasterJob, before: Path) -> tuple[Path, str]:
    """The file to serve, made if need be, and what it is in words."""
    from ingest import cog

    try:
        before_reading = _state(job.source)
    except OSError as exc:
        raise SourceRefused(
            job.source.name, f"cannot be read: {exc.strerror}; correct `file`, or give another"
        ) from exc
    kept = kept_raster(job.folder, job.tileset.id)
    if job.once and (same := _made_of(kept, job)) is not None:
        return same, "was made a COG before"
    with cog.opened(job.source) as dataset:
        cog.check(dataset, job.source.name, job.tileset)
        if (fits := cog.is_cog(dataset)) and not job.once:
            cog.read_through(dataset)
        if fits and job.given is None:
            forget_note(job.folder, job.tileset.id)
            return job.declared, "is a COG, and is served from where it lies"
        name = f"{_sha256(job.source)}-{cog.recipe(dataset, job.tileset)}.tif"
        target = job.folder / name[:2] / name
        if not target.is_file():
            with _made_beside(job, target) as unfinished:
                if fits:
                    shutil.copyfile(job.source, unfinished)
                else:
                    cog.write_cog(dataset, unfinished, job.tileset)
    if _state(job.source) != before_reading:
        raise SourceRefused(job.source.name, "was written to while it was read; run it again")
    _remember(job, target, before)
    return target, "is a COG, and a copy is kept" if fits else "was made a COG"


def _remember(job: RasterJob, target: Path, before: Path) -> None:
    is_ours = before.is_relative_to(job.folder) and before != target
    keep_note(
        job.folder,
        job.tileset.id,
        KeptRaster(
            declared=str(job.declared),
            source=str(job.source),
            state=_state(job.declared) if job.declared.is_file() else None,
            file=str(target.relative_to(job.folder)),
            before=str(before.relative_to(job.folder)) if is_ours else None,
        ),
    )


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _made_of(kept: KeptRaster | None, job: RasterJob) -> Path | None:
    """What was made when the declared file was just as it is now."""
    if kept is None or kept.declared != str(job.declared) or kept.state != _state(job.declared):
        return None
    path = job.folder / kept.file
    return path if path.is_file() else None


@contextmanager
def _made_beside(job: RasterJob, target: Path) -> Iterator[Path]:
    """A path to write to, whose file takes the target's name once it is whole and on the disk."""
    wanted = int(job.source.stat().st_size * ROOM) + SPARE_BYTES
    if shutil.disk_usage(job.folder).free < wanted:
        raise SourceRefused(
            job.source.name, f"no room for it in {job.folder}; make some, run it again"
        )
    try:
        with TemporaryDirectory(prefix=UNFINISHED, dir=job.folder) as folder:
            unfinished = Path(folder) / target.name
            yield unfinished
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            target.parent.mkdir(exist_ok=True)
            unfinished.replace(target)
    except OSError as exc:
        problem = f"cannot be kept in {job.folder}: {exc.strerror or exc}"
        raise SourceRefused(job.source.name, problem) from exc


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One at a time makes rasters of a home; what a killed one left behind goes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise SourceRefused(str(folder), f"cannot be written: {exc.strerror}") from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
