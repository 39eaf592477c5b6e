"""Buses and car parks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import shapely

from data.sample_city.city import City, codes
from data.sample_city.routing import Router, joined
from data.sample_city.space import chance, coords_of, degrees
from data.sample_city.write import Table

LINES = (  # number, name, kind, places by way of which it goes: metres east and north
    ("C1", "République – Les Lacs", "rapid",
     "-5300 350, -1700 350, -330 330, 1400 450, 4200 650"),
    ("C2", "Le Plateau – La Garenne", "rapid",
     "-1700 4300, -550 1700, -300 900, 120 -880, 1900 -2000, 3700 -3500"),
    ("C3", "Saint-Aubin – Gare", "rapid",
     "-4800 2400, -2700 1300, -900 500, 120 -880"),
    ("4", "Ceinture des Boulevards", "ring",
     "-900 1500, 900 1200, 1300 0, 200 -950, -1400 -500, -1650 500, -900 1500"),
    ("5", "Chantelune – Gravières", "local",
     "700 4300, 500 2800, -250 1500, -900 330, -800 -900, -1300 -2500, -2200 -4000"),
    ("6", "Montgris – Bellecombe", "local",
     "3400 4000, 1500 2000, -50 800, -600 -200, -1200 -1300, -4300 -2900"),
    ("7", "Les Forges – La Boucle", "local",
     "4900 -1500, 2200 -500, 1200 0, -330 330, -2000 1000, -3300 1500"),
    ("8", "Lacs – Gare", "local",
     "5000 2400, 3200 1900, 1200 1100, 300 450, 120 -880"),
    ("9", "Le Furon – Port", "local",
     "-5300 -1600, -3500 -800, -1900 -500, -700 -400, 120 -880, 350 -1600"),
    ("10", "Grande Rocade", "ring",
     "0 2850, 2200 1400, 2300 -300, 400 -1900, -2200 -1500, -3000 500, -1900 2500, 0 2850"),
)  # fmt: skip
CAR_PARKS = (  # name, kind, place
    ("Cathédrale", "garage", (-210, 430)), ("Halle aux Blés", "garage", (-420, 820)),
    ("Remparts Nord", "garage", (-230, 930)), ("Remparts Est", "open", (350, 300)),
    ("Gare Nord", "garage", (60, -760)), ("Gare Sud", "garage", (240, -960)),
    ("Port de la Batellerie", "garage", (-820, -620)), ("Quai des Tanneurs", "open", (-1000, 1150)),
    ("L’Île", "open", (-1330, 380)), ("Boucle", "garage", (-1750, 800)),
    ("République", "garage", (-1800, 400)), ("Botanique", "open", (800, 1450)),
    ("Arts", "garage", (-600, 1600)), ("Saint-Loup", "garage", (1300, 350)),
    ("Hôpital", "garage", (1600, -150)), ("Université", "open", (1200, 1900)),
    ("Filature", "garage", (2200, -250)), ("Centre commercial du Lac", "garage", (2400, 600)),
    ("Parc-relais Montgris", "park_and_ride", (2900, 3200)),
    ("Parc-relais Valserre", "park_and_ride", (4250, 700)),
    ("Parc-relais Les Forges", "park_and_ride", (3900, -1250)),
    ("Parc-relais La Garenne", "park_and_ride", (2600, -2600)),
    ("Parc-relais Gravières", "park_and_ride", (-2050, -3350)),
    ("Parc-relais Furon", "park_and_ride", (-4500, -1300)),
    ("Parc-relais Saint-Aubin", "park_and_ride", (-4300, 2000)),
    ("Parc-relais Plateau", "park_and_ride", (-1350, 4100)),
)  # fmt: skip
STOP_EVERY_M = 390.0
SAME_STOP_M = 120.0


def bus_lines(city: City) -> Table:
    lines = _routes(city)
    rows = [
        (number, name, kind, {"rapid": 6, "ring": 10}.get(kind, 15), round(line.length / 1000, 1))
        for (number, name, kind, _), line in zip(LINES, lines, strict=True)
    ]
    header = ("line", "name", "kind", "every_min", "length_km")
    return Table(
        file="bus_lines.geojson", header=header, rows=rows, shapes=np.array(lines, dtype=object)
    )


def bus_stops(city: City) -> Table:
    """Stops along the lines; lines that pass the same place share its stop."""
    places: list[tuple[float, float]] = []
    served: list[list[str]] = []
    for (number, *_), line in zip(LINES, _routes(city), strict=True):
        marks = np.linspace(0, line.length, max(2, round(line.length / STOP_EVERY_M)))
        for x, y in coords_of(shapely.line_interpolate_point(line, marks)).tolist():
            near = [i for i, (a, b) in enumerate(places) if np.hypot(a - x, b - y) < SAME_STOP_M]
            if not near:
                places.append((x, y))
                served.append([])
            stop = near[0] if near else len(places) - 1
            served[stop] += [number] if number not in served[stop] else []
    at = np.round(np.array(places), 2)
    names = _stop_names(city, at)
    wheel = (chance("stops").random(len(at)) < 0.81).tolist()
    facts = zip(names, served, wheel, codes(city, at), strict=True)
    rows = [
        (f"AR{n:03}", name, ", ".join(of), ok, code)
        for n, (name, of, ok, code) in enumerate(facts, 1)
    ]
    header = ("id", "name", "lines", "step_free", "district")
    return Table(
        file="bus_stops.geojson", header=header, rows=rows, shapes=np.asarray(shapely.points(at))
    )


def car_parks(city: City) -> Table:
    draw = chance("car parks")
    at = np.array([place for _, _, place in CAR_PARKS], dtype=np.float64)
    rows = []
    for number, ((name, kind, _), (lon, lat), code) in enumerate(
        zip(CAR_PARKS, degrees(at).tolist(), codes(city, at), strict=True), 1
    ):
        spaces = int(draw.integers(12, 60)) * 10
        paid = kind != "park_and_ride"
        rows.append(
            (
                f"PK{number:02}", name, kind, spaces, max(2, spaces // 45), spaces // 30,
                "yes" if paid else "no", round(1.2 + draw.random() * 1.6, 1) if paid else None,
                code, f"{lon:.7f}", f"{lat:.7f}",
            )
        )  # fmt: skip
    header = ("id", "name", "kind", "capacity", "spaces_disabled", "spaces_charging", "paid",
              "price_per_hour", "district", "lon", "lat")  # fmt: skip
    return Table(file="car_parks.csv", header=header, rows=rows, delimiter=",")


@lru_cache(maxsize=1)
def _routes(city: City) -> list[shapely.LineString]:
    network = city.network
    ease = np.array(
        [{"main": 0.7, "secondary": 0.9, "path": 9.0}.get(kind, 1.7) for kind in network.kind]
    )
    router = Router(network, np.round(network.length * ease, 3), network.kind == "main")
    return [joined(network, router.through(places)) for _, _, _, places in LINES]


def _stop_names(city: City, at: np.typing.NDArray[np.float64]) -> list[str]:
    """The nearest crossing street's name without its kind; numbered where it comes again."""
    tree = shapely.STRtree(city.network.lines[city.network.kind == "residential"])
    _, nearest = tree.query_nearest(shapely.points(at), all_matches=False)
    streets = city.network.name[city.network.kind == "residential"][nearest]
    seen: dict[str, int] = {}
    found = []
    for street in streets.tolist():
        base = str(street).split(" ", 1)[1]
        base = (
            base.removeprefix("de la ")
            .removeprefix("des ")
            .removeprefix("du ")
            .removeprefix("de l’")
        )
        seen[base] = seen.get(base, 0) + 1
        found.append(base if seen[base] == 1 else f"{base} {seen[base]}")
    return found
