"""`/collections/{id}/facets`: how often each value of some columns occurs, as lists to choose from
show it: each under what was chosen in the others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from api import feature_docs
from api.deps import LayerDep, StoreDep, base_url_of
from api.feature_answers import Asking
from api.feature_asking import asked_of, unchanged
from api.feature_params import FACET_PARAMETERS, OF_FACETS, read_asked, read_facets_asked
from api.links import JSON, link, with_parameters
from api.negotiate import chosen
from api.packed import packed
from layers.aggregate import Groups
from layers.catalog import PublishedLayer
from layers.facets import FacetQuery, read_facets
from layers.feature_query import FeatureQuery
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
    features = await _features(request, layer, of_features)
    here = f"{base_url_of(request)}/collections/{layer.id}/facets"
    asking = Asking(layer, here, asked, form, features)
    if (held := await unchanged(request, asking)) is not None:
        return held
    queries = [
        FacetQuery(await _features(request, layer, of_features, but=key.column.name), key, limit)
        for key in keys
    ]
    found = await read_facets(store, features, queries)
    told: dict[str, Any] = {
        "revision": found.revision,
        "numberMatched": found.matched,
        "facets": [
            _told(key, groups, asked) for key, groups in zip(keys, found.facets, strict=True)
        ],
        "links": [
            link("self", with_parameters(here, asked), JSON),
            link("collection", here.removesuffix("/facets"), JSON),
        ],
    }
    headers = asking.headers(found.revision) | {"content-type": JSON}
    return packed(request, orjson.dumps(told), headers)


async def _features(
    request: Request, layer: PublishedLayer, asked: dict[str, str], but: str | None = None
) -> FeatureQuery:
    """A facet shows what else could be chosen, so what was chosen in it does not narrow it."""
    others = {name: value for name, value in asked.items() if name != but}
    found, _ = await asked_of(request, layer, others, "json")
    return replace(found.query, geometry=False)


def _told(key: Key, found: Groups, asked: dict[str, str]) -> dict[str, Any]:
    """`selected` marks the value that the column was asked to have."""
    values = []
    for group in found.groups:
        value: dict[str, Any] = {"value": group.values[0], COUNT: group.count}
        if key.said in asked and _is_said(group.values[0], asked[key.said]):
            value["selected"] = True
        values.append(value)
    return {
        "name": key.said,
        "numberMatched": found.matched,
        "numberValues": found.total,
        "values": values,
    }


def _is_said(value: Any, said: str) -> bool:
    if isinstance(value, bool):
        return said == str(value).lower()
    if isinstance(value, int | float):
        return float(said) == value
    return bool(value == said)
