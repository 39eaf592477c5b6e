"""Where the clients of others are, as scripts/client-tools installs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = ROOT / ".make" / "clients"
NODE_MODULES = CLIENTS / "node" / "node_modules"
SCRIPTS = Path(__file__).with_name("clients")
DEBIANS_PYTHON = "/usr/bin/python3"
PATIENCE_S = 120
NOTHING: Mapping[str, str] = {}


def program(name: str, package: str) -> str:
    """A program of a Debian package; without it the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}: apt-get install {package}, as scripts/client-tools does")
    return found


def client_python() -> Path:
    """The Python that has the clients from PyPI."""
    found = CLIENTS / "venv" / "bin" / "python"
    if not found.exists():
        pytest.skip("no clients from PyPI: run scripts/client-tools")
    return found


def node() -> str:
    if not NODE_MODULES.is_dir():
        pytest.skip("no clients from npm: run scripts/client-tools")
    return program("node", "nodejs")


def qgis_python() -> str:
    """Debian's Python, which QGIS is for."""
    asked = [DEBIANS_PYTHON, "-c", "import qgis.core"]
    if not Path(DEBIANS_PYTHON).exists() or subprocess.run(asked, capture_output=True).returncode:
        pytest.skip("no QGIS: apt-get install qgis python3-qgis, as scripts/client-tools does")
    return DEBIANS_PYTHON


def said(*command: str | Path, **environment: str) -> str:
    """What a command prints; that it fails fails the test."""
    ended = subprocess.run(
        command, env=alone(environment), text=True, capture_output=True, timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, f"{command}: {ended.stdout[-3000:]}{ended.stderr[-3000:]}"
    return ended.stdout


def alone(more: Mapping[str, str] = NOTHING) -> dict[str, str]:
    """The environment without what is for our own Python."""
    kept = {
        name: value for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "QUARTIER_", "GDAL_"))
    }  # fmt: skip
    return kept | dict(more)


def told(script: str, *arguments: str, python: str | Path = sys.executable, **more: str) -> Any:
    """What a program of `clients` found."""
    lines = said(python, SCRIPTS / script, *arguments, **more).splitlines()
    return json.loads(next(line for line in reversed(lines) if line.startswith(("{", "["))))


def fetch(url: str, **parameters: str) -> Any:
    """The JSON at an address."""
    asked = f"{url}?{urlencode(parameters)}" if parameters else url
    with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
        return json.load(answer)
