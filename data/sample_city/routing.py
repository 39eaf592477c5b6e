"""Shortest ways through the street network."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import pairwise

import numpy as np
from shapely.geometry import LineString

from data.sample_city.space import Coords, Indices, Mask, Numbers, coords_of
from data.sample_city.streets import Network


class Router:
    """Finds the cheapest way between crossings; ways begin, turn and end on edges with stops."""

    def __init__(self, network: Network, cost: Numbers, stops: Mask) -> None:
        self._network = network
        self._next: dict[int, list[tuple[int, int, float]]] = {}
        for edge, (a, b) in enumerate(network.ends.tolist()):
            self._next.setdefault(a, []).append((b, edge, float(cost[edge])))
            self._next.setdefault(b, []).append((a, edge, float(cost[edge])))
        self._nodes: Indices = np.unique(network.ends[stops])

    def _nearest(self, place: str) -> int:
        x, y = place.split()
        away = self._network.nodes[self._nodes] - (float(x), float(y))
        return int(self._nodes[np.argmin((away**2).sum(axis=1))])

    def through(self, places: str) -> list[tuple[int, bool]]:
        """Edges from the first place to the last by way of the others, and which run backwards.

        Places are written as metres east and north: "-900 1500, 200 -950".
        """
        stops = [self._nearest(place) for place in places.split(",")]
        way: list[tuple[int, bool]] = []
        for start, goal in pairwise(stops):
            for step in self._way(start, goal):
                if way and way[-1][0] == step[0]:
                    way.pop()  # there and back: the place lay a little off the way
                else:
                    way.append(step)
        return way

    def _way(self, start: int, goal: int) -> list[tuple[int, bool]]:
        came: dict[int, tuple[int, int]] = {}
        done: set[int] = set()
        best = {start: 0.0}
        queue = [(0.0, start)]
        while queue:
            spent, here = heappop(queue)
            if here == goal:
                break
            if here in done:
                continue
            done.add(here)
            for there, edge, cost in self._next[here]:
                if spent + cost < best.get(there, np.inf):
                    best[there] = spent + cost
                    came[there] = (here, edge)
                    heappush(queue, (spent + cost, there))
        return self._traced(came, start, goal)

    def _traced(
        self, came: dict[int, tuple[int, int]], start: int, goal: int
    ) -> list[tuple[int, bool]]:
        way: list[tuple[int, bool]] = []
        here = goal
        while here != start:
            before, edge = came[here]
            way.append((edge, int(self._network.ends[edge, 0]) != before))
            here = before
        return way[::-1]


def joined(network: Network, way: Sequence[tuple[int, bool]]) -> LineString:
    """The edges of a way as one line, in its direction."""
    pieces: list[Coords] = []
    for edge, backwards in way:
        at = coords_of(network.lines[edge])
        at = at[::-1] if backwards else at
        pieces.append(at if not pieces else at[1:])
    return LineString(np.vstack(pieces))
