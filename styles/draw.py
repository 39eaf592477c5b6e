"""One layer → its style layers, each with the band of the map it belongs to."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from layers.columns import GeometryType
from layers.model import Layer
from styles.colours import BACKGROUND, GROUND, Theme
from styles.expressions import Expression, both, by_class, dashed, dashes, grow, only, plus
from styles.symbols import KINDS, Kind, Symbol, Symbols, symbols

CASING_ZOOM = 14  # below it a casing would be wider than what it holds apart
CASING = 1.5  # pixels on each side at zoom 14
STREET_CASING = 0.6
HALO = 1  # pixels of the ground around a point
DASHES = {"dashed": [3, 2], "dotted": [0, 2]}  # in line widths; dots are round caps


class Band(IntEnum):
    """The order of the map from below."""

    LAND = 0
    GREEN = 1
    WATER = 2
    BUILDING = 3
    STREET_CASING = 4
    STREET = 5
    BOUNDARY = 6
    POLYGON = 7
    OUTLINE = 8
    LINE_CASING = 9
    LINE = 10
    POINT = 11
    BACKGROUND_LABEL = 12
    LABEL = 13
    COUNT = 14


class Placed(NamedTuple):
    """A style layer and where in the order it is drawn."""

    band: Band
    style_layer: dict[str, Any]


class Pen(NamedTuple):
    """What every style layer of one layer shares."""

    layer: Layer
    theme: Theme
    source: str
    visible: bool
    drawn: Symbols
    source_layer: str

    def place(self, band: Band, part: str, kind: str, **spec: Any) -> Placed:
        """A style layer; its metadata says which layer it belongs to and what part it plays."""
        layout = {"visibility": "visible" if self.visible else "none", **spec.pop("layout", {})}
        where = spec.pop("where", None)
        minzoom = max(self.layer.minzoom, spec.pop("minzoom", 0))
        return Placed(
            band,
            {
                "id": f"{self.layer.id}:{part}",
                "type": kind,
                "source": self.source,
                "source-layer": self.source_layer,
                "metadata": {"quartier:layer": self.layer.id, "quartier:part": part},
                **({"minzoom": minzoom} if minzoom else {}),
                **({"filter": where} if where is not None else {}),
                "layout": layout,
                **spec,
            },
        )


def pen(layer: Layer, theme: Theme, source: str, *, visible: bool) -> Pen:
    return Pen(layer, theme, source, visible, symbols(layer, theme), layer.id)


def draw(with_: Pen) -> list[Placed]:
    """The shapes of a layer; its labels are drawn by `styles.labels`."""
    by_kind = {"point": _points, "line": _lines, "polygon": _polygons}
    placed: list[Placed] = []
    for kind in KINDS[with_.layer.geometry]:
        placed += by_kind[kind](with_)
    return placed


def _points(with_: Pen) -> list[Placed]:
    radius = grow(by_class(with_.drawn, lambda s: s.radius), low=0.45, high=2.0)
    paint = {
        "circle-color": by_class(with_.drawn, lambda s: s.color),
        "circle-radius": radius,
        "circle-stroke-color": GROUND[with_.theme].land,
        "circle-stroke-width": HALO,
    }
    if (opacity := with_.layer.style.opacity) is not None:
        paint |= {"circle-opacity": opacity, "circle-stroke-opacity": opacity}
    if with_.layer.geometry is GeometryType.MIXED:
        only_points = _mixed(with_, "point")
        return [with_.place(Band.POINT, "point", "circle", where=only_points, paint=paint)]
    alone = ["!", ["has", "cluster"]]  # counted cells are drawn by `styles.clusters`
    return [with_.place(Band.POINT, "point", "circle", where=alone, paint=paint)]


def _lines(with_: Pen) -> list[Placed]:
    match with_.layer.style.role:
        case "street":
            band, casing, casing_zoom = Band.STREET, Band.STREET_CASING, 12
        case "boundary":
            return _strokes(with_, Band.BOUNDARY, "line")
        case "data":
            band, casing, casing_zoom = Band.LINE, Band.LINE_CASING, CASING_ZOOM
        case role:
            return _strokes(with_, Band[role.upper()], "line")
    return [_casing(with_, casing, casing_zoom), *_strokes(with_, band, "line")]


def _casing(with_: Pen, band: Band, minzoom: int) -> Placed:
    width = by_class(with_.drawn, lambda s: s.width)
    street = with_.layer.style.role == "street"
    casing = BACKGROUND[with_.theme].casing if street else GROUND[with_.theme].land
    return with_.place(
        band,
        "casing",
        "line",
        where=_mixed(with_, "line"),
        minzoom=minzoom,
        layout={"line-cap": "round", "line-join": "round"},
        paint={
            "line-color": casing,
            "line-width": grow(
                plus(width, 2 * (STREET_CASING if street else CASING)), low=0.3, high=2.6
            ),
        },
    )


def _strokes(with_: Pen, band: Band, kind: Kind) -> list[Placed]:
    return [_stroke(with_, band, kind, dash) for dash in dashes(with_.drawn)]


def _stroke(with_: Pen, band: Band, kind: Kind, dash: str) -> Placed:
    """The lines, or the outlines of polygons, that share one dash."""
    part = "line" if kind == "line" else "outline"
    outline = kind == "polygon"
    paint: dict[str, Expression] = {
        "line-color": by_class(with_.drawn, lambda s: s.color),
        "line-width": _stroke_width(with_, outline),
    }
    if dash != "solid":
        paint["line-dasharray"] = DASHES[dash]
    if not outline and with_.layer.style.opacity is not None:
        paint["line-opacity"] = with_.layer.style.opacity
    return with_.place(
        band,
        part if dash == "solid" else f"{part}-{dash}",
        "line",
        where=both(_mixed(with_, kind), dashed(with_.drawn, dash)),
        layout={"line-cap": "butt" if dash == "dashed" else "round", "line-join": "round"},
        paint=paint,
    )


def _stroke_width(with_: Pen, outline: bool) -> Expression:
    width = by_class(with_.drawn, lambda s: s.width)
    if outline or with_.layer.style.role == "boundary":
        return grow(width, low=0.6, high=1.6)
    return grow(width, low=0.3, high=2.6)


def _polygons(with_: Pen) -> list[Placed]:
    role = with_.layer.style.role
    if role == "boundary":
        return _strokes(with_, Band.BOUNDARY, "polygon")
    band = Band.POLYGON if role == "data" else Band[role.upper()]
    outlined = [] if role in ("water", "green", "street") else _outline(with_, band)
    return [_fill(with_, band), *outlined]


def _fill(with_: Pen, band: Band) -> Placed:
    paint = {
        "fill-color": by_class(with_.drawn, lambda s: s.color),
        "fill-opacity": by_class(with_.drawn, lambda s: s.opacity),
    }
    if with_.layer.style.role == "building":
        paint["fill-opacity"] = ["interpolate", ["linear"], ["zoom"], 13, 0, 14.5, 1]
    return with_.place(band, "fill", "fill", where=_mixed(with_, "polygon"), paint=paint)


def _outline(with_: Pen, band: Band) -> list[Placed]:
    if band is Band.POLYGON:
        return _strokes(with_, Band.OUTLINE, "polygon")
    hairline = Symbols(classes=(), other=_hairline(with_), column=None)
    return _strokes(with_._replace(drawn=hairline), band, "polygon")


def _hairline(with_: Pen) -> Symbol:
    plain = with_.drawn.other
    return Symbol(
        value=None, label=None, color=BACKGROUND[with_.theme].boundary, width=0.6,
        radius=plain.radius, opacity=plain.opacity,
    )  # fmt: skip


def _mixed(with_: Pen, kind: Kind) -> Expression | None:
    """Only a layer of mixed geometry needs to ask what a feature is."""
    return only(kind) if with_.layer.geometry is GeometryType.MIXED else None
