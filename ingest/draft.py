"""A first declaration of files that nobody has described yet: their columns, types and place.

It is made of the first rows; what later rows hold otherwise is found by reading them all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
import yaml

from ingest.cells import NUMBER, as_text, clean, read_cells
from ingest.crs import agreed_crs
from ingest.headers import fold
from ingest.locate import Locator
from ingest.places import Where, find_where, well_known
from ingest.rows import Chunk, Table
from ingest.scratch import scratch_folder
from ingest.sources.open import open_tables
from ingest.times import TIMES, read_times
from layers.columns import RESERVED_COLUMNS, Column, ColumnType, GeometryType
from layers.model import Layer
from layers.source import Source

SAMPLE_ROWS = 65_536
TRUE, FALSE = ("true", "t", "yes", "y", "oui", "ja", "sí", "si", "vrai"), (
    "false", "f", "no", "n", "non", "nein", "faux",
)  # fmt: skip
FORMATS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S")
AS_WRITTEN = (
    r"^[+-]?0\d|^[+-]?\d{16}"  # numbers that are names: 01004, or longer than a float tells
)
KEY_WORDS = ("id", "key", "code", "number", "numero", "nummer", "ref", "reference")
DRAWN = {0: "point", 4: "point", 1: "line", 2: "line", 5: "line", 3: "polygon", 6: "polygon"}


@dataclass(frozen=True, slots=True)
class Draft:
    """A declaration and, by its name, the column that could be its key."""

    layer: Layer
    key: str | None


def draft(
    files: Sequence[Path],
    *,
    layer_id: str | None = None,
    geometry: GeometryType | None = None,
    source: Source | None = None,
) -> Draft:
    """Declare a layer that takes every column of the files; `source` says how to read them.

    Raises SourceRefused where they cannot be read without being told more.
    """
    name = layer_id or _layer_id(files[0])
    layer = Layer(
        id=name, title=name.replace("_", " ").capitalize(), publisher="…", licence="…",
        attribution="…", geometry=geometry or GeometryType.MIXED, columns=(),
        source=source or Source(),
    )  # fmt: skip
    with scratch_folder("quartier-read-") as folder:
        tables = open_tables(layer, files, folder)
        if layer.source.header is None and any(map(_looks_headless, tables)):
            headless = layer.source.model_copy(update={"header": 0})
            return draft(files, layer_id=layer_id, geometry=geometry, source=headless)
        columns, key = _columns(tables)
        layer = layer.model_copy(update={"columns": tuple(columns)})
        if geometry is None:
            layer = layer.model_copy(update={"geometry": _geometry(layer, tables)})
    return Draft(Layer.model_validate(layer.model_dump()), key)


def _looks_headless(table: Table) -> bool:
    """Whether two of a table's headers or more are numbers: then they are a row."""
    return (
        table.format == "csv"
        and sum(NUMBER.fullmatch(each) is not None for each in table.headers) > 1
    )


def _layer_id(path: Path) -> str:
    return _named(path.name.split(".")[0], "layer")[:48].replace("__", "_").strip("_")


def _named(header: str, otherwise: str) -> str:
    """The header as the name of a column."""
    plain = "".join(char for char in fold(header) if char.isascii()).strip("_")
    plain = "_".join(part for part in plain.split("_") if part) or otherwise
    plain = plain if plain[0].isalpha() else f"{otherwise[0]}_{plain}"
    return f"{plain}_" if plain in RESERVED_COLUMNS else plain[:63]


def _columns(tables: Sequence[Table]) -> tuple[list[Column], str | None]:
    headers = dict.fromkeys(header for table in tables for header in table.headers if header)
    sample = _sample(tables)
    columns: list[Column] = []
    key: str | None = None
    for header in headers:
        values = _values(sample, header)
        column = _column(header, values, {column.name for column in columns})
        if any(header not in table.headers for table in tables):
            column = column.model_copy(update={"optional": True})
        columns.append(column)
        key = key or (column.name if _is_key(column, values) else None)
    return columns, key


def _sample(tables: Sequence[Table]) -> list[Chunk]:
    """The first rows of each file."""
    share = max(SAMPLE_ROWS // max(len(tables), 1), 100)
    return [
        chunk
        for table in tables
        for chunk in itertools.islice(table.chunks(table.headers, share), 1)
    ]


def _values(sample: Sequence[Chunk], header: str) -> list[pa.Array]:
    return [chunk.columns[header] for chunk in sample if header in chunk.columns]


def _column(header: str, values: list[pa.Array], taken: set[str]) -> Column:
    names = itertools.chain([""], (f"_{number}" for number in itertools.count(2)))
    base = _named(header, "column")
    name = next(found for end in names if (found := base[: 63 - len(end)] + end) not in taken)
    told: dict[str, Any] = {} if name == header else {"from": header}
    return Column.model_validate({"name": name, **told, **_type_of(values)})


def _type_of(values: list[pa.Array]) -> dict[str, Any]:
    """The narrowest type that every value of the sample can be read as."""
    native = {_native(each.type) for each in values if each.null_count < len(each)}
    if len(native) == 1 and (kind := native.pop()) is not None:
        return {"type": kind}
    texts = pa.concat_arrays([as_text(each) for each in values]) if values else pa.array([], "str")
    text = clean(texts).drop_null()
    if not len(text):
        return {"type": ColumnType.TEXT}
    words = {word.casefold() for word in text.unique().to_pylist()}
    if words <= {*TRUE, *FALSE}:
        return _boolean(words)
    if not pc.any(pc.match_substring_regex(text, AS_WRITTEN)).as_py():
        for kind in (ColumnType.INTEGER, ColumnType.NUMBER):
            if not read_cells(text, Column(name="c", type=kind)).bad.any():
                return {"type": kind}
    return next(_dated(text), None) or _other(text)


def _native(kind: pa.DataType) -> ColumnType | None:
    if pa.types.is_boolean(kind):
        return ColumnType.BOOLEAN
    if pa.types.is_integer(kind):
        return ColumnType.INTEGER
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return ColumnType.NUMBER
    if pa.types.is_date(kind):
        return ColumnType.DATE
    if pa.types.is_timestamp(kind):
        return ColumnType.DATETIME
    if pa.types.is_nested(kind):
        return ColumnType.JSON
    return None


def _boolean(words: set[str]) -> dict[str, Any]:
    usual = Column(name="c", type=ColumnType.BOOLEAN)
    if words <= {*usual.true_values, *usual.false_values}:
        return {"type": ColumnType.BOOLEAN}
    told = {"true_values": tuple(words & set(TRUE)), "false_values": tuple(words & set(FALSE))}
    return {"type": ColumnType.BOOLEAN} | {name: kept for name, kept in told.items() if kept}


def _dated(text: pa.Array) -> Iterator[dict[str, Any]]:
    """How the texts can be read as dates or times, the plainest way first."""
    for kind in (ColumnType.DATE, ColumnType.DATETIME, ColumnType.TIME):
        cells = read_times(text, Column(name="c", type=kind), "UTC")
        if cells.bad.any() or (kind is ColumnType.TIME and not _has_colon(text)):
            continue
        timed = kind is ColumnType.DATE and cells.notes.get("dates_with_time", 0)
        yield {"type": ColumnType.DATETIME if timed else kind}
    fitting = [form for form in FORMATS if _fits(text, form)]
    if len(fitting) == 1:
        yield {"type": _kind_of(fitting[0]), "format": fitting[0]}


def _has_colon(text: pa.Array) -> bool:
    return bool(pc.any(pc.match_substring(text, ":")).as_py())


def _kind_of(form: str) -> ColumnType:
    return ColumnType.DATETIME if "%H" in form else ColumnType.DATE


def _fits(text: pa.Array, form: str) -> bool:
    column = Column(name="c", type=_kind_of(form), format=form)
    return not read_times(text, column, "UTC").bad.any()


def _other(text: pa.Array) -> dict[str, Any]:
    nested = pc.all(pc.match_substring_regex(text, r"^[\[{]")).as_py()
    column = Column(name="c", type=ColumnType.JSON)
    if nested and not read_cells(text, column).bad.any():
        return {"type": ColumnType.JSON}
    return {"type": ColumnType.TEXT}


def _is_key(column: Column, values: list[pa.Array]) -> bool:
    """Whether it looks like what names a row: filled, no value twice, and called so."""
    if column.type in TIMES or not any(word in column.name.split("_") for word in KEY_WORDS):
        return False
    text = pa.concat_arrays([as_text(each) for each in values]) if values else pa.array([], "str")
    filled = clean(text).drop_null()
    return len(filled) == len(text) > 1 and len(filled.unique()) == len(filled)


def _geometry(layer: Layer, tables: Sequence[Table]) -> GeometryType:
    """What most of the first places are; none where no column holds any."""
    drawn: set[str] = set()
    for table in tables:
        where: Where | None = None
        if not table.located:
            if layer.source.geometry is None and not well_known(table.headers, layer.source.crs):
                continue
            where = find_where(layer, table)
        crs = agreed_crs(table.name, table.crs, layer.source.crs)
        locator = Locator(table.name, GeometryType.MIXED, where, crs)
        headers = where.headers if where else ()
        for chunk in itertools.islice(table.chunks(headers, SAMPLE_ROWS), 1):
            places, _ = locator.locate(chunk)
            shapes = shapely.from_wkb(places.to_numpy(zero_copy_only=False))
            kinds = np.unique(shapely.get_type_id(shapes)).tolist()
            drawn |= {DRAWN.get(kind, "mixed") for kind in kinds if kind >= 0}
        drawn |= set() if drawn else {"mixed"}
    if not drawn:
        return GeometryType.NONE
    return GeometryType(drawn.pop()) if len(drawn) == 1 else GeometryType.MIXED


def as_yaml(made: Draft, files: Sequence[Path]) -> str:
    """The declaration as a file of the catalogue, with what only its publisher knows left open."""
    layer = made.layer
    told = layer.source.model_dump(mode="json", exclude_defaults=True, exclude={"files"})
    columns = [
        column.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        for column in layer.columns
    ]
    body: dict[str, Any] = {
        "id": layer.id, "title": layer.title, "publisher": layer.publisher,
        "licence": layer.licence, "attribution": layer.attribution,
        "geometry": str(layer.geometry),
    }  # fmt: skip
    body["source"] = {"files": [str(path) for path in files], **told}
    head = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=100)
    rows = "".join(
        "  - "
        + yaml.safe_dump(
            column, sort_keys=False, allow_unicode=True, default_flow_style=True, width=10_000
        )
        for column in columns
    )
    key = f"# key: {made.key}   # no value twice in the rows looked at\n" if made.key else ""
    return f"{head}{key}columns:{f'{chr(10)}{rows}' if rows else ' []'}"
