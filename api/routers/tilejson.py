"""`/tiles/{layers}.json`: what a composite of layers holds and where its tiles are."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Query, Response

from api.deps import BaseUrlDep, CatalogDep, refuse_unknown_parameters
from tiles.address import parse_layers
from tiles.drawn import draw
from tiles.tilejson import tilejson

router = APIRouter(tags=["map clients"], dependencies=[Depends(refuse_unknown_parameters)])


@router.get("/tiles/{layers}.json", summary="TileJSON 3.0 of one or more layers")
async def get_tilejson(
    layers: str,
    catalog: CatalogDep,
    base_url: BaseUrlDep,
    lang: Annotated[str, Query(description="language of names, such as fr")] = "en",
) -> Response:
    """Layer ids separated by commas make a composite."""
    drawn = draw(catalog, parse_layers(layers))
    document = orjson.dumps(tilejson(drawn, base_url, lang))
    return Response(document, media_type="application/json", headers={"cache-control": "no-cache"})
