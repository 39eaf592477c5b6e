"""The legend of a layer: its swatches, exactly as the map draws them."""

from __future__ import annotations

from typing import Any

from layers.columns import in_language
from layers.model import Layer
from styles.colours import BACKGROUND, GROUND, Theme
from styles.draw import CASING, DASHES, HALO, STREET_CASING
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
        "dashes": [length * symbol.width for length in DASHES.get(symbol.dash, ())],
        "width": symbol.width,
        "ground": GROUND[theme].land,
    }
    if kind == "point":
        return swatch | {"radius": symbol.radius, "halo": HALO}
    if kind == "polygon":
        return swatch | {"opacity": symbol.opacity, "outline": _outline(layer, symbol, theme)}
    return swatch | {"casing": _casing(layer, symbol, theme)}


def _outline(layer: Layer, symbol: Symbol, theme: Theme) -> str | None:
    match layer.style.role:
        case "data":
            return symbol.color
        case "land" | "building":
            return BACKGROUND[theme].boundary
    return None


def _casing(layer: Layer, symbol: Symbol, theme: Theme) -> dict[str, Any] | None:
    match layer.style.role:
        case "data":
            return {"color": GROUND[theme].land, "width": symbol.width + 2 * CASING}
        case "street":
            return {"color": BACKGROUND[theme].casing, "width": symbol.width + 2 * STREET_CASING}
    return None


def _kind(layer: Layer) -> Kind | None:
    """The one shape that stands for the layer; outlines alone are shown as lines."""
    kinds = KINDS[layer.geometry]
    if layer.style.role == "boundary":
        return "line"
    return kinds[0] if kinds else None
