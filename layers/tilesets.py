"""Tilesets: tiles that stand ready in a file (PMTiles, MBTiles), or are cut from a raster (COG).

A tileset has an id beside layers and maps, and no table, no revision and no features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from layers.columns import LayerId, Text, Value, Zoom

MAX_BANDS = 4  # red, green, blue and alpha: an image has no more
Band = Annotated[int, Field(ge=1, le=65_535)]
Resampling = Literal["nearest", "bilinear", "cubic", "average", "mode"]


class FileKind(StrEnum):
    """What a tileset's file is, told by its ending."""

    PMTILES = "pmtiles"
    MBTILES = "mbtiles"
    COG = "cog"


KINDS = {
    ".pmtiles": FileKind.PMTILES,
    ".mbtiles": FileKind.MBTILES,
    ".tif": FileKind.COG,
    ".tiff": FileKind.COG,
}


class RasterHints(Value):
    """How a raster becomes an image, where a request does not say otherwise."""

    bands: tuple[Band, ...] = Field(default=(), max_length=MAX_BANDS)
    rescale: tuple[tuple[float, float], ...] = Field(default=(), max_length=MAX_BANDS)
    colormap: str | None = None
    nodata: float | None = None
    resampling: Resampling = "nearest"

    @field_validator("rescale", mode="before")
    @classmethod
    def _one_range_is_a_list(cls, rescale: object) -> object:
        if (
            isinstance(rescale, list | tuple)
            and rescale
            and not isinstance(rescale[0], list | tuple)
        ):
            return [rescale]
        return rescale

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for low, high in self.rescale:
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(f"rescale: {low:g} must be less than {high:g}")
        if self.bands and len(self.bands) not in (1, 3, 4):
            raise ValueError("bands: give one, three or four")
        if len(self.rescale) > 1 and len(self.rescale) != len(self.bands):
            raise ValueError("rescale: give one range, or one for each of bands")
        if self.colormap and len(self.bands) > 1:
            raise ValueError("colormap: is for one band")
        return self


class Tileset(Value):
    """One published file of tiles, as its publisher declares it."""

    id: LayerId
    title: Text
    description: Text = ""
    theme: str = "city"
    publisher: str
    contact: str | None = None
    licence: str
    attribution: str
    keywords: tuple[str, ...] = ()
    file: str = Field(description="path relative to the YAML file")
    minzoom: Zoom | None = None
    maxzoom: Zoom | None = None
    raster: RasterHints = RasterHints()
    max_age_s: int | None = Field(
        default=None, ge=0, description="seconds a client may keep a tile without asking"
    )
    s_maxage_s: int = Field(
        default=1, ge=0, description="seconds an edge cache may keep a tile without asking"
    )

    @field_validator("file")
    @classmethod
    def _known_ending(cls, file: str) -> str:
        if Path(file).suffix.lower() not in KINDS:
            raise ValueError(f"{file!r} ends with none of {', '.join(KINDS)}")
        return file

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.raster != RasterHints() and self.kind is not FileKind.COG:
            raise ValueError("raster: is for .tif files; tiles in an archive are drawn already")
        low, high = self.minzoom, self.maxzoom
        if low is not None and high is not None and low > high:
            raise ValueError(f"minzoom: {low} is greater than maxzoom {high}")
        return self

    @property
    def kind(self) -> FileKind:
        return KINDS[Path(self.file).suffix.lower()]

    @property
    def is_raster(self) -> bool:
        return self.kind is FileKind.COG


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTileset:
    """A tileset and where its file is on this machine, which is told to nobody."""

    tileset: Tileset
    path: Path

    @property
    def id(self) -> str:
        return self.tileset.id
