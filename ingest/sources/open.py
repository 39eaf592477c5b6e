"""From given paths to opened tables: unpack, tell the formats, choose, survey."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ingest.archive import Member, is_shapefile_part, unpack
from ingest.errors import SourceRefused
from ingest.headers import Headers
from ingest.rows import Table
from ingest.sniff import sniff
from ingest.sources.csv import open_csv
from ingest.sources.gbfs import open_gbfs
from ingest.sources.gtfs import is_gtfs, open_gtfs
from ingest.sources.json import open_json
from layers.model import Layer
from layers.source import Format

LISTED = 20
ALL = "*"  # as source.sublayer: every member of a zip
JSON: set[Format] = {"json", "geojson", "geojsonseq", "esrijson", "gbfs"}
TEXT: set[Format] = {*JSON, "csv"}


def open_tables(layer: Layer, files: Sequence[Path], folder: Path) -> list[Table]:
    """Every table the files hold for this layer; `folder` takes what must be unpacked to disk."""
    tables: list[Table] = []
    feeds: list[Member] = []
    for path in files:
        members = unpack(path)
        if is_gtfs(members):
            tables.append(open_gtfs(layer, path.name, members))
            continue
        found = _choose(layer, path, _formats(layer, members))
        feeds += [member for member, kind in found if kind == "gbfs"]
        found = [(member, kind) for member, kind in found if kind != "gbfs"]
        opened = [_open(layer, member, kind, folder) for member, kind in found]
        _refuse_strangers(layer, path, opened)
        tables += opened
    return [*tables, open_gbfs(feeds)] if feeds else tables


def _formats(layer: Layer, members: Sequence[Member]) -> list[tuple[Member, Format]]:
    """The members that are tables of their own, and what each is."""
    found: list[tuple[Member, Format]] = []
    shapefile = any(_suffix(member) == ".shp" for member in members)
    for member in members:
        if shapefile and is_shapefile_part(member) and _suffix(member) != ".shp":
            continue
        found.append((member, _agreed(member, sniff(member), layer.source.format)))
    return found


def _agreed(member: Member, seen: Format, declared: Format | None) -> Format:
    """The declared format, where a file that looks as this one does can be in it."""
    if declared is None:
        return seen
    alike = {seen, declared} <= JSON or {seen, declared} <= TEXT
    if seen != declared and not alike:
        raise SourceRefused(
            member.name, f"source.format says {declared}, but this is {seen}; correct source.format"
        )
    return declared


def _suffix(member: Member) -> str:
    return Path(member.inside or member.path.name).suffix.lower()


def _choose(
    layer: Layer, path: Path, found: list[tuple[Member, Format]]
) -> list[tuple[Member, Format]]:
    """The members meant: those named by `sublayer`, or all where all are alike."""
    wanted = layer.source.sublayer
    if wanted == ALL:
        return found
    named = [pair for pair in found if wanted in (pair[0].stem, Path(pair[0].inside).name)]
    if named:
        return named
    formats = {kind for _, kind in found}
    many_as_one = formats <= {"csv"} or formats <= JSON
    if len(found) > 1 and not many_as_one:
        raise _several(path.name, [member.stem for member, _ in found])
    if wanted and len(found) > 1:
        raise _several(path.name, [member.stem for member, _ in found], wanted)
    return found


def _several(name: str, choices: Sequence[str], wanted: str | None = None) -> SourceRefused:
    said = f"there is no layer {wanted!r}" if wanted else "several layers are there"
    listed = ", ".join(choices[:LISTED]) + (", …" if len(choices) > LISTED else "")
    return SourceRefused(
        name, f"{said}; declare source.sublayer as one of: {listed}; or '*' to take all as one"
    )


def _open(layer: Layer, member: Member, kind: Format, folder: Path) -> Table:
    if layer.source.sublayer == ALL:
        source = layer.source.model_copy(update={"sublayer": None})
        layer = layer.model_copy(update={"source": source})
    if kind == "csv":
        return open_csv(member, layer.source)
    if kind in JSON:
        return open_json(member, layer.source)
    return _open_by_library(layer, member, kind, folder)


def _open_by_library(layer: Layer, member: Member, kind: Format, folder: Path) -> Table:
    """Each by a library that takes long to import: only the one that is needed is."""
    if kind == "parquet":
        from ingest.sources.parquet import open_parquet

        return open_parquet(layer, member, folder)
    if kind == "xlsx":
        from ingest.sources.workbook import open_workbook

        return open_workbook(layer, member, folder)
    if kind == "shapefile":
        from ingest.sources.shapefile import open_shapefile

        return open_shapefile(layer, member, _packed_beside(member), folder)
    from ingest.sources.ogr import open_dataset

    return open_dataset(layer, member, kind, folder)


def _packed_beside(member: Member) -> list[Member]:
    return unpack(member.path) if member.packed == "zip" else []


def _refuse_strangers(layer: Layer, path: Path, tables: Sequence[Table]) -> None:
    """Refuse a zip some of whose tables have the declared columns while others have not."""
    if len(tables) < 2 or layer.source.sublayer:
        return
    has_all = [_has_columns(layer, table) for table in tables]
    if any(has_all) and not all(has_all):
        raise _several(path.name, [Path(table.name).stem for table in tables])


def _has_columns(layer: Layer, table: Table) -> bool:
    headers = Headers(table.name, table.headers)
    needed = [column for column in layer.columns if not column.optional]
    found = [headers.find(column.header) is not None for column in needed]
    return table.empty or not found or any(found) if table.sparse else all(found)
