"""The statements that answer questions about features: a page, a count, one feature."""

from __future__ import annotations

from typing import NamedTuple
from zoneinfo import ZoneInfo

from layers.columns import ColumnType, GeometryType
from layers.feature_query import Cursor, FeatureQuery
from layers.filters.nodes import EVERYTHING, Expression
from layers.filters.queryables import FID
from layers.filters.sql import Condition
from layers.model import Layer
from layers.morton_ranges import joined, ranges
from layers.overviews import GRID_DEPTH, ROW_DEPTH, TILE_DEPTH, cells
from layers.sql import ident, literal
from layers.tables import CITY, history_view, type_name
from layers.values import Values


class Statement(NamedTuple):
    """SQL with $1, $2 … and the values for them."""

    sql: str
    args: tuple[object, ...]


def revision_of(layer: Layer) -> str:
    """The revision of the snapshot that a statement reads, as SQL."""
    return f"(SELECT revision FROM quartier.public_state WHERE layer_id = {literal(layer.id)})"


def is_counted_at_once(query: FeatureQuery) -> bool:
    """Whether what matches can be counted in no time, so that a page may tell it by the way."""
    return query.as_of is None and query.box is not None and query.is_box


def page_statement(
    query: FeatureQuery, line: str, separator: str, *, counted: bool = False
) -> Statement:
    """One row: `revision`, `found` (one more than the limit where there is another page), `body`
    (the lines up to the limit as UTF-8, parted by the separator), `last` (the fid of the last of
    them) and its sort keys `k1`, `k2` … as texts; `counted`: and `matched`.
    """
    values = Values()
    keys = [f"t.{ident(key.name)}" for key in query.keys]
    told = "".join(f", {key}::text AS k{number}" for number, key in enumerate(keys, 1))
    rows = _rows(query, values, query.limit)
    of_last = f"FILTER (WHERE pos = {query.limit})" if query.limit else ""
    kept = f"FILTER (WHERE pos <= {query.limit})" if query.limit else ""
    last = "".join(f", max(k{number}) {of_last} AS k{number}" for number in range(1, len(keys) + 1))
    matched = f", ({_matched_in_box(query, values)}) AS matched" if counted else ""
    sql = f"""
        SELECT {revision_of(query.layer)} AS revision, count(*) AS found{matched},
               convert_to(string_agg(line, {literal(separator)}) {kept}, 'UTF8') AS body,
               max(fid) {of_last} AS last{last}
        FROM (SELECT row_number() OVER () AS pos, f.* FROM (
            SELECT t.fid, {line} AS line{told} FROM {rows}
        ) f) p"""
    return Statement(sql, tuple(values.args))


def rows_statement(query: FeatureQuery, columns: str, limit: int | None = None) -> Statement:
    """A row for each feature, with these columns of it; one more than a limit."""
    values = Values()
    return Statement(f"SELECT {columns} FROM {_rows(query, values, limit)}", tuple(values.args))


def count_statement(query: FeatureQuery) -> Statement:
    """One row: `revision` and `matched`, how many features there are on all pages."""
    values = Values()
    if is_counted_at_once(query):
        sql = f"SELECT {revision_of(query.layer)} AS revision, ({_matched_in_box(query, values)})"
        return Statement(f"{sql} AS matched", tuple(values.args))
    rows = all_rows(query, values)
    sql = f"SELECT {revision_of(query.layer)} AS revision, count(*) AS matched FROM {rows}"
    return Statement(sql, tuple(values.args))


def all_rows(query: FeatureQuery, values: Values) -> str:
    """What follows FROM: every row that matches as `t`, on whichever page, in no order."""
    if query.as_of is not None:
        return _past(query, values, None, keyed=False)
    return f"(SELECT t.* FROM {_table(query.layer)} t WHERE {_where(query, values)}) t"


def _matched_in_box(query: FeatureQuery, values: Values) -> str:
    """Quads within the box are counted already, in the overview, as deep as that goes; rows along
    the edges are looked at.
    """
    assert query.box is not None
    table, found = _table(query.layer), ranges(query.box)
    inside = [each for each in found if each.is_inside]
    edge = joined([each for each in found if not each.is_inside])
    quads = ", ".join(
        values.bind([each[n] for each in inside], kind)
        for n, kind in ((0, "bigint[]"), (1, "bigint[]"), (3, "int[]"))
    )
    codes = ", ".join(values.bind([each[n] for each in edge], "bigint[]") for n in (0, 1))
    exact = _where(query, values, tiled=False)
    return f"""
        SELECT (SELECT coalesce(sum(CASE
                    WHEN r.depth <= least({GRID_DEPTH}, s.detail_zoom + {TILE_DEPTH - 1}) THEN
                        (SELECT n FROM {cells(query.layer).table} o WHERE o.depth = r.depth
                            AND o.cell = r.first >> (2 * ({ROW_DEPTH} - r.depth)))
                    ELSE (SELECT count(*) FROM {table} t WHERE t.cell BETWEEN r.first AND r.last)
                END), 0)::bigint FROM unnest({quads}) AS r(first, last, depth))
             + (SELECT count(*) FROM unnest({codes}) AS r(first, last) CROSS JOIN LATERAL
                (SELECT FROM {table} t WHERE t.cell BETWEEN r.first AND r.last AND {exact}
                 OFFSET 0) t) AS matched
        FROM quartier.public_layers s WHERE s.id = {literal(query.layer.id)}"""


def _table(layer: Layer) -> str:
    return f"{CITY}.{ident(layer.id)}"


def _rows(query: FeatureQuery, values: Values, limit: int | None = None) -> str:
    """What follows FROM: the rows as `t`, behind the cursor, in order, one more than the limit."""
    end = f"ORDER BY {_order(query)}" + (f" LIMIT {limit + 1}" if limit else "")
    if query.as_of is not None:
        return f"{_past(query, values, end)} {end}"
    if query.box is not None:
        return _walked(query, query.box, values, end, limit)
    where = f"{_where(query, values)}{_behind(query, values)}"
    return f"{_table(query.layer)} t WHERE {where} {end}"


def _walked(
    query: FeatureQuery,
    box: tuple[float, float, float, float],
    values: Values,
    end: str,
    limit: int | None,
) -> str:
    """Range by range of cells, each in order of its index and no further than a page.

    Ranges come in order and rows of one in theirs, so what a nested loop gives is in order, and it
    ends with the page. (A sort would want all rows of all ranges first.)
    """
    after = query.after
    begun = int(after.values[0] or 0) if after is not None else 0
    found = joined([each for each in ranges(box) if each.last >= begun])
    firsts, lasts = ([each[n] for each in found] for n in (0, 1))
    codes = f"{values.bind(firsts, 'bigint[]')}, {values.bind(lasts, 'bigint[]')}"
    behind = ""
    if after is not None:
        place = f"{values.bind(begun, 'bigint')}, {values.bind(after.fid, 'bigint')}"
        behind = f" AND (t.cell, t.fid) > ({place})"
    # In a CASE, because PostgreSQL takes the exact test for so rare a thing that it would read and
    # sort all rows of a range before it thinks of a page.
    exact = f"CASE WHEN {_where(query, values, tiled=False)} THEN true ELSE false END"
    rows = (
        f"SELECT t.* FROM {_table(query.layer)} t WHERE t.cell BETWEEN r.first AND r.last"
        f" AND {exact}{behind} {end}"
    )
    most = f" LIMIT {limit + 1}" if limit else ""
    return f"unnest({codes}) AS r(first, last) CROSS JOIN LATERAL ({rows}) t{most}"


def _past(query: FeatureQuery, values: Values, end: str | None, *, keyed: bool = True) -> str:
    """The rows of a past revision as `t`: those that stand since, and those that history keeps.

    Each of the two is walked in order no further than a page.
    """
    names = [FID, *(column.name for column in query.layer.columns)]
    names += ["geom"] if query.layer.has_geometry else []
    columns = ", ".join(f"t.{ident(name)}" for name in names)
    cell = ", quartier.cell(t.geom) AS cell" if query.box is not None else ""
    revision = values.bind(query.as_of, "bigint")
    parts = []
    for table, held in (
        (_table(query.layer), f"t.since <= {revision}"),
        (history_view(query.layer), f"t.valid_from <= {revision} AND t.valid_to > {revision}"),
    ):
        tiled = table == _table(query.layer)
        where = f"{held} AND {_where(query, values, tiled=tiled)}"
        where += _behind(query, values) if keyed else ""
        parts.append(_inner(f"SELECT {columns}{cell} FROM {table} t WHERE {where}", cell, end))
    return f"({' UNION ALL '.join(parts)}) t"


def _inner(select: str, cell: str, end: str | None) -> str:
    """A part of the past in order; past rows have no cell of their own, so it is worked out."""
    if not cell:
        return f"({select} {end or ''})"
    return f"(SELECT * FROM ({select}) t {end or ''})"


def _where(query: FeatureQuery, values: Values, *, tiled: bool = True) -> str:
    return holds(query.layer, query.where, values, tiled=tiled)


def holds(layer: Layer, where: Expression, values: Values, *, tiled: bool = True) -> str:
    """That a row `t` is as an expression has it. `tiled`: it may have its place of tiles."""
    if where == EVERYTHING:
        return "true"
    points = layer.geometry is GeometryType.POINT
    return Condition(values, ZoneInfo(layer.time_zone), tiled=tiled, points=points).of(where)


def _order(query: FeatureQuery) -> str:
    keys = [
        f"t.{ident(key.name)} {'DESC' if key.is_descending else 'ASC'} NULLS LAST"
        for key in query.sort
    ]
    if query.box is not None:
        keys = ["t.cell"]
    return ", ".join([*keys, "t.fid"])


def _behind(query: FeatureQuery, values: Values) -> str:
    """That a row comes after the one the cursor names, as a further condition."""
    if query.after is None:
        return ""
    return f" AND {_later(query, query.after, values)}"


def _later(query: FeatureQuery, after: Cursor, values: Values) -> str:
    """By the first key that differs; the fid decides where none does."""
    later = f"t.fid > {values.bind(after.fid, 'bigint')}"
    if query.box is not None:  # in the past: rows of today are walked
        place = (
            f"{values.bind(after.values[0], 'text')}::bigint, {values.bind(after.fid, 'bigint')}"
        )
        return f"(quartier.cell(t.geom), t.fid) > ({place})"
    types = {column.name: column.type for column in query.layer.columns}
    for key, value in reversed(list(zip(query.sort, after.values, strict=True))):
        column = f"t.{ident(key.name)}"
        if value is None:
            later = f"({column} IS NULL AND {later})"
            continue
        kind = type_name(types.get(key.name, ColumnType.INTEGER))
        bound = f"{values.bind(value, 'text')}::{kind}"
        sign = "<" if key.is_descending else ">"
        beyond = f"{column} {sign} {bound} OR {column} IS NULL"
        later = f"({beyond} OR ({column} = {bound} AND {later}))"
    return later
