"""Bodies packed by gzip as they leave, level 2 of isal: a tenth of the time of zlib's level 5 for
a tenth more bytes.
"""

from __future__ import annotations

from fastapi import Request, Response
from isal import isal_zlib

GZIP = 31  # zlib's window bits for a stream with a header of gzip
LEVEL = 2
WORTH_IT = 1_000  # bytes


def packed(request: Request, body: bytes, headers: dict[str, str]) -> Response:
    """The answer, packed where the client takes that."""
    takes = "gzip" in request.headers.get("accept-encoding", "")
    if takes and len(body) >= WORTH_IT:
        packer = isal_zlib.compressobj(LEVEL, wbits=GZIP)
        body = packer.compress(body) + packer.flush()
        headers = headers | {"content-encoding": "gzip"}
    return Response(body, headers=headers)
