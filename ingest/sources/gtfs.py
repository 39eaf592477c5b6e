"""GTFS, the timetable of a transit system, as layers: its stops, its routes, its shapes.

Follows gtfs.org/documentation/schedule/reference. Routes and shapes are drawn from shapes.txt;
every other table of the feed is read as the CSV it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from ingest.archive import Member
from ingest.errors import SourceRefused
from ingest.rows import Chunk, Shapes, Table
from ingest.sources.csv import CsvTable, open_csv
from ingest.sources.memory import MemoryTable, Record
from layers.columns import GeometryType
from layers.model import Layer
from layers.source import Source

NEEDED = frozenset({"stops", "routes", "trips"})
USUAL = {GeometryType.POINT: "stops", GeometryType.LINE: "routes"}
MAX_POINTS = 20_000_000  # of shapes.txt: half a gigabyte
READ_ROWS = 262_144


def is_gtfs(members: Sequence[Member]) -> bool:
    """Whether these files of one zip make a feed."""
    return _tables(members).keys() >= NEEDED


def _tables(members: Sequence[Member]) -> dict[str, Member]:
    paths = ((PurePosixPath(member.inside), member) for member in members)
    return {path.stem.lower(): member for path, member in paths if path.suffix.lower() == ".txt"}


def open_gtfs(layer: Layer, name: str, members: Sequence[Member]) -> Table:
    """The table that the layer's geometry, or `source.sublayer`, means."""
    tables = _tables(members)
    wanted = (layer.source.sublayer or USUAL.get(layer.geometry) or "").removesuffix(".txt")
    if wanted not in tables:
        said = f"the feed has no {wanted}.txt" if wanted else "this is a GTFS feed"
        listed = ", ".join(sorted(tables))
        raise SourceRefused(name, f"{said}; declare source.sublayer as one of: {listed}")
    if not layer.has_geometry or wanted not in ("routes", "shapes"):
        return open_csv(tables[wanted], layer.source)
    if "shapes" not in tables:
        raise SourceRefused(name, "the feed has no shapes.txt, so its routes cannot be drawn")
    lines = _shapes_of(tables["shapes"])
    return _routes(tables, lines) if wanted == "routes" else _shapes(tables, lines)


def _columns(member: Member, *names: str) -> dict[str, pa.Array]:
    """Whole columns of text; empty ones for names that the table has not."""
    table = open_csv(member, Source())
    present = [name for name in names if name in table.headers]
    chunks = [_whole(member, chunk) for chunk in table.chunks(present, READ_ROWS)]
    return {
        name: pa.concat_arrays([chunk.columns[name] for chunk in chunks])
        if name in present and chunks
        else pa.array([""] * sum(len(chunk.at) for chunk in chunks), pa.string())
        for name in names
    }


def _whole(member: Member, chunk: Chunk) -> Chunk:
    """A table that others are joined to must be read whole."""
    if chunk.broken:
        first = chunk.broken[0]
        raise SourceRefused(member.name, f"line {first.line}: {first.reason}; correct the feed")
    return chunk


def _needs(table: CsvTable, name: str) -> None:
    if name not in table.headers:
        listed = ", ".join(table.headers)
        raise SourceRefused(table.name, f"it has no column {name}; the headers are {listed}")


def _records(member: Member) -> tuple[list[Record], list[int], CsvTable]:
    """All rows of a small table, with their lines."""
    table = open_csv(member, Source())
    records: list[Record] = []
    lines: list[int] = []
    for chunk in table.chunks(table.headers, READ_ROWS):
        _whole(member, chunk)
        cells = {name: values.to_pylist() for name, values in chunk.columns.items()}
        records += [
            {name: values[row] for name, values in cells.items()} for row in range(len(chunk.at))
        ]
        lines += chunk.lines.tolist()
    return records, lines, table


def _shapes_of(member: Member) -> dict[str, shapely.LineString]:
    """The line of each shape, its points in the order of their sequence."""
    read = _columns(member, "shape_id", "shape_pt_lat", "shape_pt_lon", "shape_pt_sequence")
    if len(read["shape_id"]) > MAX_POINTS:
        raise SourceRefused(member.name, f"more than {MAX_POINTS:,} points are not read")
    named = read["shape_id"].dictionary_encode()
    codes = np.asarray(named.indices)
    number = {
        name: np.asarray(pc.cast(_blank_is_null(read[name]), pa.float64()), dtype=np.float64)
        for name in ("shape_pt_lon", "shape_pt_lat", "shape_pt_sequence")
    }
    sound = np.isfinite(number["shape_pt_lon"]) & np.isfinite(number["shape_pt_lat"])
    order = np.lexsort((number["shape_pt_sequence"], codes))
    order = order[sound[order]]
    codes = codes[order]
    points = np.column_stack([number["shape_pt_lon"], number["shape_pt_lat"]])[order]
    long_enough = (np.bincount(codes, minlength=len(named.dictionary)) >= 2)[codes]
    drawn, groups = np.unique(codes[long_enough], return_inverse=True)
    lines = shapely.linestrings(points[long_enough], indices=groups) if len(drawn) else []
    names = named.dictionary.to_pylist()
    return {names[code]: line for code, line in zip(drawn.tolist(), lines, strict=True)}


def _blank_is_null(values: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(values)
    number = pc.match_substring_regex(trimmed, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
    return pc.if_else(number, trimmed, pa.scalar(None, pa.string()))


def _trips(tables: Mapping[str, Member]) -> list[tuple[str, str, str, str]]:
    """Distinct (route, shape, direction, headsign) of the trips, the most frequent first."""
    read = _columns(tables["trips"], "route_id", "shape_id", "direction_id", "trip_headsign")
    counted = pa.table(read).group_by(list(read)).aggregate([([], "count_all")])
    rows = counted.sort_by([("count_all", "descending")]).to_pylist()
    return [tuple(row[name] for name in read) for row in rows]


def _routes(tables: Mapping[str, Member], lines: Mapping[str, shapely.LineString]) -> MemoryTable:
    """A row for each route; its shape is all the ways that its trips go."""
    records, numbers, table = _records(tables["routes"])
    _needs(table, "route_id")
    ways: dict[str, dict[str, None]] = defaultdict(dict)
    for route, shape, _, _ in _trips(tables):
        ways[route][shape] = None
    shapes: Shapes = np.full(len(records), None, dtype=object)
    for row, record in enumerate(records):
        parts = [lines[shape] for shape in ways.get(record["route_id"], ()) if shape in lines]
        distinct = list({part.wkb: part for part in parts}.values())
        if distinct:
            shapes[row] = distinct[0] if len(distinct) == 1 else shapely.MultiLineString(distinct)
    agencies = _agencies(tables)
    for record in records:
        record["agency_name"] = agencies.get(record.get("agency_id") or "", agencies.get("", ""))
    headers = (*table.headers, "agency_name")
    undrawn = int(shapely.is_missing(shapes).sum())
    return _made(tables["routes"], headers, records, numbers, shapes, undrawn)


def _agencies(tables: Mapping[str, Member]) -> dict[str, str]:
    """Names by id; under no id the only one's."""
    if "agency" not in tables:
        return {}
    records, _, _ = _records(tables["agency"])
    names = {one.get("agency_id", ""): one.get("agency_name", "") for one in records}
    return names | ({"": next(iter(names.values()))} if len(names) == 1 else {})


def _shapes(tables: Mapping[str, Member], lines: Mapping[str, shapely.LineString]) -> MemoryTable:
    """A row for each shape, with the route, direction and headsign of most of its trips."""
    records_, _, table = _records(tables["routes"])
    _needs(table, "route_id")
    routes = {record["route_id"]: record for record in records_}
    used: dict[str, tuple[str, str, str]] = {}
    for route, shape, direction, headsign in _trips(tables):
        used.setdefault(shape, (route, direction, headsign))
    names = ("route_id", "direction_id", "trip_headsign")
    told = ("route_short_name", "route_long_name", "route_type", "route_color")
    records: list[Record] = []
    for name in lines:
        record: Record = {"shape_id": name}
        record |= zip(names, used.get(name, ("", "", "")), strict=True)
        drawn: Record = routes.get(record["route_id"], {})
        records.append(record | {each: drawn.get(each, "") for each in told})
    shapes: Shapes = np.array(list(lines.values()), dtype=object)
    headers = ("shape_id", *names, *told)
    return _made(tables["shapes"], headers, records, list(range(1, len(records) + 1)), shapes, 0)


def _made(  # noqa: PLR0913
    member: Member,
    headers: tuple[str, ...],
    records: list[Record],
    lines: list[int],
    shapes: Shapes,
    undrawn: int,
) -> MemoryTable:
    return MemoryTable(
        name=member.name,
        format="gtfs",
        size=member.size,
        headers=headers,
        records=records,
        lines=lines,
        shapes=shapes,
        notes={"routes_without_shape": undrawn} if undrawn else {},
    )
