"""Counts what a load holds as its batches pass.

`Sieve` also takes out of each batch the rows that no later reader could tell from good ones: those
that lie outside the city, with their axes swapped or not, and those that end before they begin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from ingest.cells import as_text, text_bytes, text_offsets
from ingest.lint import Texts
from ingest.profile import Box, Profile
from ingest.rows import Batch, Floats, Mask, Refusal, as_json
from layers.columns import ColumnType, GeometryType
from layers.model import Layer
from layers.purged import Purged
from layers.quarantine import fingerprint_of

MOST_VALUES = 1_000  # of a category, that are remembered
MARGIN = 0.5  # of its size, by which the extent of the last load is widened on each side
EARLIEST, YEARS_AHEAD = 1850, 50  # what a city can mean by a date
ERASED_ROW = "the row was erased for good (quartier purge), and is not taken again"
POINT = np.dtype([("head", "V5"), ("x", "<f8"), ("y", "<f8")])  # in little-endian WKB
OURS = ("source_key", "row", "line")  # the columns of a batch before the declared ones


class Sieve:
    """Counts the batches of one load, and lets their good rows pass, and those whose fingerprints
    are `accepted`.
    """

    def __init__(
        self,
        layer: Layer,
        before: Profile | None,
        accepted: frozenset[str] = frozenset(),
        purged: Purged | None = None,
    ) -> None:
        self._accepted = accepted
        self._purged = purged or Purged()
        self._layer = layer
        self._must_be_within = layer.gates.extent.within is not None
        box = layer.gates.extent.within or _widened(before)
        self.profile = Profile(box=box, nulls={column.name: 0 for column in layer.columns})
        self._values: Counter[str] = Counter()
        self._places = {column.name: at for at, column in enumerate(layer.columns, len(OURS))}

    def sift(self, batch: Batch) -> Batch:
        """The batch without the rows that are withheld here, each with its reason."""
        if self._purged.digests:
            batch = self._without_purged(batch)
        rows = batch.rows
        reasons: dict[int, str] = {}
        if self._layer.has_geometry:
            self._look_at_places(rows.column(rows.num_columns - 1), reasons)
        self._look_at_spans(rows, reasons)
        keys = rows.column(0)
        prints = {row: fingerprint_of(keys[row].as_py(), why) for row, why in reasons.items()}
        reasons = {row: why for row, why in reasons.items() if prints[row] not in self._accepted}
        if reasons:
            batch = self._without(batch, reasons, prints)
        self._count(batch.rows)
        whole = sum(refusal.column is None for refusal in batch.refusals)
        self.profile.withheld += whole
        return batch

    def finish(self, headers: list[str], *, partial: bool) -> Profile:
        """The figures of the whole load."""
        self.profile.values = dict(self._values.most_common(MOST_VALUES))
        self.profile.headers = headers
        self.profile.partial = partial
        return self.profile

    def _without_purged(self, batch: Batch) -> Batch:
        """What was erased for good is left out, and nothing of it is told but that it was there."""
        keys = batch.rows.column(0).to_pylist()
        back = [row for row, key in enumerate(keys) if self._purged.holds(key)]
        refused = {r.row for r in batch.refusals if r.key is not None and self._purged.holds(r.key)}
        if not back and not refused:
            return batch
        keep = np.ones(len(keys), np.bool_)
        keep[back] = False
        numbers = {batch.rows.column(1)[row].as_py() for row in back} | refused
        refusals = [
            Refusal(
                file=self._layer.id, line=0, row=number, reason=ERASED_ROW, column=None, key="",
                content={},
            )
            for number in sorted(numbers)
        ]  # fmt: skip
        kept = [refusal for refusal in batch.refusals if refusal.row not in numbers]
        together = tuple(sorted((*kept, *refusals), key=lambda refusal: refusal.row))
        return replace(batch, rows=batch.rows.filter(pa.array(keep)), refusals=together)

    def _look_at_places(self, places: pa.Array, reasons: dict[int, str]) -> None:
        x, y = _middles(places, self._layer.geometry)
        there = np.isfinite(x)
        self.profile.placed += int(there.sum())
        if (box := self.profile.box) is not None:
            outside = there & ~_within(x, y, box)
            swapped = outside & _within(y, x, box)
            self.profile.outside += int(outside.sum())
            self.profile.swapped += int(swapped.sum())
            if self._must_be_within:
                for row in np.flatnonzero(outside).tolist():
                    at = f"{x[row]:.5f}, {y[row]:.5f} (longitude, latitude)"
                    said = "its axes are swapped" if swapped[row] else "outside the declared extent"
                    reasons[row] = f"the place {at} is not in the city: {said}"
                there &= ~outside
        self._grow(x[there], y[there])

    def _grow(self, x: Floats, y: Floats) -> None:
        if not len(x):
            return
        found = (x.min(), y.min(), x.max(), y.max())
        known = self.profile.extent or found
        ways: tuple[Callable[..., Any], ...] = (min, min, max, max)
        grown = [float(way(a, b)) for way, a, b in zip(ways, known, found, strict=True)]
        self.profile.extent = (grown[0], grown[1], grown[2], grown[3])

    def _look_at_spans(self, rows: pa.RecordBatch, reasons: dict[int, str]) -> None:
        """Withhold what ends before it begins; an end without a time lasts all day."""
        time = self._layer.time
        if time is None or time.end is None:
            return
        start, end = (self._column(rows, name) for name in (time.start, time.end))
        if start.type != end.type:
            start, end = (each.cast(pa.date32()) for each in (start, end))
        backward = np.asarray(pc.fill_null(pc.less(end, start), False))
        for row in np.flatnonzero(backward).tolist():
            reasons.setdefault(
                row, f"{time.end} {end[row].as_py()} is before {time.start} {start[row].as_py()}"
            )

    def _column(self, rows: pa.RecordBatch, name: str) -> pa.Array:
        """A declared column; it may be called as one of those that stand before it."""
        return rows.column(self._places[name])

    def _without(
        self, batch: Batch, reasons: Mapping[int, str], prints: Mapping[int, str]
    ) -> Batch:
        keep = np.ones(batch.rows.num_rows, np.bool_)
        keep[list(reasons)] = False
        refusals = [
            replace(self._refusal(batch.rows, row, why), fingerprint=prints[row])
            for row, why in sorted(reasons.items())
        ]
        gone = {refusal.row for refusal in refusals}
        kept = [refusal for refusal in batch.refusals if refusal.row not in gone]
        together = tuple(sorted((*kept, *refusals), key=lambda refusal: refusal.row))
        return replace(batch, rows=batch.rows.filter(pa.array(keep)), refusals=together)

    def _refusal(self, rows: pa.RecordBatch, row: int, reason: str) -> Refusal:
        key, number, line = (rows.column(at)[row].as_py() for at in range(len(OURS)))
        content = {name: as_json(rows.column(at)[row].as_py()) for name, at in self._places.items()}
        if self._layer.has_geometry and (wkb := rows.column(rows.num_columns - 1)[row].as_py()):
            content["geometry"] = shapely.from_wkb(wkb).wkt[:1000]
        return Refusal(
            file=self._layer.id, line=line, row=number, reason=reason, column=None,
            key=key if self._layer.key else None, content=content,
        )  # fmt: skip

    def _count(self, rows: pa.RecordBatch) -> None:
        self.profile.rows += rows.num_rows
        for column in self._layer.columns:
            values = self._column(rows, column.name)
            self.profile.nulls[column.name] += values.null_count
            if column.type is ColumnType.TEXT:
                self._count_texts(column.name, values)
            elif column.type in (ColumnType.DATE, ColumnType.DATETIME):
                self._count_dates(values)
                if column.type is ColumnType.DATETIME:
                    self._count_clock(column.name, values)
            if column.name == self._layer.category:
                for value, count in Texts(as_text(values)).counted():
                    self._values[value] += count

    def _count_texts(self, name: str, values: pa.Array) -> None:
        texts = Texts(values)
        self.profile.texts += len(values) - values.null_count
        self.profile.mojibake += texts.mojibake()
        if name in self._layer.gates.personal.allowed:
            return
        for kind, found in texts.personal():
            key = f"{name}: {kind}"
            self.profile.personal[key] = self.profile.personal.get(key, 0) + found

    def _count_dates(self, values: pa.Array) -> None:
        years = pc.year(values)
        latest = datetime.now(UTC).year + YEARS_AHEAD
        odd = pc.or_(pc.less(years, EARLIEST), pc.greater(years, latest))
        self.profile.dates += len(values) - values.null_count
        self.profile.odd_dates += int(pc.sum(odd).as_py() or 0)

    def _count_clock(self, name: str, values: pa.Array) -> None:
        """How many instants there are, how many at 22 or 23 sharp in UTC, how many at 1 or 2:
        local midnights of Europe that were taken for UTC, or shifted twice.
        """
        hours = pc.hour(values)
        sharp = pc.equal(pc.add(pc.minute(values), pc.second(values)), 0)
        found = [len(values) - values.null_count]
        for wanted in ([22, 23], [1, 2]):
            at = pc.and_(sharp, pc.is_in(hours, pa.array(wanted, pa.int64())))
            found.append(int(pc.sum(at).as_py() or 0))
        known = self.profile.clocks.get(name, [0, 0, 0])
        self.profile.clocks[name] = [a + b for a, b in zip(known, found, strict=True)]


def _widened(before: Profile | None) -> Box | None:
    if before is None or before.extent is None:
        return None
    west, south, east, north = before.extent
    x, y = max((east - west) * MARGIN, 0.01), max((north - south) * MARGIN, 0.01)
    return west - x, south - y, east + x, north + y


def _within(x: Floats, y: Floats, box: Box) -> Mask:
    west, south, east, north = box
    inside: Mask = (x >= west) & (x <= east) & (y >= south) & (y <= north)
    return inside


def _middles(places: pa.Array, geometry: GeometryType) -> tuple[Floats, Floats]:
    """The middle of each shape's box; NaN without a place."""
    if geometry is GeometryType.POINT and (found := _points(places)) is not None:
        return found
    bounds = shapely.bounds(shapely.from_wkb(places.to_numpy(zero_copy_only=False)))
    return (bounds[:, 0] + bounds[:, 2]) / 2, (bounds[:, 1] + bounds[:, 3]) / 2


def _points(places: pa.Array) -> tuple[Floats, Floats] | None:
    """x and y of WKB that is nothing but points, read all at once; None where it is not.

    An empty place has the bytes of a point too, or none.
    """
    valid = places.is_valid().to_numpy(zero_copy_only=False)
    sizes = np.diff(text_offsets(places))
    if not (sizes[valid] == POINT.itemsize).all() or not np.isin(sizes, (0, POINT.itemsize)).all():
        return None
    x, y = np.full(len(places), np.nan), np.full(len(places), np.nan)
    written = sizes > 0
    found = np.frombuffer(text_bytes(places), POINT)
    x[written], y[written] = found["x"], found["y"]
    x[~valid] = y[~valid] = np.nan
    return x, y
