"""One PostgreSQL server on a unix socket: make its cluster, start it, stop it.

Nothing here is safe against others doing the same; `cluster_lock` lets one in at a time.
"""

from __future__ import annotations

import re
import secrets
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from layers.cluster_config import configuration
from layers.database_urls import DATABASE, PORT
from layers.errors import ClusterError
from layers.postgres_stuck import is_stuck
from layers.postgres_tools import Account, Programs

SOCKET_NAME = f".s.PGSQL.{PORT}"
START_TIMEOUT_S = 600  # recovery after a crash reads up to max_wal_size
STOP_TIMEOUT_S = 300  # the last checkpoint writes what a load left in memory
STOP_PATIENCE_S = 15  # after which we look whether it does anything towards it
ORPHANS_TIMEOUT_S = 30  # what is left of a killed server ends its query first
CONNECT_TIMEOUT_S = 10
# Said while backends of a killed server end, or a killed command's `pg_ctl` starts one after all.
PASSING = ("still in use", "already exists")
RECOVERS = ("is starting up", "in recovery mode", "not yet accepting connections")
SIGNS = ("No space left", "still in use", "invalid value", "FATAL:", "PANIC:", "rror:")
NO_PROCESS = 1 << 30  # a process id beyond the kernel's greatest, 2^22


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """The server of the cluster in `data`. It may be down, dead or not made yet."""

    programs: Programs
    account: Account
    data: Path
    log: Path
    socket_dir: Path

    @property
    def is_made(self) -> bool:
        return (self.data / "PG_VERSION").exists()

    def make(self, *, sync: bool = True) -> None:
        """Make an empty cluster. Killed half-way, it leaves only a `data.new-…` behind."""
        for left in self.data.parent.glob("data.new-*"):
            shutil.rmtree(left, ignore_errors=True)  # an orphaned initdb may still be writing
        new = self.data.with_name(f"data.new-{secrets.token_hex(4)}")
        made = self.account.run(
            self.programs / "initdb",
            *("-D", new, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums"),
            *("--auth-local=trust", "--auth-host=reject", "--no-instructions"),
            *(() if sync else ("--no-sync",)),
        )
        if made.returncode != 0:
            raise ClusterError(f"initdb could not make {self.data}: {_reason(made.stderr)}")
        main = new / "postgresql.conf"
        self._write(main, f"{main.read_text()}\ninclude 'quartier.conf'\n")
        self._write(new / "quartier.conf", "")
        new.rename(self.data)

    def start(self, options: Mapping[str, str]) -> None:
        """Start it and wait until it answers, recovery after a crash included."""
        text = configuration(socket_dir=self.socket_dir, log=self.log, options=options)
        self._write(self.data / "quartier.conf", text)
        deadline = time.monotonic() + ORPHANS_TIMEOUT_S
        self._disown_dead_locks()
        while (problem := self._try_to_start()) is not None and not self.listens():
            passing = any(sign in problem for sign in PASSING)
            if not passing or time.monotonic() > deadline:
                raise ClusterError(f"PostgreSQL does not start: {problem}", self.log)
            time.sleep(0.2)

    def stop(self) -> bool:
        """Stop it, ending every connection; False if it is still writing when we gave up.

        While it recovers from a crash it is waited for first. One that will never stop is ended,
        as by a crash: what was committed is on disk, and recovered at the next start.
        """
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self._recovers() and time.monotonic() < deadline:
            time.sleep(0.05)
        while time.monotonic() < deadline:
            if self._told_to_stop("fast", STOP_PATIENCE_S) or not self.listens():
                return True
            if (postmaster := self._postmaster()) is not None and is_stuck(postmaster):
                return self._told_to_stop("immediate", STOP_PATIENCE_S) or not self.listens()
        return False

    def _told_to_stop(self, how: str, patience_s: int) -> bool:
        """Whether it has stopped within this time."""
        stopped = self.account.run(
            *(self.programs / "pg_ctl", "stop", "-D", self.data),
            *("-m", how, "-w", "-t", str(patience_s)),
        )
        return stopped.returncode == 0

    def _postmaster(self) -> int | None:
        try:
            return int((self.data / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None

    def _recovers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError as exc:
            return any(sign in str(exc) for sign in RECOVERS)
        return False

    def listens(self) -> bool:
        """Whether a server holds the socket, even one that is starting or stopping."""
        return listens_in(self.socket_dir)

    def answers(self) -> bool:
        """Wait until it takes connections (True) or is gone (False). Makes our database."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.listens():
            try:
                self._make_database()
            except psycopg.OperationalError as exc:  # it is starting, recovering or stopping
                if time.monotonic() > deadline:
                    raise ClusterError(f"PostgreSQL does not answer: {exc}", self.log) from exc
                time.sleep(0.05)
            else:
                return True
        return False

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.socket_dir),
            port=PORT,
            user="postgres",
            dbname="postgres",
            connect_timeout=CONNECT_TIMEOUT_S,
            autocommit=True,
        )

    def _make_database(self) -> None:
        with self._connect() as connection:
            known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
            if known.fetchone() is None:
                connection.execute(f"CREATE DATABASE {DATABASE}".encode())

    def _try_to_start(self) -> str | None:
        """What went wrong, or None."""
        first_words = self.log / "start.log"  # what it says before its log collector runs
        first_words.unlink(missing_ok=True)
        sizes = {path: path.stat().st_size for path in self.log.glob("*.log")}
        started = self.account.run(
            *(self.programs / "pg_ctl", "start", "-D", self.data, "-l", first_words),
            *("-w", "-t", str(START_TIMEOUT_S)),
        )
        if started.returncode == 0:
            return None
        said = [path.read_bytes()[sizes.get(path, 0) :] for path in self.log.glob("*.log")]
        return _reason(
            "\n".join([started.stderr, *(text.decode(errors="replace") for text in said)])
        )

    def _disown_dead_locks(self) -> None:
        """Take lock files from processes that are no server: zombies, or strangers.

        Process ids start again with each container, and PostgreSQL would refuse to start. The
        file stays, because its other lines let PostgreSQL find backends that outlived a server.
        """
        for lock in (self.data / "postmaster.pid", self.socket_dir / f"{SOCKET_NAME}.lock"):
            try:
                pid, rest = lock.read_text().split("\n", 1)
                is_dead = not is_server(abs(int(pid)))
            except (OSError, ValueError):  # no lock, no such process, or no /proc
                continue
            if is_dead:
                self._write(lock, f"{NO_PROCESS}\n{rest}")

    def _write(self, path: Path, text: str) -> None:
        """Replace a file, as its user: root must not follow links in another's directory."""
        replace = 'cat > "$1.new" && mv "$1.new" "$1"'
        written = self.account.run("sh", "-c", replace, "sh", path, text=text)
        if written.returncode != 0:
            raise ClusterError(f"{path} cannot be written: {_reason(written.stderr)}")


def listens_in(socket_dir: Path) -> bool:
    """Whether a server holds the socket of this directory."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(CONNECT_TIMEOUT_S)
        try:
            client.connect(str(socket_dir / SOCKET_NAME))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except BlockingIOError:  # its queue is full
            return True
    return True


def is_server(pid: int) -> bool:
    """Whether this process is PostgreSQL and alive. Raises OSError where there is none."""
    status = Path(f"/proc/{pid}/stat").read_text()
    return "postgres" in status and status.rpartition(")")[2].split()[0] != "Z"


def _reason(said: str) -> str:
    """The line that matters of what a program of PostgreSQL said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for sign in SIGNS:
        for line in reversed(lines):
            if sign in line:
                return re.sub(r"^.*?\b[A-Z]+:  ", "", line)
    return lines[-1] if lines else "it did not say why"
