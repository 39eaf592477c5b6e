"""Lesser streets: what is laid out inside the cells that the main streets leave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from data.sample_city.names import street_names
from data.sample_city.parks import Park
from data.sample_city.plan import OLD_TOWN, RINGS, Kind, Plan, Street
from data.sample_city.space import Coords, Lines, Ripple, chance, coords_of, parts, rotated
from data.sample_city.water import Water

WORKS = ((2500.0, -1500.0), (3300.0, -1350.0), (3200.0, -2500.0), (-3300.0, -1500.0), (2300, -2600))


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the streets of one sort of neighbourhood run."""

    zone: str
    gaps: tuple[float, float]  # metres between streets, along and across
    sway: Ripple
    secondary_every: int = 0  # each n-th street is a larger one


CORE = Manner(zone="core", gaps=(62, 78), sway=Ripple.of("core", 9, 170))
INNER = Manner(zone="inner", gaps=(84, 128), sway=Ripple.of("inner", 12, 700))
GRID = Manner(zone="grid", gaps=(96, 158), sway=Ripple.of("grid", 18, 900), secondary_every=5)
SUBURB = Manner(
    zone="suburb", gaps=(104, 215), sway=Ripple.of("suburb", 46, 640), secondary_every=4
)
RIBBON = Manner(zone="suburb", gaps=(110, 190), sway=Ripple.of("ribbon", 30, 600))
WORKYARD = Manner(zone="works", gaps=(210, 330), sway=Ripple.of("works", 10, 1500))


def infill(plan: Plan, water: Water, parks: tuple[Park, ...]) -> list[Street]:
    """All lesser streets and paths; their ends lie on the streets that bound their cell."""
    outlines = _park_outlines(plan, water, parks)
    bounds = [street.line for street in (*plan.avenues, *plan.quays, *outlines)] + [
        plan.limit.exterior
    ]
    cells = parts(shapely.polygonize(parts(shapely.union_all(bounds, grid_size=0.1))))
    taken = shapely.union_all([park.shape for park in parks] + [water.all.buffer(12)])
    streets = [*outlines, *_old_town(plan), *_paths(parks, water)]
    roads = shapely.union_all([street.line.simplify(3) for street in plan.avenues]).buffer(
        420, quad_segs=4
    )
    for number, cell in enumerate(sorted(cells, key=lambda cell: cell.centroid.coords[0])):
        manner = _manner(cell.centroid.coords[0])
        open_ground = cell.difference(taken)
        if manner is RIBBON:
            open_ground = open_ground.intersection(roads)
        if manner is not CORE and open_ground.area > 9000:
            streets += _grid(f"cell {number}", open_ground, manner)
    return _named(streets)


def _manner(at: tuple[float, ...]) -> Manner:
    away = float(np.hypot(at[0] - OLD_TOWN[0], at[1] - OLD_TOWN[1]))
    if any(np.hypot(at[0] - x, at[1] - y) < 600 for x, y in WORKS):
        return WORKYARD
    for manner, (radius, _, _) in zip((CORE, INNER, GRID, SUBURB), RINGS, strict=True):
        if away < radius * 1.06:
            return manner
    return RIBBON


def _grid(name: str, ground: BaseGeometry, manner: Manner) -> list[Street]:
    """Two families of streets, along the ground's longest side and across it."""
    draw = chance(f"grid {name}")
    turn = _direction(ground) + draw.normal(0, 4)
    middle, reach = _middle_and_reach(ground)
    found: list[Street] = []
    for family, gap in enumerate(manner.gaps):
        offsets = (
            np.arange(-reach, reach, gap)
            + draw.uniform(-0.13, 0.13, int(np.ceil(2 * reach / gap))) * gap
        )
        steps = np.arange(-reach, reach, 22.0)
        for number, offset in enumerate(offsets + draw.uniform(0, gap)):
            flat = np.column_stack([steps, np.full(len(steps), offset)])
            at = rotated(flat, turn + 90 * family) + middle
            line = LineString(manner.sway.bend(at))
            wide = manner.secondary_every and number % manner.secondary_every == 2
            kind: Kind = "secondary" if wide else "residential"
            found.append(Street(f"{name} {family} {number}", kind, line, manner.zone))
    return _clipped(found, ground)


def _middle_and_reach(ground: BaseGeometry) -> tuple[Coords, float]:
    """The middle of the ground's bounding box, and how far its corners are."""
    west, south, east, north = ground.bounds
    return np.array([west + east, south + north]) / 2, float(
        np.hypot(east - west, north - south)
    ) / 2


def _direction(ground: BaseGeometry) -> float:
    """The direction of the longest side of the smallest box about the ground, in degrees."""
    corners = coords_of(shapely.oriented_envelope(ground))
    sides = np.diff(corners, axis=0)
    dx, dy = sides[np.argmax(np.hypot(sides[:, 0], sides[:, 1]))]
    return float(np.degrees(np.arctan2(dy, dx)))


def _clipped(streets: list[Street], ground: BaseGeometry) -> list[Street]:
    """The pieces inside the ground, without those that only run along its edge."""
    lines: Lines = np.array([street.line for street in streets])
    inside, owner = shapely.get_parts(shapely.intersection(lines, ground), return_index=True)
    length = shapely.length(inside)
    deep = shapely.length(shapely.intersection(inside, ground.buffer(-30)))
    keep = (length > 45) & (deep > 0.45 * (length - 55))
    return [
        Street(
            streets[who].name,
            "residential"
            if streets[who].kind == "secondary" and line.length < 420
            else streets[who].kind,
            line,
            streets[who].zone,
        )
        for line, who in zip(inside[keep], owner[keep], strict=True)
    ]


def _old_town(plan: Plan) -> list[Street]:
    """Uneven rings and rays about the cathedral square, inside the innermost ring."""
    wall = Polygon(coords_of([street.line for street in plan.avenues[:4]]))
    angle = np.linspace(0, 2 * np.pi, 121)
    ring = np.column_stack([np.cos(angle), np.sin(angle) * 1.08])
    found = [
        Street(
            f"core ring {radius}",
            "residential",
            LineString(CORE.sway.bend(OLD_TOWN + ring * radius)),
            "core",
        )
        for radius in (62, 128, 190, 258, 325, 398, 470, 545)
    ]
    draw = chance("core rays")
    for first, count, turn in ((62, 9, 0.0), (190, 9, 20.0), (258, 18, 10.0), (325, 14, 4.0)):
        for number in range(count):
            at = np.arange(first, 900.0, 20)
            ray = np.radians(turn + (number + draw.uniform(-0.2, 0.2)) * 360 / count)
            flat = OLD_TOWN + np.column_stack([np.cos(ray) * at, np.sin(ray) * 1.08 * at])
            kind: Kind = "secondary" if first == 62 and number % 3 == 0 else "residential"
            line = LineString(CORE.sway.bend(flat))
            found.append(Street(f"core ray {first} {number}", kind, line, "core"))
    return _clipped(found, wall)


def _park_outlines(plan: Plan, water: Water, parks: tuple[Park, ...]) -> list[Street]:
    """A street around each large park, where it runs on dry land."""
    wet = water.all.buffer(10)
    found: list[Street] = []
    for park in parks:
        if park.kind in ("wood", "meadow") or park.name == "Pointe de l’Île":
            continue
        inside = plan.limit.buffer(-5)
        for piece in parts(park.shape):
            edge = piece.buffer(14).buffer(-2).exterior.difference(wet).intersection(inside)
            lines = parts(shapely.line_merge(edge)) if edge.geom_type != "LineString" else [edge]
            found += [
                Street(f"around {park.name}", "residential", line, "grid")
                for line in lines
                if line.length > 60
            ]
    return found


def _paths(parks: tuple[Park, ...], water: Water) -> list[Street]:
    """Walks through the parks, out to the street around them."""
    found: list[Street] = []
    sway = Ripple.of("paths", 16, 260)
    wet = water.all.buffer(6)
    for park in parks:
        if park.kind in ("sports", "square") or park.shape.area < 20_000:
            continue
        gap = 330 if park.kind in ("wood", "meadow") else 120
        ground = park.shape.buffer(12).difference(wet)
        turn = _direction(ground) + 24
        middle, reach = _middle_and_reach(ground)
        steps = np.arange(-reach, reach, 16.0)
        lines = [
            LineString(
                sway.bend(
                    rotated(np.column_stack([steps, np.full(len(steps), offset)]), turn + way)
                    + middle
                )
            )
            for way in (0, 74)
            for offset in np.arange(-reach, reach, gap)
        ]
        loop = park.shape.buffer(-0.16 * gap)
        lines += [LineString(ring.exterior.coords) for ring in parts(loop)]
        found += _clipped(
            [Street(f"{park.name} {n}", "path", line, "path") for n, line in enumerate(lines)],
            ground,
        )
    return found


def _named(streets: list[Street]) -> list[Street]:
    """The same streets with names for people; pieces of one street share its name."""
    pools = {zone: street_names(zone) for zone in ("core", "grid", "suburb", "works", "path")}
    pools["inner"] = pools["grid"]  # one pool, so that they do not share names
    given: dict[str, str] = {}
    for street in streets:
        if street.name not in given:
            given[street.name] = next(pools[street.zone])
    return [Street(given[s.name], s.kind, s.line, s.zone) for s in streets]
