"""The embedded PostGIS: a private cluster, alive while anyone holds it.

home/postgres/      0700, owned by the user the server runs as
    data/           the cluster; made as data.new-… and renamed when whole
    run/            its socket (elsewhere if the path is too long for one)
    log/            a week of logs
    turn.lock, holders.lock
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from layers.cluster_lock import shared_hold
from layers.database_urls import DatabaseUrls, embedded_urls, existing_urls
from layers.errors import ClusterError
from layers.postgres_server import SOCKET_NAME, PostgresServer
from layers.postgres_tools import Account, programs_for
from layers.settings import StoreSettings
from layers.termination import ending_politely

__all__ = ["Cluster", "DatabaseUrls", "open_store"]

LONGEST_SOCKET_PATH = 100  # bytes; the kernel takes 107

Tell = Callable[[str], None]


def _silent(_: str) -> None:
    return


@contextmanager
def open_store(settings: StoreSettings, *, tell: Tell = _silent) -> Iterator[DatabaseUrls]:
    """URLs of the database that the settings name, or of the embedded one, kept alive meanwhile.

    `tell` hears a sentence about each thing that takes time. Raises ClusterError or
    StoreUnavailable.
    """
    if settings.database_url is not None:
        yield existing_urls(settings)
        return
    with Cluster(settings.home, tell=tell).hold() as urls:
        yield urls


class Cluster:
    """The cluster below `home`. `options` are server settings that go over our own."""

    def __init__(
        self, home: Path, *, options: Mapping[str, str] | None = None, tell: Tell = _silent
    ) -> None:
        self._home = home.absolute()
        self._root = self._home / "postgres"
        self._options = dict(options or {})
        self._tell = tell

    @contextmanager
    def hold(self) -> Iterator[DatabaseUrls]:
        """Make and start the cluster if need be; the last of all holders stops it."""
        with _disk_errors(self._home):
            server = self._prepare()
        hold = shared_hold(
            self._root,
            opener=lambda path: self._open_lock(server.account, path),
            first=lambda: self._wake(server),
            last=lambda: self._put_to_sleep(server),
        )
        with ending_politely(), hold:
            yield embedded_urls(server.socket_dir)

    def _prepare(self) -> PostgresServer:
        """Find the programs and make the directories; changes nothing else."""
        account = Account.for_directory(self._root)
        programs = programs_for(self._root / "data")
        self._home.mkdir(parents=True, exist_ok=True)
        socket_dir, log = socket_directory(self._root), self._root / "log"
        for directory in (self._root, log, socket_dir):
            account.make_directory(directory)
        if account.run("test", "-w", self._root).returncode != 0:
            raise ClusterError(
                f"PostgreSQL runs as the system user {account.uid}, which cannot enter "
                f"{self._root}; choose a QUARTIER_HOME outside private directories"
            )
        return PostgresServer(
            programs=programs,
            account=account,
            data=self._root / "data",
            log=log,
            socket_dir=socket_dir,
        )

    def _open_lock(self, account: Account, path: Path) -> int:
        with _disk_errors(self._home):
            return account.open_lock(path)

    def _wake(self, server: PostgresServer) -> None:
        with _disk_errors(self._home):
            if not server.is_made:
                self._tell(f"Making a PostGIS cluster in {self._root}")
                server.make(sync=self._options.get("fsync") != "off")
            if server.answers():
                return
            self._tell("Starting PostGIS")
            server.start(self._options)
            if not server.answers():
                raise ClusterError("PostgreSQL started and went away again", server.log)

    def _put_to_sleep(self, server: PostgresServer) -> None:
        if not server.listens():
            return
        self._tell("Stopping PostGIS")
        if not server.stop():
            self._tell("PostGIS is still writing and stops by itself when it is done")


def usual_socket_directory(root: Path) -> Path:
    return root / "run"


def socket_directory(root: Path) -> Path:
    """`root/run`, or a short name where that is no path libpq and the kernel can take."""
    usual = usual_socket_directory(root)
    length = len(os.fsencode(usual / SOCKET_NAME))
    if length <= LONGEST_SOCKET_PATH and re.fullmatch(r"[\w./+-]+", str(usual), re.ASCII):
        return usual
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"quartier-{name}"


@contextmanager
def _disk_errors(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        problem = exc.strerror or str(exc)
        raise ClusterError(f"QUARTIER_HOME {home} cannot be used: {problem}") from exc
