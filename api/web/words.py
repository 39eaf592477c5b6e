"""The words of the pages, in the languages they are written in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

WORDS = Path(__file__).parents[1] / "templates" / "words"
DEFAULT = "en"
RIGHT_TO_LEFT = frozenset({"ar", "fa", "he", "ur"})

Words = Mapping[str, Any]


@cache
def languages() -> tuple[str, ...]:
    """The languages there are words for."""
    return tuple(sorted(path.stem for path in WORDS.glob("*.json")))


@cache
def words(language: str) -> Words:
    """The words in a language, English where there are none."""
    known = language if language in languages() else DEFAULT
    found: Words = json.loads((WORDS / f"{known}.json").read_text())
    return found


def preferred_language(asked: str | None, accept: str) -> str:
    """The language somebody asked for (`?lang=`), else the first known one their browser accepts.

    A language that is asked for need not have words of ours: the catalogue's titles may have it.
    """
    if asked and re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*", asked):
        return asked.split("-")[0].lower()
    for accepted in _accepted(accept):
        if accepted in languages():
            return accepted
    return DEFAULT


def _accepted(header: str) -> list[str]:
    """The languages of an Accept-Language header, best first."""
    weighted = []
    for part in header.split(","):
        tag, _, weight = part.partition(";q=")
        quality = float(weight) if re.fullmatch(r"[01](\.\d{0,3})?", weight.strip()) else 1.0
        weighted.append((-quality, tag.strip().split("-")[0].lower()))
    return [tag for _, tag in sorted(weighted, key=lambda pair: pair[0])]
