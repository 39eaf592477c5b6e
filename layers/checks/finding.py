"""What a check found, and how a check that fails itself is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

LISTED = 5  # of many things that a sentence names


class State(StrEnum):
    """How bad it is: only a problem ends the command with an exit code."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report. `mend` is a command or an act; what is ok has none."""

    about: str
    state: State
    says: str
    mend: str | None = None


def ok(about: str, says: str) -> Finding:
    return Finding(about=about, state=State.OK, says=says)


def warning(about: str, says: str, mend: str) -> Finding:
    return Finding(about=about, state=State.WARNING, says=says, mend=mend)


def problem(about: str, says: str, mend: str) -> Finding:
    return Finding(about=about, state=State.PROBLEM, says=says, mend=mend)


def looked(about: str, check: Callable[[], Finding]) -> Finding:
    """What the check found; a check that cannot be made is a problem of its own."""
    try:
        return check()
    except Exception as exc:
        said = " ".join(str(exc).split()) or type(exc).__name__
        return problem(about, f"this could not be looked at: {said}", "see to that first")


def listed(names: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def plural(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
