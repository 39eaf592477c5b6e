"""`/runs`: what loads did, for officers. JSON behind a key, and the page that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from api.deps import BaseUrlDep, CatalogDep, refuse_unknown_parameters
from api.door import Door
from api.everything_docs import answering
from api.pages import ReaderDep, runs_page
from layers.errors import RunNotFound
from layers.officer import MAX_PAGE, Officer, RunsQuery, Signature, parse_gates, parse_layer
from layers.spreadsheets import BOM, withheld_csv

T = TypeVar("T")
MOST = 1 << 53  # of a number in a path or query; greater ones name nothing
NO_STORE = {"cache-control": "no-store", "vary": "Authorization, Accept"}
router = APIRouter(
    prefix="/runs",
    tags=["officers"],
    dependencies=[
        Depends(HTTPBearer(auto_error=False, description="a key of `quartier keys create`"))
    ],
    responses={401: {"description": "no valid key"}, 403: {"description": "too small a scope"}},
)
STRICT = [Depends(refuse_unknown_parameters)]


class Asking:
    """A request that carries a key, or should."""

    def __init__(self, request: Request) -> None:
        self._door: Door = request.state.door
        self._header = request.headers.get("authorization")
        self._address = request.client.host if request.client else ""

    async def ask(self, question: Callable[[Officer], Awaitable[T]]) -> T:
        return await self._door.ask(self._header, self._address, question)


async def get_asking(request: Request) -> Asking:
    return Asking(request)


AskingDep = Annotated[Asking, Depends(get_asking)]
LimitParameter = Annotated[int, Query(ge=1, le=MAX_PAGE, description="how many on a page")]
BeforeParameter = Annotated[
    int | None, Query(ge=1, le=MOST, description="older than this; from the link `next`")
]


class Accepted(BaseModel):
    """The gates that may be passed, who says so and why."""

    model_config = ConfigDict(extra="forbid")

    gates: list[str] = Field(min_length=1, max_length=50)
    by: str
    note: str


class RolledBack(BaseModel):
    """The revision to go back to, who does it and why; `seen`, the newest one they know of."""

    model_config = ConfigDict(extra="forbid")

    revision: int = Field(ge=0, le=MOST)
    seen: int | None = Field(default=None, ge=0, le=MOST)
    by: str
    note: str


def _json(content: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(
        orjson.dumps(content), status.value, headers=NO_STORE, media_type="application/json"
    )


def _number(text: str) -> int:
    """The number of a run in an address; raises RunNotFound for what cannot be one."""
    if not (text.isascii() and text.isdigit() and len(text) < 17):
        raise RunNotFound(f"no run {text!r}")
    return int(text)


def wants_page(accept: str) -> bool:
    """Whether HTML stands before JSON, as browsers ask."""
    kinds = [part.split(";")[0].strip().lower() for part in accept.split(",")]
    first = [kind for kind in kinds if kind in ("text/html", "application/json")]
    return first[:1] == ["text/html"]


@router.get(
    "",
    summary="Runs, the newest first; for browsers the page that shows them",
    responses=answering("application/json", "text/html"),
)
async def list_runs(  # noqa: PLR0913 - each is a parameter of the address
    request: Request,
    asking: AskingDep,
    catalog: CatalogDep,
    reader: ReaderDep,
    base_url: BaseUrlDep,
    layer: Annotated[str | None, Query(description="only of this layer")] = None,
    state: Annotated[
        str | None, Query(description="running, published, unchanged or refused")
    ] = None,
    before: BeforeParameter = None,
    limit: LimitParameter = 50,
) -> Response:
    """Needs the scope `runs:read`."""
    if wants_page(request.headers.get("accept", "")):
        return runs_page(request, catalog, reader)
    await refuse_unknown_parameters(request)
    query = RunsQuery(layer=layer, state=state, before=before, limit=limit)
    found = await asking.ask(lambda officer: officer.runs(query))
    links = []
    if len(found) == limit:
        asked = {"layer": layer, "state": state, "before": found[-1]["run"], "limit": limit}
        given = "&".join(f"{name}={value}" for name, value in asked.items() if value is not None)
        links.append({"rel": "next", "href": f"{base_url}/runs?{given}"})
    return _json({"runs": found, "links": links})


@router.get("/key", summary="What the key is for", dependencies=STRICT)
async def get_key(asking: AskingDep) -> Response:
    return _json(await asking.ask(lambda officer: officer.key()))


@router.get(
    "/freshness",
    summary="Of each layer: last run, last change, last check, and whether it is late",
    dependencies=STRICT,
)
async def get_freshness(asking: AskingDep) -> Response:
    """Needs the scope `runs:read`."""
    return _json({"layers": await asking.ask(lambda officer: officer.freshness())})


@router.get(
    "/layers/{layer_id}/revisions",
    summary="Revisions of a layer, and who went back and why",
    dependencies=STRICT,
)
async def list_revisions(
    layer_id: str, asking: AskingDep, before: BeforeParameter = None, limit: LimitParameter = 50
) -> Response:
    """Needs the scope `runs:read`."""
    parse_layer(layer_id)
    found = await asking.ask(
        lambda officer: officer.revisions(layer_id, before=before, limit=limit)
    )
    return _json({"layer": layer_id, "revisions": found})


@router.post(
    "/layers/{layer_id}/rollback",
    summary="Make a layer what it was at a revision, as a new revision",
    dependencies=STRICT,
)
async def roll_back(layer_id: str, body: RolledBack, asking: AskingDep) -> Response:
    """Needs the scope `data:rollback`. 409 where `seen` is no longer the newest revision."""
    parse_layer(layer_id)
    signed = Signature(by=body.by, note=body.note)
    return _json(
        await asking.ask(
            lambda officer: officer.roll_back(layer_id, body.revision, body.seen, signed)
        )
    )


@router.get("/{run_id}", summary="One run: figures, gates, files", dependencies=STRICT)
async def get_run(run_id: str, asking: AskingDep) -> Response:
    """Needs the scope `runs:read`."""
    return _json(await asking.ask(lambda officer: officer.run(_number(run_id))))


@router.get("/{run_id}/quarantine", summary="What a run withheld", dependencies=STRICT)
async def get_quarantine(
    run_id: str,
    asking: AskingDep,
    base_url: BaseUrlDep,
    after: Annotated[int, Query(ge=0, le=MOST, description="from the link `next`")] = 0,
    limit: LimitParameter = 100,
) -> Response:
    """Needs the scope `quarantine:read`: what is withheld is exact, and may be personal."""
    run = _number(run_id)
    found = await asking.ask(lambda officer: officer.quarantine(run, after=after, limit=limit))
    links = []
    if len(found) == limit:
        more = f"{base_url}/runs/{run}/quarantine?after={found[-1]['id']}&limit={limit}"
        links.append({"rel": "next", "href": more})
    return _json({"run": run, "entries": found, "links": links})


@router.get(
    "/{run_id}/quarantine.csv",
    summary="The same for a spreadsheet",
    dependencies=STRICT,
    response_class=Response,
    responses=answering("text/csv; charset=utf-8"),
)
async def get_quarantine_csv(run_id: str, asking: AskingDep) -> Response:
    """Needs the scope `quarantine:read`."""
    run = _number(run_id)

    async def page(after: int) -> list[Any]:
        return await asking.ask(
            lambda officer: officer.quarantine(run, after=after, limit=MAX_PAGE)
        )

    first = await page(0)  # before the answer begins, so that it can still be a refusal
    name = f'attachment; filename="quarantine-{run}.csv"'
    return StreamingResponse(
        _csv(first, page),
        media_type="text/csv; charset=utf-8",
        headers=NO_STORE | {"content-disposition": name},
    )


async def _csv(
    rows: list[Any], page: Callable[[int], Awaitable[list[Any]]]
) -> AsyncIterator[bytes]:
    yield (BOM + withheld_csv([])).encode()
    while rows:
        yield withheld_csv(rows, head=False).encode()
        rows = await page(rows[-1]["id"]) if len(rows) == MAX_PAGE else []


@router.post(
    "/{run_id}/accept",
    summary="Let the next load of a refused run's files pass gates that stopped it",
    dependencies=STRICT,
)
async def accept(run_id: str, body: Accepted, asking: AskingDep) -> Response:
    """Needs the scope `runs:accept`. Nothing is published by this: the next `quartier ingest` of
    the same files, or `quartier runs load`, does it.
    """
    gates, signed = parse_gates(body.gates), Signature(by=body.by, note=body.note)
    done = await asking.ask(lambda officer: officer.accept(_number(run_id), gates, signed))
    return _json(done | {"published": False})
