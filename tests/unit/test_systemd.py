"""The units are ones that systemd takes, confined, and call commands that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from quartier import COMMANDS
from tests.systemd import UNITS, directives

ANALYZE = shutil.which("systemd-analyze")
SERVICES = ["quartier.service", "quartier-backup.service"]
MOST_EXPOSED = 25  # tenths: "OK" in the words of systemd-analyze
HARDENING = {
    "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes",
    "PrivateTmp": "yes", "PrivateDevices": "yes", "CapabilityBoundingSet": "",
    "SystemCallFilter": "@system-service", "RestrictSUIDSGID": "yes",
}  # fmt: skip


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for unit in UNITS.glob("*.*"):
        text = unit.read_text().replace("/opt/quartier/.venv/bin/quartier", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    for name in [*SERVICES, "quartier-backup.timer"]:
        said = subprocess.run(
            [str(ANALYZE), "verify", "--man=no", tmp_path / name],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (said.returncode, said.stderr) == (0, ""), name
    for name in SERVICES:
        said = subprocess.run(
            [str(ANALYZE), "security", "--offline=yes", f"--threshold={MOST_EXPOSED}",
             tmp_path / name],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert said.returncode == 0, said.stdout[-300:]


@pytest.mark.parametrize("unit", SERVICES)
def test_services_are_confined_and_write_where_the_data_is(unit: str) -> None:
    has = directives(unit)
    assert {name: has[name] for name in HARDENING} == HARDENING
    assert has["User"] == "quartier"
    assert "/var/lib/quartier" in has["ReadWritePaths"].split()
    assert "QUARTIER_HOME=/var/lib/quartier" in has["Environment"]


@pytest.mark.parametrize("unit", SERVICES)
def test_services_call_commands_that_exist(unit: str) -> None:
    called = re.search(r"/bin/quartier (\w+)", directives(unit)["ExecStart"])
    assert called is not None
    assert called[1] in COMMANDS


def test_the_server_is_given_the_time_its_last_checkpoint_takes() -> None:
    from layers.postgres_server import STOP_TIMEOUT_S

    has = directives("quartier.service")
    assert has["Type"] == "exec"
    assert has["KillMode"] == "mixed"
    assert int(has["TimeoutStopSec"]) > STOP_TIMEOUT_S


def test_a_backup_does_not_take_the_database_of_the_server_with_it() -> None:
    assert directives("quartier-backup.service")["KillMode"] == "process"
    assert directives("quartier-backup.timer")["Persistent"] == "true"


def test_the_user_of_the_units_is_made() -> None:
    assert re.search(r"^u quartier - ", (UNITS / "quartier.sysusers").read_text(), re.M)
