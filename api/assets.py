"""The built pages' files, for any origin, `null` included."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

HASHED = "public, max-age=31536000, immutable"  # names carry a hash of their content
PLAIN = "public, max-age=86400"


class Assets(StaticFiles):
    """Static files; those with a hashed name are kept for ever."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory, check_dir=False)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = PLAIN if path.startswith("glyphs/") else HASHED
        response.headers["access-control-allow-origin"] = "*"
        return response
