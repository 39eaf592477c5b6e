"""Write PMTiles and MBTiles files, tile by tile in the order of a PMTiles file.

A writer's file appears under its name when all of it is there, or not at all.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from pmtiles.tile import Compression, TileType, serialize_header, zxy_to_tileid

from layers.catalog import Bounds
from tiles import varints
from tiles.address import TileAddress
from tiles.errors import ExportRefused
from tiles.pmtiles_file import E7, HEADER_BYTES
from tiles.varints import Numbers

MOST_ROOT_BYTES = 16_384 - HEADER_BYTES  # what readers fetch first
LEAF_ENTRIES = 4096
MBTILES_APPLICATION = 0x4D504258  # "MPBX"
ROWS_AT_ONCE = 1000
MBTILES_TABLES = f"""
    PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA application_id = {MBTILES_APPLICATION};
    CREATE TABLE metadata (name text, value text);
    CREATE TABLE tiles (
        zoom_level integer, tile_column integer, tile_row integer, tile_data blob
    )"""
MBTILES_INDEXES = """
    CREATE UNIQUE INDEX metadata_name ON metadata (name);
    CREATE UNIQUE INDEX tile_index ON tiles (zoom_level, tile_column, tile_row)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveMeta:
    """What an archive says of itself. `json` holds `vector_layers` and all that is not a field."""

    name: str
    description: str
    attribution: str
    minzoom: int
    maxzoom: int
    bounds: Bounds
    json: dict[str, Any]

    @property
    def centre(self) -> tuple[float, float, int]:
        west, south, east, north = self.bounds
        return (west + east) / 2, (south + north) / 2, self.minzoom


class ArchiveWriter(Protocol):
    def add(self, at: TileAddress, body: bytes) -> None:
        """Add a gzipped tile; tiles come in the order of their PMTiles ids."""


@contextmanager
def archive_writer(path: Path, meta: ArchiveMeta) -> Iterator[ArchiveWriter]:
    """A writer for the format that the file's ending names; the file is there when the block ends
    well. Raises ExportRefused.
    """
    make = WRITERS.get(path.suffix.lower())
    if make is None:
        raise ExportRefused(f"{path.name}: write a name that ends with {' or '.join(WRITERS)}")
    if not path.parent.is_dir():
        raise ExportRefused(f"{path.parent}: no such directory")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with make(part, meta) as writer:
            yield writer
        with part.open("rb+") as done:
            os.fsync(done.fileno())
        part.replace(path)
    except OSError as exc:
        raise ExportRefused(f"{path}: {exc.strerror or exc}") from exc
    finally:
        part.unlink(missing_ok=True)


class PmtilesWriter:
    """Equal tiles are kept once. Entries are held in memory: 32 bytes each."""

    def __init__(self, tiles: IO[bytes]) -> None:
        self._tiles = tiles
        self._columns = [array("q") for _ in range(4)]  # ids, runs, lengths, offsets
        self._known: dict[bytes, int] = {}
        self._end = 0
        self._count = 0

    def add(self, at: TileAddress, body: bytes) -> None:
        ids, runs, _, offsets = self._columns
        tile_id = zxy_to_tileid(*at)
        if ids and tile_id < ids[-1] + runs[-1]:
            raise ValueError(f"{at} comes too late")
        self._count += 1
        digest = hashlib.blake2b(body, digest_size=16).digest()
        offset = self._known.get(digest)
        if offset is None:
            offset = self._known[digest] = self._end
            self._tiles.write(body)
            self._end += len(body)
        elif ids and offsets[-1] == offset and tile_id == ids[-1] + runs[-1]:
            runs[-1] += 1
            return
        for column, value in zip(self._columns, (tile_id, 1, len(body), offset), strict=True):
            column.append(value)

    def finish(self, out: IO[bytes], meta: ArchiveMeta) -> None:
        columns = [np.frombuffer(column, np.int64) for column in self._columns]
        root, leaves = directories(columns)
        said = {
            "name": meta.name, "description": meta.description, "attribution": meta.attribution,
            "type": "overlay", "version": "1", **meta.json,
        }  # fmt: skip
        metadata = gzip.compress(json.dumps(said).encode(), mtime=0)
        after_root = HEADER_BYTES + len(root)
        after_metadata = after_root + len(metadata)
        header = {
            "version": 3,
            "root_offset": HEADER_BYTES,
            "root_length": len(root),
            "metadata_offset": after_root,
            "metadata_length": len(metadata),
            "leaf_directory_offset": after_metadata,
            "leaf_directory_length": len(leaves),
            "tile_data_offset": after_metadata + len(leaves),
            "tile_data_length": self._end,
            "addressed_tiles_count": self._count,
            "tile_entries_count": len(columns[0]),
            "tile_contents_count": len(self._known),
            "clustered": True,
            "internal_compression": Compression.GZIP,
            "tile_compression": Compression.GZIP,
            "tile_type": TileType.MVT,
            "min_zoom": meta.minzoom,
            "max_zoom": meta.maxzoom,
            **_places(meta),
        }
        for part in (serialize_header(header), root, metadata, leaves):  # type: ignore[arg-type]
            out.write(part)
        self._tiles.seek(0)
        shutil.copyfileobj(self._tiles, out, 2**20)


def _places(meta: ArchiveMeta) -> dict[str, int]:
    west, south, east, north = (round(degrees * E7) for degrees in meta.bounds)
    longitude, latitude, zoom = meta.centre
    return {
        "min_lon_e7": west,
        "min_lat_e7": south,
        "max_lon_e7": east,
        "max_lat_e7": north,
        "center_zoom": zoom,
        "center_lon_e7": round(longitude * E7),
        "center_lat_e7": round(latitude * E7),
    }


def directories(columns: Sequence[Numbers]) -> tuple[bytes, bytes]:
    """The root directory, small enough to be fetched with the header, and the leaves behind it."""
    root = directory(*columns)
    if len(root) <= MOST_ROOT_BYTES:
        return root, b""
    size = LEAF_ENTRIES
    while True:
        starts = np.arange(0, len(columns[0]), size)
        leaves = [directory(*(column[at : at + size] for column in columns)) for at in starts]
        lengths = np.array([len(leaf) for leaf in leaves], np.int64)
        offsets = np.cumsum(lengths) - lengths
        root = directory(columns[0][starts], np.zeros(len(starts), np.int64), lengths, offsets)
        if len(root) <= MOST_ROOT_BYTES:
            return root, b"".join(leaves)
        size *= 2


def directory(ids: Numbers, runs: Numbers, lengths: Numbers, offsets: Numbers) -> bytes:
    """One directory, packed."""
    steps = np.diff(ids, prepend=0)
    ends = offsets + lengths
    follows = np.concatenate(([False], offsets[1:] == ends[:-1]))[: len(ids)]
    said = np.where(follows, 0, offsets + 1)
    numbers = np.concatenate(([len(ids)], steps, runs, lengths, said)).astype(np.int64)
    return gzip.compress(varints.encode(numbers), mtime=0)


@contextmanager
def _pmtiles(path: Path, meta: ArchiveMeta) -> Iterator[ArchiveWriter]:
    with tempfile.TemporaryFile(dir=path.parent) as tiles:
        writer = PmtilesWriter(tiles)
        yield writer
        with path.open("wb") as out:
            writer.finish(out, meta)


class MbtilesWriter:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._rows: list[tuple[int, int, int, bytes]] = []

    def add(self, at: TileAddress, body: bytes) -> None:
        self._rows.append((at.z, at.x, (1 << at.z) - 1 - at.y, body))
        if len(self._rows) >= ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        self._connection.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", self._rows)
        self._rows.clear()


@contextmanager
def _mbtiles(path: Path, meta: ArchiveMeta) -> Iterator[ArchiveWriter]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(MBTILES_TABLES)
        connection.execute("BEGIN")
        writer = MbtilesWriter(connection)
        yield writer
        writer.flush()
        connection.executemany("INSERT INTO metadata VALUES (?, ?)", _mbtiles_metadata(meta))
        connection.execute("COMMIT")
        connection.executescript(MBTILES_INDEXES)


def _mbtiles_metadata(meta: ArchiveMeta) -> list[tuple[str, str]]:
    more = {name: value for name, value in meta.json.items() if name != "vector_layers"}
    said = {
        "name": meta.name,
        "format": "pbf",
        "bounds": ",".join(f"{degrees:.7f}" for degrees in meta.bounds),
        "center": "{:.7f},{:.7f},{}".format(*meta.centre),
        "minzoom": str(meta.minzoom),
        "maxzoom": str(meta.maxzoom),
        "attribution": meta.attribution,
        "description": meta.description,
        "type": "overlay",
        "version": "1",
        "json": json.dumps({"vector_layers": meta.json.get("vector_layers", [])}),
    }
    said |= {k: v if isinstance(v, str) else json.dumps(v) for k, v in more.items()}
    return list(said.items())


WRITERS: dict[str, Any] = {".pmtiles": _pmtiles, ".mbtiles": _mbtiles}
