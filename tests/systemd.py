"""Unit files as values."""

from __future__ import annotations

from tests.dockerfile import DOCKER

UNITS = DOCKER / "systemd"


def directives(unit: str) -> dict[str, str]:
    """The directives of a unit; those given several times are joined by lines."""
    found: dict[str, str] = {}
    for line in (UNITS / unit).read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name] = f"{found[name]}\n{value}" if name in found else value
    return found


def command_line(unit: str, directive: str = "ExecStart") -> str:
    """The command as the shell sees it once systemd has read its escapes."""
    return directives(unit)[directive].replace("$$", "$").replace("%%", "%")
