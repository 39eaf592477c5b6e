"""What a load holds, in figures: kept as the next load's baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

Box = tuple[float, float, float, float]  # west, south, east, north


@dataclass(slots=True, kw_only=True)
class Profile:
    """Figures of the rows that were taken; all of it is fit for JSON.

    `placed` counts rows with a place, withheld ones too; `outside` those of them beyond the box,
    `swapped` those that would be within it if their axes were exchanged.
    """

    rows: int = 0
    withheld: int = 0
    placed: int = 0
    outside: int = 0
    swapped: int = 0
    extent: Box | None = None
    box: Box | None = None
    nulls: dict[str, int] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)
    clocks: dict[str, list[int]] = field(default_factory=dict)  # see _count_clock
    dates: int = 0
    odd_dates: int = 0
    mojibake: int = 0
    texts: int = 0
    personal: dict[str, int] = field(default_factory=dict)
    headers: list[str] = field(default_factory=list)
    partial: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """From JSON of this or an older version: what is not known is left out."""
        known = {name: value for name, value in said.items() if name in cls.__slots__}
        for name in ("extent", "box"):
            known[name] = tuple(known[name]) if known.get(name) else None
        return cls(**known)
