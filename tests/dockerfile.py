"""The Dockerfile and the compose file as values, so that tests can hold them to the code."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / "docker"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its lines joined, and the stage it stands in."""

    stage: str
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Its arguments, from the shell's or the JSON form."""
        if self.text.startswith("["):
            return [str(word) for word in json.loads(self.text)]
        return shlex.split(self.text)


def dockerfile() -> list[Instruction]:
    text = re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.M)
    stage, found = "", []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if not line.strip():
            continue
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stage = rest.partition(" AS ")[2] or "final"
        found.append(Instruction(stage, name, rest.strip()))
    return found


def instructions(name: str, stage: str | None = None) -> list[Instruction]:
    return [
        each for each in dockerfile() if each.name == name and stage in (None, each.stage)
    ]  # fmt: skip


def environment() -> dict[str, str]:
    """What the image sets."""
    pairs = [word for each in instructions("ENV", "final") for word in each.words]
    return dict(pair.split("=", 1) for pair in pairs)


def compose() -> Any:
    """The file with the defaults of its variables, which are put in after it is read."""
    return _filled(yaml.safe_load((DOCKER / "compose.yaml").read_text()))


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each) for each in value]
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) if isinstance(value, str) else value
