"""Cut image tiles from a raster in a GeoTIFF. Everything here takes time: run it in a thread.

Only the GTiff driver may open a file, and GDAL looks for no other file beside it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import mercantile
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.warp import transform_bounds
from rio_tiler import reader
from rio_tiler.colormap import cmap, make_lut
from rio_tiler.errors import RioTilerError

from layers.catalog import Bounds
from layers.tilesets import Tileset
from tiles.address import TileAddress
from tiles.archive import ArchiveInfo, FileState, TileKind
from tiles.errors import ArchiveBroken
from tiles.rendering import RasterBands, Rendering, colormaps
from tiles.tilejson import WORLD

TILE_PIXELS = 256
WORLD_METRES = 40_075_016.685578488
SAMPLE_PIXELS = 1024  # the longer side of what usual ranges are taken from
USUAL_PERCENTILES = (2, 98)
MOST_WITHOUT_OVERVIEWS = 100_000_000  # pixels; more would be read for a single tile
MERCATOR, DEGREES = CRS.from_epsg(3857), CRS.from_epsg(4326)
GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_CACHEMAX": 64,  # MB
    "GDAL_NUM_THREADS": 1,
}
ENCODERS: dict[TileKind, dict[str, Any]] = {
    TileKind.PNG: {"driver": "PNG", "ZLEVEL": 4},
    TileKind.WEBP: {"driver": "WEBP", "QUALITY": 85},
}
ANYWHERE = rasterio.Affine(1, 0, 1, 0, -1, 1)  # images have no place, and rasterio wants one
Pixels = NDArray[np.uint8]


class RasterFile:
    """A raster that has been looked at. Each tile opens it anew: handles belong to one thread."""

    def __init__(self, path: Path, tileset: Tileset) -> None:
        self.state = FileState.of(path)
        self._path = path
        with self._opened() as dataset:
            _refuse_unfit(dataset)
            self.bands = RasterBands(
                count=dataset.count, usual=_usual(dataset), ranges=_ranges(dataset, tileset)
            )
            self.info = _info(dataset, tileset)
            self._palette = _palette(dataset)
            said = f"{dataset.profile}|{dataset.tags()}"
        self.mark = hashlib.blake2b(said.encode(), digest_size=8).hexdigest()
        _refuse_hints(tileset, self.bands)

    @property
    def unchanged(self) -> bool:
        return FileState.of(self._path) == self.state

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            with (
                rasterio.Env(**GDAL),
                rasterio.open(self._path, driver="GTiff", sharing=False) as dataset,
            ):
                yield dataset
        except (RasterioError, RioTilerError, OSError) as exc:
            said = str(exc).replace(str(self._path), "the file").splitlines()
            raise ArchiveBroken(f"cannot be read as a GeoTIFF: {said[0] if said else exc}") from exc

    def render(self, at: TileAddress, how: Rendering, kind: TileKind, scale: int) -> bytes | None:
        """An image of the tile, or None where there is nothing to see. Raises ArchiveBroken."""
        if not (at.z >= self.info.minzoom and _meet(self.info.bounds, at)):
            return None
        size = TILE_PIXELS * scale
        with self._opened() as dataset:
            image = reader.part(
                dataset,
                tuple(mercantile.xy_bounds(at.x, at.y, at.z)),
                height=size,
                width=size,
                dst_crs=MERCATOR,
                indexes=how.bands,
                nodata=how.nodata,
                resampling_method=how.resampling,
                reproject_method=how.resampling,
            )
            drawn = _draw(image.array, how, self._table_of(how))
            return None if drawn is None else _encode(drawn, kind)

    def _table_of(self, how: Rendering) -> Pixels | None:
        """The colours of a single band's values: those asked for, or the file's own."""
        if how.colormap is not None:
            return _table(how.colormap)
        return self._palette if how.bands == (1,) and not how.rescale else None

    def close(self) -> None:
        """Nothing is held open."""


def _refuse_unfit(dataset: Any) -> None:
    if any(kind.startswith("complex") for kind in dataset.dtypes):
        raise ArchiveBroken("holds complex numbers, which no image shows")
    if dataset.crs is None:
        raise ArchiveBroken("does not say its CRS; gdal_translate -a_srs adds it")
    pixels = dataset.width * dataset.height
    if pixels > MOST_WITHOUT_OVERVIEWS and not dataset.overviews(1):
        raise ArchiveBroken(
            f"has {pixels} pixels and no overviews; make it a COG: quartier ingest, or"
            " gdal_translate -of COG"
        )


def _palette(dataset: Any) -> Pixels | None:
    """The colours that the file gives to the values of its first band."""
    if dataset.colorinterp[0] is not ColorInterp.palette:
        return None
    table = np.zeros((256, 4), np.uint8)
    for value, colour in dataset.colormap(1).items():
        if value < len(table):
            table[value] = colour
    return table


def _refuse_hints(tileset: Tileset, bands: RasterBands) -> None:
    hints = tileset.raster
    if hints.bands and max(hints.bands) > bands.count:
        raise ArchiveBroken(f"has {bands.count} bands; raster.bands names {max(hints.bands)}")
    if hints.colormap is not None and hints.colormap not in colormaps():
        raise ArchiveBroken(f"raster.colormap {hints.colormap!r} is not known")


def _usual(dataset: Any) -> tuple[int, ...]:
    """Red, green and blue where the file says which they are, else its first band."""
    kinds = list(dataset.colorinterp)
    colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    if all(colour in kinds for colour in colours):
        return tuple(kinds.index(colour) + 1 for colour in colours)
    return (1,)


def _ranges(dataset: Any, tileset: Tileset) -> tuple[tuple[float, float], ...]:
    """What values usually are, from a small copy of the raster; nothing for bytes."""
    if all(kind == "uint8" for kind in dataset.dtypes):
        return ()
    sample = reader.read(dataset, max_size=SAMPLE_PIXELS, nodata=tileset.raster.nodata).array
    return tuple(_usual_range(band) for band in sample)


def _usual_range(band: Any) -> tuple[float, float]:
    values = band.compressed()
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = (float(x) for x in np.percentile(values, USUAL_PERCENTILES))
    return (low, high) if low < high else (low, low + 1.0)


def _info(dataset: Any, tileset: Tileset) -> ArchiveInfo:
    west, south, east, north = transform_bounds(dataset.crs, DEGREES, *dataset.bounds)
    if west >= east:  # crosses 180°
        west, east = WORLD.west, WORLD.east
    bounds = Bounds(
        max(west, WORLD.west),
        max(south, WORLD.south),
        min(east, WORLD.east),
        min(north, WORLD.north),
    )
    if not (bounds.west < bounds.east and bounds.south < bounds.north):
        raise ArchiveBroken("lies where no tiles are")
    pixel = (bounds.east - bounds.west) / 360 * WORLD_METRES / dataset.width
    maxzoom = min(22, max(0, round(math.log2(WORLD_METRES / TILE_PIXELS / pixel))))
    levels = math.ceil(math.log2(max(1, max(dataset.width, dataset.height) / TILE_PIXELS)))
    return ArchiveInfo(
        kinds=(TileKind.PNG, TileKind.WEBP),
        minzoom=max(0, maxzoom - levels) if tileset.minzoom is None else tileset.minzoom,
        maxzoom=maxzoom if tileset.maxzoom is None else tileset.maxzoom,
        bounds=bounds,
    )


def _meet(bounds: Bounds, at: TileAddress) -> bool:
    tile = mercantile.bounds(at.x, at.y, at.z)
    return bool(
        tile.west < bounds.east
        and tile.east > bounds.west
        and tile.south < bounds.north
        and tile.north > bounds.south
    )


def _draw(values: Any, how: Rendering, table: Pixels | None) -> Pixels | None:
    """Grey and opacity, or red, green, blue and opacity, as bytes; None where all is hidden."""
    seen = ~np.ma.getmaskarray(values).any(axis=0)
    data = values.data
    if data.dtype.kind == "f":
        seen &= np.isfinite(data).all(axis=0)
    if not seen.any():
        return None
    opacity = np.where(seen, 255, 0).astype(np.uint8)
    image = _as_bytes(data, how.rescale)
    if len(image) == 4:
        image, opacity = image[:3], np.minimum(opacity, image[3])
    if table is not None:
        coloured = table[image[0]].transpose(2, 0, 1)
        image, opacity = coloured[:3], np.minimum(opacity, coloured[3])
    return np.concatenate([np.where(opacity > 0, image, 0), opacity[None]]).astype(np.uint8)


def _as_bytes(data: Any, ranges: tuple[tuple[float, float], ...]) -> Pixels:
    if not ranges:
        return np.asarray(np.clip(data, 0, 255)).astype(np.uint8)
    low, high = (np.array(side, float)[:, None, None] for side in zip(*ranges, strict=True))
    share = (np.nan_to_num(data.astype(float), nan=0.0) - low) / (high - low)
    return np.asarray(np.rint(np.clip(share, 0, 1) * 255)).astype(np.uint8)


@cache
def _table(colormap: str) -> Pixels:
    """Red, green, blue and opacity of each value of a byte."""
    colours: Any = cmap.get(colormap)
    return np.asarray(make_lut(colours), np.uint8)


def _encode(image: Pixels, kind: TileKind) -> bytes:
    if kind is TileKind.WEBP and len(image) == 2:
        image = np.concatenate([np.repeat(image[:1], 3, axis=0), image[1:]])
    count, height, width = image.shape
    with MemoryFile() as memory:
        with memory.open(
            **ENCODERS[kind], count=count, height=height, width=width, dtype="uint8",
            transform=ANYWHERE,
        ) as drawn:  # fmt: skip
            drawn.write(image)
        return bytes(memory.read())
