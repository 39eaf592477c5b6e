"""Rasters that `quartier ingest` made fit for tiles, and which of them is served for a tileset.

rasters/
    ab/abcd….tif    named by the SHA-256 of the source and how it was made
    photo.json      what was made last for the tileset `photo`; replaced in one step
    lock            held by who makes one
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRaster:
    """What stands for a tileset's file. `declared` is the path that the catalogue named then: one
    that names another file now is meant anew. `state` is its size and
    time of change then. `before` is what was served until then, and may
    still be read.
    """

    declared: str
    source: str
    state: list[int] | None
    file: str
    before: str | None = None


def served_file(folder: Path, tileset_id: str, declared: Path) -> Path:
    """The file to serve: what was made of the declared one, or that itself."""
    kept = kept_raster(folder, tileset_id)
    if kept is None or kept.declared != str(declared) or not (folder / kept.file).is_file():
        return declared
    return folder / kept.file


def kept_raster(folder: Path, tileset_id: str) -> KeptRaster | None:
    """What was made last for this tileset; None where nothing was, or its note is damaged."""
    try:
        return KeptRaster(**json.loads((folder / f"{tileset_id}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def keep_note(folder: Path, tileset_id: str, kept: KeptRaster) -> None:
    """Remember it, whole or not at all."""
    with NamedTemporaryFile("w", dir=folder, prefix=".new-", delete=False) as file:
        file.write(json.dumps(asdict(kept)))
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(folder / f"{tileset_id}.json")


def forget_note(folder: Path, tileset_id: str) -> None:
    (folder / f"{tileset_id}.json").unlink(missing_ok=True)


def remove_unused(folder: Path) -> Iterator[Path]:
    """Remove the rasters that no note names any more; gives those that went."""
    named: set[str | None] = set()
    for note in folder.glob("*.json"):
        if (kept := kept_raster(folder, note.stem)) is None:
            return  # a note that cannot be read may name any of them
        named |= {kept.file, kept.before}
    for path in folder.glob("??/*.tif"):
        if str(path.relative_to(folder)) not in named:
            path.unlink()
            yield path
