"""The files that were loaded, as they were: each kept once, under its SHA-256.

A copy, and never a link to what was given: a source may be changed in place.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ingest.errors import SourceRefused
from ingest.scratch import scratch_folder
from layers.kept_files import kept_file

SPARE_BYTES = 1 << 30  # of the disk, that keeping files leaves free


class RawStore:
    """A folder of kept files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path_of(self, sha256: str) -> Path:
        return kept_file(self._folder, sha256)

    def holds(self, sha256: str) -> bool:
        return self.path_of(sha256).is_file()

    def keep(self, path: Path, sha256: str) -> None:
        """Copy the file in, whole or not at all. Raises SourceRefused where the disk is full."""
        if self.holds(sha256):
            return
        target = self.path_of(sha256)
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if shutil.disk_usage(self._folder).free < path.stat().st_size + SPARE_BYTES:
                raise SourceRefused(
                    path.name, f"no room to keep a copy in {self._folder}; make some, run it again"
                )
            with scratch_folder(".new-", self._folder) as half:
                copy = half / sha256
                with copy.open("xb") as file, path.open("rb") as of:
                    shutil.copyfileobj(of, file, 1 << 22)
                    file.flush()
                    os.fsync(file.fileno())
                with copy.open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                        raise SourceRefused(path.name, "changed while it was read; run it again")
                copy.chmod(0o600)
                copy.replace(target)
        except OSError as exc:
            problem = f"cannot be kept in {self._folder}: {exc.strerror or exc}"
            raise SourceRefused(path.name, problem) from exc

    def forget(self, sha256: str) -> bool:
        """Remove a kept file; whether there was one."""
        there = self.holds(sha256)
        self.path_of(sha256).unlink(missing_ok=True)
        return there

    @contextmanager
    def laid_out(self, sources: Sequence[dict[str, Any]]) -> Iterator[tuple[Path, ...]]:
        """The kept files of a run under their own names, as long as the block lasts.

        Raises SourceRefused where one is no longer kept.
        """
        with scratch_folder("quartier-raw-") as folder:
            given = []
            homes: dict[str, int] = {}  # files of one name may come from several folders
            for source in sources:
                if not self.holds(source["sha256"]):
                    raise SourceRefused(
                        source["name"], "its copy is no longer kept; give the file once more"
                    )
                beside = str(Path(source.get("path", source["name"])).parent)
                home = folder / str(homes.setdefault(beside, len(homes)))
                home.mkdir(exist_ok=True)
                path = home / Path(source["name"]).name
                path.symlink_to(self.path_of(source["sha256"]))
                if not source.get("beside"):
                    given.append(path)
            yield tuple(given)
