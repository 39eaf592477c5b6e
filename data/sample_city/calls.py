"""The hotline's daily counts by district and topic: a table without places of its own."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from data.sample_city.city import TODAY, City
from data.sample_city.districts import populations
from data.sample_city.space import Numbers, chance
from data.sample_city.write import Table

FIRST = date(2024, 11, 23)
TOPICS = (  # topic, calls a day for 100 000 residents, on Sundays, in winter
    ("waste", 22.0, 0.25, 0.9),
    ("streets_and_lights", 15.0, 0.4, 1.35),
    ("noise", 13.0, 1.7, 0.7),
    ("social_services", 18.0, 0.15, 1.2),
)
SURGES = ((40, 4.0), (214, 2.6), (415, 3.2), (590, 2.4))  # days of storms, and how many more calls
HEADER = ("code_quartier", "jour", "theme", "appels")


def hotline_calls(city: City) -> Table:
    """One row for each district, day and topic, zero calls included."""
    draw = chance("calls")
    people = populations(city.districts, city.network) / 100_000
    days = [FIRST + timedelta(number) for number in range((TODAY - FIRST).days)]
    mood = np.exp(draw.normal(0, 0.18, (len(people), len(TOPICS))))
    rows: list[tuple[object, ...]] = []
    tides = [_tide(days, *topic[1:]) for topic in TOPICS]
    for code, residents, moods in zip(city.districts.codes, people, mood, strict=True):
        counts = [
            _counts(tide * residents * own, draw) for tide, own in zip(tides, moods, strict=True)
        ]
        for number, day in enumerate(days):
            rows += [
                (code, day, topic[0], count[number])
                for topic, count in zip(TOPICS, counts, strict=True)
            ]
    return Table(file="hotline_calls.csv", header=HEADER, rows=rows)


def _tide(days: list[date], rate: float, sunday: float, winter: float) -> Numbers:
    """Expected calls on each day for 100 000 residents."""
    number = np.arange(len(days))
    weekday = np.array([day.weekday() for day in days])
    cold = 0.5 + 0.5 * np.cos(2 * np.pi * (number - 50) / 365.25)
    tide = rate * np.where(weekday == 6, sunday, np.where(weekday == 5, (1 + sunday) / 2, 1.0))
    tide = tide * (1 + (winter - 1) * cold)
    for day, more in SURGES:
        tide = tide * (
            1 + (more - 1) * np.exp(-np.clip(number - day, 0, None) / 3) * (number >= day)
        )
    return np.asarray(tide)


def _counts(expected: Numbers, draw: np.random.Generator) -> list[int]:
    return [int(count) for count in draw.poisson(np.round(expected, 6))]
