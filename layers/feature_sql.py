"""The statements that answer questions about features: a page, a count, one feature."""

from __future__ import annotations

from typing import NamedTuple
from zoneinfo import ZoneInfo

from layers.columns import ColumnType, GeometryType
from layers.feature_query import Cursor, FeatureQuery
from layers.filters.nodes import EVERYTHING
from layers.filters.queryables import FID
from layers.filters.sql import Condition
from layers.model import Layer
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


def page_statement(query: FeatureQuery, line: str, separator: str) -> Statement:
    """One row: `revision`, `found` (one more than the limit where there is another page), `body`
    (the lines up to the limit as UTF-8, parted by the separator), `last` (the fid of the last of
    them) and its sort keys `k1`, `k2` … as texts.
    """
    values = Values()
    keys = [f"t.{ident(key.name)}" for key in query.sort]
    told = "".join(f", {key}::text AS k{number}" for number, key in enumerate(keys, 1))
    rows = _rows(query, values, query.limit)
    of_last = f"FILTER (WHERE pos = {query.limit})" if query.limit else ""
    kept = f"FILTER (WHERE pos <= {query.limit})" if query.limit else ""
    last = "".join(f", max(k{number}) {of_last} AS k{number}" for number in range(1, len(keys) + 1))
    sql = f"""
        SELECT {revision_of(query.layer)} AS revision, count(*) AS found,
               convert_to(string_agg(line, {literal(separator)}) {kept}, 'UTF8') AS body,
               max(fid) {of_last} AS last{last}
        FROM (SELECT row_number() OVER () AS pos, f.* FROM (
            SELECT t.fid, {line} AS line{told} FROM {rows}
        ) f) p"""
    return Statement(sql, tuple(values.args))


def rows_statement(query: FeatureQuery, columns: str) -> Statement:
    """A row for each feature, with these columns of it."""
    values = Values()
    return Statement(f"SELECT {columns} FROM {_rows(query, values)}", tuple(values.args))


def count_statement(query: FeatureQuery) -> Statement:
    """One row: `revision` and `matched`, how many features there are on all pages."""
    values = Values()
    if query.as_of is None:
        rows = f"{_table(query.layer)} t WHERE {_where(query, values)}"
    else:
        rows = _past(query, values, None, keyed=False)
    sql = f"SELECT {revision_of(query.layer)} AS revision, count(*) AS matched FROM {rows}"
    return Statement(sql, tuple(values.args))


def _table(layer: Layer) -> str:
    return f"{CITY}.{ident(layer.id)}"


def _rows(query: FeatureQuery, values: Values, limit: int | None = None) -> str:
    """What follows FROM: the rows as `t`, behind the cursor, in order, one more than the limit."""
    end = f"ORDER BY {_order(query)}" + (f" LIMIT {limit + 1}" if limit else "")
    if query.as_of is not None:
        return f"{_past(query, values, end)} {end}"
    where = f"{_where(query, values)}{_behind(query, values)}"
    return f"{_table(query.layer)} t WHERE {where} {end}"


def _past(query: FeatureQuery, values: Values, end: str | None, *, keyed: bool = True) -> str:
    """The rows of a past revision as `t`: those that stand since, and those that history keeps.

    Each of the two is walked in order no further than a page.
    """
    names = [FID, *(column.name for column in query.layer.columns)]
    names += ["geom"] if query.layer.has_geometry else []
    columns = ", ".join(f"t.{ident(name)}" for name in names)
    revision = values.bind(query.as_of, "bigint")
    parts = []
    for table, held in (
        (_table(query.layer), f"t.since <= {revision}"),
        (history_view(query.layer), f"t.valid_from <= {revision} AND t.valid_to > {revision}"),
    ):
        tiled = table == _table(query.layer)
        where = f"{held} AND {_where(query, values, tiled=tiled)}"
        where += _behind(query, values) if keyed else ""
        parts.append(f"(SELECT {columns} FROM {table} t WHERE {where} {end or ''})")
    return f"({' UNION ALL '.join(parts)}) t"


def _where(query: FeatureQuery, values: Values, *, tiled: bool = True) -> str:
    if query.where == EVERYTHING:
        return "true"
    points = query.layer.geometry is GeometryType.POINT
    zone = ZoneInfo(query.layer.time_zone)
    return Condition(values, zone, tiled=tiled, points=points).of(query.where)


def _order(query: FeatureQuery) -> str:
    keys = [
        f"t.{ident(key.name)} {'DESC' if key.is_descending else 'ASC'} NULLS LAST"
        for key in query.sort
    ]
    return ", ".join([*keys, "t.fid"])


def _behind(query: FeatureQuery, values: Values) -> str:
    """That a row comes after the one the cursor names, as a further condition."""
    if query.after is None:
        return ""
    return f" AND {_later(query, query.after, values)}"


def _later(query: FeatureQuery, after: Cursor, values: Values) -> str:
    """By the first key that differs; the fid decides where none does."""
    later = f"t.fid > {values.bind(after.fid, 'bigint')}"
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
