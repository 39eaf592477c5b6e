"""What a worker counts while it serves: plain numbers, gathered up now and then."""

from __future__ import annotations

from collections import Counter
from copy import copy
from dataclasses import dataclass, field, fields
from enum import StrEnum


class Source(StrEnum):
    """Where the answer to a request came from."""

    HOT = "hot"  # remembered whole
    MEMORY = "memory"
    SHARED = "shared"
    RENDERED = "rendered"
    VERSION = "version"  # a 304 told from the version alone
    NONE = "none"  # there was nothing to answer with


@dataclass(slots=True)
class Tally:
    """Counts since they were last gathered."""

    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    sent_bytes: int = 0
    render_s: list[float] = field(default_factory=list)
    joins: int = 0
    lock_waits: int = 0
    truncated: Counter[str] = field(default_factory=Counter)
    recompressed: Counter[str] = field(default_factory=Counter)

    def take(self) -> Tally:
        """What was counted, and begin anew at nothing."""
        taken, fresh = copy(self), Tally()
        for each in fields(self):
            setattr(self, each.name, getattr(fresh, each.name))
        return taken
