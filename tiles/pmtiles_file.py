"""Read a PMTiles (version 3) file: one tile costs a look into directories kept in memory and one
read of the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import brotli
import numpy as np
from isal import isal_zlib
from pmtiles.tile import Compression, TileType, deserialize_header, zxy_to_tileid

from layers.catalog import Bounds
from tiles import varints
from tiles.address import TileAddress
from tiles.archive import BLOCKING, ArchiveInfo, FileState, TileKind
from tiles.errors import ArchiveBroken
from tiles.varints import Numbers

HEADER_BYTES = 127
MOST_DIRECTORY_BYTES = 64 * 2**20  # unpacked; a well made one has under a megabyte
MOST_TILE_BYTES = 64 * 2**20
DIRECTORY_ENTRIES_KEPT = 2**20  # of leaves, 32 bytes each
DEPTH = 4  # of directories within directories
E7 = 10_000_000
KINDS = {
    TileType.MVT: TileKind.MVT,
    TileType.PNG: TileKind.PNG,
    TileType.JPEG: TileKind.JPG,
    TileType.WEBP: TileKind.WEBP,
}


@dataclass(frozen=True, slots=True)
class Directory:
    """Entries in order of tile id. A run of 0 means that the entry names a leaf directory."""

    ids: Numbers
    runs: Numbers
    lengths: Numbers
    offsets: Numbers

    def find(self, tile_id: int) -> tuple[int, int, bool] | None:
        """Offset, length and whether it is a leaf, of the entry that holds this id."""
        at = int(np.searchsorted(self.ids, tile_id, "right")) - 1
        if at < 0:
            return None
        run = int(self.runs[at])
        if run and tile_id - int(self.ids[at]) >= run:
            return None
        return int(self.offsets[at]), int(self.lengths[at]), run == 0


def parse_directory(raw: bytes) -> Directory:
    """Raises ValueError for bytes that are no directory."""
    numbers = varints.decode(raw)
    count = int(numbers[0]) if len(numbers) else -1
    if count < 0 or len(numbers) != 1 + 4 * count:
        raise ValueError("a directory does not hold what it says")
    steps, runs, lengths, offsets = numbers[1:].reshape(4, count)
    return Directory(np.cumsum(steps), runs, lengths, _absolute(offsets, lengths))


def _absolute(said: Numbers, lengths: Numbers) -> Numbers:
    """Offsets are said plus one; 0 means: right after the entry before."""
    if not len(said):
        return said
    if said[0] == 0:
        raise ValueError("the first offset is missing")
    ends = np.concatenate(([0], np.cumsum(lengths)))
    said_at = np.maximum.accumulate(np.where(said > 0, np.arange(len(said)), 0))
    return said[said_at] - 1 + ends[:-1] - ends[said_at]


class PmtilesFile:
    """Reads with `pread`, never from a mapping: a file that shrinks under a mapping kills us."""

    inline = True

    def __init__(self, path: Path) -> None:
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._leaves: OrderedDict[int, Directory] = OrderedDict()
        self._entries_kept = 0
        self.state = FileState.of_open(self._descriptor)
        self._begin()

    def _begin(self) -> None:
        head = self._pread(HEADER_BYTES, 0, BLOCKING)
        try:
            self._header: Any = deserialize_header(head)
            if self._header["tile_compression"] not in UNPACK:
                raise ValueError(f"its tiles are packed with {self._header['tile_compression']}")
            root = self._internal("root_offset", "root_length")
            said = self._internal("metadata_offset", "metadata_length") or b"{}"
            self._root = parse_directory(root)
            self.info = _info(self._header, json.loads(said))
        except ArchiveBroken:
            raise
        except Exception as exc:
            raise ArchiveBroken(f"is no PMTiles file of version 3: {exc!r}") from exc
        self.mark = hashlib.blake2b(head + root, digest_size=8).hexdigest()

    def _internal(self, offset: str, length: str) -> bytes:
        packed = self._pread(self._header[length], self._header[offset], BLOCKING)
        return _unpack(packed, self._header["internal_compression"], MOST_DIRECTORY_BYTES)

    @property
    def addressed(self) -> int:
        """How many tiles it says it has."""
        return int(self._header["addressed_tiles_count"])

    @property
    def unchanged(self) -> bool:
        return FileState.of_open(self._descriptor) == self.state

    def read(self, at: TileAddress, *, wait: bool = True) -> bytes | None:
        flags = BLOCKING if wait else os.RWF_NOWAIT
        tile_id = zxy_to_tileid(*at)
        directory = self._root
        for _ in range(DEPTH):
            if (found := directory.find(tile_id)) is None:
                return None
            offset, length, is_leaf = found
            if not is_leaf:
                return self._tile(offset, length, flags)
            directory = self._leaf(offset, length, flags)
        raise ArchiveBroken("has directories within directories without end")

    def _tile(self, offset: int, length: int, flags: int) -> bytes:
        if length > MOST_TILE_BYTES:
            raise ArchiveBroken(f"says a tile has {length} bytes")
        tile = self._pread(length, self._header["tile_data_offset"] + offset, flags)
        packing = self._header["tile_compression"]
        if packing in (Compression.NONE, Compression.UNKNOWN, Compression.GZIP):
            return tile
        return _unpack(tile, packing, MOST_TILE_BYTES)

    def _leaf(self, offset: int, length: int, flags: int) -> Directory:
        with self._lock:
            if (known := self._leaves.get(offset)) is not None:
                self._leaves.move_to_end(offset)
                return known
        packed = self._pread(length, self._header["leaf_directory_offset"] + offset, flags)
        packing = self._header["internal_compression"]
        try:
            leaf = parse_directory(_unpack(packed, packing, MOST_DIRECTORY_BYTES))
        except ValueError as exc:
            raise ArchiveBroken(str(exc)) from exc
        with self._lock:
            self._keep(offset, leaf)
        return leaf

    def _keep(self, offset: int, leaf: Directory) -> None:
        if offset in self._leaves:
            return
        self._leaves[offset] = leaf
        self._entries_kept += len(leaf.ids)
        while self._entries_kept > DIRECTORY_ENTRIES_KEPT and len(self._leaves) > 1:
            _, gone = self._leaves.popitem(last=False)
            self._entries_kept -= len(gone.ids)

    def _pread(self, length: int, offset: int, flags: int) -> bytes:
        if length > MOST_DIRECTORY_BYTES:
            raise ArchiveBroken(f"says a part has {length} bytes")
        buffer = bytearray(length)
        try:
            got = os.preadv(self._descriptor, [buffer], offset, flags)
        except BlockingIOError:
            raise
        except OSError as exc:
            if flags:  # a file system that cannot say whether it would block
                raise BlockingIOError from exc
            raise ArchiveBroken(f"cannot be read: {exc.strerror}") from exc
        if got == length:
            return bytes(buffer)
        if flags:  # only a part was in memory
            raise BlockingIOError
        raise ArchiveBroken("is cut off")

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:  # whoever still reads holds it, so it is let go and not closed
        self.close()


UNPACK_ERRORS: Any = (isal_zlib.error, brotli.error)


def _unpack(packed: bytes, packing: Compression, most: int) -> bytes:
    try:
        unpacked: bytes = UNPACK[packing](packed)
    except KeyError:
        raise ArchiveBroken(
            f"is packed with {packing.name.lower()}, which we cannot read"
        ) from None
    except UNPACK_ERRORS as exc:
        raise ArchiveBroken(f"holds a part that cannot be unpacked: {exc}") from exc
    if len(unpacked) > most:
        raise ArchiveBroken("holds a part that grows beyond measure when unpacked")
    return unpacked


def _gunzip(packed: bytes) -> bytes:
    machine = isal_zlib.decompressobj(31)
    unpacked: bytes = machine.decompress(packed, MOST_DIRECTORY_BYTES + 1)
    return unpacked


UNPACK: dict[Compression, Any] = {
    Compression.UNKNOWN: bytes,
    Compression.NONE: bytes,
    Compression.GZIP: _gunzip,
    Compression.BROTLI: brotli.decompress,
}


def _info(header: Any, metadata: dict[str, Any]) -> ArchiveInfo:
    if header["tile_type"] not in KINDS:
        raise ValueError(f"its tiles are {header['tile_type'].name.lower()}, which we do not serve")
    corners = (
        header[name] / E7 for name in ("min_lon_e7", "min_lat_e7", "max_lon_e7", "max_lat_e7")
    )
    centre = (header["center_lon_e7"] / E7, header["center_lat_e7"] / E7, header["center_zoom"])
    return ArchiveInfo(
        kinds=(KINDS[header["tile_type"]],),
        minzoom=header["min_zoom"],
        maxzoom=header["max_zoom"],
        bounds=Bounds(*corners),
        centre=centre,
        vector_layers=tuple(metadata.get("vector_layers") or ()),
        metadata=metadata,
    )
