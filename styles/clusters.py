"""Counted cells, which a layer of points shows below its detail zoom."""

from __future__ import annotations

from layers.columns import GeometryType
from styles.colours import GROUND
from styles.draw import HALO, Band, Pen, Placed
from styles.expressions import Expression, rounded
from styles.labels import SEMIBOLD, size

COUNT: Expression = ["get", "point_count"]
CLUSTERS: Expression = ["has", "cluster"]
WRITTEN = 10  # points in a cell before their number is written


def clusters(with_: Pen) -> list[Placed]:
    """A disc whose area grows with the count, in the colour of the class that makes up half of
    it; the greatest counts are written. None for a layer that is not of points.
    """
    if with_.layer.geometry is not GeometryType.POINT:
        return []
    disc = with_.place(
        Band.POINT,
        "cluster",
        "circle",
        where=CLUSTERS,
        layout={"circle-sort-key": COUNT},
        paint={
            "circle-color": _majority(with_),
            "circle-radius": ["max", 1.5, ["min", 8, ["*", 0.55, ["sqrt", COUNT]]]],
            "circle-opacity": 0.8,
            "circle-stroke-color": GROUND[with_.theme].land,
            "circle-stroke-width": ["step", COUNT, 0, 20, HALO],
        },
    )
    return [disc, _written(with_)]


def _written(with_: Pen) -> Placed:
    return with_.place(
        Band.COUNT,
        "count",
        "symbol",
        where=["all", CLUSTERS, [">=", COUNT, WRITTEN]],
        layout={
            "text-field": rounded(COUNT),
            "text-font": SEMIBOLD,
            "text-size": size(11, 12),
            "text-padding": 28,
            "symbol-sort-key": ["-", 0, COUNT],
        },
        paint={
            "text-color": GROUND[with_.theme].ink,
            "text-halo-color": GROUND[with_.theme].land,
            "text-halo-width": 1.6,
        },
    )


def _majority(with_: Pen) -> Expression:
    drawn = with_.drawn
    if drawn.column is None or not drawn.classes:
        return drawn.other.color
    branches: list[Expression] = []
    for symbol in drawn.classes:
        mine = ["coalesce", ["get", f"point_count:{symbol.value}"], 0]
        branches += [[">=", ["*", 2, mine], ["get", "point_count"]], symbol.color]
    return ["case", *branches, drawn.other.color]
