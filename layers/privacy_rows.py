"""What is published of an exact row, as SQL text.

The row is called `r` in it, the cell it is counted in `c`, and the point it is snapped to `s`.
"""

from __future__ import annotations

from collections.abc import Callable

from layers.columns import Column, ColumnType
from layers.model import Layer
from layers.privacy import CHOICES, Location, Policy, Privacy, TimeUnit
from layers.sql import ident, literal
from layers.tables import RAW, type_name

POLICY, AREA, CLASS = '"#policy"', '"#area"', '"#class"'  # columns of an exact row
FINEST, BASE = '"#finest"', '"#base"'
SECRET = "(SELECT value FROM quartier.secrets WHERE name = 'privacy')"
KEY = (  # of quartier.public_fid; one SELECT, so that it is worked out once a statement
    "(SELECT ('x' || encode(substr(value, 1, 8), 'hex'))::bit(64)::bigint"
    " FROM quartier.secrets WHERE name = 'privacy')"
)


def privacy_of(layer: Layer) -> Privacy:
    if layer.privacy is None:
        raise ValueError(f"layer {layer.id} has no privacy policy")
    return layer.privacy


def part(layer: Layer, name: str) -> str:
    """A table beside the exact rows, quoted."""
    return f"{RAW}.{ident(f'{layer.id}__{name}')}"


def by_policy(layer: Layer, told: Callable[[Policy], object], number: str) -> str:
    """A CASE of the policy's number; the policies that agree are told once."""
    values = [str(told(policy)) for policy in privacy_of(layer).all_policies]
    if len(set(values)) == 1:
        return values[0]
    when = " ".join(f"WHEN {n} THEN {value}" for n, value in enumerate(values))
    return f"CASE {number} {when} END"


def one_of(numbers: list[int], number: str) -> str:
    return f"{number} IN ({', '.join(map(str, numbers))})" if numbers else "false"


def public_fid(fid: str) -> str:
    """The number that the exact row of a fid is published under."""
    return f"quartier.public_fid({fid}, {KEY})"


def published_rows(layer: Layer, rows: str, condition: str) -> str:
    """A SELECT of what is published of exact `rows` (an alias `r` among them)."""
    privacy, number = privacy_of(layer), f"r.{POLICY}"
    columns = [
        f"{public_fid('r.fid')} AS fid",
        f"'p' || {public_fid('r.fid')}",
        *(_column(layer, column) for column in layer.columns),
    ]
    joins = ""
    if layer.has_geometry:
        columns += _place_columns(layer)
        if privacy.numbers(Location.GRID, Location.AREA):
            joins += f"""
        LEFT JOIN {part(layer, "cells")} c ON c.base = r.{BASE} AND c.policy = {number}
            AND c.area = coalesce(r.{AREA}, '') AND c.class = r.{CLASS} AND c.level IS NOT NULL"""
        if privacy.numbers(Location.SNAP):
            joins += f"""
        LEFT JOIN LATERAL ({_snapped(layer)}) s ON true"""
    if privacy.suppress is not None:
        columns.append(by_policy(layer, _suppressed(privacy), number))
    if layer.has_geometry:  # as in the table: the geometry is the last
        columns.append(columns.pop(2 + len(layer.columns)) + ' AS "geom"')
    return f"SELECT {', '.join(columns)}\n        FROM {rows}{joins}\n        WHERE {condition}"


def _place_columns(layer: Layer) -> list[str]:
    """The published geometry, how it came about, how precise it is, and the code of its area."""
    number = f"r.{POLICY}"
    place = {
        Location.EXACT: "r.geom", Location.SNAP: "s.geom", Location.GRID: "c.place",
    }  # fmt: skip
    known = place | {Location.AREA: "c.level"}

    def geometry(policy: Policy) -> str:
        return f"{place.get(policy.location, 'NULL')}::geometry"

    def method(policy: Policy) -> str:
        it = known.get(policy.location)
        how = literal(policy.location)
        return f"CASE WHEN {it} IS NULL THEN 'none' ELSE {how} END" if it else "NULL"

    def precision(policy: Policy) -> str:
        if policy.location is Location.SNAP:
            return f"CASE WHEN s.geom IS NOT NULL THEN {policy.max_m:.0f} END"
        return "c.width" if policy.location is Location.GRID else "NULL::int"

    def area(policy: Policy) -> str:
        it = known.get(policy.location)
        return f"CASE WHEN {it} IS NOT NULL THEN r.{AREA} END" if it else "NULL::text"

    return [by_policy(layer, told, number) for told in (geometry, method, precision, area)]


def _snapped(layer: Layer) -> str:
    """One of the nearest anchors, which the place chooses by a secret: the same at every load, and
    for every row of the same address.
    """
    privacy = privacy_of(layer)
    number = f"r.{POLICY}"
    least, most = (by_policy(layer, told, number) for told in (_least, _most))
    degrees = f"{most} / 111195.0"
    spot = "round(ST_X(r.geom) * 10000) || ' ' || round(ST_Y(r.geom) * 10000)"
    return f"""
            SELECT (array_agg(t.geom ORDER BY t.far, t.n))[1 + get_byte(sha256(
                       {SECRET} || convert_to({spot}, 'UTF8')), 0) % count(*)::int] AS geom
            FROM (
                SELECT b.geom, b.n, ST_DistanceSphere(b.geom, r.geom) AS far
                FROM (  -- nearest in degrees, which are not as long one way as the other
                    SELECT a.geom, a.n FROM {part(layer, "anchors")} a
                    WHERE {one_of(privacy.numbers(Location.SNAP), number)}
                      AND a.geom && ST_Expand(
                          r.geom, {degrees} / greatest(cos(radians(ST_Y(r.geom))), 0.01), {degrees})
                      AND a.area IS NOT DISTINCT FROM r.{AREA}
                      AND ST_DistanceSphere(a.geom, r.geom) BETWEEN {least} AND {most}
                    ORDER BY a.geom <-> r.geom, a.n LIMIT {4 * CHOICES}
                ) b ORDER BY far, n LIMIT {CHOICES}
            ) t HAVING count(*) > 0"""


def _least(policy: Policy) -> float:
    return policy.min_m


def _most(policy: Policy) -> float:
    return policy.max_m


def _column(layer: Layer, column: Column) -> str:
    name, privacy = f"r.{ident(column.name)}", privacy_of(layer)
    if privacy.suppress is not None and column.name in privacy.suppress.columns:
        name = f"CASE WHEN NOT coalesce({_is_few(privacy, name)}, false) THEN {name} END"

    def told(policy: Policy) -> str:
        if column.name in policy.hide:
            return "NULL"
        return _coarse(layer, column, name, policy.kept_time)

    # Where no policy shows it, nothing else would say of which type it is.
    return f"CAST({by_policy(layer, told, f'r.{POLICY}')} AS {type_name(column.type)})"


def _suppressed(privacy: Privacy) -> Callable[[Policy], str]:
    """Whether a number of the row is left out for being small, by what its policy shows."""
    names = privacy.suppress.columns if privacy.suppress else ()

    def told(policy: Policy) -> str:
        shown = [_is_few(privacy, f"r.{ident(name)}") for name in names if name not in policy.hide]
        return f"coalesce({' OR '.join(shown)}, false)" if shown else "false"

    return told


def _is_few(privacy: Privacy, name: str) -> str:
    under = privacy.suppress.under if privacy.suppress else 0
    return f"({name} > 0 AND {name} < {under})"


def _coarse(layer: Layer, column: Column, name: str, unit: TimeUnit) -> str:
    """A date, an instant or a time of day, no finer than the unit."""
    kinds = (ColumnType.DATE, ColumnType.DATETIME, ColumnType.TIME)
    if unit is TimeUnit.EXACT or column.type not in kinds:
        return name
    if unit is TimeUnit.WITHHOLD:
        return "NULL"
    if column.type is ColumnType.TIME:
        hour = f"date_trunc('hour', {name}::interval)::time"
        return hour if unit is TimeUnit.HOUR else "NULL"
    if column.type is ColumnType.DATE:
        short = unit in (TimeUnit.HOUR, TimeUnit.DAY)
        return name if short else f"date_trunc('{unit}', {name})::date"
    return f"date_trunc('{unit}', {name}, {literal(layer.time_zone)})"
