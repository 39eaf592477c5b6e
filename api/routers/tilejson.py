"""`/tiles/{layers}.json`: what layers or a tileset hold and where their tiles are."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Response

from api.deps import BaseUrlDep, CatalogDep, TilesetsDep, refuse_unknown_parameters
from tiles.address import parse_layers
from tiles.drawn import draw
from tiles.tilejson import tilejson
from tiles.tileset_json import tileset_json

router = APIRouter(tags=["map clients"], dependencies=[Depends(refuse_unknown_parameters)])


@router.get("/tiles/{layers}.json", summary="TileJSON 3.0 of one or more layers")
async def get_tilejson(
    layers: str,
    catalog: CatalogDep,
    tilesets: TilesetsDep,
    base_url: BaseUrlDep,
    lang: Annotated[str, Query(description="language of names, such as fr")] = "en",
) -> Response:
    """Layer ids separated by commas make a composite; a tileset is asked for alone."""
    if (archive := catalog.tilesets.get(layers)) is not None:
        return _answer(tileset_json(archive, await tilesets.info(archive), base_url, lang))
    return _answer(tilejson(draw(catalog, parse_layers(layers)), base_url, lang))


def _answer(document: dict[str, Any]) -> Response:
    return Response(
        orjson.dumps(document),
        media_type="application/json",
        headers={"cache-control": "no-cache"},
    )
