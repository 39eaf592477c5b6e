"""The style of a raster by itself."""

from __future__ import annotations

from html import escape

from layers.columns import in_language
from layers.tilesets import Tileset
from styles.build import Setting, Style
from styles.colours import GROUND


def raster_style(tileset: Tileset, setting: Setting) -> Style:
    """Its zooms, bounds and tiles are in its TileJSON."""
    source = {
        "type": "raster",
        "url": f"{setting.base_url}/tiles/{tileset.id}.json",
        "tileSize": 256,
        "attribution": escape(tileset.attribution),
    }
    ground = {"background-color": GROUND[setting.theme].land}
    return {
        "version": 8,
        "name": in_language(tileset.title, setting.language),
        "metadata": {"quartier:theme": setting.theme.value},
        "sources": {tileset.id: source},
        "layers": [
            {"id": "ground", "type": "background", "paint": ground},
            {"id": tileset.id, "type": "raster", "source": tileset.id},
        ],
    }
