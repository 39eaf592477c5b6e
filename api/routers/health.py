"""`/health`: is the process alive, and can it answer."""

from __future__ import annotations

from http import HTTPStatus

import orjson
from fastapi import APIRouter, Request, Response

from api.deps import CatalogDep, StoreDep
from layers.errors import StoreUnavailable

router = APIRouter(prefix="/health", tags=["operators"])


@router.get("/live", summary="The process answers")
async def get_live() -> Response:
    return Response(b'{"status":"ok"}', media_type="application/json")


@router.get("/ready", summary="PostGIS answers and the change feed is current")
async def get_ready(request: Request, catalog: CatalogDep, store: StoreDep) -> Response:
    try:
        await store.fetchrow("SELECT 1")
        reached = True
    except StoreUnavailable:
        reached = False
    current = bool(request.state.is_current())
    status = HTTPStatus.OK if reached and current else HTTPStatus.SERVICE_UNAVAILABLE
    said = {
        "status": "ok" if status is HTTPStatus.OK else "unavailable",
        "database": reached,
        "changes": current,
        "layers": len(catalog.layers),
    }
    return Response(orjson.dumps(said), status.value, media_type="application/json")
