"""Word that a backup leaves in the home, so that its age is known."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

NAME = "last-backup.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupNote:
    """Where the newest backup was written, and what moment it is of."""

    file: str
    made_at: datetime


def leave_note(home: Path, file: Path, made_at: str) -> None:
    """A home that cannot be written is no reason for a backup to fail."""
    with suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        unfinished = home / f"{NAME}.new"
        unfinished.write_text(json.dumps({"file": str(file), "made_at": made_at}))
        unfinished.replace(home / NAME)


def read_note(home: Path) -> BackupNote | None:
    """The newest backup; None where none is known of, or the note is damaged."""
    try:
        said = json.loads((home / NAME).read_text())
        made_at = datetime.fromisoformat(said["made_at"])
        return BackupNote(file=str(said["file"]), made_at=made_at.astimezone(UTC))
    except (OSError, ValueError, KeyError, TypeError):
        return None
