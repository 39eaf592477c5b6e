"""Catalogue → what a page shows: one description for the template and for the browser."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any, NamedTuple
from urllib.parse import urlencode

from layers.catalog import Bounds, Catalog, PublishedLayer
from layers.columns import in_language
from layers.errors import MapNotFound
from layers.map import Map, MapLayer, View
from layers.model import Layer
from styles.colours import Theme
from styles.legend import legend

LICENCES = {  # what a reader sees, and where it is explained
    "CC0-1.0": ("CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
    "CC-BY-4.0": ("CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/"),
    "CC-BY-SA-4.0": ("CC BY-SA 4.0", "https://creativecommons.org/licenses/by-sa/4.0/"),
    "ODbL-1.0": ("ODbL 1.0", "https://opendatacommons.org/licenses/odbl/1-0/"),
    "etalab-2.0": (
        "Licence Ouverte 2.0",
        "https://www.etalab.gouv.fr/licence-ouverte-open-licence/",
    ),
    "DL-DE-BY-2.0": ("dl-de/by-2-0", "https://www.govdata.de/dl-de/by-2-0"),
    "DL-DE-ZERO-2.0": ("dl-de/zero-2-0", "https://www.govdata.de/dl-de/zero-2-0"),
    "OGL-UK-3.0": (
        "Open Government Licence 3.0",
        "https://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/",
    ),
}


class Reader(NamedTuple):
    """Who reads the page: in which language, and under which path the server stands."""

    language: str
    root: str = ""


def find_map(catalog: Catalog, name: str) -> Map:
    """The map of this id, or one made of the single layer of this id; raises MapNotFound.

    A table without geometry makes no map.
    """
    if name in catalog.maps:
        return catalog.maps[name]
    if name in catalog.layers and catalog.layers[name].layer.has_geometry:
        title = catalog.layers[name].layer.title
        return Map(id=name, title=title, layers=(MapLayer(id=name),))
    raise MapNotFound(name)


def describe_map(catalog: Catalog, drawn: Map, reader: Reader) -> dict[str, Any]:
    """A map as its page shows it. Layers that are withdrawn are left out; the topmost is first."""
    published = [
        (catalog.layers[at.id], at.visible) for at in drawn.layers if at.id in catalog.layers
    ]
    shown = [
        {**describe_layer(each, reader), "visible": visible}
        for each, visible in reversed(published)
        if each.layer.has_geometry
    ]
    return {
        "id": drawn.id,
        "title": in_language(drawn.title, reader.language),
        "description": in_language(drawn.description, reader.language),
        "view": _view(drawn.view),
        "bounds": Bounds.around(each.extent for each, _ in published),
        "styles": {theme.value: _style_url(drawn.id, theme, reader) for theme in Theme},
        "layers": shown,
        "page": f"{reader.root}/maps/{drawn.id}",
        "newest": _newest(shown),
        **_changes([each for each, _ in published], reader),
    }


def _changes(layers: Sequence[PublishedLayer], reader: Reader) -> dict[str, str]:
    """Where a page hears of changes, and the state it was made in: what came after it is news."""
    ids = sorted(layer.id for layer in layers)
    state = sorted(f"{layer.id}:{layer.revision}" for layer in layers)
    return {
        "changes": f"{reader.root}/changes?{urlencode({'layers': ','.join(ids)}, safe=',')}",
        "state": ",".join(state),
    }


def _newest(shown: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The layer whose data changed last. The background is old by nature and does not count."""
    changed = [layer for layer in shown if layer["changed_at"]]
    data = [layer for layer in changed if layer["role"] == "data"]
    return max(data or changed, key=lambda layer: layer["changed_at"], default=None)


def describe_layer(published: PublishedLayer, reader: Reader) -> dict[str, Any]:
    """A layer as pages show it: words in the reader's language, legend by day and by night."""
    layer, language = published.layer, reader.language
    name, licence_url = LICENCES.get(layer.licence, (layer.licence, None))
    return {
        "id": layer.id,
        "title": in_language(layer.title, language),
        "description": in_language(layer.description, language),
        "theme": layer.theme,
        "publisher": layer.publisher,
        "contact": layer.contact,
        "keywords": list(layer.keywords),
        "licence": name,
        "licence_url": licence_url,
        "attribution": layer.attribution,
        "role": layer.style.role,
        "geometry": layer.geometry.value,
        "minzoom": layer.minzoom,
        "maxzoom": layer.maxzoom,
        "legend": {theme.value: legend(layer, theme, language) for theme in Theme},
        "columns": _columns(layer, language),
        "label": layer.style.label,
        "time_zone": layer.time_zone,
        "changed_at": _instant(published),
        "count": published.count,
        "approximate": layer.privacy is not None and layer.has_geometry,
        "empty": published.revision == 0 or published.count == 0,
        **_links(layer, reader.root),
    }


def _instant(published: PublishedLayer) -> str | None:
    changed = published.changed_at
    return changed.astimezone(UTC).isoformat() if changed else None


def _columns(layer: Layer, language: str) -> list[dict[str, Any]]:
    return [
        {
            "name": column.name,
            "label": in_language(column.label or column.name, language),
            "description": in_language(column.description or "", language),
            "type": column.type.value,
            "unit": column.unit,
        }
        for column in layer.columns
    ]


def _links(layer: Layer, root: str) -> dict[str, str]:
    return {
        "page": f"{root}/layers/{layer.id}",
        "collection": f"{root}/collections/{layer.id}",
        "features": f"{root}/collections/{layer.id}/items",
        "tilejson": f"{root}/tiles/{layer.id}.json",
        "style": f"{root}/styles/{layer.id}.json",
        "map_page": f"{root}/maps/{layer.id}",
        "embed": f"{root}/embed/{layer.id}",
    }


def _style_url(style_id: str, theme: Theme, reader: Reader) -> str:
    query = urlencode({"theme": theme.value, "lang": reader.language})
    return f"{reader.root}/styles/{style_id}.json?{query}"


def _view(view: View | None) -> dict[str, float] | None:
    return view.model_dump() if view else None
