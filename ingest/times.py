"""Dates, times of day and instants, from ISO 8601 and the few other forms cities write.

A date given with a time keeps the day as written; a datetime given as a bare date is that day's
midnight; a datetime without offset is in the layer's time zone: of two such instants in autumn
the earlier, and in the hour that spring leaves out the first instant after it. Anything else
needs `format` declared, above all day and month written as numbers: 04/05 may be either.
"""

from __future__ import annotations

import datetime as dt
import re
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.cells import Cells, convert
from layers.columns import Column, ColumnType

DAY = r"\d{4}-\d{2}-\d{2}"
CLOCK = r"\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?"
OFFSET = r"(?:[zZ]|[+-]\d{2}(?::?\d{2})?)"
ISO_DATE = rf"^{DAY}$"
ISO_LOCAL = rf"^{DAY}[T ]\d{{2}}:\d{{2}}(:\d{{2}}(\.\d{{1,6}})?)?$"
ISO_ZONED = rf"^{DAY}[T ]\d{{2}}:\d{{2}}(:\d{{2}}(\.\d{{1,6}})?)?(Z|[+-]\d{{2}}:?\d{{2}})$"
ISO = re.compile(rf"({DAY})(?:[tT ]\s*({CLOCK}))?\s*({OFFSET})?")
COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})")
LONG_CLOCK = re.compile(r"(\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)(:\d{2})?")
AMBIGUOUS = r"^\d{1,2}[/.\- ]\d{1,2}[/.\- ]\d{2,4}\b"
ARROW_FORMAT = re.compile(r"(?:%[YmdHMS]|[^%a-zA-Z])*")  # what Arrow reads as Python does
SINCE = {  # microseconds of one, and the day they are counted from
    "epoch_s": (1_000_000, dt.datetime(1970, 1, 1)),
    "epoch_ms": (1_000, dt.datetime(1970, 1, 1)),
    "excel": (86_400_000_000, dt.datetime(1899, 12, 30)),
}
NOTHING = r"^\b$"  # matches no text, so every one is looked at by itself
TIMES = frozenset({ColumnType.DATE, ColumnType.DATETIME, ColumnType.TIME})
INSTANT = pa.timestamp("us", "UTC")


def read_times(values: pa.Array, column: Column, zone: str) -> Cells:
    """Clean text as the dates, datetimes or times of day that `column` declares."""
    if column.format is not None:
        cells = _formatted(values, column, column.format, zone)
    elif column.type is ColumnType.DATE:
        cells = _dates(values)
    elif column.type is ColumnType.TIME:
        cells = _clocks(values)
    else:
        cells = _instants(values, ZoneInfo(zone))
    return cells if column.type is ColumnType.TIME else _within_years(cells)


def _within_years(cells: Cells) -> Cells:
    """RFC 3339 writes the years 1 to 9999 and no others."""
    years = pc.year(cells.values)
    outside = pc.fill_null(pc.or_(pc.less(years, 1), pc.greater(years, 9999)), False)
    if not pc.any(outside).as_py():
        return cells
    values = pc.if_else(outside, pa.scalar(None, cells.values.type), cells.values)
    return Cells(values, cells.bad | np.asarray(outside), cells.notes)


def ambiguous(values: pa.Array) -> int:
    """How many texts are dates whose day and month cannot be told apart."""
    return int(pc.sum(pc.match_substring_regex(values, AMBIGUOUS)).as_py() or 0)


def _dates(values: pa.Array) -> Cells:
    def quick(plain: pa.Array) -> pa.Array:
        return pc.utf8_slice_codeunits(plain, 0, 10).cast(pa.date32())

    try:
        if _all_of_length(values, 10):
            return Cells(values.cast(pa.date32()), np.zeros(len(values), np.bool_))
        cells = convert(values, rf"^{DAY}($|[T ]{CLOCK}\s*{OFFSET}?$)", quick, _date)
    except pa.ArrowInvalid:  # a day that no month has
        cells = convert(values, NOTHING, lambda plain: plain.cast(pa.date32()), _date)
    timed = _count(pc.greater(pc.utf8_length(values), 10))
    return Cells(cells.values, cells.bad, {"dates_with_time": timed} if timed else {})


def _all_of_length(values: pa.Array, length: int) -> bool:
    return pc.all(pc.equal(pc.binary_length(values), length)).as_py() is not False


def _count(mask: pa.Array) -> int:
    return int(pc.sum(mask).as_py() or 0)


def _date(text: str) -> dt.date | None:
    try:
        if found := ISO.fullmatch(text):
            return dt.date.fromisoformat(found[1])
        if found := COMPACT.fullmatch(text):
            return dt.date(*map(int, found.groups()))
    except ValueError:
        pass
    return None


def _instants(values: pa.Array, zone: ZoneInfo) -> Cells:
    zoned = pc.fill_null(pc.match_substring_regex(values, ISO_ZONED), False)
    local = pc.fill_null(pc.match_substring_regex(values, ISO_LOCAL), False)
    day = pc.fill_null(pc.match_substring_regex(values, ISO_DATE), False)
    notes = {
        form: count
        for form, mask in (("with_offset", zoned), ("local_times", local), ("bare_dates", day))
        if (count := _count(mask))
    }

    def odd(text: str) -> dt.datetime | None:
        return _instant(text, zone)

    nothing = pa.scalar(None, pa.string())
    try:
        fixed = pc.if_else(zoned, values, nothing).cast(INSTANT)
        loose = pc.if_else(pc.or_(local, day), values, nothing).cast(pa.timestamp("us"))
        plain = pc.coalesce(fixed, localise(loose, str(zone)))
    except pa.ArrowInvalid:  # a day or an hour that does not exist
        return _with(convert(values, NOTHING, lambda none: none.cast(INSTANT), odd), notes)
    rest = pc.if_else(plain.is_null(), values, nothing)
    others = convert(rest, NOTHING, lambda none: none.cast(INSTANT), odd)
    return Cells(pc.coalesce(plain, others.values), others.bad, notes)


def _with(cells: Cells, notes: dict[str, int]) -> Cells:
    return Cells(cells.values, cells.bad, notes)


def localise(local: pa.Array, zone: str) -> pa.Array:
    """Local times as instants."""
    return pc.assume_timezone(
        local, timezone=zone, ambiguous="earliest", nonexistent="latest"
    ).cast(INSTANT)


def _instant(text: str, zone: ZoneInfo) -> dt.datetime | None:
    if found := COMPACT.fullmatch(text):
        text = "-".join(found.groups())
    if not (found := ISO.fullmatch(text)):
        return None
    day, clock, offset = found.groups()
    clock = _six_decimals(clock or "00:00")
    try:
        moment = dt.datetime.fromisoformat(f"{day}T{clock}{(offset or '').upper()}")
    except ValueError:
        return None
    return _aware(moment, zone)


def _aware(moment: dt.datetime, zone: ZoneInfo) -> dt.datetime | None:
    try:
        if moment.tzinfo is not None:
            return moment.astimezone(dt.UTC)
        return localise(pa.array([moment], pa.timestamp("us")), str(zone))[0].as_py()  # type: ignore[no-any-return]
    except (OverflowError, pa.ArrowInvalid):
        return None


def _six_decimals(clock: str) -> str:
    whole, point, part = clock.partition(".")
    return whole + point + part[:6].ljust(6, "0") if point else whole


def _clocks(values: pa.Array) -> Cells:
    coded = values.dictionary_encode()
    read = pa.array([_clock(text) for text in coded.dictionary.to_pylist()], pa.time64("us"))
    times = read.take(coded.indices)
    four = _count(pc.match_substring_regex(values, r"^\d{1,2}:\d{2}:\d{2}:\d{2}$"))
    bad = np.asarray(pc.and_(values.is_valid(), times.is_null()))
    return Cells(times, bad, {"times_of_four_parts": four} if four else {})


def _clock(text: str) -> dt.time | None:
    """The time of day; a fourth pair of digits, which some databases write, says nothing."""
    if not (found := LONG_CLOCK.fullmatch(text)):
        return None
    clock = _six_decimals(found[1])
    try:
        return dt.time.fromisoformat(clock if clock[2] == ":" else f"0{clock}")
    except ValueError:
        return None


def _formatted(values: pa.Array, column: Column, form: str, zone: str) -> Cells:
    if form in SINCE:
        return _counted_since(values, column, form, zone)
    moments = pa.nulls(len(values), pa.timestamp("s"))
    if ARROW_FORMAT.fullmatch(form):
        read = pc.strptime(values, format=form, unit="s", error_is_null=True)
        # It takes 31/02 for 2 March, so only what it writes back the same is believed.
        same = pc.equal(pc.strftime(read, format=form), values)
        moments = pc.if_else(pc.fill_null(same, False), read, pa.scalar(None, read.type))
    typed = _as_declared(moments, column, zone)
    rest = pc.if_else(typed.is_null(), values, pa.scalar(None, pa.string()))

    def odd(text: str) -> dt.date | dt.time | None:
        return _by_format(text, column, form, ZoneInfo(zone))

    others = convert(rest, NOTHING, lambda none: _as_declared(none, column, zone), odd)
    return Cells(pc.coalesce(typed, others.values), others.bad)


def _counted_since(values: pa.Array, column: Column, form: str, zone: str) -> Cells:
    """Numbers of seconds, milliseconds or days. Seconds are instants; Excel's days are local."""
    size, first = SINCE[form]

    def read(text: str) -> dt.datetime | None:
        try:
            return first + dt.timedelta(microseconds=round(float(text) * size))
        except (ValueError, OverflowError):
            return None

    coded = values.dictionary_encode()
    read_ = [read(text) for text in coded.dictionary.to_pylist()]
    moments = pa.array(read_, pa.timestamp("us")).take(coded.indices)
    if form == "excel" or column.type is not ColumnType.DATETIME:
        typed = _as_declared(moments, column, zone)
    else:
        typed = moments.cast(INSTANT)
    return Cells(typed, np.asarray(pc.and_(values.is_valid(), typed.is_null())))


def _as_declared(moments: pa.Array, column: Column, zone: str) -> pa.Array:
    moments = moments.cast(pa.timestamp("us"))
    if column.type is ColumnType.DATE:
        return moments.cast(pa.date32())
    if column.type is ColumnType.TIME:
        return moments.cast(pa.time64("us"))
    return localise(moments, zone)


def _by_format(
    text: str, column: Column, form: str, zone: ZoneInfo
) -> dt.date | dt.time | dt.datetime | None:
    try:
        moment = dt.datetime.strptime(text, form)
    except ValueError:
        return None
    if column.type is ColumnType.DATE:
        return moment.date()
    return moment.time() if column.type is ColumnType.TIME else _aware(moment, zone)
