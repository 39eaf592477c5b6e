"""Commands of the documentation, taken from its pages as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
ADDRESS = "http://127.0.0.1:8000"
SECTION = re.compile(r"^## (?P<title>.+)$", re.M)
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<kind>[^\n]*)\n(?P<code>.*?)^```$"
    r"(?:\n+^```text\n(?P<shown>.*?)^```$)?",
    re.M | re.S,
)
EXAMPLE = re.compile(r"^\|.*\| `(?P<layer>\w+)` \| `(?P<expression>.+)` \|$", re.M)
ANYTHING = "…"


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code; what it is said to print; why it is not run."""

    kind: str
    code: str
    shown: str | None = None
    reason: str | None = None

    def at(self, address: str) -> str:
        """The code for a server at another address than the documentation's."""
        return self.code.replace(ADDRESS, address)


def sections(page: str) -> dict[str, list[Block]]:
    """The blocks of a page by the headings they stand under."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = list(SECTION.finditer(text))
    ends = [*(each.start() for each in found[1:]), len(text)]
    return {
        each["title"]: list(_blocks(text[each.end() : end]))
        for each, end in zip(found, ends, strict=True)
    }


def _blocks(text: str) -> Iterator[Block]:
    for found in BLOCK.finditer(text):
        yield Block(found["kind"], found["code"], found["shown"], found["reason"])


def examples(page: str) -> list[tuple[str, str]]:
    """The layer and the filter of every row of a table of examples."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [(found["layer"], found["expression"]) for found in EXAMPLE.finditer(text)]


def agrees(printed: str, shown: str) -> bool:
    """Whether what was printed is what is shown, where … stands for anything."""
    return re.fullmatch(_pattern(shown, " "), " ".join(printed.split()), re.S) is not None


def commands(code: str) -> list[tuple[str, str]]:
    """What a console shows: each command and what it prints."""
    parts = re.split(r"^\$ ", code, flags=re.M)[1:]
    return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]


def agrees_closely(printed: str, shown: str) -> bool:
    """The same, however the lines are broken."""
    return re.fullmatch(_pattern(shown, ""), "".join(printed.split()), re.S) is not None


def _pattern(shown: str, between: str) -> str:
    return re.escape(between.join(shown.split())).replace(re.escape(ANYTHING), ".*")
