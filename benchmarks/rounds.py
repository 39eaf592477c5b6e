"""Interleaved rounds. The machine's mood passes; a ratio of two neighbours in time stays."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def interleaved(count: int, what: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Run each once a round, forwards and backwards by turns: A B, B A, A B …"""
    found: dict[str, list[T]] = {name: [] for name in what}
    for number in range(count):
        names = list(what)
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(what[name]())
    return found


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the ratios within each round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[int(share * (len(ordered) - 1))]
