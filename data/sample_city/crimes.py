"""Recorded crime: 120 000 reports in three years, at addresses, with daily and weekly tides."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from data.sample_city.along import places_along
from data.sample_city.city import City, codes, pick
from data.sample_city.plan import OLD_TOWN
from data.sample_city.space import Coords, Indices, Lines, Numbers, chance, degrees
from data.sample_city.write import Table

COUNT = 120_000
FIRST, LAST = date(2023, 11, 1), date(2026, 10, 31)
WITHOUT_PLACE = 0.011
ADDRESS_STEP_M = 17.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Offence:
    """One category: how often, about which hour of the day, and how far from the centre."""

    name: str
    weight: float
    peak: float
    spread: float
    weekend: float  # how many times as often on Saturday and Sunday
    centre_m: float  # the distance from the old town at which it is e times rarer


OFFENCES = (
    Offence(name="bicycle_theft", weight=14, peak=16.5, spread=4.5, weekend=0.9, centre_m=1500),
    Offence(name="pickpocketing", weight=13, peak=17.0, spread=4.0, weekend=1.5, centre_m=700),
    Offence(
        name="theft_from_vehicle", weight=13, peak=23.0, spread=5.0, weekend=1.05, centre_m=2600
    ),
    Offence(name="vehicle_theft", weight=6, peak=1.0, spread=4.5, weekend=1.0, centre_m=3200),
    Offence(name="burglary", weight=10, peak=14.0, spread=4.5, weekend=0.85, centre_m=3400),
    Offence(name="shoplifting", weight=11, peak=16.0, spread=2.8, weekend=0.8, centre_m=900),
    Offence(name="vandalism", weight=13, peak=1.5, spread=4.0, weekend=1.5, centre_m=2100),
    Offence(name="assault", weight=8, peak=0.5, spread=3.6, weekend=1.8, centre_m=1100),
    Offence(name="robbery", weight=4, peak=22.5, spread=3.4, weekend=1.3, centre_m=1300),
    Offence(name="drugs", weight=8, peak=19.5, spread=4.2, weekend=1.1, centre_m=1400),
)
HOT_SPOTS = (  # where people gather: metres, reach, how much more
    ((-330.0, 330.0), 260.0, 5.0),
    ((120.0, -780.0), 300.0, 6.0),  # the station
    ((-560.0, 1500.0), 220.0, 4.0),
    ((2250.0, 420.0), 260.0, 5.0),  # a shopping centre
    ((-1350.0, 1050.0), 180.0, 3.5),
    ((-3050.0, 480.0), 260.0, 4.0),
    ((600.0, -1000.0), 200.0, 3.0),
    ((1050.0, 1700.0), 220.0, 3.0),
    ((-900.0, -2150.0), 260.0, 3.5),
    ((3850.0, 600.0), 240.0, 3.0),
)
HEADER = ("report_id", "category", "occurred_at", "reported_on", "street", "house_number",
          "district_code", "longitude", "latitude")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Doors:
    """Where offences can be recorded: addresses, each with the edge of the network it is on."""

    at: Coords
    edge: Indices
    busy: Numbers  # how many people pass


def crimes(city: City) -> Table:
    """Reports in the order of the times at which they happened."""
    doors = _doors(city)
    draw = chance("crimes")
    weights = np.array([offence.weight for offence in OFFENCES], dtype=float)
    kind = np.sort(pick(draw, weights, COUNT))
    counts = [int((kind == number).sum()) for number in range(len(OFFENCES))]
    each = list(zip(OFFENCES, counts, strict=True))
    door: Indices = np.concatenate([pick(draw, _pull(doors, o), count) for o, count in each])
    minute = np.concatenate([_minutes(o, count, draw) for o, count in each])
    order = np.lexsort((door, kind, minute))
    rows = _rows(city, doors, kind[order], door[order], _times(minute[order], draw))
    return Table(file="crimes.csv.gz", header=HEADER, rows=rows, delimiter=",")


def _doors(city: City) -> Doors:
    network = city.network
    lines: Lines = network.lines
    places = places_along(lines, np.full(len(lines), ADDRESS_STEP_M), 6.0)
    places = places.only(~(network.bridge | (network.zone == "country"))[places.line])
    crowd = {"main": 2.4, "secondary": 1.5, "path": 0.35}
    busy = np.array([crowd.get(kind, 1.0) for kind in network.kind])
    return Doors(np.round(places.aside(5.5), 2), places.line, busy[places.line])


def _pull(doors: Doors, offence: Offence) -> Numbers:
    """How much each address attracts an offence: centre, hot spots, and a street's own luck."""
    at = doors.at
    away = np.hypot(*(at - OLD_TOWN).T)
    luck = np.exp(chance(f"luck {offence.name}").normal(0, 0.9, int(doors.edge.max()) + 1))
    pull = np.exp(-away / offence.centre_m) + 0.02
    for spot, reach, more in HOT_SPOTS:
        strength = more * min(1.0, 1400 / offence.centre_m)
        near = np.exp(-(((at - spot) / reach) ** 2).sum(axis=1))
        pull = pull * (1 + strength * near) + 0.06 * strength * near
    door = np.exp(chance(f"doors {offence.name}").normal(0, 0.8, len(at)))
    return np.asarray(pull * doors.busy * luck[doors.edge] * door)


def _minutes(offence: Offence, count: int, draw: np.random.Generator) -> Indices:
    """Minutes since the first midnight, by season, weekday and hour."""
    days = np.arange((LAST - FIRST).days + 1)
    weekday = (days + FIRST.weekday()) % 7
    season = 1 + 0.16 * np.sin(2 * np.pi * (days - 95) / 365.25)
    weights = np.where(weekday >= 5, offence.weekend, 1.0) * season * (1 - days / len(days) * 0.08)
    day = pick(draw, weights, count)
    hour = offence.peak + draw.normal(0, offence.spread, count)
    hour = np.where(draw.random(count) < 0.12, draw.uniform(0, 24, count), hour) % 24
    minute = np.floor(hour * 60).astype(np.int64)
    rounded = draw.random(count) < 0.55  # people remember quarters of an hour
    minute = np.where(rounded, minute // 15 * 15, minute)
    return _past_the_gap(day.astype(np.int64) * 1440 + minute)


def _past_the_gap(minutes: Indices) -> Indices:
    """The same times, an hour later where clocks skipped that hour in spring."""
    for year in range(FIRST.year, LAST.year + 1):
        sunday = date(year, 3, 31) - timedelta((date(year, 3, 31).weekday() + 1) % 7)
        gap = (sunday - FIRST).days * 1440 + 120
        minutes = np.where((minutes >= gap) & (minutes < gap + 60), minutes + 60, minutes)
    return minutes


def _times(minutes: Indices, draw: np.random.Generator) -> list[tuple[str, str]]:
    """When each offence happened, by the clock on the wall, and the day it was reported."""
    then = np.datetime64(FIRST, "m") + minutes.astype("timedelta64[m]")
    days = np.floor(draw.exponential(2.2, len(minutes))).astype("timedelta64[D]")
    reported = np.datetime_as_string(then.astype("datetime64[D]") + days)
    return list(zip(np.datetime_as_string(then).tolist(), reported.tolist(), strict=True))


def _rows(
    city: City, doors: Doors, kind: Indices, door: Indices, times: list[tuple[str, str]]
) -> list[tuple[object, ...]]:
    names = [str(name) for name in city.network.name]
    where = [(f"{lon:.7f}", f"{lat:.7f}") for lon, lat in degrees(doors.at).tolist()]
    street, district = [names[edge] for edge in doors.edge.tolist()], codes(city, doors.at)
    lost = (chance("lost places").random(COUNT) < WITHOUT_PLACE).tolist()
    rows: list[tuple[object, ...]] = []
    facts = zip(kind.tolist(), door.tolist(), times, lost, strict=True)
    for number, (what, at, time, no_place) in enumerate(facts, 1):
        row = (f"R{number:06}", OFFENCES[what].name, *time)
        if no_place:
            rows.append((*row, None, None, district[at], None, None))
        else:
            rows.append((*row, street[at], at % 140 + 1, district[at], *where[at]))
    return rows
