"""Days, times and instants as PostgreSQL writes them (ISO, UTC), from the numbers it sends.

Days and microseconds are counted from 1 January 2000. Usual ones are written all at once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
from numpy.typing import NDArray

from tiles.vocabulary import Fields, binary, fields

Whole = NDArray[np.int64]
EPOCH = date(2000, 1, 1).toordinal()
FIRST, LAST = date.min.toordinal() - EPOCH, date.max.toordinal() - EPOCH
CYCLE = 146_097  # days of 400 years, after which the calendar repeats itself
UNIX = np.datetime64("2000-01-01", "D")
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
NEVER = {-(2**31): "-infinity", 2**31 - 1: "infinity"}
NEVER_US = {-(2**63): "-infinity", 2**63 - 1: "infinity"}


def days(numbers: Whole) -> Fields:
    return _all(numbers, (numbers >= FIRST) & (numbers <= LAST), _usual_days, day)


def clocks(microseconds: Whole) -> Fields:
    return _all(microseconds, microseconds >= 0, _usual_clocks, clock)


def instants(microseconds: Whole) -> Fields:
    number = microseconds // DAY_US
    return _all(microseconds, (number >= FIRST) & (number <= LAST), _usual_instants, instant)


def _all(
    numbers: Whole,
    usual: NDArray[np.bool_],
    tell: Callable[[Whole], NDArray[np.uint8]],
    spell: Callable[[int], str],
) -> Fields:
    """The `usual` ones at once, where all are; `tell` writes 0 for a letter that is left out."""
    if not usual.all():
        return fields([spell(number).encode() for number in numbers.tolist()])
    letters = tell(numbers)
    here = letters != 0
    return binary(np.cumsum(np.count_nonzero(here, axis=1)), letters[here])


def _usual_days(numbers: Whole) -> NDArray[np.uint8]:
    day = UNIX + numbers
    month = day.astype("M8[M]")
    year = month.astype("M8[Y]")
    letters = np.full((len(numbers), 10), ord("-"), np.uint8)
    _digits(letters[:, 0:4], year.astype(np.int64) + 1970)
    _digits(letters[:, 5:7], (month - year).astype(np.int64) + 1)
    _digits(letters[:, 8:10], (day - month).astype(np.int64) + 1)
    return letters


def _usual_clocks(microseconds: Whole) -> NDArray[np.uint8]:
    seconds = microseconds // SECOND_US
    minutes = seconds // 60
    letters = np.full((len(seconds), 15), ord(":"), np.uint8)
    _digits(letters[:, 0:2], minutes // 60)
    _digits(letters[:, 3:5], minutes % 60)
    _digits(letters[:, 6:8], seconds - minutes * 60)
    rest = microseconds - seconds * SECOND_US
    if not rest.any():
        return letters[:, :8]
    letters[:, 8] = np.where(rest == 0, 0, ord("."))
    _digits(letters[:, 9:15], rest)
    for place in range(6):  # zeros at the end are not written
        letters[rest % 10 ** (6 - place) == 0, 9 + place] = 0
    return letters


def _usual_instants(microseconds: Whole) -> NDArray[np.uint8]:
    number = microseconds // DAY_US
    zone = np.broadcast_to(np.frombuffer(b"+00", np.uint8), (len(number), 3))
    space = np.full((len(number), 1), ord(" "), np.uint8)
    clock = _usual_clocks(microseconds - number * DAY_US)
    return np.hstack([_usual_days(number), space, clock, zone])


def _digits(letters: NDArray[np.uint8], numbers: Whole) -> None:
    rest = numbers.astype(np.int32)
    for place in range(letters.shape[1] - 1, -1, -1):
        shorter = rest // 10
        letters[:, place] = rest - shorter * 10 + ord("0")
        rest = shorter


def day(number: int) -> str:
    return NEVER.get(number) or "".join(_far(number))


def _far(number: int) -> tuple[str, str]:
    """Any day, and the era of one before year 1, which comes after a year 1 BC."""
    cycles = (number - FIRST) // CYCLE
    near = date.fromordinal(EPOCH + number - cycles * CYCLE)
    year = near.year + 400 * cycles
    told = f"{year if year > 0 else 1 - year:04d}-{near.month:02d}-{near.day:02d}"
    return told, "" if year > 0 else " BC"


def clock(microseconds: int) -> str:
    seconds, rest = divmod(microseconds, SECOND_US)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{fraction}"


def instant(microseconds: int) -> str:
    if microseconds in NEVER_US:
        return NEVER_US[microseconds]
    number, time = divmod(microseconds, DAY_US)
    told, era = _far(number)
    return f"{told} {clock(time)}+00{era}"
