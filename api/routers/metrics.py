"""`/metrics`: what Prometheus gathers."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from api.deps import refuse_unknown_parameters
from api.everything_docs import answering

router = APIRouter(
    prefix="/metrics", tags=["operators"], dependencies=[Depends(refuse_unknown_parameters)]
)


@router.get(
    "",
    summary="Counts of all workers, for Prometheus",
    response_class=Response,
    responses=answering(CONTENT_TYPE_LATEST),
)
async def get_metrics(request: Request) -> Response:
    text: bytes = await request.state.measure()
    headers = {"cache-control": "no-store"}
    return Response(text, headers=headers, media_type=CONTENT_TYPE_LATEST)
