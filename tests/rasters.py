"""Rasters that tests make, as offices and cameras write them: striped, without overviews."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import transform_bounds

WEST, SOUTH, EAST, NORTH = 4.80, 45.20, 4.90, 45.26


def ramp(width: int = 1500, height: int = 1200, kind: str = "float32", bands: int = 1) -> Any:
    """Values that tell each pixel from its neighbours."""
    values = np.arange(width * height, dtype=np.float64).reshape(height, width)
    top = 250 if kind == "uint8" else 30_000
    return np.stack([((values * (band + 1)) % top).astype(kind) for band in range(bands)])


def write_plain(
    path: Path, data: Any = None, *, crs: str | None = "EPSG:4326", **more: Any
) -> Path:
    """A plain GeoTIFF over a part of the sample city."""
    data = ramp() if data is None else data
    bands, height, width = data.shape
    bounds = (WEST, SOUTH, EAST, NORTH)
    if crs not in (None, "EPSG:4326"):
        bounds = transform_bounds("EPSG:4326", crs, *bounds)
    placed = {"transform": rasterio.transform.from_bounds(*bounds, width, height), "crs": crs}
    profile = {"driver": "GTiff", "count": bands, "dtype": data.dtype} | placed | more
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # some tests want just that
        with rasterio.open(path, "w", width=width, height=height, **profile) as raster:
            raster.write(data)
    return path
