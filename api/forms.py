"""JSON for programs and a page for people, at one address; and what every such answer carries.

`f` decides, else what the Accept header likes best; JSON where it likes both. Pages ignore
parameters that they do not know, JSON refuses them.
"""

from __future__ import annotations

from typing import Annotated

import orjson
import xxhash
from fastapi import Depends, Query, Request, Response

from api.deps import refuse_unknown_parameters
from api.everything_docs import answering
from api.links import JSON
from api.negotiate import chosen
from api.tile_headers import etag_held

HTML = "text/html"
SCHEMA = "application/schema+json"
OPENAPI = "application/vnd.oai.openapi+json;version=3.0"
FORMS = ("json", "html")
EITHER = answering(JSON, HTML)
FormParameter = Annotated[
    str | None, Query(description="json or html; without it, what the Accept header prefers")
]


async def wants_page(request: Request, f: FormParameter = None) -> bool:
    return await _wants_page(request, f, JSON)


async def wants_schema_page(request: Request, f: FormParameter = None) -> bool:
    return await _wants_page(request, f, SCHEMA)


async def wants_api_page(request: Request, f: FormParameter = None) -> bool:
    return await _wants_page(request, f, OPENAPI)


async def only_json(
    request: Request, f: Annotated[str | None, Query(description="json")] = None
) -> None:
    """For what there is no page of, whatever a client accepts."""
    await refuse_unknown_parameters(request)
    chosen({"json": JSON}, f, None)


PageDep = Annotated[bool, Depends(wants_page)]
SchemaPageDep = Annotated[bool, Depends(wants_schema_page)]
ApiPageDep = Annotated[bool, Depends(wants_api_page)]


async def _wants_page(request: Request, f: str | None, media_type: str) -> bool:
    """Who takes application/json takes its kinds too; raises QueryRefused, NotAcceptable."""
    if f in FORMS:
        is_page = f == "html"
    else:
        offered = {"json": media_type, "plain": JSON, "html": HTML}
        is_page = chosen(offered, None, request.headers.get("accept")) == "html"
        if not is_page:
            chosen(dict.fromkeys(FORMS, ""), f, None)
    if not is_page:
        await refuse_unknown_parameters(request)
    return is_page


def json_answer(request: Request, content: object, media_type: str = JSON) -> Response:
    """The content as JSON, of an address that has a page too."""
    answer = Response(orjson.dumps(content), media_type=media_type, headers={"vary": "Accept"})
    return under_etag(request, answer)


def under_etag(request: Request, answer: Response) -> Response:
    """The answer with an ETag of its content, or 304 where the client holds just that.

    The tag is weak: the answer may be packed on its way.
    """
    if answer.status_code != 200:
        return answer
    etag = f'W/"{xxhash.xxh3_128_hexdigest(answer.body)}"'
    answer.headers["etag"] = etag
    answer.headers["cache-control"] = "no-cache"
    tags = request.headers.get("if-none-match")
    if tags is None or etag_held(tags.encode("latin-1"), [etag.encode()]) is None:
        return answer
    kept = {
        name: value
        for name, value in answer.headers.items()
        if name not in ("content-length", "content-type")
    }
    return Response(status_code=304, headers=kept)
