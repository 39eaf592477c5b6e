"""What the suites of clients share: the sample city, a recorder before it, the table of it all."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.accept.house import Table
from tests.accept.recorder import Recorder, recording
from tests.conftest import make_home
from tests.e2e.conftest import ROOT, start_up, stop


@pytest.fixture(scope="session")
def sample_city() -> Iterator[str]:
    """The address of the sample city, loaded and served by the command itself."""
    subprocess.run([sys.executable, "-m", "data.sample_city", "data/sample"], cwd=ROOT, check=True)
    home = make_home("quartier-clients-")
    up = start_up(home, home / "up.log")
    yield up.url
    if up.process.poll() is None:
        stop(up)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def recorded(sample_city: str) -> Iterator[Recorder]:
    with recording(sample_city) as recorder:
        yield recorder


@pytest.fixture
def recorder(recorded: Recorder) -> Recorder:
    """The sample city through a proxy that has seen nothing yet."""
    recorded.since_now()
    return recorded


@pytest.fixture(scope="session")
def clients() -> Iterator[Table]:
    table = Table("Clients of others on the sample city", ["client", "what", "found", "requests"])
    yield table
    table.print()
