"""Read an MBTiles (1.3) file: SQLite, rows counted from the south."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

from layers.catalog import Bounds
from tiles.address import TileAddress
from tiles.archive import ArchiveInfo, FileState, TileKind
from tiles.errors import ArchiveBroken
from tiles.tilejson import WORLD

FORMATS = {
    "pbf": TileKind.MVT,
    "png": TileKind.PNG,
    "webp": TileKind.WEBP,
    "jpg": TileKind.JPG,
    "jpeg": TileKind.JPG,
}
TILE = "SELECT tile_data FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?"


class MbtilesFile:
    """`immutable`: SQLite takes no lock and writes no journal beside the file."""

    inline = False

    def __init__(self, path: Path) -> None:
        self._connection: sqlite3.Connection | None = None
        self._path = path
        self.state = FileState.of(path)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        try:
            self.info = _info(dict(self._rows("SELECT name, value FROM metadata")), self._zooms())
        except (sqlite3.Error, ValueError, KeyError) as exc:
            raise ArchiveBroken(f"is no MBTiles file: {exc}") from exc
        said = json.dumps(self.info.metadata, sort_keys=True, default=str)
        self.mark = hashlib.blake2b(said.encode(), digest_size=8).hexdigest()

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        assert self._connection is not None
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def _zooms(self) -> tuple[int, int]:
        low, high = self._rows("SELECT min(zoom_level), max(zoom_level) FROM tiles")[0]
        return (0, 0) if low is None else (int(low), int(high))

    @property
    def unchanged(self) -> bool:
        return FileState.of(self._path) == self.state

    def read(self, at: TileAddress, *, wait: bool = True) -> bytes | None:
        if not wait:
            raise BlockingIOError
        row = (1 << at.z) - 1 - at.y
        try:
            found = self._rows(TILE, at.z, at.x, row)
        except sqlite3.Error as exc:
            raise ArchiveBroken(f"cannot be read: {exc}") from exc
        return bytes(found[0][0]) if found and found[0][0] else None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        self.close()


def _info(said: dict[str, str], zooms: tuple[int, int]) -> ArchiveInfo:
    more = json.loads(said.get("json") or "{}")
    kind = said.get("format", "").lower()
    if kind not in FORMATS:
        raise ValueError(f"its format {kind!r} is none of {', '.join(FORMATS)}")
    return ArchiveInfo(
        kinds=(FORMATS[kind],),
        minzoom=int(said.get("minzoom") or zooms[0]),
        maxzoom=int(said.get("maxzoom") or zooms[1]),
        bounds=Bounds(*_numbers(said.get("bounds"), 4)) if said.get("bounds") else WORLD,
        centre=_centre(said.get("center")),
        vector_layers=tuple(more.get("vector_layers") or ()),
        metadata={**said, **more},
    )


def _numbers(text: str | None, count: int) -> list[float]:
    numbers = [float(part) for part in (text or "").split(",")]
    if len(numbers) != count:
        raise ValueError(f"{text!r} is not {count} numbers")
    return numbers


def _centre(text: str | None) -> tuple[float, float, int] | None:
    if not text:
        return None
    longitude, latitude, zoom = _numbers(text, 3)
    return longitude, latitude, int(zoom)
