"""The statement that counts and measures groups of features."""

from __future__ import annotations

import math
from zoneinfo import ZoneInfo

from layers.columns import GeometryType
from layers.feature_sql import Statement, all_rows, revision_of
from layers.filters.functions import FUNCTIONS
from layers.filters.nodes import Kind
from layers.grouping import GridShape, GroupQuery, Key, Measure
from layers.sql import ident
from layers.values import Values

COUNTED = "n"  # the outputs of the statement: k1, k2 …, cx, cy, n, m1, m2 …
ROOT_3 = math.sqrt(3)


def group_statement(query: GroupQuery) -> Statement:
    """A row for each group, in order and up to the limit: its keys `k1` …, its cell `cx`, `cy`, its
    count `n` and its measures `m1` …; each with the `revision`, the number of `groups`
    there are and how many features `matched` in all. Where there is no group, a row with no `n`.
    """
    values = Values()
    zone = ZoneInfo(query.of.layer.time_zone)
    keys = [f"{key_sql(key, zone, values)} AS k{n}" for n, key in enumerate(query.keys, 1)]
    measures = [f"{_measure(each)} AS m{n}" for n, each in enumerate(query.measures, 1)]
    rows = all_rows(query.of, values)
    if query.grid is not None:
        keys += ["g.cx", "g.cy"]
        rows += f" CROSS JOIN LATERAL ({_cell(query, values)}) g"
    by = f" GROUP BY {', '.join(str(n) for n in range(1, len(keys) + 1))}" if keys else ""
    selected = ", ".join([*keys, f"count(*) AS {COUNTED}", *measures])
    sql = f"""
        SELECT {revision_of(query.of.layer)} AS revision, g.*
        FROM (SELECT) AS always LEFT JOIN (
            SELECT row_number() OVER (ORDER BY {_order(query)}) AS pos,
                   count(*) OVER () AS groups, sum({COUNTED}) OVER ()::bigint AS matched,
                   {_outputs(query)}
            FROM (SELECT {selected} FROM {rows}{by}) f ORDER BY pos LIMIT {query.limit}
        ) g ON true ORDER BY g.pos"""
    return Statement(sql, tuple(values.args))


def key_sql(key: Key, zone: ZoneInfo, values: Values) -> str:
    """What a row `t` is grouped by."""
    column = f"t.{ident(key.column.name)}"
    if key.unit is None and key.part is None:
        return column
    local = column
    if key.column.kind is Kind.INSTANT:
        local = f"({column} AT TIME ZONE {values.bind(zone.key, 'text')})"
    if key.part is not None:
        told = FUNCTIONS[key.part].sql.format(local)
        return f"CASE WHEN isfinite({column}) THEN {told} END"  # what never ends has no parts
    if key.unit == "hour":
        # Not date_trunc back from local time, which would put both hours that a clock shows twice
        # in autumn into one.
        past = f"({local} - date_trunc('hour', {local}))"
        return f"CASE WHEN isfinite({column}) THEN {column} - {past} ELSE {column} END"
    return f"date_trunc({values.bind(key.unit, 'text')}, {local}::timestamp)::date"


def _measure(measure: Measure) -> str:
    """Sums are worked out in decimal, so that the order of rows cannot show in them. By way of a
    text, because a cast of a float to numeric keeps 15 digits.
    """
    column = f"t.{ident(measure.column.name)}"
    if measure.fraction is not None:
        return f"percentile_cont({measure.fraction}) WITHIN GROUP (ORDER BY {column}::float8)"
    if measure.op == "distinct":
        return f"count(DISTINCT {column})"
    if measure.op in ("sum", "mean"):
        name = "avg" if measure.op == "mean" else "sum"
        exact = f"{column}::text" if measure.column.kind is Kind.NUMBER else column
        return f"{name}({exact}::numeric)"
    return f"{measure.op}({column})"


def _cell(query: GroupQuery, values: Values) -> str:
    """The column and row of the cell that a feature's place lies in: of a shape a point on it.

    OFFSET 0 keeps PostgreSQL from writing an expression out wherever its name stands, and working
    it out as often: a hexagon would take more than twice the time.
    """
    assert query.grid is not None
    edge = values.bind(query.grid.edge, "float8")
    once = "" if query.of.layer.geometry is GeometryType.POINT else " OFFSET 0"
    spot = (
        f"SELECT ST_X(p) / {edge} AS x, ST_Y(p) / {edge} AS y"
        f" FROM (SELECT {_place(query)} AS p{once}) w"
    )
    if query.grid.shape is GridShape.SQUARE:
        return f"SELECT floor(x)::int AS cx, floor(y)::int AS cy FROM ({spot}) s"
    # To the nearest of three coordinates whose sum is 0, of which two are kept.
    return f"""
        SELECT (CASE WHEN dq > dr AND dq > ds THEN -rr - rs ELSE rq END)::int AS cx,
               (CASE WHEN dr >= dq AND dr > ds THEN -rq - rs ELSE rr END)::int AS cy
        FROM (SELECT rq, rr, rs, abs(rq - q) AS dq, abs(rr - r) AS dr, abs(rs + q + r) AS ds
              FROM (SELECT q, r, round(q) AS rq, round(r) AS rr, round(-q - r) AS rs
                    FROM (SELECT x * {2 / 3} AS q, y * {ROOT_3 / 3} - x / 3 AS r
                          FROM ({spot}) s OFFSET 0) a OFFSET 0) b OFFSET 0) c"""


def _place(query: GroupQuery) -> str:
    shape = "t.tile_geom"
    if query.of.as_of is not None:  # history keeps no derived columns
        shape = "quartier.to_tile_geom(t.geom)"
    if query.of.layer.geometry is GeometryType.POINT:
        return shape
    return f"ST_PointOnSurface({shape})"


def _order(query: GroupQuery) -> str:
    names = [_sorted_by(query, position) for position in range(len(query.outputs))]
    asked = [
        f"{name} {'DESC' if order.is_descending else 'ASC'} NULLS LAST"
        for order in query.order
        for name in names[order.position]
    ]
    keys = [f"k{n}" for n in range(1, len(query.keys) + 1)]
    keys += ["cx", "cy"] if query.grid is not None else []
    return ", ".join([*asked, *(f"{key} ASC NULLS LAST" for key in keys)]) or "true"


def _sorted_by(query: GroupQuery, position: int) -> list[str]:
    found = [[f"k{n}"] for n in range(1, len(query.keys) + 1)]
    found += [["cx", "cy"]] if query.grid is not None else []
    found += [[COUNTED], *([f"m{n}"] for n in range(1, len(query.measures) + 1))]
    return found[position]


def _outputs(query: GroupQuery) -> str:
    """Times as texts of ISO 8601, as answers have them."""
    found = [output_sql(key, f"k{n}") for n, key in enumerate(query.keys, 1)]
    found += ["cx", "cy"] if query.grid is not None else []
    found.append(COUNTED)
    for n, each in enumerate(query.measures, 1):
        is_time = each.op in ("min", "max") and each.column.kind.is_temporal
        found.append(_as_text(f"m{n}") if is_time else f"m{n}")
    return ", ".join(found)


def output_sql(key: Key, name: str) -> str:
    """The value of a key as answers have it."""
    is_time = key.part is None and key.column.kind in (Kind.DATE, Kind.INSTANT, Kind.TIME)
    return _as_text(name) if is_time else name


def _as_text(name: str) -> str:
    return f"to_jsonb({name}) #>> '{{}}' AS {name}"
