"""A dry run: read files as a layer from end to end, count, and publish nothing.

It is a first load: what is held against an earlier one is not looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ingest.errors import SourceRefused
from ingest.gates import Finding, findings_of
from ingest.read import read
from ingest.rows import Facts
from ingest.sieve import Sieve
from layers.model import Layer

SHOWN = 5  # reasons and examples


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a run would take; `reasons` why rows and cells were not, most frequent first."""

    read: int
    taken: int
    withheld: int
    cells: int
    without_place: int
    reasons: tuple[tuple[str, int], ...]
    facts: tuple[Facts, ...]
    gates: tuple[Finding, ...]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def inspect_files(layer: Layer, files: Sequence[Path]) -> Found:
    """Read all rows; raises SourceRefused as a run would."""
    read_rows = taken = nowhere = cells = 0
    reasons: Counter[str] = Counter()
    sieve = Sieve(layer, None)
    with read(layer, files) as reading:
        for batch in map(sieve.sift, reading):
            read_rows += batch.read
            taken += batch.rows.num_rows
            cells += sum(refusal.column is not None for refusal in batch.refusals)
            reasons.update(refusal.reason for refusal in batch.refusals)
            if layer.has_geometry:
                nowhere += batch.rows.column("geom").null_count
        if read_rows == 0:
            raise SourceRefused(files[0].name, "holds no rows")
        return Found(
            read=read_rows,
            taken=taken,
            withheld=read_rows - taken,
            cells=cells,
            without_place=nowhere,
            reasons=tuple(reasons.most_common(SHOWN)),
            facts=tuple(reading.facts),
            gates=tuple(findings_of(layer, sieve.finish([], partial=False), None)),
        )
