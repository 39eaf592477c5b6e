"""PostgreSQL's programs on this machine, and the system user that runs them."""

from __future__ import annotations

import os
import platform
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from layers.errors import ClusterError

OLDEST_MAJOR = 15  # MERGE, and what our migrations use
DEBIAN_PROGRAMS = Path("/usr/lib/postgresql")
INHERITED = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")  # no PG* variable may interfere


@dataclass(frozen=True, slots=True)
class Account:
    """The system user the server runs as. PostgreSQL refuses to run as root."""

    uid: int
    gid: int

    @classmethod
    def for_directory(cls, directory: Path) -> Self:
        """This process's user; for root, the directory's owner or else `postgres`."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        if directory.exists() and (owner := directory.stat()).st_uid != 0:
            return cls(owner.st_uid, owner.st_gid)
        try:
            entry = pwd.getpwnam("postgres")
        except KeyError:
            raise ClusterError(how_to_install("PostgreSQL is not installed")) from None
        return cls(entry.pw_uid, entry.pw_gid)

    def open_lock(self, path: Path) -> int:
        """A descriptor that no program inherits; a symbolic link in its place is refused."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        if os.geteuid() == 0:
            os.fchown(descriptor, self.uid, self.gid)
        return descriptor

    def make_directory(self, directory: Path) -> None:
        """Make a directory that only this user (and root) can enter, unless it is there."""
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
        if os.geteuid() == 0 and status.st_uid == 0:
            os.chown(directory, self.uid, self.gid, follow_symlinks=False)
        elif status.st_uid != self.uid:
            raise ClusterError(
                f"{directory} belongs to the system user {status.st_uid}; "
                "run as that user, or choose another QUARTIER_HOME"
            )

    def run(
        self, *command: str | Path, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, where the terminal's Ctrl-C does not reach it."""
        switch: dict[str, Any] = {}
        if os.geteuid() == 0:
            switch = {"user": self.uid, "group": self.gid, "extra_groups": []}
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return subprocess.run(
            command,
            input=text or "",
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            env={**environment, "LC_ALL": "C.UTF-8"},
            start_new_session=True,
            check=False,
            **switch,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """One installed PostgreSQL that has PostGIS."""

    major: int
    bindir: Path

    def __truediv__(self, program: str) -> Path:
        return self.bindir / program


def programs_for(data: Path) -> Programs:
    """The programs for the cluster in `data`, or the newest ones if there is none yet."""
    candidates = sorted(_installed(), key=lambda found: found.major, reverse=True)
    if not candidates:
        raise ClusterError(how_to_install("PostgreSQL 15 or newer with PostGIS is not installed"))
    if not (data / "PG_VERSION").exists():
        return candidates[0]
    made_by = int((data / "PG_VERSION").read_text().strip())
    for found in candidates:
        if found.major == made_by:
            return found
    raise ClusterError(
        f"{data} was made by PostgreSQL {made_by}, and this machine has {candidates[0].major}. "
        f"Install PostgreSQL {made_by} with PostGIS beside it, "
        "or choose another QUARTIER_HOME and load the layers again"
    )


def client_program(name: str) -> str | None:
    """The newest of this program on this machine: it reads what any older server has."""
    places = sorted(DEBIAN_PROGRAMS.glob(f"[0-9]*/bin/{name}"), reverse=True)
    return str(places[0]) if places else shutil.which(name)


def how_to_install(problem: str) -> str:
    """The problem, and the one command that solves it."""
    command = f"apt-get install -y {_debian_package()}"
    if os.geteuid() != 0:
        command = f"sudo {command}"
    return f"{problem}. Install it with: {command}"


def _debian_package() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "postgresql-postgis"
    bookworm = release.get("VERSION_CODENAME") == "bookworm"
    return "postgresql-15-postgis-3" if bookworm else "postgresql-postgis"


def _installed() -> list[Programs]:
    places = [path / "bin" for path in DEBIAN_PROGRAMS.glob("[0-9]*")]
    if on_path := shutil.which("pg_ctl"):
        places.append(Path(on_path).resolve().parent)
    found = (_programs_in(place) for place in places if (place / "initdb").exists())
    return [programs for programs in found if programs is not None]


def _programs_in(bindir: Path) -> Programs | None:
    """None if it is too old or has no PostGIS."""
    said = subprocess.run([bindir / "postgres", "-V"], capture_output=True, text=True, check=False)
    version = re.search(r"\) (\d+)", said.stdout)
    if version is None or (major := int(version[1])) < OLDEST_MAJOR:
        return None
    share = subprocess.run(
        [bindir / "pg_config", "--sharedir"], capture_output=True, text=True, check=False
    )
    if not (Path(share.stdout.strip()) / "extension" / "postgis.control").exists():
        return None
    return Programs(major=major, bindir=bindir)
