"""OGC API – Tiles: which tilesets a layer has, in which tile matrix set."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Depends, Request, Response

from api.deps import BaseUrlDep, CatalogDep, LayerDep
from api.everything_docs import of_tiles
from api.forms import json_answer, only_json
from api.tileset_documents import (
    MVT,
    check_tile_matrix_set,
    check_tileset,
    tile_matrix_sets,
    tileset,
    tilesets,
    web_mercator_quad,
)
from tiles.address import parse_layers
from tiles.drawn import draw
from tiles.tilejson import tilejson

router = APIRouter(tags=["map clients"])
JSON_ONLY = [Depends(only_json)]


@router.get("/tileMatrixSets", summary="The tile matrix sets there are", dependencies=JSON_ONLY)
async def get_tile_matrix_sets(request: Request, base_url: BaseUrlDep) -> Response:
    return json_answer(request, tile_matrix_sets(base_url))


@router.get(
    "/tileMatrixSets/{tile_matrix_set}", summary="A tile matrix set", dependencies=JSON_ONLY
)
async def get_tile_matrix_set(request: Request, tile_matrix_set: str) -> Response:
    check_tile_matrix_set(tile_matrix_set)
    return json_answer(request, await asyncio.to_thread(web_mercator_quad))


@router.get(
    "/collections/{collection_id}/tiles", summary="A layer's tilesets", dependencies=JSON_ONLY
)
async def get_tilesets(request: Request, layer: LayerDep, base_url: BaseUrlDep) -> Response:
    check_tileset(layer)
    return json_answer(request, tilesets(layer, base_url))


@router.get(
    "/collections/{collection_id}/tiles/{tile_matrix_set}",
    summary="A tileset: its limits, what its features hold, where its tiles are",
    dependencies=JSON_ONLY,
)
async def get_tileset(
    request: Request,
    layer: LayerDep,
    tile_matrix_set: str,
    catalog: CatalogDep,
    base_url: BaseUrlDep,
) -> Response:
    check_tileset(layer, tile_matrix_set)
    told = tilejson(draw(catalog, parse_layers(layer.id)), base_url)
    fields = told["vector_layers"][0]["fields"]
    return json_answer(request, tileset(layer, base_url, fields))


@router.get(
    "/collections/{collection_id}/tiles/{tile_matrix_set}/{matrix}/{row}/{column}",
    summary="A vector tile of a layer",
    response_class=Response,
    responses=of_tiles(MVT),
)
async def get_tile(
    collection_id: str, tile_matrix_set: str, matrix: int, row: int, column: int
) -> Response:
    """The row, from the north, stands before the column. It stands here so that OpenAPI tells of
    it: the fast path answers.
    """
    raise AssertionError(
        f"{collection_id}/{tile_matrix_set}/{matrix}/{row}/{column} belongs to the fast path"
    )
