"""How a raster's bands become an image: read from a request, checked, and named in one way."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from layers.errors import QueryRefused
from layers.tilesets import MAX_BANDS, RasterHints, Resampling

PARAMETERS = ("bidx", "rescale", "colormap_name")
IMAGE_BANDS = (1, 3, 4)  # grey or coloured by a map; red, green, blue; and opacity
MOST_TEXT = 200
Range = tuple[float, float]
Asked = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """`rescale` is empty for bytes as they are, one range for all bands, or one for each."""

    bands: tuple[int, ...]
    rescale: tuple[Range, ...] = ()
    colormap: str | None = None
    nodata: float | None = None
    resampling: Resampling = "nearest"

    @property
    def key(self) -> str:
        """The same for every way of asking for the same image."""
        ranges = ";".join(f"{low!r}:{high!r}" for low, high in self.rescale)
        bands = ",".join(map(str, self.bands))
        return f"{bands}|{ranges}|{self.colormap}|{self.nodata!r}|{self.resampling}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterBands:
    """What a raster offers: how many bands, those of an ordinary view, and what their values
    range over where they are not bytes.
    """

    count: int
    usual: tuple[int, ...]
    ranges: tuple[Range, ...] = ()

    def ranges_of(self, bands: Sequence[int]) -> tuple[Range, ...]:
        return tuple(self.ranges[band - 1] for band in bands) if self.ranges else ()


@cache
def colormaps() -> tuple[str, ...]:
    from rio_tiler.colormap import cmap  # takes a second to import; a city may have no raster

    return tuple(sorted(cmap.list()))


def rendering(asked: Asked, hints: RasterHints, offered: RasterBands) -> Rendering:
    """What a request asks for, over what the catalogue says, over what the file is like.

    Raises QueryRefused naming the parameter and what is allowed.
    """
    bands = _bands(asked["bidx"], offered) if asked.get("bidx") else ()
    colormap = _colormap(asked["colormap_name"]) if asked.get("colormap_name") else None
    ranges = _ranges(asked["rescale"]) if asked.get("rescale") else ()
    own_bands = bool(bands) and bands != hints.bands
    if not bands:
        bands = hints.bands or (offered.usual[:1] if colormap else offered.usual)
    if not ranges:
        ranges = () if own_bands and len(hints.rescale) > 1 else hints.rescale
    if colormap is None and len(bands) == 1:
        colormap = hints.colormap
    if colormap is not None and len(bands) != 1:
        raise QueryRefused("colormap_name", colormap, "is for one band; give bidx=1 or another")
    if len(ranges) not in (0, 1, len(bands)):
        raise QueryRefused(
            "rescale", len(ranges), f"give one low,high or one for each of the {len(bands)} bands"
        )
    return Rendering(
        bands=bands,
        rescale=ranges or offered.ranges_of(bands),
        colormap=colormap,
        nodata=hints.nodata,
        resampling=hints.resampling,
    )


def _numbers(name: str, texts: Sequence[str], fix: str) -> list[float]:
    text = ",".join(texts)
    if len(text) > MOST_TEXT:
        raise QueryRefused(name, f"{text[:20]}…", fix)
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise QueryRefused(name, text, fix) from None
    if not all(map(math.isfinite, numbers)):
        raise QueryRefused(name, text, fix)
    return numbers


def _bands(texts: Sequence[str], offered: RasterBands) -> tuple[int, ...]:
    fix = f"write 1, 3 or {MAX_BANDS} band numbers from 1 to {offered.count}, such as bidx=1"
    bands = tuple(int(n) if n == int(n) else 0 for n in _numbers("bidx", texts, fix))
    if len(bands) not in IMAGE_BANDS or not all(1 <= band <= offered.count for band in bands):
        raise QueryRefused("bidx", ",".join(texts), fix)
    return bands


def _ranges(texts: Sequence[str]) -> tuple[Range, ...]:
    fix = "write low,high with low less than high, such as rescale=0,3000"
    numbers = _numbers("rescale", texts, fix)
    ranges = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    if len(numbers) % 2 or len(ranges) > MAX_BANDS or any(low >= high for low, high in ranges):
        raise QueryRefused("rescale", ",".join(texts), fix)
    return ranges


def _colormap(texts: Sequence[str]) -> str:
    name = texts[0].lower()
    if len(texts) > 1 or name not in colormaps():
        near = difflib.get_close_matches(name[:MOST_TEXT], colormaps(), n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        fix = f"{hint}colour maps are {', '.join(colormaps())}"
        raise QueryRefused("colormap_name", ",".join(texts)[:MOST_TEXT], fix)
    return name
