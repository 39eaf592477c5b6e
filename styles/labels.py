"""The words on a map: whose, in which letters, from which zoom."""

from __future__ import annotations

from typing import Any

from layers.columns import GeometryType
from layers.model import Layer
from styles.colours import GROUND
from styles.draw import Band, Pen, Placed
from styles.expressions import text

# No bare number in a name: MapLibre draws letters that a font lacks through a CSS font list,
# where `Source Sans 3` unquoted is a mistake and leaves them at 10 px.
REGULAR = ["Source Sans Regular"]
ITALIC = ["Source Sans Italic"]
SEMIBOLD = ["Source Sans Semibold"]
FONTS = (*REGULAR, *ITALIC, *SEMIBOLD)

POINT_LABEL_ZOOM = 14  # below it names would cover the marks they belong to
CROWD_LABEL_ZOOM = 17  # small marks stand close together
CROWD_RADIUS = 4  # pixels; a smaller mark was declared for many features
STREET_LABEL_ZOOM = 14


def has_points(layer: Layer) -> bool:
    """Whether the names of a layer stand on points of their own: a polygon would be named anew in
    each tile it crosses.
    """
    return layer.style.label is not None and layer.geometry is GeometryType.POLYGON


def label(with_: Pen) -> list[Placed]:
    """The labels of a layer that names a column for them; none for any other."""
    if with_.layer.style.label is None:
        return []
    if with_.layer.style.role == "data":
        return [_data_label(with_)]
    return [_background_label(with_)]


def _data_label(with_: Pen) -> Placed:
    geometry = with_.layer.geometry
    layout: dict[str, Any] = {"text-font": REGULAR, "text-size": size(12, 14)}
    minzoom = 0
    if geometry is GeometryType.LINE:
        layout |= _along()
    elif geometry is not GeometryType.POLYGON:
        layout |= {
            "text-variable-anchor": ["top", "bottom", "left", "right"],
            "text-radial-offset": 0.7,
            "text-justify": "auto",
        }
        crowded = with_.drawn.other.radius < CROWD_RADIUS
        minzoom = CROWD_LABEL_ZOOM if crowded else POINT_LABEL_ZOOM
    return _place(with_, Band.LABEL, layout, GROUND[with_.theme].ink, minzoom)


def _background_label(with_: Pen) -> Placed:
    role, ground = with_.layer.style.role, GROUND[with_.theme]
    layout: dict[str, Any] = {"text-font": REGULAR, "text-size": size(11, 13)}
    colour, minzoom = ground.second_ink, 0
    if role == "water":
        layout["text-font"], colour = ITALIC, ground.water_ink
    elif role == "boundary":
        layout |= {
            "text-font": SEMIBOLD,
            "text-transform": "uppercase",
            "text-letter-spacing": 0.08,
            "text-size": size(11, 12),
        }
    elif role == "street":
        minzoom = STREET_LABEL_ZOOM
    if with_.layer.geometry is GeometryType.LINE and role != "boundary":
        layout |= _along()
    return _place(with_, Band.BACKGROUND_LABEL, layout, colour, minzoom)


def _along() -> dict[str, Any]:
    return {"symbol-placement": "line", "symbol-spacing": 320, "text-max-angle": 32}


def size(small: float, large: float) -> list[Any]:
    """A size of letters that grows a little on the way in."""
    return ["interpolate", ["linear"], ["zoom"], 12, small, 17, large]


def _place(with_: Pen, band: Band, layout: dict[str, Any], colour: str, minzoom: int) -> Placed:
    column = with_.layer.style.label or ""
    if has_points(with_.layer):
        with_ = with_._replace(source_layer=f"{with_.layer.id}:labels")
        layout = {"symbol-sort-key": ["-", ["to-number", ["get", "area"], 0]], **layout}
    return with_.place(
        band,
        "label",
        "symbol",
        minzoom=minzoom,
        layout={"text-field": text(column), "text-max-width": 8, "text-padding": 4, **layout},
        paint={
            "text-color": colour,
            "text-halo-color": GROUND[with_.theme].land,
            "text-halo-width": 1.5,
        },
    )
