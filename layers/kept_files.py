"""Where a source file that was loaded is kept: named by its SHA-256, in a folder of its start."""

from __future__ import annotations

from pathlib import Path


def kept_file(folder: Path, sha256: str) -> Path:
    return folder / sha256[:2] / sha256
