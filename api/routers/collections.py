"""`/collections`: what is published, layer by layer."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Depends, Response

from api.deps import BaseUrlDep, CatalogDep, LayerDep, StoreDep, refuse_unknown_parameters
from api.links import GEOJSON, as_json, link
from layers.catalog import PublishedLayer
from layers.columns import Column, in_language
from layers.errors import StoreUnavailable
from layers.provenance import read_privacy, read_provenance

router = APIRouter(tags=["analysts"], dependencies=[Depends(refuse_unknown_parameters)])


@router.get("/collections", summary="Every published layer")
async def get_collections(catalog: CatalogDep, base_url: BaseUrlDep) -> Response:
    described = [describe(layer, base_url) for layer in catalog.layers.values()]
    links = [link("self", f"{base_url}/collections", "application/json")]
    return as_json({"links": links, "collections": described})


@router.get("/collections/{collection_id}", summary="One layer: extent, columns, licence, links")
async def get_collection(layer: LayerDep, base_url: BaseUrlDep, store: StoreDep) -> Response:
    described = describe(layer, base_url)
    with suppress(StoreUnavailable):  # what is known of the layer itself is told without it
        described |= await read_provenance(store, layer.id)
        described |= await read_privacy(store, layer.layer)
    return as_json(described)


def describe(published: PublishedLayer, base_url: str) -> dict[str, Any]:
    """A collection as OGC API Features has it, with what a reader of open data asks beside."""
    layer = published.layer
    here = f"{base_url}/collections/{layer.id}"
    described: dict[str, Any] = {
        "id": layer.id,
        "title": in_language(layer.title),
        "description": in_language(layer.description),
        "itemType": "feature",
        "geometry": layer.geometry,
        "theme": layer.theme,
        "keywords": layer.keywords,
        "publisher": layer.publisher,
        "contact": layer.contact,
        "licence": layer.licence,
        "attribution": layer.attribution,
        "timeZone": layer.time_zone,
        "revision": published.revision,
        "updated": published.changed_at.isoformat() if published.changed_at else None,
        "columns": [_column(column) for column in layer.columns],
        "links": [
            link("self", here, "application/json"),
            link("items", f"{here}/items", GEOJSON),
        ],
    }
    if layer.has_geometry:
        tiles = f"{base_url}/tiles/{layer.id}.json"
        described["links"].append(link("tilejson", tiles, "application/json"))
        described["crs"] = ["http://www.opengis.net/def/crs/OGC/1.3/CRS84"]
    if published.extent is not None:
        crs = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
        described["extent"] = {"spatial": {"bbox": [list(published.extent)], "crs": crs}}
    return described


def _column(column: Column) -> dict[str, Any]:
    described = {
        "name": column.name,
        "type": column.type,
        "label": in_language(column.label) if column.label else None,
        "description": in_language(column.description) if column.description else None,
        "unit": column.unit,
    }
    return {name: value for name, value in described.items() if value is not None}
