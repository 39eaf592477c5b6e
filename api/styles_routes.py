"""`/styles/{id}.json`: MapLibre styles of maps and layers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from api.deps import BaseUrlDep, CatalogDep, refuse_unknown_parameters
from layers.catalog import Bounds, Catalog
from layers.errors import MapNotFound
from styles.build import Setting, Style, layer_style, map_style, with_bounds
from styles.colours import Theme
from styles.pictures import raster_style

router = APIRouter(tags=["map clients"], dependencies=[Depends(refuse_unknown_parameters)])


@router.get("/styles/{style_id}.json", summary="A MapLibre style of a map or a layer")
def get_style(
    style_id: str,
    catalog: CatalogDep,
    base_url: BaseUrlDep,
    theme: Annotated[Theme, Query(description="by day or by night")] = Theme.LIGHT,
    lang: Annotated[str, Query(description="language of names, such as fr")] = "en",
) -> dict[str, Any]:
    """A style as MapLibre, QGIS and others read it; its URLs are absolute."""
    return style_of(catalog, style_id, Setting(theme, base_url, lang))


def style_of(catalog: Catalog, style_id: str, setting: Setting) -> Style:
    """The style of the map of this id, of the layer or of the raster; raises MapNotFound."""
    if style_id in catalog.maps:
        drawn = catalog.maps[style_id]
        layers = {each.id: each.layer for each in catalog.layers.values()}
        extents = [catalog.layers[at.id].extent for at in drawn.layers if at.id in layers]
        return with_bounds(map_style(drawn, layers, setting), Bounds.around(extents))
    if style_id in catalog.layers:
        published = catalog.layers[style_id]
        return with_bounds(layer_style(published.layer, setting), published.extent)
    if (archive := catalog.tilesets.get(style_id)) is not None and archive.tileset.is_raster:
        return raster_style(archive.tileset, setting)
    raise MapNotFound(style_id)
