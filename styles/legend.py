"""The legend of a layer: its swatches, exactly as the map draws them."""

from __future__ import annotations

from typing import Any

from layers.model import Layer, in_language
from styles.colours import GROUND, Theme
from styles.draw import CASING, HALO
from styles.symbols import KINDS, Kind, Symbol, Symbols, symbols


def legend(layer: Layer, theme: Theme, language: str = "en") -> dict[str, Any]:
    """A JSON value: the swatches of a layer, and the column whose values they stand for.

    A layer with a category and no declared classes is drawn in one colour; `undrawn` then
    names the column that the map does not show.
    """
    drawn = symbols(layer, theme, language)
    column = layer.column(layer.category) if layer.category else None
    heading = None if column is None else in_language(column.label or column.name, language)
    return {
        "layer": layer.id,
        "column": drawn.column,
        "heading": heading if drawn.column else None,
        "undrawn": None if drawn.column else heading,
        "swatches": [_swatch(layer, symbol, theme) for symbol in _shown(drawn)],
    }


def _shown(drawn: Symbols) -> tuple[Symbol, ...]:
    return drawn.all if drawn.classes else (drawn.other,)


def _swatch(layer: Layer, symbol: Symbol, theme: Theme) -> dict[str, Any]:
    kind = _kind(layer)
    swatch: dict[str, Any] = {
        "kind": kind,
        "value": symbol.value,
        "label": symbol.label,
        "color": symbol.color,
        "dash": symbol.dash,
        "width": symbol.width,
        "ground": GROUND[theme].land,
    }
    if kind == "point":
        return swatch | {"radius": symbol.radius, "halo": HALO}
    if kind == "polygon":
        return swatch | {"opacity": symbol.opacity}
    return swatch | {"casing": CASING}


def _kind(layer: Layer) -> Kind | None:
    """The one shape that stands for the layer; outlines alone are shown as lines."""
    kinds = KINDS[layer.geometry]
    if layer.style.role == "boundary":
        return "line"
    return kinds[0] if kinds else None
