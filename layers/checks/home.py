"""The home and the embedded cluster in it, as they lie there: nothing is made, nothing started."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
from pathlib import Path

from layers.catalogue_files import read_catalogue
from layers.checks.finding import Finding, ok, plural, problem, warning
from layers.cluster import socket_directory, usual_socket_directory
from layers.errors import CatalogueError
from layers.postgres_server import is_server, listens_in
from layers.postgres_tools import Account
from layers.settings import StoreSettings

LITTLE_DISK, NO_DISK = 5 << 30, 1 << 30  # bytes free: below them a load soon fails, or fails now
SHARE_OF_FILES = 0.02  # of a file system's files that must be free


def home(settings: StoreSettings) -> Finding:
    """The home, or the place where it would be made, can be written by who runs Quartier."""
    about, path = "home", settings.home
    place = _there(path)
    if not place.is_dir():
        return problem(about, f"{path}: {place} is no directory", "choose another QUARTIER_HOME")
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return problem(
            about, f"{path} is on a file system that is read-only",
            "mount it for writing, or choose another QUARTIER_HOME",
        )  # fmt: skip
    if not os.access(place, os.W_OK | os.X_OK):
        return problem(
            about, f"{_name(os.geteuid())} may not write {place}, which is {_owner(place)}'s",
            f"run as {_owner(place)}, or choose another QUARTIER_HOME",
        )  # fmt: skip
    if place != path:
        return ok(about, f"{path} is not there yet; the first command makes it")
    return ok(about, f"{path}, of {_owner(path)}")


def server_account(settings: StoreSettings) -> Finding:
    """The system user that PostgreSQL runs as owns its folder and can reach it."""
    about, root = "system user", settings.home / "postgres"
    if settings.database_url is not None:
        return ok(about, f"Quartier runs as {_name(os.geteuid())}")
    account = Account.for_directory(root)
    who = _name(account.uid)
    if root.exists() and os.geteuid() not in (0, root.stat().st_uid):
        return problem(
            about, f"{root} is {_owner(root)}'s, and this is {_name(os.geteuid())}",
            f"sudo -u {_owner(root)} quartier doctor",
        )  # fmt: skip
    if account.run("test", "-x", _there(root)).returncode != 0:
        return problem(
            about, f"PostgreSQL runs as {who}, who cannot enter {_there(root)}",
            "choose a QUARTIER_HOME outside private directories",
        )  # fmt: skip
    return ok(about, f"PostgreSQL runs as {who}")


def disk(settings: StoreSettings) -> Finding:
    """Room for more, in bytes and in files."""
    about, place = "disk", _there(settings.home)
    free = shutil.disk_usage(place).free
    said = f"{free / 1e9:,.1f} GB free for {settings.home}"
    mend = "make room, or move QUARTIER_HOME to a larger disk"
    files = os.statvfs(place)
    if free < NO_DISK:
        return problem(about, f"only {said}: loads are refused", mend)
    if files.f_files and files.f_favail < files.f_files * SHARE_OF_FILES:
        return problem(about, f"only {files.f_favail:,} more files can be made in {place}", mend)
    if free < LITTLE_DISK:
        return warning(about, f"only {said}", mend)
    return ok(about, said)


def cluster(settings: StoreSettings) -> Finding:
    """The embedded cluster: not made, stopped, running, or left behind by a crash."""
    about, root = "cluster", settings.home / "postgres"
    if settings.database_url is not None:
        return ok(about, "not used: QUARTIER_DATABASE_URL names a server")
    if not (root / "data" / "PG_VERSION").exists():
        return ok(about, "not made yet; quartier up or apply makes it")
    running, used = listens_in(socket_directory(root)), _is_held(root)
    if running and used is False:
        return warning(
            about, "runs, and no command holds it: one was killed",
            "any command, such as quartier apply --dry-run, takes it over and stops it at its end",
        )  # fmt: skip
    if running:
        return ok(about, "runs")
    if (pid := _server_of(root / "data" / "postmaster.pid")) is not None:
        return warning(
            about, f"process {pid} is PostgreSQL and does not listen: it starts, stops or hangs",
            f"look again; then see the logs in {root / 'log'}",
        )  # fmt: skip
    if (root / "data" / "postmaster.pid").exists():
        return warning(
            about, "was not shut down: its lock file postmaster.pid is stale",
            "the next command recovers it: quartier apply --dry-run",
        )  # fmt: skip
    return ok(about, "is stopped; each command that needs it starts it")


def leftovers(settings: StoreSettings) -> Finding:
    """Halves of clusters that were never finished."""
    left = sorted((settings.home / "postgres").glob("data.new-*"))
    if left:
        said = f"{plural(len(left), 'cluster')} half made, such as {left[0]}"
        return warning("leftovers", said, f"rm -r {left[0].parent}/data.new-*")
    return ok("leftovers", "none")


def socket_path(settings: StoreSettings) -> Finding:
    """A path too long, or too odd, for a socket is replaced by one that a clean-up may remove."""
    about, root = "socket", settings.home.absolute() / "postgres"
    if settings.database_url is not None:
        return ok(about, "not used")
    chosen, usual = socket_directory(root), usual_socket_directory(root)
    if chosen != usual:
        return warning(
            about, f"{usual} is too long or odd for a socket, which lies in {chosen} instead;"
            " what empties that folder cuts it off",
            "choose a shorter QUARTIER_HOME, of letters, digits, . _ + - and /",
        )  # fmt: skip
    return ok(about, str(usual))


def catalogue(settings: StoreSettings) -> Finding:
    about = "catalogue"
    try:
        found = read_catalogue(settings.catalogue)
    except CatalogueError as exc:
        more = f" (and {len(exc.problems) - 1} more)" if len(exc.problems) > 1 else ""
        return problem(about, exc.problems[0] + more, "correct it, then quartier apply --dry-run")
    counts = (
        (len(found.layers), "layer"),
        (len(found.maps), "map"),
        (len(found.tilesets), "tileset"),
    )
    return ok(about, f"{settings.catalogue}: {', '.join(plural(*count) for count in counts)}")


def _is_held(root: Path) -> bool | None:
    """Whether a command uses the cluster; None where one is starting or stopping it just now."""
    try:
        turn = os.open(root / "turn.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)  # so that nobody takes us for a holder
        return _is_locked(root / "holders.lock")
    except BlockingIOError:
        return None
    finally:
        os.close(turn)


def _is_locked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _server_of(lock: Path) -> int | None:
    """The server that wrote this lock file, if it is alive."""
    try:
        pid = abs(int(lock.read_text().split("\n", 1)[0]))
        return pid if is_server(pid) else None
    except (OSError, ValueError):
        return None


def _there(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _owner(path: Path) -> str:
    return _name(path.stat().st_uid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
