"""Load a job's rows: read, stage, merge, publish."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import adbc_driver_postgresql.dbapi
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.errors import SourceRefused
from ingest.files import check_unchanged
from ingest.gates import Finding, GatesHeld, findings_of, keys_finding
from ingest.job import Work
from ingest.known_rows import KnownRows, known_rows
from ingest.profile import Profile
from ingest.read import read
from ingest.repeats import HEX_DIGITS, Numbers, Repeats
from ingest.report import Counts, Report
from ingest.rows import Batch, Refusal
from ingest.sieve import Sieve
from ingest.spatial_order import in_spatial_order
from layers import straight
from layers.known_keys import read_keys
from layers.model import Layer
from layers.runs import Withheld
from layers.stage import LINE, ROW, Stage, stage
from layers.write import Known, LayerMoved, Merged, Terms, publish


def load(work: Work) -> Report:
    """Read the files and publish what is in them."""
    try:
        return _Load(work).go()
    except LayerMoved:  # what was taken as known is so no more
        work.record.begin_again()
        work.record.drop_stages()
        return _Load(work).go(shortcuts=False)


@dataclass(slots=True)
class _Tally:
    """What has been read so far. `unnamed` counts withheld rows whose key could not be read."""

    read: int = 0
    quarantined: int = 0
    cells: int = 0
    without_place: int = 0
    unnamed: int = 0

    def add(self, batch: Batch, has_geometry: bool) -> None:
        whole = [refusal for refusal in batch.refusals if refusal.column is None]
        self.read += batch.read
        self.quarantined += len(whole)
        self.cells += len(batch.refusals) - len(whole)
        self.unnamed += sum(refusal.key is None for refusal in whole)
        if has_geometry:
            self.without_place += batch.rows.column("geom").null_count


class _Load:
    def __init__(self, work: Work) -> None:
        self._work = work
        self._job = work.job
        self._record = work.record
        self._tally = _Tally()
        self._repeats = Repeats()
        self._facts: tuple[dict[str, Any], ...] = ()
        self._findings: list[Finding] = []
        self._before: Profile | None = None
        self._profile = Profile()
        self._known: KnownRows | None = None
        self._finding: Future[KnownRows | None] | None = None
        self._straight = False
        self._numbers = Numbers()

    def go(self, *, shortcuts: bool = True) -> Report:
        """Load. With `shortcuts` rows go straight to where an empty layer will have them, or only
        those are staged that are not known, where either can be done.

        Raises LayerMoved where somebody changed the layer meanwhile.
        """
        baseline = self._record.baseline()
        self._before = Profile.of(baseline) if baseline else None
        at = self._record.revision()
        with (
            closing(adbc_driver_postgresql.dbapi.connect(self._work.url)) as arrow,
            ThreadPoolExecutor(max_workers=1) as beside,
        ):
            if shortcuts and self._may_know(at):
                self._finding = beside.submit(_known_of, self._work.url, self._job.layer)
            self._straight = shortcuts and self._fits()
            way = straight.copying if self._straight else stage
            with way(arrow, self._job.layer, self._record.id) as staged:
                self._read_into(staged, since=at + 1)
        check_unchanged(self._job.files, self._work.sources)
        if self._tally.read == 0:
            raise SourceRefused(self._job.files[0].name, "holds no rows; the layer stays as it was")
        self._check_gates()
        self._work.progress("publishing", 1, 1, self._tally.read)
        return self._end(self._published(at))

    def _fits(self) -> bool:
        with self._work.engine.connect() as connection:
            return straight.fits(connection, self._job.layer)

    def _published(self, at: int) -> Merged:
        engine, layer, run = self._work.engine, self._job.layer, self._record.id
        if self._straight:
            return straight.publish(engine, layer, run, at=at)
        terms = Terms(
            may_delete=self._is_complete(),
            maybe_equal=self._repeats.rows(),
            check_known=self._check_known,
            known=self._left_over(at),
        )
        return publish(engine, layer, run, terms)

    def _may_know(self, at: int) -> bool:
        """Whether the layer holds just what the last load left, of rows that their keys tell."""
        layer, last = self._job.layer, self._record.last()
        return (
            not layer.key
            and layer.privacy is None
            and layer.source.complete
            and not self._job.partial
            and last is not None
            and (last.config_hash, last.revision) == (self._work.config, at)
        )

    def _left_over(self, at: int) -> Known | None:
        if self._known is None:
            return None
        return Known(at=at, gone=self._known.gone() if self._is_complete() else [])

    def _read_into(self, staged: Stage, *, since: int) -> None:
        """Read one batch while the one before is on its way to the stage."""
        sieve = Sieve(self._job.layer, self._before, self._record.accepted(), self._record.purged())
        with (
            read(self._job.layer, self._job.files) as reading,
            ThreadPoolExecutor(max_workers=1) as sender,
        ):
            sent: Future[None] | None = None
            for batch in map(sieve.sift, reading):
                self._tally.add(batch, self._job.layer.has_geometry)
                if self._straight:
                    rows = self._copied(batch.rows, since)
                else:
                    rows = _stage_rows(self._wanted(batch.rows))
                self._record.quarantine([_withheld(refusal) for refusal in batch.refusals])
                if sent is not None:
                    sent.result()
                sent = sender.submit(staged.append, rows)
                self._work.progress(
                    "reading", batch.bytes_read, reading.total_bytes, self._tally.read
                )
            if sent is not None:
                sent.result()
        self._facts = tuple(asdict(facts) for facts in reading.facts)
        headers = {name for facts in reading.facts for name in facts.headers}
        self._profile = sieve.finish(sorted(headers), partial=self._job.partial)

    def _wanted(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Those that have to be staged: all, or all that are not known."""
        if self._job.layer.key:
            return rows
        if self._finding is not None:  # while the first rows were read
            self._known, self._finding = self._finding.result(), None
        if self._known is not None:
            sifted = self._known.sift(rows.column("source_key"))
            place = rows.schema.get_field_index("source_key")
            rows = rows.filter(sifted.wanted).set_column(place, "source_key", sifted.keys)
        new = rows.filter(pc.equal(pc.utf8_length(rows.column("source_key")), HEX_DIGITS))
        ordinals = new.column(new.schema.names.index("row"))  # a declared one comes after
        self._repeats.add(new.column("source_key"), ordinals)
        return rows

    def _copied(self, rows: pa.RecordBatch, since: int) -> pa.RecordBatch:
        """All of them as the layer will have them."""
        if not self._job.layer.key:
            place = rows.schema.get_field_index("source_key")
            numbered = self._numbers.number(rows.column(place))
            rows = rows.set_column(place, "source_key", numbered)
        rows = _without_ordinals(rows)
        rows = in_spatial_order(rows) if self._job.layer.has_geometry else rows
        return rows.append_column("since", pa.array(np.full(len(rows), since, np.int64)))

    def _check_gates(self) -> None:
        """Stop the load, its figures remembered, where it does not hold its gates."""
        found = findings_of(self._job.layer, self._profile, self._before, self._job.accepted)
        self._hold(found)

    def _check_known(self, known: int, moved: int) -> None:
        found = keys_finding(self._job.layer, known, moved, self._job.accepted)
        if found is not None:
            self._hold([*self._findings, found])

    def _hold(self, findings: list[Finding]) -> None:
        self._findings = findings
        accepted = self._job.accepted
        self._record.remember(
            profile=self._profile.as_json(),
            gates=[finding.as_json() for finding in findings],
            accepted=accepted.as_json() if accepted else None,
            counts={"read": self._tally.read, "quarantined": self._tally.quarantined},
        )
        if any(finding.stops for finding in findings):
            raise GatesHeld(self._job.layer.id, findings)

    def _is_complete(self) -> bool:
        """Whether what the files lack is gone: they hold the whole layer, and every row of
        theirs can be told apart, the withheld ones too.
        """
        whole = self._job.layer.source.complete and not self._job.partial and not self._missing()
        return whole and (not self._job.layer.key or self._tally.unnamed == 0)

    def _missing(self) -> str:
        """What a source says itself of rows it left out."""
        said = (facts["notes"].get("incomplete") for facts in self._facts)
        return next(filter(None, said), "")

    def _end(self, merged: Merged) -> Report:
        counts = Counts(
            read=self._tally.read,
            inserted=merged.inserted,
            updated=merged.updated,
            unchanged=merged.unchanged + (self._known.unchanged if self._known else 0),
            quarantined=self._tally.quarantined,
            duplicates=merged.duplicates,
            deleted=merged.deleted,
            cells=self._tally.cells,
            without_place=self._tally.without_place,
        )
        state = "published" if merged.changed else "unchanged"
        message = "; ".join(filter(None, [self._message(state), merged.note]))
        return self._work.end(
            state, merged.revision, message,
            counts=counts, facts=self._facts, findings=self._findings,
        )  # fmt: skip

    def _message(self, state: str) -> str:
        whole = self._job.layer.source.complete and not self._job.partial
        if whole and self._missing():
            return f"the source says that it is not whole ({self._missing()}): nothing was deleted"
        if whole and not self._is_complete():
            return "rows without a readable key were withheld, so nothing was deleted"
        return "every row is as it was" if state == "unchanged" else ""


def _known_of(url: str, layer: Layer) -> KnownRows | None:
    with closing(adbc_driver_postgresql.dbapi.connect(url)) as arrow:
        return known_rows(read_keys(arrow, layer))


def _withheld(refusal: Refusal) -> Withheld:
    return Withheld(
        file=refusal.file, line=refusal.line, row=refusal.row, column=refusal.column,
        key=refusal.key, reason=refusal.reason, content=refusal.content,
        fingerprint=refusal.fingerprint,
    )  # fmt: skip


def _without_ordinals(rows: pa.RecordBatch) -> pa.RecordBatch:
    names = rows.schema.names
    ours = {names.index("row"), names.index("line")}  # declared ones of these names come after
    return rows.select([place for place in range(len(names)) if place not in ours])


def _stage_rows(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows under the stage's names; a declared column may be called `row` or `line` too."""
    names = list(rows.schema.names)
    names[names.index("row")] = ROW
    names[names.index("line")] = LINE
    return rows.rename_columns(names)
