"""Shapefiles: the files that make one, gathered beside it or from its zip, and read by GDAL."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp

import pyogrio

from ingest.archive import Member
from ingest.errors import SourceRefused
from ingest.files import SHAPEFILE
from ingest.sources.ogr import OgrTable, place, quiet, survey, told
from ingest.text import find_encoding
from layers.model import Layer


def open_shapefile(
    layer: Layer, member: Member, beside: Sequence[Member], folder: Path
) -> OgrTable:
    """Gather the files that make a shapefile and survey it; `beside` are those of its zip."""
    parts = _parts(member, beside)
    _check_parts(layer, member, parts)
    home = Path(mkdtemp(dir=folder))
    for suffix, part in parts.items():
        place(part, home / f"source.{suffix}")
    _check_length(member.name, home / "source.shp")
    if "shx" not in parts:
        _rebuild_shx(member.name, home / "source.shp")
    encoding = _dbf_encoding(layer, member.name, parts)
    size = sum(part.size for part in parts.values())
    table = survey(member, home / "source.shp", "source", size=size)
    return replace(
        table,
        format="shapefile",
        encoding=encoding or table.encoding,
        given_encoding=encoding,
        notes={"shx_rebuilt": True} if "shx" not in parts else {},
    )


def _rebuild_shx(name: str, path: Path) -> None:
    pyogrio.set_gdal_config_options({"SHAPE_RESTORE_SHX": True})
    try:
        with told(name), quiet():
            pyogrio.read_info(path)
    finally:
        pyogrio.set_gdal_config_options({"SHAPE_RESTORE_SHX": None})


def _parts(member: Member, beside: Sequence[Member]) -> dict[str, Member]:
    """The files of a shapefile by suffix: in its zip, or beside it on disk."""
    if member.packed == "no":
        near = member.path.parent.iterdir()
        beside = [
            Member(name=path.name, path=path, size=path.stat().st_size)
            for path in near
            if path.stem == member.path.stem and path.is_file()
        ]
    own = PurePosixPath(member.inside or member.path.name).with_suffix("")
    found = {"shp": member}
    for part in beside:
        path = PurePosixPath(part.inside or part.path.name)
        suffix = path.suffix.lower().removeprefix(".")
        if path.with_suffix("") == own and suffix in SHAPEFILE:
            found[suffix] = part
    return found


def _check_parts(layer: Layer, member: Member, parts: Mapping[str, Member]) -> None:
    if "dbf" not in parts and layer.columns:
        names = ", ".join(column.name for column in layer.columns)
        raise SourceRefused(
            member.name, f"its .dbf is missing, so {names} cannot be read; give the whole set"
        )
    if "prj" not in parts and layer.source.crs is None and layer.has_geometry:
        raise SourceRefused(
            member.name, "its .prj is missing; declare source.crs, for example EPSG:2154"
        )


def _check_length(name: str, path: Path) -> None:
    """Refuse a .shp shorter than its own header says."""
    with path.open("rb") as file:
        words = int.from_bytes(file.read(28)[24:], "big")
    if path.stat().st_size < 2 * words:
        raise SourceRefused(name, "the .shp is cut short; fetch it again")


def _dbf_encoding(layer: Layer, name: str, parts: Mapping[str, Member]) -> str | None:
    """The encoding of the texts: declared, or said by the .cpg (None), or found in them."""
    if layer.source.encoding is not None:
        return layer.source.encoding
    if "cpg" in parts or "dbf" not in parts:
        return None
    chunks = parts["dbf"].chunks()
    first = next(chunks, b"")
    start = int.from_bytes(first[8:10], "little")
    found = find_encoding(name, itertools.chain((first[start:] or b" ",), chunks), None)
    return found.name
