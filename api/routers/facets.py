"""`/collections/{id}/facets`: how often each value of some columns occurs, as lists to choose from
show it: each under what was chosen in the others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from api import feature_docs
from api.deps import LayerDep, StoreDep
from api.feature_answers import Asking
from api.feature_asking import address_of, features_asked, unchanged
from api.feature_params import (
    FACET_PARAMETERS,
    OF_FACETS,
    PARAMETERS,
    in_words_of_column,
    read_asked,
    read_facets_asked,
)
from api.links import JSON, link, with_parameters
from api.negotiate import chosen
from api.packed import packed
from layers.catalog import PublishedLayer
from layers.facets import Facet, FacetQuery, read_facets
from layers.feature_query import FeatureQuery
from layers.filters.queryables import Queryables
from layers.grouping import COUNT, Key

router = APIRouter(tags=["analysts"])
FORMS = {"json": JSON}


@router.get(
    "/collections/{collection_id}/facets",
    summary="How often each value of some columns occurs",
    openapi_extra=feature_docs.FACETS,
    responses=feature_docs.RESPONSES,
)
async def get_facets(request: Request, layer: LayerDep, store: StoreDep) -> Response:
    asked = read_asked(request.query_params.multi_items(), layer, FACET_PARAMETERS)
    form = chosen(FORMS, asked.get("f"), request.headers.get("accept"))
    keys, limit = read_facets_asked(asked, layer.layer)
    of_features = {name: value for name, value in asked.items() if name not in OF_FACETS}
    features = replace((await features_asked(request, layer, of_features)).query, geometry=False)
    here = address_of(request, layer, "facets")
    asking = Asking(layer, here, asked, form, features)
    if (held := await unchanged(request, asking)) is not None:
        return held
    queries = [await _facet(request, layer, of_features, features, (key, limit)) for key in keys]
    found = await read_facets(store, features, queries)
    told = {
        "revision": found.revision,
        "numberMatched": found.matched,
        "facets": [_told(*each) for each in zip(keys, found.facets, strict=True)],
        "links": [
            link("self", with_parameters(here, asked), JSON),
            link("collection", here.removesuffix("/facets"), JSON),
        ],
    }
    headers = asking.headers(found.revision) | {"content-type": JSON}
    return packed(request, orjson.dumps(told), headers)


async def _facet(
    request: Request,
    layer: PublishedLayer,
    asked: dict[str, str],
    features: FeatureQuery,
    wanted: tuple[Key, int],
) -> FacetQuery:
    """A facet shows what else could be chosen, so what was chosen in it does not narrow it. What a
    parameter says, such as `datetime`, is no choice, though a column may be called like it.
    """
    key, limit = wanted
    name = key.column.name
    if name not in asked or name in PARAMETERS:
        return FacetQuery(features, key, limit)
    others = {each: value for each, value in asked.items() if each not in (name, "as_of")}
    query = (await features_asked(request, layer, others)).query
    of = replace(query, geometry=False, as_of=features.as_of)  # the one that is resolved already
    choice = in_words_of_column(name, asked[name], Queryables.of(layer.layer))
    return FacetQuery(of, key, limit, choice)


def _told(key: Key, facet: Facet) -> dict[str, Any]:
    values: list[dict[str, Any]] = []
    for each in facet.values:
        values.append({"value": each.value, COUNT: each.count})
        if each.is_chosen:
            values[-1]["selected"] = True
    return {
        "name": key.said,
        "numberMatched": facet.matched,
        "numberValues": facet.total,
        "values": values,
    }
