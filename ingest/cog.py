"""From a plain GeoTIFF to one that tiles are cut from quickly: tiled, with overviews (a COG).

The pixels stay what they are, in the CRS they are in. A COG in Web Mercator ("web-optimised") would
be read without warping, but its values are resampled once for all, so that classes at borders and
heights are no longer those that were published; warping a tile's worth of pixels at each request
costs a few milliseconds (figures in ARCHITECTURE.md).
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Compression
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.shutil import copy as gdal_copy
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from ingest.errors import SourceRefused
from layers.tilesets import Tileset

RECIPE = "1"  # raise it when the same source is to become another file
MOST_PIXELS = 40_000_000_000  # 200 000 × 200 000
MOST_BYTES = 128 << 30  # unpacked
MOST_BLOCK_BYTES = 1 << 30  # of a strip, which is read whole
MOST_BANDS = 64
SMALL = 512  # pixels: what is no larger needs no tiles and no overviews
COARSEST = 1024  # pixels of the longer side of the last overview, at most
MERCATOR_NORTH = 85.06
DEGREES = CRS.from_epsg(4326)
COMPARED = 256  # pixels of the side of each of the windows that are compared afterwards
GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_CACHEMAX": 256,  # MB
}


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The raster, by the GeoTIFF driver alone. What GDAL says becomes a SourceRefused."""
    try:
        with (
            warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
            rasterio.Env(**GDAL),
            rasterio.open(path, driver="GTiff", sharing=False) as dataset,
        ):
            yield dataset
    except (RasterioError, CPLE_BaseError, OSError) as exc:
        said = str(exc).replace(str(path), "the file").splitlines()
        raise SourceRefused(
            path.name, f"cannot be read as a GeoTIFF: {said[0] if said else type(exc).__name__}"
        ) from exc


def check(dataset: Any, name: str, tileset: Tileset) -> None:
    """Raise SourceRefused where no tiles could be cut from it, or too much would be read."""
    _check_size(dataset, name)
    _check_bands(dataset, name, tileset)
    _check_place(dataset, name)


def _check_size(dataset: Any, name: str) -> None:
    width, height = dataset.width, dataset.height
    deep = max(np.dtype(kind).itemsize for kind in dataset.dtypes)
    if width * height > MOST_PIXELS or width * height * dataset.count * deep > MOST_BYTES:
        raise SourceRefused(
            name,
            f"has {width:,} × {height:,} pixels in {dataset.count} bands, more than are taken;"
            " cut it into sheets, and declare a tileset for each",
        )  # fmt: skip
    rows, columns = dataset.block_shapes[0]
    if rows * columns * dataset.count * deep > MOST_BLOCK_BYTES:
        raise SourceRefused(
            name, f"lies in strips of {rows:,} × {columns:,} pixels, too large to be read at once;"
            " write it anew: gdal_translate -co TILED=YES",
        )  # fmt: skip


def _check_bands(dataset: Any, name: str, tileset: Tileset) -> None:
    if dataset.count > MOST_BANDS:
        raise SourceRefused(name, f"has {dataset.count} bands; take {MOST_BANDS} at most")
    if len(set(dataset.dtypes)) > 1:
        kinds = ", ".join(dict.fromkeys(dataset.dtypes))
        raise SourceRefused(name, f"has bands of several types ({kinds}); bring them to one")
    if any(kind.startswith("complex") for kind in dataset.dtypes):
        raise SourceRefused(name, "holds complex numbers, which no image shows")
    if tileset.raster.bands and max(tileset.raster.bands) > dataset.count:
        said = f"has {dataset.count} bands; raster.bands names {max(tileset.raster.bands)}"
        raise SourceRefused(name, f"{said}: correct raster.bands")


def _check_place(dataset: Any, name: str) -> None:
    """It says where it lies, and that is where tiles are."""
    if dataset.gcps[0] or (dataset.crs is not None and dataset.transform.is_identity):
        raise SourceRefused(
            name, "does not say where its pixels lie (it has control points alone, or nothing);"
            " place it first: gdalwarp, or gdal_edit.py -a_ullr WEST NORTH EAST SOUTH",
        )  # fmt: skip
    if dataset.crs is None:
        raise SourceRefused(
            name, "does not say its CRS; add the right one: gdal_edit.py -a_srs EPSG:CODE"
        )
    if dataset.transform.is_degenerate:
        raise SourceRefused(name, "has pixels without a size; correct its georeference")
    corners = [dataset.transform @ at for at in _corners(dataset)]
    xs, ys = [at[0] for at in corners], [at[1] for at in corners]
    if dataset.crs.is_geographic and (max(map(abs, ys)) > 90.01 or max(map(abs, xs)) > 360.01):
        raise SourceRefused(
            name, f"reaches to {max(map(abs, xs)):,.0f}, {max(map(abs, ys)):,.0f}, which are no"
            " degrees; its CRS is probably in metres: gdal_edit.py -a_srs EPSG:CODE",
        )  # fmt: skip
    try:
        west, south, east, north = transform_bounds(
            dataset.crs, DEGREES, min(xs), min(ys), max(xs), max(ys)
        )
    except (RasterioError, CPLE_BaseError) as exc:
        raise SourceRefused(
            name, f"lies where its CRS has no places ({exc}); correct its CRS or its georeference"
        ) from exc
    finite = all(map(math.isfinite, (west, south, east, north)))
    if not finite or south >= MERCATOR_NORTH or north <= -MERCATOR_NORTH or south >= north:
        raise SourceRefused(name, "lies where no tiles are; correct its CRS or its georeference")


def _corners(dataset: Any) -> list[tuple[int, int]]:
    return [(x, y) for x in (0, dataset.width) for y in (0, dataset.height)]


def read_through(dataset: Any) -> None:
    """Read every pixel and every overview, because a damaged one shows only then."""
    for band in dataset.indexes:
        dataset.checksum(band)
    for level in range(len(dataset.overviews(1))):
        with rasterio.open(
            dataset.name, driver="GTiff", sharing=False, overview_level=level
        ) as overview:
            for band in overview.indexes:
                overview.checksum(band)


def is_cog(dataset: Any) -> bool:
    """Tiled, with overviews down to a small one, and laid out as a COG is."""
    longer = max(dataset.width, dataset.height)
    if longer <= SMALL:
        return not _is_turned(dataset)
    rows, columns = dataset.block_shapes[0]
    factors = dataset.overviews(1)
    is_striped = columns >= dataset.width and rows < dataset.height
    if is_striped or max(rows, columns) > COARSEST or not factors or _is_turned(dataset):
        return False
    return longer / factors[-1] <= COARSEST and _is_laid_out(dataset, len(factors))


def _is_laid_out(dataset: Any, overviews: int) -> bool:
    """Directories first, from large to small; then pixels, from small to large."""
    levels = [None, *range(overviews)]
    directories = [_offset(dataset, "IFD_OFFSET", level) for level in levels]
    pixels = [_offset(dataset, "BLOCK_OFFSET_0_0", level) for level in levels]
    there = [offset for offset in pixels if offset]  # a block of nothing but no data has none
    return directories == sorted(directories) and there == sorted(there, reverse=True)


def _offset(dataset: Any, what: str, level: int | None) -> int:
    said = dataset.get_tag_item(what, "TIFF", bidx=1, ovr=level)
    return int(said or 0)


def _is_turned(dataset: Any) -> bool:
    """Whether its rows do not run from west to east, and its columns from north to south."""
    transform = dataset.transform
    return bool(transform.b or transform.d or transform.a < 0 or transform.e > 0)


def overview_resampling(dataset: Any, tileset: Tileset) -> str:
    """How overviews are made: as declared; else photographs and measures by averages, and what may
    be classes by picking one.
    """
    if "resampling" in tileset.raster.model_fields_set:
        return tileset.raster.resampling
    kinds = set(dataset.colorinterp)
    is_photograph = {ColorInterp.red, ColorInterp.green, ColorInterp.blue} <= kinds
    is_measure = dataset.dtypes[0].startswith("float") or dataset.count > 1
    return "average" if is_photograph or is_measure else "nearest"


def recipe(dataset: Any, tileset: Tileset) -> str:
    """What the file that is made depends on, beside its source."""
    return f"{RECIPE}-{overview_resampling(dataset, tileset)}"


def write_cog(dataset: Any, target: Path, tileset: Tileset) -> None:
    """Write it as a COG, and compare what was written with what was read. What was lossy (JPEG)
    stays so at a high quality, because without loss it would be ten times the size.
    """
    options = {
        "driver": "COG",
        "BLOCKSIZE": 512,
        "BIGTIFF": "IF_SAFER",
        "OVERVIEWS": "IGNORE_EXISTING",
        "OVERVIEW_RESAMPLING": overview_resampling(dataset, tileset).upper(),
        "NUM_THREADS": os.cpu_count() or 1,
        **_packing(dataset),
    }
    if _is_turned(dataset):  # the same CRS, north up; what that adds is seen through
        with WarpedVRT(dataset, crs=dataset.crs, add_alpha=dataset.nodata is None) as straight:
            gdal_copy(straight, target, **options)
    else:
        gdal_copy(dataset, target, **options)
    _compare(dataset, target, is_same=not _is_turned(dataset) and options["COMPRESS"] != "JPEG")


def _packing(dataset: Any) -> dict[str, Any]:
    lossy = dataset.compression is Compression.jpeg
    if lossy and dataset.count == 3 and dataset.dtypes[0] == "uint8" and not _is_turned(dataset):
        return {"COMPRESS": "JPEG", "QUALITY": 90}
    return {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "LEVEL": 6}


def _compare(dataset: Any, target: Path, *, is_same: bool) -> None:
    """Raise SourceRefused unless what was written is a COG that holds what was read."""
    with opened(target) as made:
        if not is_cog(made) or made.crs != dataset.crs or made.count < dataset.count:
            raise SourceRefused(target.name, "what was written is no COG; please report this")
        for window in _windows(dataset) if is_same else ():
            if not np.array_equal(
                made.read(window=window), dataset.read(window=window), equal_nan=_has_nan(dataset)
            ):
                raise SourceRefused(target.name, "was not written as it was read; try again")


def _has_nan(dataset: Any) -> bool:
    return bool(dataset.dtypes[0].startswith("float"))


def _windows(dataset: Any) -> list[Window]:
    """The corners and the middle."""
    across, down = dataset.width - COMPARED, dataset.height - COMPARED
    places = [(0, 0), (across, 0), (0, down), (across, down), (across // 2, down // 2)]
    return [Window(max(0, x), max(0, y), COMPARED, COMPARED) for x, y in places]
