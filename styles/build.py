"""Catalogue → MapLibre style: a whole map, or one layer by itself."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from layers.catalog import Bounds
from layers.columns import in_language
from layers.map import Map, View
from layers.model import Layer
from styles.clusters import clusters
from styles.colours import GROUND, Theme
from styles.draw import Placed, draw, pen
from styles.labels import has_points, label

Style = dict[str, Any]


class Setting(NamedTuple):
    """For whom and from where: what every style of one request shares."""

    theme: Theme
    base_url: str
    language: str = "en"


def map_style(drawn: Map, layers: Mapping[str, Layer], setting: Setting) -> Style:
    """The style of a map; layers it names that are not in `layers` (withdrawn) are left out."""
    shown = [(layers[at.id], at.visible) for at in drawn.layers if at.id in layers]
    title = in_language(drawn.title, setting.language)
    return {**_style(shown, title, setting), **_view(drawn.view)}


def layer_style(layer: Layer, setting: Setting) -> Style:
    """A layer by itself, on the bare ground."""
    return _style([(layer, True)], in_language(layer.title, setting.language), setting)


def with_bounds(style: Style, bounds: Bounds | None) -> Style:
    """The style, opening on the middle of an extent where it has no view of its own."""
    if bounds is None or "center" in style:
        return style
    middle = [(bounds.west + bounds.east) / 2, (bounds.south + bounds.north) / 2]
    return {**style, "center": middle, "zoom": 12}


def _style(shown: Sequence[tuple[Layer, bool]], title: str, setting: Setting) -> Style:
    mapped = [(layer, visible) for layer, visible in shown if layer.has_geometry]
    return {
        "version": 8,
        "name": title,
        "metadata": {
            "quartier:theme": setting.theme.value,
            "quartier:layers": {layer.id: _about(layer) for layer, _ in mapped},
        },
        "glyphs": f"{setting.base_url}/assets/glyphs/{{fontstack}}/{{range}}.pbf",
        "sources": _sources(mapped, setting.base_url),
        "layers": [_ground(setting.theme), *_style_layers(mapped, setting.theme)],
    }


def _ground(theme: Theme) -> dict[str, Any]:
    return {
        "id": "ground",
        "type": "background",
        "paint": {"background-color": GROUND[theme].land},
    }


def _style_layers(mapped: Sequence[tuple[Layer, bool]], theme: Theme) -> list[dict[str, Any]]:
    placed: list[Placed] = []
    for layer, visible in mapped:
        with_ = pen(layer, theme, source_of(layer, visible), visible=visible)
        placed += [*draw(with_), *clusters(with_), *label(with_)]
    return [each.style_layer for each in sorted(placed, key=lambda each: each.band)]


def source_of(layer: Layer, visible: bool) -> str:
    """The source a layer is drawn from.

    Layers that start visible share one, so that a place costs one request. They share it only
    with layers of the same last zoom: beyond it a client stretches the tiles it has, and in a
    common source the deeper layer would decide when. A layer hidden at first has its own, which
    costs nothing until somebody switches it on.
    """
    return f"to-{layer.maxzoom}" if visible else layer.id


def _sources(mapped: Sequence[tuple[Layer, bool]], base_url: str) -> dict[str, Any]:
    together: dict[str, list[Layer]] = {}
    for layer, visible in mapped:
        together.setdefault(source_of(layer, visible), []).append(layer)
    return {name: _source(layers, base_url) for name, layers in together.items()}


def _source(layers: Sequence[Layer], base_url: str) -> dict[str, Any]:
    names = [layer.id for layer in layers]
    names += [f"{layer.id}:labels" for layer in layers if has_points(layer)]
    credits = dict.fromkeys(html.escape(layer.attribution) for layer in layers)
    return {
        "type": "vector",
        "url": f"{base_url}/tiles/{','.join(names)}.json",
        "attribution": " · ".join(credits),
    }


def _about(layer: Layer) -> dict[str, Any]:
    """What a page needs in order to switch a layer and to filter it by class and by time."""
    about: dict[str, Any] = {"role": layer.style.role}
    if layer.category is not None:
        about["category"] = layer.category
    if layer.time is not None:
        start = layer.column(layer.time.start)
        about["time"] = {
            "start": layer.time.start,
            "end": layer.time.end,
            "type": start.type.value,
            "time_zone": layer.time_zone,
        }
    return about


def _view(view: View | None) -> dict[str, Any]:
    if view is None:
        return {}
    return {"center": [view.longitude, view.latitude], "zoom": view.zoom}
