"""The files of a load: described before they are read, and seen to be the same afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest.errors import SourceRefused

SHAPEFILE = ("shp", "shx", "dbf", "prj", "cpg")  # files of one name that are one source


def check_files(layer_id: str, files: Sequence[Path]) -> None:
    """Raise SourceRefused unless there are files, and each can be one."""
    if not files:
        raise SourceRefused(layer_id, "no file given, and source.files names none that exists")
    for path in files:
        if path.is_dir():
            raise SourceRefused(str(path), "is a folder, not a file; give the files in it")
        if not path.is_file():
            raise SourceRefused(str(path), "there is no such file; check the path")


def check_unchanged(files: Sequence[Path], sources: Sequence[dict[str, Any]]) -> None:
    """What was read is what was hashed, kept, and perhaps accepted."""
    was = {(source["path"], source["sha256"]) for source in sources}
    for source in describe_sources(files):
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


def checksum_of(sources: Sequence[dict[str, Any]]) -> str:
    """One SHA-256 of all of them."""
    return hashlib.sha256("".join(source["sha256"] for source in sources).encode()).hexdigest()
