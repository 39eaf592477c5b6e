"""What fault trials are made of: a house on a small disk, places where an ingest is held, faults.

Nothing in the product knows of them. An ingest is held where the test holds a lock that triggers
of the test's own ask for, or where the kernel asks the test whether it may read its source.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing as mp
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Protocol

import psycopg

from layers.cluster import open_store
from layers.postgres_tools import Account, programs_for
from layers.settings import StoreSettings
from tests.conftest import Database

STEPS = ("fetch", "parse", "stage", "merge", "overview", "publish", "notify")
SPACE = 0x46415541  # the first half of the advisory locks that hold an ingest
ROOMY = "6g"  # of memory: the size of the disk where it is not full
PATIENCE_S = 60


# A house on a disk of its own --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SmallHouse:
    """A QUARTIER_HOME that is a disk of its own, in memory, and the catalogue beside it."""

    home: Path
    catalogue: Path
    scratch: Path
    postmaster: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "postmaster", self.home / "postgres" / "data" / "postmaster.pid")

    @property
    def raw(self) -> Path:
        return self.home / "raw"

    def environment(self) -> dict[str, str]:
        told = {"QUARTIER_HOME": self.home, "QUARTIER_CATALOGUE": self.catalogue}
        return {name: str(value) for name, value in (told | {"TMPDIR": self.scratch}).items()}

    @contextmanager
    def database(self) -> Iterator[Database]:
        """The database, woken where it is down, and awake for as long as the block lasts."""
        with open_store(StoreSettings(home=self.home, catalogue=self.catalogue)) as urls:
            yield Database("quartier", urls)

    def pid(self) -> int | None:
        """Of the database server."""
        with suppress(FileNotFoundError, ValueError, IndexError):
            return int(self.postmaster.read_text().split()[0])
        return None

    def resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", self.home], check=True)

    def fill(self) -> None:
        """Leave no room at all: the disk becomes as small as what lies on it."""
        for _ in range(20):
            disk = os.statvfs(self.home)
            with suppress(subprocess.CalledProcessError):  # somebody wrote in between
                self.resize(str((disk.f_blocks - disk.f_bfree) * disk.f_frsize))
                if os.statvfs(self.home).f_bfree == 0:
                    return
        raise AssertionError("the disk does not become full")

    def empty(self) -> None:
        self.resize(ROOMY)


@contextmanager
def small_house() -> Iterator[SmallHouse]:
    folder = Path(tempfile.mkdtemp(prefix="quartier-faults-"))
    folder.chmod(0o755)  # the system user that runs PostgreSQL must reach into it
    home, catalogue, scratch = (folder / name for name in ("home", "catalogue", "scratch"))
    for each in (home, catalogue / "layers", scratch):
        each.mkdir(parents=True)
    options = f"size={ROOMY},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "quartier-faults", home], check=True)
    try:
        yield SmallHouse(home, catalogue, scratch)
    finally:
        subprocess.run(["umount", "--lazy", home], check=False)
        subprocess.run(["rm", "-rf", "--one-file-system", folder], check=False)


# Commands that are struck ------------------------------------------------------------------------

_warm = mp.get_context("forkserver")  # one process imports everything; each command is a copy of it
_warm.set_forkserver_preload(["ingest.cli", "layers.cli", "quartier", __name__])


def _be_quartier(arguments: list[str], environment: dict[str, str], said: str) -> None:
    os.setsid()
    for name in [name for name in os.environ if name.startswith(("QUARTIER_", "PG"))]:
        del os.environ[name]
    os.environ.update(environment)
    tempfile.tempdir = None
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1) for n in (1, 2))
    from quartier import app

    app(arguments)


class Command:
    """A command of quartier in a process of its own."""

    def __init__(self, house: SmallHouse, *arguments: str | Path, **more: str) -> None:
        self._said = house.scratch.with_name("said.txt")
        told = ([str(a) for a in arguments], house.environment() | more, str(self._said))
        self._process: ForkServerProcess = _warm.Process(target=_be_quartier, args=told)
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._process.join(PATIENCE_S)

    def end(self) -> int:
        """Wait for its end; its exit code."""
        self._process.join(PATIENCE_S)
        if self._process.exitcode is None:
            self.kill()
            raise AssertionError(f"it does not end: {self.said()}")
        return self._process.exitcode

    def said(self) -> str:
        return self._said.read_text(errors="replace") if self._said.exists() else ""


def ingest(house: SmallHouse, layer: str, file: Path) -> dict[str, Any]:
    """Ingest to the good end; the report."""
    command = Command(house, "ingest", layer, file, "--json")
    assert command.end() == 0, command.said()
    report = next(line for line in command.said().splitlines() if line.startswith("{"))
    found: dict[str, Any] = json.loads(report)
    assert found["counts"]["read"] == found["counts"]["accounted"], found
    return found


# Where an ingest is held -------------------------------------------------------------------------


class Hold(Protocol):
    """A place where an ingest stops until it is let go."""

    def held(self) -> bool: ...
    def let_go(self) -> None: ...


def await_held(hold: Hold, command: Command, step: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not hold.held():
        if not command.is_alive() and not hold.held():
            raise AssertionError(f"it ended before the step {step}: {command.said()}")
        assert time.monotonic() < deadline, f"it does not reach {step}: {command.said()}"
        time.sleep(0.005)


def install_holds(database: Database, layers: Sequence[str]) -> None:
    """Triggers that ask for the lock of a step. Row triggers hold a step half-way."""
    numbers = {step: number for number, step in enumerate(STEPS)}
    database.run("CREATE SCHEMA faults", role="owner")
    database.run("GRANT USAGE ON SCHEMA faults TO PUBLIC", role="owner")
    database.run(
        "CREATE FUNCTION faults.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" PERFORM pg_advisory_xact_lock_shared({SPACE}, TG_ARGV[0]::int);"
        " IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$",
        role="owner",
    )
    # A stage, or the table that rows go to without one, is held while they are copied into it. A
    # first load is held at its new table, where a stage is there by then, at its indexes, and where
    # the old table is gone and the new one not yet in its place.
    database.run(
        f"""
        CREATE FUNCTION faults.hold_ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
        AS $$
        DECLARE
            made record;
        BEGIN
            FOR made IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
                IF made.object_identity ~ '^city\\."?__build_\\d+"?$' THEN
                    EXECUTE format('DROP TRIGGER IF EXISTS faults ON %s', made.object_identity);
                ELSIF made.object_identity ~ '^city_stage\\."?__build_\\d+"?$'
                    AND made.command_tag = 'CREATE TABLE'
                    AND to_regclass(replace(made.object_identity, '__build', 'run')) IS NULL
                THEN
                    EXECUTE format('CREATE TRIGGER faults BEFORE INSERT ON %s FOR EACH ROW WHEN'
                        ' (NEW.fid %% 1000 = 200) EXECUTE FUNCTION faults.hold({numbers["stage"]})',
                        made.object_identity);
                ELSIF made.object_identity ~ '^city_stage\\.run_'
                    AND made.command_tag = 'CREATE TABLE'
                THEN
                    EXECUTE format('CREATE TRIGGER faults BEFORE INSERT ON %s FOR EACH ROW WHEN'
                        ' (NEW."#row" = 200) EXECUTE FUNCTION faults.hold({numbers["stage"]})',
                        made.object_identity);
                ELSIF made.object_identity ~ '^city_stage\\.__build_|^city\\.__build_\\d+_pkey$'
                    OR made.object_identity IN ('city.trees', 'city.streets')
                    AND made.command_tag = 'ALTER TABLE'
                THEN
                    PERFORM pg_advisory_xact_lock_shared({SPACE}, {numbers["merge"]});
                ELSIF made.object_identity ~ '__(shapes|labels)$|^pg_temp.*points' THEN
                    PERFORM pg_advisory_xact_lock_shared({SPACE}, {numbers["overview"]});
                END IF;
            END LOOP;
        END $$""",
        role="owner",
    )
    database.run(
        "CREATE EVENT TRIGGER faults ON ddl_command_end WHEN TAG IN ('CREATE TABLE',"
        " 'CREATE TABLE AS', 'CREATE INDEX', 'ALTER TABLE') EXECUTE FUNCTION faults.hold_ddl()",
        role="owner",
    )
    places = [
        ("parse", "BEFORE INSERT", "quartier.quarantine", "FOR EACH STATEMENT"),
        ("overview", "BEFORE UPDATE", "quartier.shape_state",
         "FOR EACH ROW WHEN (OLD.stale AND NOT NEW.stale)"),
        ("notify", "BEFORE UPDATE", "quartier.runs",
         "FOR EACH ROW WHEN (OLD.state = 'running' AND NEW.state <> 'running')"),
    ]  # fmt: skip
    if "crimes" in layers:  # which are merged even into an empty table
        half = "FOR EACH ROW WHEN (NEW.number = '300')"
        places.append(("merge", "BEFORE INSERT", "city_raw.crimes", half))
    for layer in layers:
        any_write = "BEFORE INSERT OR UPDATE OR DELETE"
        overview = f"city_overview.{layer}" + ("__shapes" if layer == "streets" else "")
        places += [
            ("merge", "BEFORE INSERT", f"city_history.{layer}", "FOR EACH STATEMENT"),
            ("overview", any_write, overview, "FOR EACH STATEMENT"),
        ]
    for number, (step, when, table, rest) in enumerate(places):
        database.run(
            f"CREATE TRIGGER faults_{number} {when} ON {table} {rest}"
            f" EXECUTE FUNCTION faults.hold({numbers[step]})",
            role="owner",
        )
    database.run(  # at the commit itself
        "CREATE CONSTRAINT TRIGGER faults AFTER INSERT OR UPDATE ON quartier.revisions"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.run_id IS NOT NULL)"
        f" EXECUTE FUNCTION faults.hold({numbers['publish']})",
        role="owner",
    )


class LockHold:
    """Holds what asks for the lock of a step."""

    def __init__(self, database: Database, step: str) -> None:
        self._number = STEPS.index(step)
        self._holder = psycopg.connect(database.urls.owner, autocommit=True)
        self._holder.execute("SELECT pg_advisory_lock(%s, %s)", [SPACE, self._number])

    def held(self) -> bool:
        return self.backend() is not None

    def backend(self) -> int | None:
        """The process of the server that is held."""
        found = self._holder.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND (classid, objid) = (%s, %s)", [SPACE, self._number],
        ).fetchone()  # fmt: skip
        return int(found[0]) if found else None

    def let_go(self) -> None:
        with suppress(psycopg.Error):
            self._holder.close()


FAN_OPEN_PERM, FAN_ACCESS_PERM = 0x10000, 0x20000
FAN_CLASS_CONTENT, FAN_CLOEXEC, FAN_MARK_ADD, FAN_ALLOW, AT_FDCWD = 4, 1, 1, 1, -100
_EVENT = struct.Struct("IBBHQii")  # length, version, reserved, metadata length, mask, fd, pid


class ReadHold:
    """Holds a process that reads a file, before the `read`th read after it opened it for the
    `opened`th time: the kernel asks us (fanotify).
    """

    def __init__(self, path: Path, *, opened: int, read: int) -> None:
        self._wanted = (opened, read)
        self._seen = (0, 0)
        self._waiting: int | None = None
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, os.O_RDONLY)
        mark = self._libc.fanotify_mark
        mark.argtypes = [ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int,
                         ctypes.c_char_p]  # fmt: skip
        mask = FAN_OPEN_PERM | FAN_ACCESS_PERM
        if self._fd < 0 or mark(self._fd, FAN_MARK_ADD, mask, AT_FDCWD, os.fsencode(path)) < 0:
            raise OSError(ctypes.get_errno(), "fanotify")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def _answer(self) -> None:
        while not self._over.is_set():
            if not select.select([self._fd], [], [], 0.02)[0]:
                continue
            events = os.read(self._fd, 4096)
            for at in range(0, len(events), _EVENT.size):
                *_, mask, fd, _ = _EVENT.unpack_from(events, at)
                opened, read = self._seen
                self._seen = (opened + 1, 0) if mask & FAN_OPEN_PERM else (opened, read + 1)
                if self._seen == self._wanted and self._waiting is None:
                    self._waiting = fd
                else:
                    self._allow(fd)

    def _allow(self, fd: int) -> None:
        with suppress(OSError):  # nobody waits for it any more
            os.write(self._fd, struct.pack("iI", fd, FAN_ALLOW))
        os.close(fd)

    def held(self) -> bool:
        return self._waiting is not None

    def backend(self) -> int | None:
        return None

    def let_go(self) -> None:
        if self._fd < 0:
            return
        if self._waiting is not None:
            self._allow(self._waiting)
        self._over.set()
        self._thread.join()
        os.close(self._fd)  # which allows everything
        self._fd = -1


# Faults ------------------------------------------------------------------------------------------


def kill_server(house: SmallHouse) -> None:
    """SIGKILL to the server and every process of it, as a machine that loses power."""
    if (server := house.pid()) is None:
        return
    children = _children_of(server)
    for pid in (server, *children):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await_gone(server)


def _children_of(parent: int) -> list[int]:
    said = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True,
                          text=True, check=False)  # fmt: skip
    return [int(pid) for pid in said.stdout.split()]


def kill_backend(pid: int | None, database: Database) -> None:
    """SIGKILL to one process of the server, which then ends all others and recovers."""
    for each in [pid] if pid else _working(database)[:1]:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def _working(database: Database) -> list[int]:
    found = database.run(
        "SELECT pid FROM pg_stat_activity WHERE usename = 'quartier_ingest'"
        " ORDER BY state = 'active' DESC, backend_xid IS NOT NULL DESC, pid", role="owner",
    )  # fmt: skip
    return [int(row[0]) for row in found]


def stop_server(house: SmallHouse, mode: str) -> None:
    """`pg_ctl stop`, or restart, as an administrator."""
    data = house.home / "postgres" / "data"
    Account.for_directory(data.parent).run(
        programs_for(data) / "pg_ctl", "stop", "-D", data, "-m", mode, "-w"
    )


def cut(pid: int | None, database: Database) -> None:
    """Cut one connection of the ingest, or all."""
    for each in [pid] if pid else _working(database):
        database.run("SELECT pg_terminate_backend(:pid)", role="owner", pid=each)


def exhaust_log(database: Database, house: SmallHouse) -> None:
    """Fill the disk, and then the server's log: it cannot go on, nor start again."""
    house.fill()
    with suppress(psycopg.Error), closing(psycopg.connect(database.urls.owner)) as connection:
        for _ in range(64):
            said = "SELECT pg_logical_emit_message(false, 'faults', repeat('x', 1 << 22))"
            connection.execute(said)
            connection.commit()
    if (server := house.pid()) is not None:
        await_gone(server)


def await_gone(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}").exists():
        status = Path(f"/proc/{pid}/stat")
        with suppress(OSError):
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return
        assert time.monotonic() < deadline, f"process {pid} does not end"
        time.sleep(0.01)


# Readers -----------------------------------------------------------------------------------------


class Reader:
    """Somebody who reads a layer over and over, as the web does, and keeps what he saw."""

    def __init__(self, database: Database, sql: str) -> None:
        self._database, self._sql = database, sql
        self.saw: dict[tuple[Any, ...], int] = {}
        self.said: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._over.is_set():
            try:
                with psycopg.connect(self._database.urls.web, autocommit=True) as connection:
                    while not self._over.is_set():
                        for row in connection.execute(self._sql.encode()):
                            self.saw[tuple(row)] = self.saw.get(tuple(row), 0) + 1
                        time.sleep(0.01)
            except psycopg.OperationalError:  # the server is away
                time.sleep(0.05)
            except psycopg.Error as exc:
                self.said.add(str(exc))


# A connection that breaks ------------------------------------------------------------------------


class Proxy:
    """Stands between an ingest and its database, as a network does, and breaks.

    `commit` cuts the connection that publishes: "unheard" before the server hears COMMIT, or
    "unanswered" when it has committed and its answer is on the way. `after` cuts every connection
    when so many bytes were sent to the server.
    """

    def __init__(self, house: SmallHouse, *, commit: str = "", after: int | None = None) -> None:
        self._commit, self._after = commit, after
        self.sent = 0
        self.cuts = 0
        self._folder = tempfile.TemporaryDirectory(prefix="quartier-proxy-")
        self._server = house.home / "postgres" / "run" / ".s.PGSQL.5432"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self._folder.name}/.s.PGSQL.5432")
        self._listener.listen()
        self._links: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"postgresql://quartier_ingest@/quartier?host={self._folder.name}&port=5432"

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._cut(*self._links)
        for thread in self._threads:
            thread.join()
        self._listener.close()
        for link in self._links:
            for end in link:
                end.close()
        self._folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._server))
            self._links.append((client, server))
            for of in (self._ask, self._answer):
                self._threads.append(threading.Thread(target=of, args=(client, server)))
                self._threads[-1].start()

    def _cut(self, *links: tuple[socket.socket, socket.socket]) -> None:
        for link in links:
            for end in link:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        publishes = False
        with suppress(OSError):
            while data := client.recv(1 << 16):
                publishes = publishes or b"'quartier.run'" in data
                if self._commit and publishes and b"COMMIT\0" in data:
                    self.cuts += 1
                    if self._commit == "unanswered":
                        client.shutdown(socket.SHUT_RDWR)  # so that the answer goes nowhere
                        server.sendall(data)
                        return
                    break
                if self._after is not None and self.sent + len(data) > self._after:
                    server.sendall(data[: max(self._after - self.sent, 0)])
                    self._after = None
                    self.cuts += 1
                    self._cut(*self._links)
                    return
                self.sent += len(data)
                server.sendall(data)
        self._cut((client, server))

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                client.sendall(data)
        self._cut((client, server))
