"""The street network: every street cut where it meets another, so that ways can be found in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString
from shapely.geometry.base import BaseGeometry

from data.sample_city.infill import infill
from data.sample_city.parks import Park
from data.sample_city.plan import Plan, Street
from data.sample_city.space import Coords, Indices, Lines, Mask, Numbers, chance, coords_of, parts
from data.sample_city.water import Water

GRID_M = 0.1  # ends this close are the same crossing
APPROACH_M = 9.0  # how far a bridge reaches on to the land
STUB_M = 28.0  # a dead end shorter than this is a slip of the pen
DROPPED = {"core": 0.12, "inner": 0.13, "grid": 0.17, "suburb": 0.2, "works": 0.2, "path": 0.3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Street edges between crossings. `owner` is the index in `streets` of each edge's street."""

    streets: tuple[Street, ...]
    lines: Lines
    owner: Indices
    ends: Indices  # shape (n, 2): the crossings at the start and end of each line
    nodes: Coords
    bridge: Mask
    length: Numbers

    @property
    def kind(self) -> NDArray[np.str_]:
        return np.array([street.kind for street in self.streets])[self.owner]

    @property
    def zone(self) -> NDArray[np.str_]:
        return np.array([street.zone for street in self.streets])[self.owner]

    @property
    def name(self) -> NDArray[np.str_]:
        return np.array([street.name for street in self.streets])[self.owner]


def make_network(plan: Plan, water: Water, parks: tuple[Park, ...]) -> Network:
    """One connected network of all streets, thinned so that no two blocks are alike."""
    shores = water.all.buffer(APPROACH_M)
    planned = [piece for street in plan.streets for piece in _with_bridges(street, shores)]
    streets = (*planned, *sorted(infill(plan, water, parks), key=_rank))
    laid = parts(shapely.union_all([street.line for street in streets], grid_size=GRID_M))
    owner = _owners(laid, streets)
    zones = np.array([street.zone for street in streets])[owner]
    fate = chance("dropped streets").random(len(laid))
    lesser = np.isin([street.kind for street in streets], ("residential", "path"))[owner]
    keep = ~lesser | (fate >= np.array([DROPPED.get(zone, 0.0) for zone in zones]))
    lines, owner = laid[keep], owner[keep]
    for _ in range(2):
        keep = _not_stubs(lines)
        lines, owner = lines[keep], owner[keep]
    keep = _largest_part(*_crossings(lines))
    lines, owner = lines[keep], owner[keep]
    ends, nodes = _crossings(lines)
    river = shapely.buffer(water.all, -2)
    shapely.prepare(river)
    return Network(
        streets=streets, lines=lines, owner=owner, ends=ends, nodes=nodes,
        bridge=shapely.intersects(river, lines), length=shapely.length(lines),
    )  # fmt: skip


def _with_bridges(street: Street, shores: BaseGeometry) -> list[Street]:
    """The street cut at the ends of its bridges, so that a bridge is an edge of its own."""
    if not shores.intersects(street.line):
        return [street]
    cut = [*parts(street.line.intersection(shores)), *parts(street.line.difference(shores))]
    return [replace(street, line=line) for line in cut]


def _rank(street: Street) -> int:
    return ("main", "secondary", "residential", "path").index(street.kind)


def _owners(lines: Lines, streets: tuple[Street, ...]) -> Indices:
    """The street that each edge was cut from; of several that coincide there, the greatest."""
    at, street = shapely.get_coordinates([street.line for street in streets], return_index=True)
    same = street[1:] == street[:-1]
    pieces = shapely.linestrings(np.stack([at[:-1], at[1:]], axis=1)[same])
    middles = shapely.line_interpolate_point(lines, 0.5, normalized=True)
    edge, piece = shapely.STRtree(pieces).query(middles, predicate="dwithin", distance=2 * GRID_M)
    owner: Indices = np.full(len(lines), len(streets), dtype=np.int64)
    np.minimum.at(owner, edge, street[:-1][same][piece])
    return owner


def _crossings(lines: Lines) -> tuple[Indices, Coords]:
    """The crossing at each end of each line, and where the crossings are."""
    ends = np.stack([coords_of(shapely.get_point(lines, at)) for at in (0, -1)], axis=1)
    grid = np.round(ends.reshape(-1, 2) / GRID_M).astype(np.int64)
    nodes, index = np.unique(grid, axis=0, return_inverse=True)
    places: Coords = np.asarray(nodes * GRID_M, dtype=np.float64)
    return index.reshape(-1, 2).astype(np.int64), places


def _not_stubs(lines: Lines) -> Mask:
    ends, nodes = _crossings(lines)
    degree = np.bincount(ends.ravel(), minlength=len(nodes))
    dead_end = (degree[ends] == 1).any(axis=1)
    keep: Mask = ~(dead_end & (shapely.length(lines) < STUB_M))
    return keep


def _largest_part(ends: Indices, nodes: Coords) -> Mask:
    """Whether each edge belongs to the largest connected part."""
    label = np.arange(len(nodes))
    while True:
        low = np.minimum(label[ends[:, 0]], label[ends[:, 1]])
        new = label.copy()
        np.minimum.at(new, ends[:, 0], low)
        np.minimum.at(new, ends[:, 1], low)
        new = new[new]
        if (new == label).all():
            break
        label = new
    part = label[ends[:, 0]]
    names, sizes = np.unique(part, return_counts=True)
    keep: Mask = part == names[np.argmax(sizes)]
    return keep


def merged(network: Network, edges: Indices) -> list[LineString]:
    """Edges of one street joined end to end; several lines where it has gaps."""
    joined = shapely.line_merge(shapely.multilinestrings(network.lines[edges]))
    return list(parts(joined))
