"""The parts a handler asks for, each named once."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from layers.catalog import Catalog


def get_catalog(request: Request) -> Catalog:
    """The catalogue as this worker knows it now."""
    catalog: Catalog = request.state.catalog()
    return catalog


CatalogDep = Annotated[Catalog, Depends(get_catalog)]
