"""The embedded PostGIS, against real servers. They skip fsync, so each takes under a second."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import psycopg
import pytest
from adbc_driver_postgresql import dbapi

from layers import postgres_server, postgres_stuck, postgres_tools
from layers.cluster import Cluster, DatabaseUrls, open_store
from layers.errors import ClusterError, StoreUnavailable
from layers.postgres_server import PostgresServer
from layers.postgres_tools import Account
from layers.settings import StoreSettings
from tests.conftest import make_home

pytestmark = pytest.mark.db

QUICK = {"fsync": "off", "shared_buffers": "16MB"}
HOLDER = """
import sys
from pathlib import Path
from layers.cluster import Cluster
with Cluster(Path(sys.argv[1]), options={"fsync": "off", "shared_buffers": "16MB"}).hold() as urls:
    print(urls.owner, flush=True)
    sys.stdin.read()
"""

FORKER = """
import os, signal, sys, time
from pathlib import Path
from layers.cluster import Cluster
home = Path(sys.argv[1])
with Cluster(home, options={"fsync": "off", "shared_buffers": "16MB"}).hold() as urls:
    awake, waking = os.pipe()
    if (copy := os.fork()) == 0:
        os.write(waking, b"!")
        time.sleep(60)
    os.read(awake, 1)
    os.kill(copy, signal.SIGTERM)
    ended = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
    print(ended, (home / "postgres/data/postmaster.pid").exists())
"""


@pytest.fixture
def homes() -> Iterator[Callable[[], Path]]:
    """Makes homes that the server's user can reach (pytest's own directories it cannot)."""
    made: list[Path] = []

    def make() -> Path:
        home = make_home("quartier-test-")
        made.append(home)
        return home

    yield make
    for home in made:
        with suppress(OSError):
            os.kill(pid := postmaster(home), signal.SIGQUIT)
            wait_until_gone(pid)
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def finished() -> Iterator[Path]:
    """A home whose cluster is made and stopped."""
    home = make_home("quartier-test-")
    with cluster(home).hold():
        pass
    yield home
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def running(finished: Path) -> Iterator[DatabaseUrls]:
    """A cluster that tests only look at, with the roles that the first migration makes."""
    home = finished.with_name(f"{finished.name}-running")
    subprocess.run(["cp", "-a", finished, home], check=True)
    with cluster(home, work_mem="5MB").hold() as urls:
        make_roles(urls.owner)
        yield urls
    shutil.rmtree(home)


@pytest.fixture
def empty(homes: Callable[[], Path]) -> Path:
    """A home without a cluster."""
    return homes()


@pytest.fixture
def home(homes: Callable[[], Path], finished: Path) -> Path:
    """A home with a cluster of its own: a copy, which takes a tenth of the time of initdb."""
    home = homes()
    subprocess.run(["cp", "-a", finished / "postgres", home], check=True)
    return home


@pytest.fixture
def holders() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Starts processes that hold a cluster until their input ends."""
    started: list[subprocess.Popen[str]] = []

    def start(home: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, str(home)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def cluster(home: Path, **options: str) -> Cluster:
    return Cluster(home, options=QUICK | options)


def postmaster(home: Path) -> int:
    return int((home / "postgres/data/postmaster.pid").read_text().split()[0])


def is_running(home: Path) -> bool:
    return (home / "postgres/data/postmaster.pid").exists()


def ask(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def leave_a_row(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE trees AS SELECT 'elm' AS kind")


def wait_until_gone(pid: int) -> None:
    """A killed child of another process may stay a zombie; it counts as gone."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.01)
    raise TimeoutError(f"process {pid} is still there")


def test_the_first_use_makes_a_cluster_and_the_second_finds_its_data(empty: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        said.append("-")
        with Cluster(empty, options=QUICK, tell=said.append).hold() as urls:
            if len(said) < 4:
                leave_a_row(urls.owner)
            assert ask(urls.owner, "SELECT kind FROM trees") == "elm"
    assert [sentence.split()[0] for sentence in said] == [
        *("-", "Making", "Starting", "Stopping"),
        *("-", "Starting", "Stopping"),
    ]


def test_the_database_is_utf8_and_sorts_by_code_point(running: DatabaseUrls) -> None:
    query = "SELECT pg_encoding_to_char(encoding) || datcollate FROM pg_database"
    assert ask(running.owner, f"{query} WHERE datname = 'quartier'") == "UTF8C.UTF-8"


def test_the_server_never_runs_as_root_and_nobody_else_can_enter(empty: Path) -> None:
    with cluster(empty).hold():
        uid = Path(f"/proc/{postmaster(empty)}").stat().st_uid
        root = (empty / "postgres").stat()
    assert uid != 0
    assert (root.st_uid, root.st_mode & 0o777) == (uid, 0o700)


def test_the_server_listens_on_no_network(running: DatabaseUrls) -> None:
    assert ask(running.owner, "SHOW listen_addresses") == ""


def test_options_go_over_the_settings_of_the_cluster(running: DatabaseUrls) -> None:
    assert ask(running.owner, "SHOW work_mem") == "5MB"
    assert ask(running.owner, "SHOW jit") == "off"


def test_the_last_one_out_stops_the_server(home: Path) -> None:
    with cluster(home).hold():
        with cluster(home).hold():
            pass
        assert is_running(home)
    assert not is_running(home)


def test_an_error_inside_still_stops_the_server(home: Path) -> None:
    with pytest.raises(ZeroDivisionError), cluster(home).hold():
        raise ZeroDivisionError
    assert not is_running(home)


def test_a_killed_server_comes_back_with_its_data(home: Path) -> None:
    with cluster(home).hold() as urls:
        leave_a_row(urls.owner)
        with psycopg.connect(urls.owner):  # a backend that outlives the postmaster for a moment
            os.kill(pid := postmaster(home), signal.SIGKILL)
            wait_until_gone(pid)
            with cluster(home).hold() as again:
                assert ask(again.owner, "SELECT kind FROM trees") == "elm"


@pytest.mark.parametrize("knows", [True, False], ids=["it waits", "it ends what is stuck"])
def test_a_server_that_recovers_from_a_crash_of_its_own_is_stopped(
    home: Path, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    """Told so before it has begun to redo, PostgreSQL 15 waits for its checkpointer for ever."""
    monkeypatch.setattr(postgres_server, "STOP_PATIENCE_S", 2)
    monkeypatch.setattr(postgres_stuck, "LOOK_S", 0.5)
    if not knows:
        monkeypatch.setattr(PostgresServer, "_recovers", lambda _: False)
    with cluster(home).hold() as urls:
        leave_a_row(urls.owner)
        startup = _held_startup(postmaster(home), urls.owner)
        threading.Timer(1, os.kill, (startup, signal.SIGCONT)).start()
    assert not is_running(home)
    with cluster(home).hold() as urls:
        assert ask(urls.owner, "SELECT kind FROM trees") == "elm"


def _held_startup(server: int, url: str) -> int:
    """The process that recovers after a crash, stopped before it does. There is more to redo than
    the blink of an eye in which this process may not be looking; if it was missed, again.
    """
    for _ in range(5):
        with suppress(psycopg.OperationalError), psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE redone AS SELECT n FROM generate_series(1, 400000) n")
            os.kill(connection.info.backend_pid, signal.SIGKILL)
            connection.execute("SELECT 1")
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline:
            for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split():
                with suppress(OSError):
                    if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"postgres: startup"):
                        os.kill(int(pid), signal.SIGSTOP)
                        return int(pid)
    raise AssertionError("the server does not recover")


def test_a_lock_file_whose_process_id_was_given_away_is_no_obstacle(home: Path) -> None:
    with cluster(home).hold():
        os.kill(pid := postmaster(home), signal.SIGKILL)
        wait_until_gone(pid)
    account = Account.for_directory(home / "postgres")
    switch = {"user": account.uid} if os.geteuid() == 0 else {}
    with subprocess.Popen(["sleep", "60"], **switch) as stranger:  # type: ignore[call-overload]
        for lock in ("data/postmaster.pid", "run/.s.PGSQL.5432.lock"):
            path = home / "postgres" / lock
            path.write_text(path.read_text().replace(str(pid), str(stranger.pid), 1))
        with cluster(home).hold() as urls:
            assert ask(urls.owner, "SELECT 1") == 1
        stranger.kill()


def test_a_killed_holder_leaves_a_server_that_the_next_one_uses_and_stops(
    home: Path, holders: Callable[[Path], subprocess.Popen[str]]
) -> None:
    holder = holders(home)
    assert holder.stdout
    holder.stdout.readline()
    pid = postmaster(home)
    holder.kill()
    holder.wait()
    with cluster(home).hold() as urls:
        assert postmaster(home) == pid
        assert ask(urls.owner, "SELECT 1") == 1
    assert not is_running(home)


def test_the_server_does_not_inherit_the_locks(
    home: Path, holders: Callable[[Path], subprocess.Popen[str]]
) -> None:
    holder = holders(home)
    assert holder.stdout
    holder.stdout.readline()
    holder.kill()
    holder.wait()
    assert is_running(home)
    for name in ("holders.lock", "turn.lock"):
        with (home / "postgres" / name).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_ctrl_c_in_the_terminal_ends_the_holder_which_ends_the_server(
    home: Path, holders: Callable[[Path], subprocess.Popen[str]]
) -> None:
    holder = holders(home)
    assert holder.stdout
    holder.stdout.readline()
    assert os.getsid(postmaster(home)) != os.getsid(holder.pid)
    os.killpg(holder.pid, signal.SIGINT)
    assert holder.wait(20) != 0
    assert not is_running(home)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_holder_that_is_asked_to_end_ends_the_server(
    home: Path, holders: Callable[[Path], subprocess.Popen[str]], number: signal.Signals
) -> None:
    holder = holders(home)
    assert holder.stdout
    holder.stdout.readline()
    holder.send_signal(number)
    assert holder.wait(20) == 128 + number
    assert not is_running(home)


def test_a_forked_copy_of_a_holder_that_is_asked_to_end_leaves_the_server(home: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FORKER, str(home)], capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.stderr) == (f"{-signal.SIGTERM} True\n", "")
    assert not is_running(home)


def test_ten_processes_at_once_get_one_server(
    empty: Path, holders: Callable[[Path], subprocess.Popen[str]]
) -> None:
    ten = [holders(empty) for _ in range(10)]
    urls = {process.stdout.readline() for process in ten if process.stdout}
    assert len(urls) == 1
    assert ask(urls.pop().strip(), "SELECT 1") == 1
    for process in ten:
        process.communicate("")
    assert [process.returncode for process in ten] == [0] * 10
    assert not is_running(empty)


def test_two_homes_never_meet(homes: Callable[[], Path]) -> None:
    with cluster(homes()).hold() as one, cluster(homes()).hold() as other:
        leave_a_row(one.owner)
        assert ask(one.owner, "SELECT to_regclass('trees') IS NOT NULL") is True
        assert ask(other.owner, "SELECT to_regclass('trees') IS NOT NULL") is False


@pytest.mark.parametrize("name", ["a" * 120, "été, l'après-midi"], ids=["long", "odd"])
def test_a_home_whose_path_no_socket_can_have_gets_a_private_one(empty: Path, name: str) -> None:
    with cluster(empty / name).hold() as urls:
        assert ask(urls.owner, "SELECT 1") == 1
        place = Path(str(ask(urls.owner, "SHOW unix_socket_directories")))
        assert place.stat().st_mode & 0o777 == 0o700
    place.rmdir()


def test_a_cluster_that_was_half_made_is_made_again(home: Path) -> None:
    with cluster(home).hold():
        pass
    (home / "postgres/data").rename(home / "postgres/data.new-1")
    (home / "postgres/data.new-1/postgresql.conf").unlink()
    with cluster(home).hold() as urls:
        assert ask(urls.owner, "SELECT 1") == 1
    assert [path.name for path in (home / "postgres").glob("data*")] == ["data"]


def test_a_database_lost_between_its_making_and_its_use_is_made_again(home: Path) -> None:
    with cluster(home).hold() as urls:
        with psycopg.connect(urls.owner, dbname="postgres", autocommit=True) as connection:
            connection.execute("DROP DATABASE quartier")
        with cluster(home).hold() as again:
            assert ask(again.owner, "SELECT current_database()") == "quartier"


def test_a_home_of_another_major_version_says_what_to_do(home: Path) -> None:
    with cluster(home).hold():
        pass
    (home / "postgres/data/PG_VERSION").write_text("12\n")
    with pytest.raises(ClusterError, match=r"made by PostgreSQL 12.*Install PostgreSQL 12"):
        cluster(home).hold().__enter__()


def test_a_server_that_does_not_start_says_why_and_where_its_log_is(home: Path) -> None:
    with pytest.raises(ClusterError, match=r"shared_buffers.*see .*log"):
        cluster(home, shared_buffers="not a size").hold().__enter__()


def test_a_machine_without_postgis_is_told_the_one_command(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_tools, "DEBIAN_PROGRAMS", empty)
    monkeypatch.setenv("PATH", str(empty))
    with pytest.raises(ClusterError, match=r"apt-get install -y postgresql\S*postgis"):
        cluster(empty).hold().__enter__()


def test_a_home_that_cannot_be_a_directory_gets_a_sentence(empty: Path) -> None:
    (empty / "file").touch()
    with pytest.raises(ClusterError, match=r"QUARTIER_HOME .*/file/city cannot be used"):
        cluster(empty / "file/city").hold().__enter__()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root switches to another user")
def test_a_home_that_the_servers_user_cannot_reach_gets_a_sentence(empty: Path) -> None:
    empty.chmod(0o700)
    with pytest.raises(ClusterError, match="outside private directories"):
        cluster(empty).hold().__enter__()


async def user_by_asyncpg(url: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval("SELECT current_user::text")
    finally:
        await connection.close()


def user_by_adbc(url: str) -> object:
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_user::text")
        return cursor.fetchone()[0]


def users_by_each_driver(url: str) -> set[object]:
    query = "SELECT current_user::text"
    return {ask(url, query), user_by_adbc(url), asyncio.run(user_by_asyncpg(url))}


def make_roles(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for role in ("quartier_web", "quartier_officer", "quartier_ingest"):
            connection.execute(f"CREATE ROLE {role} LOGIN".encode())


def roles_reached(urls: DatabaseUrls) -> list[set[object]]:
    return [users_by_each_driver(url) for url in (urls.ingest, urls.officer, urls.web)]


ROLES: list[set[object]] = [{"quartier_ingest"}, {"quartier_officer"}, {"quartier_web"}]


def test_every_driver_reaches_every_role_by_its_url(running: DatabaseUrls) -> None:
    assert roles_reached(running) == ROLES


def test_an_existing_server_is_used_with_roles_set_on_the_owners_login(
    running: DatabaseUrls, tmp_path: Path
) -> None:
    alchemy = running.owner.replace("postgresql://", "postgresql+psycopg://")
    with open_store(StoreSettings(home=tmp_path / "unused", database_url=alchemy)) as urls:
        assert urls.owner == running.owner
        assert roles_reached(urls) == ROLES
    assert not (tmp_path / "unused").exists()


def test_options_of_the_owners_url_are_kept_and_the_webs_own_login_is_used(
    running: DatabaseUrls,
) -> None:
    own = running.owner + "&options=-c%20work_mem%3D7MB"
    with open_store(StoreSettings(database_url=own, web_database_url=running.web)) as urls:
        assert roles_reached(urls) == ROLES
        assert urls.web == running.web
        assert ask(urls.ingest, "SHOW work_mem") == "7MB"


def test_an_existing_server_out_of_reach_is_named_without_its_password() -> None:
    settings = StoreSettings(database_url="postgresql://ada:hunter2@127.0.0.1:1/city")
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1, port 1 ") as caught:
        open_store(settings).__enter__()
    assert "hunter2" not in f"{caught.value!r}{caught.value.__cause__!r}"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://a:hunter2@b/c",
        "postgresql://a:hunter2@b/c?d=e",
        "postgresql://a:hunter2/@b/c",
        "postgresql://a:b@hunter2@c/d",
    ],
)
def test_a_url_of_another_kind_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StoreUnavailable, match="QUARTIER_DATABASE_URL is not a URL") as caught:
        open_store(StoreSettings(database_url=url)).__enter__()
    assert "hunter2" not in str(caught.value)


def test_urls_are_not_printed() -> None:
    url = "postgresql://ada:hunter2@db/city"
    assert "hunter2" not in repr(DatabaseUrls(owner=url, ingest=url, officer=url, web=url))
