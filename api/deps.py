"""The parts a handler asks for, each named once. All are coroutines: a plain function would be
sent to a thread for each request."""

from __future__ import annotations

import difflib
from typing import Annotated

from fastapi import Depends, Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute

from layers.catalog import Catalog, PublishedLayer
from layers.errors import QueryRefused
from layers.read import Counts
from layers.store import Store
from tiles.tilesets import Tilesets

TRACKING = ("utm_", "fbclid", "gclid", "mtm_", "pk_", "_ga")  # what sites hang on links


def is_tracking(name: str) -> bool:
    return name.startswith(TRACKING)


async def get_catalog(request: Request) -> Catalog:
    """The catalogue as this worker knows it now."""
    catalog: Catalog = request.state.catalog()
    return catalog


async def get_store(request: Request) -> Store:
    store: Store = request.state.store
    return store


async def get_counts(request: Request) -> Counts:
    counts: Counts = request.state.counts
    return counts


async def get_tilesets(request: Request) -> Tilesets:
    tilesets: Tilesets = request.state.tilesets
    return tilesets


def base_url_of(request: Request) -> str:
    """Where people reach this server, without a slash at the end."""
    public: str | None = request.state.public_url
    return (public or str(request.base_url)).rstrip("/")


async def get_base_url(request: Request) -> str:
    return base_url_of(request)


CatalogDep = Annotated[Catalog, Depends(get_catalog)]
StoreDep = Annotated[Store, Depends(get_store)]
CountsDep = Annotated[Counts, Depends(get_counts)]
TilesetsDep = Annotated[Tilesets, Depends(get_tilesets)]
BaseUrlDep = Annotated[str, Depends(get_base_url)]


async def get_layer(collection_id: str, catalog: CatalogDep) -> PublishedLayer:
    """The layer named in the path; raises LayerNotFound."""
    return catalog.layer(collection_id)


LayerDep = Annotated[PublishedLayer, Depends(get_layer)]


def _parameters(route: APIRoute) -> frozenset[str]:
    return frozenset(
        field.alias
        for field in get_flat_params(route.dependant)
        if isinstance(field.field_info, params.Query)
    )


async def refuse_unknown_parameters(request: Request) -> None:
    """A parameter that would be ignored is an error, tracking parameters excepted."""
    route = request.scope["route"]
    known = _parameters(route)
    given = [name for name, _ in request.query_params.multi_items()]
    for name, value in request.query_params.items():
        if name in known and given.count(name) > 1:
            raise QueryRefused(name, value, "is given more than once; give it once")
        if name not in known and not name.startswith(TRACKING):
            raise QueryRefused(name, value, f"is not a parameter here; {_advice(name, known)}")


def _advice(name: str, known: frozenset[str]) -> str:
    if not known:
        return "this address takes none"
    if near := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {near[0]}?"
    return f"parameters are {', '.join(sorted(known))}"
