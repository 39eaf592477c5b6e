"""How a layer is drawn, resolved once: what the map paints and the legend shows.

Colours, widths and dashes are decided here and nowhere else, so a swatch cannot differ from
the map.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from layers.columns import GeometryType, in_language
from layers.hints import PALETTE, StyleClass
from layers.model import Layer
from styles.colours import BACKGROUND, CATEGORY, GROUND, Theme, data_colour, quiet_colour

Kind = Literal["point", "line", "polygon"]

POINT_RADIUS = 4.5
LINE_WIDTH = 2.5
OUTLINE_WIDTH = 1.2
STREET_WIDTH = 3.0
BOUNDARY_WIDTH = 1.2
FILL_OPACITY = 0.28

KINDS: dict[GeometryType, tuple[Kind, ...]] = {
    GeometryType.POINT: ("point",),
    GeometryType.LINE: ("line",),
    GeometryType.POLYGON: ("polygon",),
    GeometryType.MIXED: ("polygon", "line", "point"),
    GeometryType.NONE: (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """How one class is drawn. Sizes are pixels at zoom 14; `value` is None for all others."""

    value: str | None
    label: str | None
    color: str
    dash: Literal["solid", "dashed", "dotted"] = "solid"
    width: float
    radius: float = POINT_RADIUS
    opacity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbols:
    """All classes of a layer in legend order, and how the values of no class are drawn."""

    classes: tuple[Symbol, ...]
    other: Symbol
    column: str | None

    @property
    def all(self) -> tuple[Symbol, ...]:
        return (*self.classes, self.other)


def symbols(layer: Layer, theme: Theme, language: str = "en") -> Symbols:
    """The symbols of a layer in one theme, labelled in one language."""
    style = layer.style
    width = style.width or _default_width(layer)
    plain = Symbol(
        value=None,
        label=None,
        color=_colour(layer, style.color or _default_colour(layer), theme),
        width=width,
        radius=style.radius or POINT_RADIUS,
        opacity=style.opacity or (FILL_OPACITY if layer.style.role == "data" else 1.0),
    )
    if layer.category is None or not style.classes:
        return Symbols(classes=(), other=plain, column=None)
    return Symbols(
        classes=tuple(_classes(layer, plain, theme, language)),
        other=replace(plain, color=_other(layer, plain, theme)),
        column=layer.category,
    )


def text_of(value: str | int | bool) -> str:
    """A class value as MapLibre's `to-string` writes the attribute."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _classes(layer: Layer, plain: Symbol, theme: Theme, language: str) -> list[Symbol]:
    taken = {declared.color for declared in layer.style.classes}
    free = iter([name for name in PALETTE if name not in taken])
    drawn: dict[str, Symbol] = {}
    for declared in layer.style.classes:
        value = text_of(declared.value)
        if value not in drawn:
            colour = declared.color or _free_colour(layer, free)
            drawn[value] = _class(plain, declared, _colour(layer, colour, theme), language)
    return list(drawn.values())


def _class(plain: Symbol, declared: StyleClass, colour: str, language: str) -> Symbol:
    value = text_of(declared.value)
    return replace(
        plain,
        value=value,
        label=value if declared.label is None else in_language(declared.label, language),
        color=colour,
        dash=declared.dash,
        width=declared.width or plain.width,
    )


def _free_colour(layer: Layer, free: Iterator[str]) -> str:
    if layer.style.role != "data":
        return _default_colour(layer)
    return next(free, layer.style.color or "ink")


def _other(layer: Layer, plain: Symbol, theme: Theme) -> str:
    """Values that nobody declared: the layer's own colour if no class has it, else grey."""
    style = layer.style
    own = style.color is not None and all(each.color != style.color for each in style.classes)
    return plain.color if own or style.role != "data" else GROUND[theme].second_ink


def _colour(layer: Layer, colour: str, theme: Theme) -> str:
    role = layer.style.role
    if role == "data":
        return data_colour(colour, theme)
    if colour == role:
        return str(getattr(BACKGROUND[theme], role))
    return quiet_colour(colour, theme)


def _default_colour(layer: Layer) -> str:
    """One palette colour for each id, so that two undeclared layers seldom look alike."""
    if layer.style.role != "data":
        return layer.style.role
    names = [name for name in CATEGORY[Theme.LIGHT] if name != "ink"]
    return names[zlib.crc32(layer.id.encode()) % len(names)]


def _default_width(layer: Layer) -> float:
    if layer.style.role == "street":
        return STREET_WIDTH
    if layer.geometry is GeometryType.POLYGON:
        return BOUNDARY_WIDTH if layer.style.role == "boundary" else OUTLINE_WIDTH
    return LINE_WIDTH
