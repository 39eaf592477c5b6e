"""The functions that a filter may call, beside the operators of CQL2."""

from __future__ import annotations

from dataclasses import dataclass

from layers.filters.nodes import Kind

WHEN = (Kind.DATE, Kind.INSTANT)
NUMERIC = (Kind.INTEGER, Kind.NUMBER)


@dataclass(frozen=True, slots=True)
class Offered:
    """`sql` takes {0}, {1} …; a date or instant as the layer's own clock shows it."""

    takes: tuple[tuple[Kind, ...], ...]
    gives: Kind
    sql: str
    about: str


TEXT = ((Kind.TEXT,),)
NUMBER = (NUMERIC,)
TIME = (WHEN,)
GEOMETRY = ((Kind.GEOMETRY,),)
FUNCTIONS: dict[str, Offered] = {
    "lower": Offered(TEXT, Kind.TEXT, "lower({0})", "the text in small letters"),
    "upper": Offered(TEXT, Kind.TEXT, "upper({0})", "the text in capital letters"),
    "char_length": Offered(TEXT, Kind.INTEGER, "char_length({0})", "how many letters it has"),
    "abs": Offered(NUMBER, Kind.NUMBER, "abs({0}::float8)", "the number without its sign"),
    "floor": Offered(NUMBER, Kind.NUMBER, "floor({0}::float8)", "the next whole number below"),
    "ceil": Offered(NUMBER, Kind.NUMBER, "ceil({0}::float8)", "the next whole number above"),
    "year": Offered(TIME, Kind.INTEGER, "date_part('year', {0})::int", "the year"),
    "month": Offered(TIME, Kind.INTEGER, "date_part('month', {0})::int", "the month, 1 to 12"),
    "day": Offered(TIME, Kind.INTEGER, "date_part('day', {0})::int", "the day of the month"),
    "weekday": Offered(
        TIME, Kind.INTEGER, "date_part('isodow', {0})::int", "1 for Monday to 7 for Sunday"
    ),
    "hour": Offered(
        ((Kind.INSTANT,),), Kind.INTEGER, "date_part('hour', {0})::int", "the hour, 0 to 23"
    ),
    "distance": Offered(
        GEOMETRY * 2, Kind.NUMBER, "ST_Distance({0}::geography, {1}::geography)",
        "metres between two geometries",
    ),
    "within_distance": Offered(
        (*GEOMETRY * 2, NUMERIC), Kind.BOOLEAN,
        "ST_DWithin({0}::geography, {1}::geography, {2}::float8)",
        "whether two geometries are so many metres apart, or less",
    ),
    "area": Offered(GEOMETRY, Kind.NUMBER, "ST_Area({0}::geography)", "square metres"),
    "length": Offered(
        GEOMETRY, Kind.NUMBER, "ST_Length({0}::geography)", "metres, of a line"
    ),
}  # fmt: skip
TODAY = "today"  # resolved when a filter is read: today(), today(-7)
