"""`/collections/{id}/aggregate`: how many features there are of each kind, time or place, and what
their numbers come to.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from api import feature_docs
from api.deps import LayerDep, StoreDep
from api.feature_answers import Asking
from api.feature_asking import address_of, features_asked, unchanged
from api.feature_params import GROUP_PARAMETERS, OF_GROUPS, read_asked, read_groups_asked
from api.group_answers import FORMS, as_csv, as_geojson, as_json
from api.links import link, with_parameters
from api.negotiate import chosen
from api.packed import packed
from layers.aggregate import Groups, read_groups
from layers.grouping import GroupQuery

router = APIRouter(tags=["analysts"])


@router.get(
    "/collections/{collection_id}/aggregate",
    summary="Groups of features, counted and measured",
    openapi_extra=feature_docs.GROUPS,
    responses=feature_docs.RESPONSES,
)
async def aggregate(request: Request, layer: LayerDep, store: StoreDep) -> Response:
    asked = read_asked(request.query_params.multi_items(), layer, GROUP_PARAMETERS)
    form = chosen(FORMS, asked.get("f"), request.headers.get("accept"))
    of_features = {name: value for name, value in asked.items() if name not in OF_GROUPS}
    features = replace((await features_asked(request, layer, of_features)).query, geometry=False)
    query = read_groups_asked(asked, features, layer)
    if query.grid is not None:  # a question that names all that its answer depends on
        asked["grid"] = str(query.grid)
    asking = Asking(layer, address_of(request, layer, "aggregate"), asked, form, features)
    if (held := await unchanged(request, asking)) is not None:
        return held
    found = await read_groups(store, query)
    # In a thread, because outlines of ten thousand cells take a quarter of a second.
    return await asyncio.to_thread(_answer, request, asking, query, found)


def _answer(request: Request, asking: Asking, query: GroupQuery, found: Groups) -> Response:
    headers = asking.headers(found.revision) | {"content-type": FORMS[asking.form]}
    return packed(request, _body(asking, query, found), headers)


def _body(asking: Asking, query: GroupQuery, found: Groups) -> bytes:
    if asking.form == "csv":
        return as_csv(query, found)
    said = dict(asking.asked)
    links = [link("self", with_parameters(asking.here, said), FORMS[asking.form])]
    links += [
        link("alternate", with_parameters(asking.here, said | {"f": form}), FORMS[form])
        for form in FORMS
        if form != asking.form
    ]
    links.append(link("collection", asking.here.removesuffix("/aggregate"), "application/json"))
    return (as_geojson if asking.form == "geojson" else as_json)(query, found, links)
