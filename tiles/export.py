"""A layer as it is at one moment, all its tiles in one file."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from layers.catalog import Bounds, PublishedLayer
from layers.columns import in_language
from layers.feed import Feed
from layers.snapshot import Snapshot, open_snapshot
from layers.sql import ident
from layers.tables import CITY
from tiles.address import TileAddress, TileLayer, parse_layers
from tiles.archive_writers import ArchiveMeta, ArchiveWriter, archive_writer
from tiles.batch import BatchedDatabase
from tiles.cache import Entry, Usage
from tiles.drawn import draw
from tiles.errors import ExportRefused
from tiles.occupied import Tiles, occupied
from tiles.render import Renderer
from tiles.tilejson import WORLD, tilejson

AHEAD = 512  # tiles asked for before the first of them is written
AHEAD_BYTES = 64 * 2**20  # of finished tiles that wait to be written
Tell = Callable[[int, int], None]  # tiles done, of how many


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportJob:
    """What to export: layer ids separated by commas. Without zooms, those of the layers."""

    layers: str
    path: Path
    minzoom: int | None = None
    maxzoom: int | None = None
    bbox: Bounds | None = None
    connections: int = 2


@dataclass(slots=True, kw_only=True)
class ExportReport:
    """What was written. `empty` tiles had rows near by and nothing to draw."""

    file: str
    revisions: Mapping[str, int]
    minzoom: int
    maxzoom: int
    tiles: int = 0
    empty: int = 0
    truncated: int = 0
    bytes: int = 0
    by_zoom: dict[int, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class NoCache:
    """Every tile is made anew."""

    async def get(self, key: str, validator: str) -> Entry | None:
        return None

    async def put(self, key: str, entry: Entry) -> None:
        pass

    @property
    def usage(self) -> Usage:
        return Usage(0, 0)


async def make_archive(
    url: str, job: ExportJob, tell: Tell = lambda _done, _all: None
) -> ExportReport:
    """Make the archive from one snapshot, by the very path that makes live tiles.

    Raises LayerNotFound, AddressRefused, ExportRefused, StoreUnavailable.
    """
    async with open_snapshot(url, size=job.connections) as snapshot:
        feed = Feed(snapshot, url)
        await feed.read()
        database = BatchedDatabase(snapshot, connections=job.connections)
        renderer = Renderer(database, feed, NoCache())
        wanted = parse_layers(job.layers)
        renderer.validator(wanted, TileAddress(0, 0, 0))  # says what is wrong with the ids
        layers = [feed.catalog.layer(layer_id) for layer_id in ids_of(wanted)]
        zooms = zooms_of(layers, job.minzoom, job.maxzoom)
        plan = await occupied(snapshot, [each.layer for each in layers], zooms, job.bbox)
        total = sum(len(xs) for xs, _ in plan.values())
        if not total:
            raise ExportRefused("there is nothing to export: no row lies in these zooms and places")
        bounds = _common(await _extent(snapshot, layers), job.bbox)
        meta = _meta(tilejson(draw(feed.catalog, wanted), ""), layers, zooms, bounds)
        report = ExportReport(
            file=str(job.path), revisions={each.id: each.revision for each in layers},
            minzoom=zooms[0], maxzoom=zooms[-1],
        )  # fmt: skip
        with archive_writer(job.path, meta) as writer:
            async with (
                aclosing(database),
                aclosing(in_order(renderer, wanted, addresses(plan))) as made,
            ):
                await _write(made, writer, report, lambda done: tell(done, total))
        report.bytes = job.path.stat().st_size
        return report


async def _write(
    made: AsyncIterator[tuple[TileAddress, Entry]],
    writer: ArchiveWriter,
    report: ExportReport,
    tell: Callable[[int], None],
) -> None:
    done = 0
    async for at, entry in made:
        done += 1
        report.truncated += bool(entry.truncated)
        if entry.body:
            writer.add(at, entry.body)
            report.tiles += 1
            report.by_zoom[at.z] = report.by_zoom.get(at.z, 0) + 1
        else:
            report.empty += 1
        tell(done)


def ids_of(wanted: Sequence[TileLayer]) -> list[str]:
    """The layers whose rows are shown, each once."""
    return list(dict.fromkeys(each.id for each in wanted))


def zooms_of(layers: Sequence[PublishedLayer], minzoom: int | None, maxzoom: int | None) -> range:
    """The zooms asked for, within those at which any of the layers has tiles."""
    first = max(minzoom or 0, min(each.layer.minzoom for each in layers))
    last = max(each.layer.maxzoom for each in layers)
    last = last if maxzoom is None else min(maxzoom, last)
    if first > last:
        raise ExportRefused(f"no zoom from {first} to {last}: the layers have tiles at others")
    return range(first, last + 1)


def addresses(plan: Mapping[int, Tiles]) -> Iterator[TileAddress]:
    for z, (xs, ys) in sorted(plan.items()):
        for x, y in zip(xs.tolist(), ys.tolist(), strict=True):
            yield TileAddress(z, x, y)


async def in_order(
    renderer: Renderer, wanted: Sequence[TileLayer], places: Iterator[TileAddress]
) -> AsyncGenerator[tuple[TileAddress, Entry], None]:
    """The tiles in the order wanted, many of them in the making at once."""
    making: deque[tuple[TileAddress, asyncio.Task[Entry]]] = deque()
    largest = AHEAD_BYTES / 64
    try:
        for at in places:
            making.append((at, asyncio.create_task(renderer.render(wanted, at))))
            while len(making) >= max(8, min(AHEAD, AHEAD_BYTES / largest)):
                at, entry = making[0][0], await making[0][1]
                making.popleft()
                largest = max(len(entry.body), largest * 0.99)
                yield at, entry
        while making:
            at, entry = making[0][0], await making[0][1]
            making.popleft()
            yield at, entry
    finally:
        for _, task in making:
            task.cancel()
        await asyncio.gather(*(task for _, task in making), return_exceptions=True)


def _meta(
    said: dict[str, Any], layers: Sequence[PublishedLayer], zooms: range, bounds: Bounds
) -> ArchiveMeta:
    """What TileJSON says, and more than it has room for."""
    declared = [each.layer for each in layers]
    return ArchiveMeta(
        name=said["name"],
        description=said["description"],
        attribution=said["attribution"],
        minzoom=zooms[0],
        maxzoom=zooms[-1],
        bounds=bounds,
        json={
            "vector_layers": [_narrowed(each, zooms) for each in said["vector_layers"]],
            "licence": ", ".join(dict.fromkeys(layer.licence for layer in declared)),
            "publisher": ", ".join(dict.fromkeys(layer.publisher for layer in declared)),
            "titles": {layer.id: in_language(layer.title) for layer in declared},
            "quartier:revision": {each.id: each.revision for each in layers},
            "generator": f"quartier {version('quartier')}",
        },
    )


def _narrowed(said: dict[str, Any], zooms: range) -> dict[str, Any]:
    return {
        **said,
        "minzoom": max(said["minzoom"], zooms[0]),
        "maxzoom": min(said["maxzoom"], zooms[-1]),
    }


async def _extent(snapshot: Snapshot, layers: Sequence[PublishedLayer]) -> Bounds:
    extents = []
    for each in layers:
        row = await snapshot.fetchrow(
            "SELECT ST_XMin(e), ST_YMin(e), ST_XMax(e), ST_YMax(e)"
            f" FROM (SELECT ST_Extent(geom) AS e FROM {CITY}.{ident(each.id)}) x"
        )
        extents.append(None if row[0] is None else Bounds(*row))
    return Bounds.around(extents) or WORLD


def _common(extent: Bounds, bbox: Bounds | None) -> Bounds:
    """What of an extent lies in the square world, and in the box where that does not cross 180°."""
    limits = [WORLD] if bbox is None or bbox.west > bbox.east else [WORLD, bbox]
    west, south, east, north = extent
    for limit in limits:
        west, south = max(west, limit.west), max(south, limit.south)
        east, north = min(east, limit.east), min(north, limit.north)
    if west > east or south > north:  # only what reaches over the box's edge is in it
        return limits[-1]
    return Bounds(west, south, east, north)
