"""What a run did, in figures that add up."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

State = str  # published, unchanged or refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Rows of a run: read = inserted + updated + unchanged + quarantined + duplicates.

    `deleted` rows were in the layer and are not in the source; `cells` could not be read and
    became null in rows that are published; `without_place` rows have no geometry.
    """

    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    quarantined: int = 0
    duplicates: int = 0
    deleted: int = 0
    cells: int = 0
    without_place: int = 0

    @property
    def accounted(self) -> int:
        return self.inserted + self.updated + self.unchanged + self.quarantined + self.duplicates

    @property
    def adds_up(self) -> bool:
        return self.read == self.accounted


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The end of a run, for people and, through `as_json`, for scripts."""

    layer: str
    run: int
    state: State
    revision: int
    counts: Counts
    facts: tuple[dict[str, Any], ...]
    gates: tuple[dict[str, Any], ...] = ()
    seconds: float
    message: str

    def as_json(self) -> dict[str, Any]:
        said = asdict(self)
        said["counts"]["accounted"] = self.counts.accounted
        return said
