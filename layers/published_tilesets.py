"""The tilesets of a database, as the web reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

from layers.tilesets import PublishedTileset, Tileset

TILESETS = "SELECT id, declaration::text AS declaration, file FROM quartier.public_tilesets"

log = structlog.get_logger()


def readable_tilesets(rows: Iterable[Mapping[str, Any]]) -> dict[str, PublishedTileset]:
    """Rows of `TILESETS`. A declaration that this version cannot read hides its own tileset."""
    found = {}
    for row in rows:
        try:
            tileset = Tileset.model_validate_json(row["declaration"])
        except ValueError as exc:
            log.error("a tileset's declaration cannot be read", tileset=row["id"], reason=str(exc))
            continue
        found[tileset.id] = PublishedTileset(tileset=tileset, path=Path(row["file"]))
    return found
