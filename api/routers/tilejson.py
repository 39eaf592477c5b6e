"""`/tiles/{layers}.json`: what layers or a tileset hold and where their tiles are."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

import orjson
from fastapi import APIRouter, Query, Request, Response

from api.deps import (
    BaseUrlDep,
    CatalogDep,
    TilesetsDep,
    is_tracking,
    refuse_unknown_parameters,
)
from api.tile_filters import narrowed, read_tile_asked
from tiles.address import parse_layers
from tiles.drawn import draw
from tiles.tilejson import tilejson
from tiles.tileset_json import tileset_json

router = APIRouter(tags=["map clients"])
LANG = "lang"


@router.get("/tiles/{layers}.json", summary="TileJSON 3.0 of one or more layers")
async def get_tilejson(  # noqa: PLR0913
    request: Request,
    layers: str,
    catalog: CatalogDep,
    tilesets: TilesetsDep,
    base_url: BaseUrlDep,
    lang: Annotated[str, Query(description="language of names, such as fr")] = "en",
) -> Response:
    """Layer ids separated by commas make a composite; a tileset is asked for alone.

    What narrows a tile (`filter`, `filter-lang`, `datetime`, `properties`, a column's value) may
    be said here: the addresses of tiles then say it, too.
    """
    if (archive := catalog.tilesets.get(layers)) is not None:
        await refuse_unknown_parameters(request)
        return _answer(tileset_json(archive, await tilesets.info(archive), base_url, lang))
    told = parse_qsl(request.url.query, keep_blank_values=True)
    narrowing = urlencode([pair for pair in told if pair[0] != LANG and not is_tracking(pair[0])])
    asked = read_tile_asked(narrowing.encode()).narrowing
    drawn = draw(catalog, narrowed(parse_layers(layers), asked, catalog))
    return _answer(tilejson(drawn, base_url, lang, asked=narrowing))


def _answer(document: dict[str, Any]) -> Response:
    return Response(
        orjson.dumps(document),
        media_type="application/json",
        headers={"cache-control": "no-cache"},
    )
