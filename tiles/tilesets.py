"""Tilesets at work: files held open, noticed when they change, read off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard, TypeVar, cast

import structlog

from layers.errors import QueryRefused, StoreBusy
from layers.tilesets import FileKind, PublishedTileset
from tiles.address import TileAddress
from tiles.archive import ArchiveInfo, FileState, TileFile, TileKind
from tiles.cache import Entry, MemoryCache, SingleFlight
from tiles.errors import AddressRefused, ArchiveBroken, TilesetUnavailable
from tiles.mbtiles_file import MbtilesFile
from tiles.pmtiles_file import PmtilesFile
from tiles.rendering import PARAMETERS, Rendering, rendering

if TYPE_CHECKING:
    from tiles.raster import RasterFile  # GDAL takes a second to import: only where it is needed

MOST_OPEN = 64  # files; more are opened and closed in turn
MOST_WAITING = 64  # for a thread that cuts images
THREADS = 4
DRAWN_BYTES = 32 * 2**20  # of finished images kept
ATTEMPTS = 3
IMAGE_FORMAT = "1"  # raise it when the same pixels are to give another image

T = TypeVar("T")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class TilesetRequest:
    """A tile of a tileset. `query` holds the parameters as they were given."""

    at: TileAddress
    kind: TileKind
    scale: int = 1
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A request and the file that answers it, as both were at one moment."""

    published: PublishedTileset
    asked: TilesetRequest
    file: TileFile | RasterFile
    validator: str
    how: Rendering | None = None


class Tilesets:
    """The open files of a worker."""

    def __init__(self, drawn_bytes: int = DRAWN_BYTES) -> None:
        self._open: OrderedDict[str, tuple[PublishedTileset, TileFile | RasterFile]] = OrderedDict()
        self._opening: SingleFlight[str, TileFile | RasterFile] = SingleFlight()
        self._drawing: SingleFlight[tuple[str, str], Entry] = SingleFlight()
        self._drawn = MemoryCache(drawn_bytes)
        self._threads = ThreadPoolExecutor(THREADS, "tilesets")
        self._waiting = 0
        self._said: dict[str, str] = {}

    async def info(self, published: PublishedTileset) -> ArchiveInfo:
        """Raises TilesetUnavailable."""
        return (await self._file(published)).info

    async def find(self, published: PublishedTileset, asked: TilesetRequest) -> Found:
        """What would answer, with its validator, before anything is read or drawn.

        Raises TilesetUnavailable, AddressRefused for another kind of tile, QueryRefused.
        """
        file = await self._file(published)
        if asked.kind not in file.info.kinds:
            kinds = " or ".join(file.info.kinds)
            raise AddressRefused("format", asked.kind.value, f"this tileset's tiles are {kinds}")
        how = _how(published, asked, file)
        said = f"{published.id}|{file.state}|{file.mark}|{asked.at}|{asked.kind}|{asked.scale}"
        if how is not None:
            said += f"|{IMAGE_FORMAT}|{how.key}"
        validator = hashlib.blake2b(said.encode(), digest_size=9).hexdigest()
        return Found(published=published, asked=asked, file=file, validator=validator, how=how)

    async def read(self, found: Found) -> tuple[bytes | None, str]:
        """The tile as stored or drawn, or None; with its validator, which is another one where the
        file was changed meanwhile. Raises TilesetUnavailable.
        """
        for _ in range(ATTEMPTS):
            try:
                body = await self._read(found)
            except (ArchiveBroken, OSError) as exc:
                if _unchanged(found.file):
                    raise self._unavailable(found.published, exc) from exc
            else:
                if _unchanged(found.file):
                    return body, found.validator
            self._open.pop(found.published.id, None)
            found = await self.find(found.published, found.asked)
        raise TilesetUnavailable(found.published.id, "its file is being written; try again")

    async def _read(self, found: Found) -> bytes | None:
        at, file = found.asked.at, found.file
        zooms = found.published.tileset
        if (zooms.minzoom or 0) > at.z or (zooms.maxzoom is not None and at.z > zooms.maxzoom):
            return None
        if found.how is not None:
            return (await self._draw(found)).body or None
        archive = cast("TileFile", file)
        if archive.inline:
            with contextlib.suppress(BlockingIOError):
                return archive.read(at, wait=False)
        return await self._in_thread(lambda: archive.read(at))

    async def _draw(self, found: Found) -> Entry:
        key = f"{found.published.id}/{found.asked}"
        if (hit := await self._drawn.get(key, found.validator)) is not None:
            return hit

        async def draw() -> Entry:
            asked, how = found.asked, found.how
            assert _is_raster(found.file)
            assert how is not None
            render = found.file.render
            body = await self._in_thread(lambda: render(asked.at, how, asked.kind, asked.scale))
            entry = Entry(validator=found.validator, body=body or b"")
            if _unchanged(found.file):
                await self._drawn.put(key, entry)
            return entry

        return await self._drawing.do((key, found.validator), draw)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING + THREADS:
            raise StoreBusy("too many ask for tiles of files at once")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

    async def _file(self, published: PublishedTileset) -> TileFile | RasterFile:
        """The file as it is now: the open one, or opened anew where it was replaced."""
        try:
            state = FileState.of(published.path)
            known = self._open.get(published.id)
            if known is not None and known[0] is published and known[1].state == state:
                self._open.move_to_end(published.id)
                return known[1]
            key = f"{published.id}/{state}"
            return await self._opening.do(key, lambda: self._opened(published))
        except (ArchiveBroken, OSError) as exc:
            raise self._unavailable(published, exc) from exc

    async def _opened(self, published: PublishedTileset) -> TileFile | RasterFile:
        file = await self._in_thread(lambda: open_file(published))
        self._open[published.id] = (published, file)
        self._open.move_to_end(published.id)
        while len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)  # whoever still reads it holds it
        self._said.pop(published.id, None)
        return file

    def _unavailable(self, published: PublishedTileset, exc: Exception) -> TilesetUnavailable:
        """Tell the log where and why, once for each reason; tell the client less."""
        missing = isinstance(exc, FileNotFoundError)
        reason = "is missing" if missing else str(exc)
        if self._said.get(published.id) != reason:
            self._said[published.id] = reason
            log.error(
                "a tileset's file cannot be served",
                tileset=published.id, file=str(published.path), reason=reason,
            )  # fmt: skip
        said = "its file is missing" if missing else "its file cannot be read"
        return TilesetUnavailable(published.id, said)

    async def close(self) -> None:
        self._open.clear()
        await asyncio.to_thread(self._threads.shutdown)


def open_file(published: PublishedTileset) -> TileFile | RasterFile:
    """Open what a tileset names. Raises OSError, ArchiveBroken."""
    if published.tileset.kind is FileKind.COG:
        from tiles.raster import RasterFile

        return RasterFile(published.path, published.tileset)
    return open_archive(published.path)


def open_archive(path: Path) -> TileFile:
    """Open a PMTiles or MBTiles file. Raises OSError, ArchiveBroken."""
    return MbtilesFile(path) if path.suffix.lower() == ".mbtiles" else PmtilesFile(path)


def _is_raster(file: TileFile | RasterFile) -> TypeGuard[RasterFile]:
    return hasattr(file, "bands")


def _unchanged(file: TileFile | RasterFile) -> bool:
    try:
        return file.unchanged
    except (OSError, ArchiveBroken):
        return False


def _how(
    published: PublishedTileset, asked: TilesetRequest, file: TileFile | RasterFile
) -> Rendering | None:
    known = PARAMETERS if _is_raster(file) else ()
    for name, values in asked.query.items():
        if name not in known:
            advice = f"parameters are {', '.join(known)}" if known else "its tiles take none"
            raise QueryRefused(name, ",".join(values)[:100], f"is not a parameter here; {advice}")
    if _is_raster(file):
        return rendering(asked.query, published.tileset.raster, file.bands)
    if asked.scale != 1:
        raise AddressRefused("y", "@2x", "is for rasters; tiles in an archive have one size")
    return None
