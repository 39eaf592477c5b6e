"""What is kept beside the database: source files that were loaded, and backups."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from layers.backup_note import read_note
from layers.checks.finding import Finding, listed, ok, plural, problem, warning
from layers.kept_files import kept_file
from layers.settings import StoreSettings

SAMPLE, SAMPLE_BYTES = 16, 256 << 20  # of kept files that are read unless all are
OLD_BACKUP_DAYS = 8  # a week, and a day of grace
CURRENT = """
    SELECT DISTINCT r.layer_id, s ->> 'sha256' AS sha256
    FROM quartier.current_runs r JOIN quartier.layers l ON l.id = r.layer_id AND NOT l.withdrawn,
         jsonb_array_elements(r.sources) s
    WHERE s ->> 'sha256' IS NOT NULL
      AND NOT EXISTS (SELECT FROM quartier.purges p WHERE p.layer_id = r.layer_id)
    ORDER BY 1, 2"""


def present(connection: sa.Connection, settings: StoreSettings) -> Finding:
    """Every file that a layer was loaded from last is kept (a purge takes them away)."""
    about = "kept files"
    rows = connection.execute(sa.text(CURRENT)).all()
    gone = {row.layer_id for row in rows if not kept_file(settings.raw, row.sha256).is_file()}
    if gone:
        return warning(
            about, f"the files of {listed(sorted(gone))} are no longer in {settings.raw}:"
            " quarantine cannot read them again, and backups lack them",
            "restore them from a backup, or touch the file and load it once more:"
            f" quartier ingest {min(gone)} FILE",
        )  # fmt: skip
    return ok(about, f"{plural(len(rows), 'file')} of the last loads in {settings.raw}")


def whole(settings: StoreSettings, *, deep: bool) -> Finding:
    """Kept files are what their names, which are checksums, say: a sample, or all."""
    about = "checksums"
    files = [path for path in sorted(settings.raw.glob("??/*")) if len(path.name) == 64]
    chosen = files if deep else _sample(files)
    damaged = [path for path in chosen if _sha256(path) != path.name]
    if damaged:
        said = f"{plural(len(damaged), 'kept file')} damaged: {listed([str(p) for p in damaged])}"
        return problem(about, said, f"rm {damaged[0]}; then restore it from a backup")
    which = "all" if len(chosen) == len(files) else f"a sample of {len(chosen)} of"
    return ok(about, f"{which} {plural(len(files), 'kept file')}, as they were loaded")


def backup(settings: StoreSettings, now: datetime | None = None) -> Finding:
    """How old the newest backup is, as `quartier backup` left word of it in the home."""
    about, mend = "backup", "quartier backup FILE; docker/systemd has a timer for it"
    note = read_note(settings.home)
    if note is None:
        return warning(about, "none is known of", mend)
    age = (now or datetime.now(UTC)) - note.made_at
    said = f"the newest is {plural(age.days, 'day')} old, in {note.file}"
    if age.days >= OLD_BACKUP_DAYS:
        return warning(about, said, mend)
    if not Path(note.file).is_file():
        return ok(about, f"{said}, which is not there now (moved elsewhere?)")
    return ok(about, said)


def _sample(files: list[Path]) -> list[Path]:
    """A few at random, so that each is looked at some day; none of them huge."""
    small = [path for path in files if path.stat().st_size <= SAMPLE_BYTES // 4]
    chosen, total = [], 0
    for path in random.sample(small, min(SAMPLE, len(small))):
        total += path.stat().st_size
        if total > SAMPLE_BYTES:
            break
        chosen.append(path)
    return chosen


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
