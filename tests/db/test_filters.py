"""Filters mean in SQL what CQL2 means: the standard's own test data, asked class by class."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pyogrio.raw
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layers.filters.build import build
from layers.filters.queryables import Queryables
from layers.filters.read import read_filter
from layers.filters.sql import Condition
from layers.filters.text import parse_text
from layers.model import Layer
from layers.values import Values
from tests.conftest import Database
from tests.cql2 import Cql2, Row
from tests.examples import layer

pytestmark = pytest.mark.db

PLACES = layer(
    id="places",
    geometry="point",
    columns=[
        *({"name": name} for name in ("name", "nameascii", "sov0name", "featurecla", "namepar")),
        *({"name": name, "type": "integer"} for name in ("pop_max", "pop_min", "pop_other")),
        {"name": "date", "type": "date"},
        {"name": "start", "type": "datetime"},
        {"name": "end", "type": "datetime"},
        {"name": "boolean", "type": "boolean"},
        {"name": "tags", "type": "json", "separator": ","},
    ],
)
COUNTRIES = layer(
    id="countries",
    geometry="polygon",
    columns=[{"name": "name"}, {"name": "continent"}, {"name": "pop_est", "type": "number"}],
)
RIVERS = layer(id="rivers", geometry="line")
LAYERS = {each.id: each for each in (PLACES, COUNTRIES, RIVERS)}
TABLES = {
    "places": "ne_110m_populated_places_simple",
    "countries": "ne_110m_admin_0_countries",
    "rivers": "ne_110m_rivers_lake_centerlines",
}
TAGS = [None, [], ["a"], ["a", "b"], ["b", "a", "a"], ["a", "b", "c"], ["d"], [1, 2], {"a": 1}]


def read_rows(shared: Path, of: Layer) -> list[dict[str, Any]]:
    """The rows of the standard's test data, and tags of our own beside them."""
    path = shared / "standards" / "cql2_data" / "ne110m4cql2.gpkg"
    meta, _, shapes, columns = pyogrio.raw.read(path, layer=TABLES[of.id], datetime_as_string=True)
    values = {name.lower(): column for name, column in zip(meta["fields"], columns, strict=True)}
    rows = []
    for number, drawn in enumerate(shapely.from_wkb(shapes)):
        place = shapely.transform(drawn, lambda at: at.clip((-180, -90), (180, 90)))
        row: dict[str, Any] = {"geom": place, "fid": number + 1}
        for column in of.columns:
            if column.name == "tags":
                row["tags"] = TAGS[number % len(TAGS)]
            else:
                row[column.name] = READ[column.type](values[column.name][number])
        rows.append(row)
    return rows


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _whole(value: Any) -> int | None:
    return None if value is None or value != value else int(value)


def _real(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


def _flag(value: Any) -> bool | None:
    return None if value is None or value != value else bool(value)


def _day(value: Any) -> date | None:
    return date.fromisoformat(str(value)[:10]) if value else None


def _instant(value: Any) -> datetime | None:
    if not value:
        return None
    read = datetime.fromisoformat(str(value).replace("/", "-"))
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


READ: Mapping[str, Callable[[Any], Any]] = {
    "text": _text, "integer": _whole, "number": _real, "date": _day, "datetime": _instant,
    "boolean": _flag,
}  # fmt: skip


@pytest.fixture(scope="module")
def rows(shared: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: read_rows(shared, of) for name, of in LAYERS.items()}


@pytest.fixture(scope="module")
def web(
    rows: dict[str, list[dict[str, Any]]], server: Any, template: str
) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the web's role to a city that holds the rows."""
    from tests.conftest import fresh_database

    with fresh_database(server, template) as database:
        database.declare(*LAYERS.values())
        for of in LAYERS.values():
            _insert(database, of, rows[of.id])
        with psycopg.connect(database.urls.web, autocommit=True) as connection:
            yield connection


def _insert(database: Database, of: Layer, rows: list[dict[str, Any]]) -> None:
    names = [column.name for column in of.columns]
    quoted = ", ".join(f'"{name}"' for name in names)
    marks = ", ".join(["%s"] * len(names))
    with psycopg.connect(database.urls.ingest) as connection, connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO city.{of.id} ({quoted}, geom)"
            f" VALUES ({marks}, ST_GeomFromWKB(%s, 4326))".encode(),
            [
                (*(_sent(name, row[name]) for name in names), shapely.to_wkb(row["geom"]))
                for row in rows
            ],
        )


def _sent(name: str, value: Any) -> Any:
    return json.dumps(value) if name == "tags" and value is not None else value


def found(web: psycopg.Connection[Any], of: Layer, said: str) -> list[int]:
    """The fids that a filter finds, asked as the web asks."""
    values = Values()
    expression = read_filter(said, Queryables.of(of))
    condition = Condition(values, ZoneInfo(of.time_zone), points=of is PLACES).of(expression)
    sql = f"SELECT fid FROM city.{of.id} t WHERE {condition} ORDER BY fid"
    with psycopg.RawCursor(web) as cursor:
        return [fid for (fid,) in cursor.execute(sql.encode(), values.args)]


def expected(rows: list[dict[str, Any]], of: Layer, said: str) -> list[int]:
    meaning, tree = Cql2(of.time_zone), parse_text(said)
    return [row["fid"] for row in rows if meaning.holds(tree, _known(row))]


def _known(row: Row) -> Row:
    return {**row, "tags": row["tags"] if isinstance(row.get("tags"), list) else None}


ASKED: dict[str, dict[str, list[str]]] = {
    "basic": {
        "places": [
            "name='København'", "name<>'København'", "name>='København'", "name>'København'",
            "name<='København'", "name<'København'", "pop_other=1038288", "pop_other<>1038288",
            "pop_other>=1038288", "pop_other>1038288", "pop_other<=1038288", "pop_other<1038288",
            "date=DATE('2022-04-16')", "date<>DATE('2022-04-16')", "date>DATE('2022-04-16')",
            "date>=DATE('2022-04-16')", "date<DATE('2022-04-16')", "date<=DATE('2022-04-16')",
            "start=TIMESTAMP('2022-04-16T10:13:19Z')", "start<>TIMESTAMP('2022-04-16T10:13:19Z')",
            "start>TIMESTAMP('2022-04-16T10:13:19Z')", "start<=TIMESTAMP('2022-04-16T10:13:19Z')",
            "boolean=true", "boolean<>true", "boolean=false",
            "name IS NULL", "name IS NOT NULL", "date IS NULL", "boolean IS NOT NULL",
            "geom IS NULL", "(name='Berlin' OR name='Athens') AND pop_other<1000000",
            "NOT (pop_other<1038288 AND NOT name='Berlin')", "NOT date IS NULL", "true", "false",
            "fid=3", "fid<>3", "name='x' OR true", "name='x' AND false", "1 = 1", "2 < 1",
            "pop_other=1038288.0", "pop_other>1038287.5",
        ],
        "countries": ["pop_est>100000000", "pop_est=5347896", "name='Fiji'", "continent<>'Asia'"],
    },
    "advanced comparison": {
        "places": [
            "name LIKE 'B_r%'", "name NOT LIKE 'B_r%'", "name LIKE '%''%'", "name LIKE '\\%'",
            "name LIKE '%'", "namepar LIKE '%a%'", "pop_other BETWEEN 1000000 AND 3000000",
            "pop_other NOT BETWEEN 1000000 AND 3000000", "name IN ('Kiev','Berlin','København')",
            "name NOT IN ('Kiev','Berlin','København')", "pop_other IN (1038288,1611692,3013258)",
            "pop_other NOT IN (1038288)", "date IN (DATE('2021-04-16'),DATE('2022-04-16'))",
            "date BETWEEN DATE('2021-04-16') AND DATE('2022-04-16')", "boolean IN (true)",
            "start BETWEEN TIMESTAMP('2022-04-16T10:13:19Z') AND TIMESTAMP('2022-04-16T10:15:10Z')",
            "name IN ('Berlin', nameascii)", "date NOT IN (DATE('2021-04-16'))",
        ],
    },
    "case and accents": {
        "places": [
            "CASEI(name)=CASEI('KIEV')", "CASEI(name) LIKE CASEI('b%')", "CASEI(name)='berlin'",
            "ACCENTI(name)=ACCENTI('Chișinău')", "ACCENTI(CASEI(name))=ACCENTI(CASEI('CHIŞINĂU'))",
            "CASEI(name) IN (CASEI('Kiev'), CASEI('BERLIN'))", "ACCENTI(name) LIKE 'S%o%'",
            "CASEI(name) = CASEI('KØBENHAVN')", "ACCENTI(nameascii) = nameascii",
        ],
        "countries": ["CASEI(name) > CASEI('S')", "ACCENTI(name) = ACCENTI('Cote d''Ivoire')"],
    },
    "spatial": {
        "places": [
            "S_INTERSECTS(geom,BBOX(0,40,10,50))", "S_INTERSECTS(geom,POINT(7.02 49.92))",
            "S_INTERSECTS(geom,POLYGON((0 40,10 40,10 50,0 50,0 40)))",
            "S_DISJOINT(geom,BBOX(0,40,10,50))", "S_WITHIN(geom,BBOX(-180,-90,180,90))",
            "S_INTERSECTS(geom,MULTIPOINT(7.0 50,12.516667 41.9))", "S_EQUALS(geom,geom)",
            "S_EQUALS(geom,POINT(6.130002806227083 49.611660379121076))",
            "S_CONTAINS(BBOX(0,40,10,50),geom)", "NOT S_INTERSECTS(geom,BBOX(0,40,10,50))",
            "S_INTERSECTS(geom,GEOMETRYCOLLECTION(POINT(0 0),POLYGON((0 40,10 40,10 50,0 40))))",
            "S_INTERSECTS(geom,BBOX(-180,-90,180,-40)) OR S_INTERSECTS(geom,BBOX(-180,60,180,90))",
            "S_WITHIN(geom,MULTIPOLYGON(((0 40,9 40,9 50,0 50,0 40)),((20 40,30 40,30 50,20 40))))",
            "S_TOUCHES(geom,LINESTRING(0 0,10 10))",
        ],
        "countries": [
            "S_INTERSECTS(geom,POINT(7.02 49.92))", "S_INTERSECTS(geom,BBOX(0,40,10,50))",
            "S_INTERSECTS(geom,LINESTRING(7 50,10 50))", "S_WITHIN(geom,BBOX(-20,30,40,75))",
            "S_TOUCHES(geom,POINT(6.043073357781111 50.128051662794235))",
            "S_CROSSES(geom,LINESTRING(0 50,30 50))", "S_OVERLAPS(geom,BBOX(0,40,10,50))",
            "S_CONTAINS(geom,POINT(7.02 49.92))", "S_CONTAINS(geom,BBOX(7,50,8,51))",
            "S_TOUCHES(geom,BBOX(-10,-90,10,-85))", "S_DISJOINT(geom,BBOX(-180,-90,180,0))",
            "S_INTERSECTS(BBOX(0,40,10,50), geom)", "S_INTERSECTS(geom,BBOX(-180,-90,180,90))",
        ],
        "rivers": [
            "S_CROSSES(geom,BBOX(0,40,10,50))", "S_INTERSECTS(geom,BBOX(-180,-90,0,90))",
            "S_OVERLAPS(geom,geom)", "S_CROSSES(geom,LINESTRING(-60 -90,-60 90))",
            "S_WITHIN(geom,BBOX(-180,-90,0,90))",
        ],
    },
    "temporal": {
        "places": [
            "T_AFTER(date,DATE('2022-04-16'))", "T_BEFORE(date,DATE('2022-04-16'))",
            "T_DISJOINT(date,DATE('2022-04-16'))", "T_EQUALS(date,DATE('2022-04-16'))",
            "T_INTERSECTS(date,DATE('2022-04-16'))",
            "T_INTERSECTS(date,INTERVAL('2021-04-16','2022-04-16'))",
            "T_DURING(date,INTERVAL('2021-04-16','2022-12-31'))",
            "T_AFTER(date,INTERVAL('..','2022-04-16'))",
            "T_BEFORE(date,INTERVAL('2023-01-01','..'))",
            "T_AFTER(start,TIMESTAMP('2022-04-16T10:13:19Z'))",
            "T_EQUALS(start,TIMESTAMP('2022-04-16T10:13:19Z'))",
            "T_INTERSECTS(INTERVAL(start,end),INTERVAL('2022-04-16T10:13:19Z','2022-04-16T10:15:10Z'))",
            "T_DISJOINT(INTERVAL(start,end),INTERVAL('2022-04-16T10:13:19Z','2022-04-16T10:15:10Z'))",
            *(
                f"{name}(INTERVAL(start,end),INTERVAL({span}))"
                for name in (
                    "T_CONTAINS", "T_DURING", "T_FINISHEDBY", "T_FINISHES", "T_MEETS", "T_METBY",
                    "T_OVERLAPPEDBY", "T_OVERLAPS", "T_STARTEDBY", "T_STARTS", "T_EQUALS",
                )
                for span in (
                    "'2022-04-16T10:13:19Z','2022-12-16T10:14:53Z'",
                    "'2021-04-16T10:15:59Z','2022-04-16T10:16:06Z'",
                    "'..','2022-04-16T10:16:06Z'", "'2022-04-16T10:13:19Z','..'",
                    "'2021-04-16T10:15:59Z','2024-02-22T09:37:52Z'", "'..','..'", "start,end",
                )
            ),
        ],
    },
    "arrays": {
        "places": [
            "A_CONTAINS(tags,('a'))", "A_CONTAINS(tags,('a','b'))", "A_CONTAINEDBY(tags,('a','b'))",
            "A_EQUALS(tags,('b','a'))", "A_OVERLAPS(tags,('c','d'))", "A_CONTAINS(tags,(2))",
            "NOT A_CONTAINS(tags,('a'))", "A_CONTAINS(('a','b','z'),tags)",
            "A_EQUALS(tags,())", "A_OVERLAPS(tags,tags)", "A_CONTAINS((name,'x'),('Berlin'))",
        ],
    },
    "property–property and arithmetic": {
        "places": [
            "name=nameascii", "name<>nameascii", "pop_max>pop_min", "pop_min=pop_other",
            "pop_other>pop_max-pop_min", "pop_other*2 > pop_max", "pop_max/pop_min>3",
            "pop_other BETWEEN pop_min AND pop_max", "pop_max % 7 = 3", "pop_max div 1000000 = 2",
            "pop_max/(pop_min-pop_min) > 1", "pop_other=1038280+8", "-pop_other < -5000000",
            "pop_max ^ 2 > 1e14", "pop_max + pop_min * 2 - 4 > 100", "start < end", "date = start",
            "start > DATE('2022-04-16')", "date < TIMESTAMP('2022-04-16T00:00:00Z')",
        ],
        "countries": ["pop_est/1000000 > 100", "pop_est - 5347896 = 0"],
    },
}  # fmt: skip
EVERY = [(name, said) for asked in ASKED.values() for name, all_ in asked.items() for said in all_]


@pytest.mark.parametrize(("name", "said"), EVERY)
def test_a_filter_finds_what_it_means(
    web: psycopg.Connection[Any], rows: dict[str, list[dict[str, Any]]], name: str, said: str
) -> None:
    of = LAYERS[name]
    assert found(web, of, said) == expected(rows[name], of, said)


SAME = [
    ("boolean", "boolean = true"),
    ("NOT boolean", "boolean = false"),
    ("date = '2022-04-16'", "date = DATE('2022-04-16')"),
    ("date < '2022-04-17'", "date <= DATE('2022-04-16')"),
    ("start < '2022-04-17'", "start < TIMESTAMP('2022-04-17T00:00:00Z')"),
    ("start = DATE('2022-04-16')", "day(start) = 16 AND month(start) = 4 AND year(start) = 2022"),
    ("T_DURING(start, INTERVAL('2022-04-16', '..'))", "start > TIMESTAMP('2022-04-16T00:00:00Z')"),
    ("geometry IS NULL", "geom IS NULL"),
    ("lower(name) = 'berlin'", "name = 'Berlin'"),
    (
        "char_length(name) < 5",
        "name LIKE '_' OR name LIKE '__' OR name LIKE '___' OR name LIKE '____'",
    ),
    (
        "within_distance(geom, POINT(12.4 41.9), 20000)",
        "distance(geom, POINT(12.4 41.9)) <= 20000",
    ),
    ("within_distance(geom, POINT(179 -17), 400000)", "distance(geom, POINT(179 -17)) <= 400000"),
    (
        "S_INTERSECTS(geom, BBOX(170, -90, -170, 90))",
        "S_INTERSECTS(geom, BBOX(170, -90, 180, 90))"
        " OR S_INTERSECTS(geom, BBOX(-180, -90, -170, 90))",
    ),
]


@pytest.mark.parametrize(("said", "otherwise"), SAME)
def test_what_can_be_said_otherwise_finds_the_same(
    web: psycopg.Connection[Any], said: str, otherwise: str
) -> None:
    there = found(web, PLACES, said)
    assert there == found(web, PLACES, otherwise)
    assert there or "NULL" in said


def test_a_date_is_a_day_of_the_layers_own_time_zone(web: psycopg.Connection[Any]) -> None:
    away = PLACES.model_copy(update={"time_zone": "Pacific/Pago_Pago"})  # 11 hours behind UTC
    assert found(web, PLACES, "start = DATE('2022-04-15')") == []
    there = found(web, PLACES, "start = DATE('2022-04-16')")
    assert found(web, away, "start = DATE('2022-04-15')") == there != []
    assert found(web, away, "start > DATE('2022-04-15') AND start < DATE('2022-04-17')") == []


def test_the_index_is_used_where_a_shape_is_asked_for(web: psycopg.Connection[Any]) -> None:
    values = Values()
    expression = read_filter("S_INTERSECTS(geom, BBOX(0,40,1,41))", Queryables.of(PLACES))
    condition = Condition(values, ZoneInfo("UTC")).of(expression)
    with psycopg.RawCursor(web) as cursor:
        cursor.execute(b"SET enable_seqscan = off")
        plan = cursor.execute(
            f"EXPLAIN SELECT fid FROM city.places t WHERE {condition}".encode(), values.args
        ).fetchall()
        cursor.execute(b"RESET enable_seqscan")
    assert any("places_tile_geom" in line for (line,) in plan), plan


def _op(name: str, *args: Any) -> dict[str, Any]:
    return {"op": name, "args": list(args)}


def _property(name: str) -> dict[str, Any]:
    return {"property": name}


NUMBERS = st.sampled_from(["pop_max", "pop_min", "pop_other"]).map(_property)
TEXTS = st.sampled_from(["name", "nameascii", "namepar"]).map(_property)
WHOLE = st.sampled_from([0, 1, 1038288, 13568, 35676000, 2.5])
WORDS = st.sampled_from(["Berlin", "", "São Tomé", "Z", "%a%", "B_r%", "\\%", "it's"])
DAYS = st.sampled_from(["2021-04-16", "2022-04-16", "2023-04-16", "1999-01-01"])
INSTANTS = st.sampled_from(["2022-04-16T10:13:19Z", "2021-04-16T10:15:59Z", "2030-01-01T00:00:00Z"])
ORDER = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
BOXES = st.sampled_from([[0, 40, 10, 50], [-180, -90, 0, 90], [6.13, 49.6, 6.14, 49.7]])
WHEN = st.sampled_from(["start", "end"]).map(_property)
LEAVES = st.one_of(
    st.builds(_op, ORDER, NUMBERS, st.one_of(NUMBERS, WHOLE)),
    st.builds(_op, ORDER, WHOLE, NUMBERS),
    st.builds(_op, ORDER, TEXTS, st.one_of(TEXTS, WORDS)),
    st.builds(_op, st.just("like"), TEXTS, WORDS),
    st.builds(_op, st.just("in"), TEXTS, st.lists(WORDS, min_size=1, max_size=4)),
    st.builds(_op, st.just("in"), NUMBERS, st.lists(WHOLE, min_size=1, max_size=4)),
    st.builds(_op, st.just("between"), NUMBERS, WHOLE, st.one_of(WHOLE, NUMBERS)),
    st.builds(_op, ORDER, st.just(_property("date")), DAYS.map(lambda d: {"date": d})),
    st.builds(_op, ORDER, WHEN, INSTANTS.map(lambda t: {"timestamp": t})),
    st.builds(_op, ORDER, WHEN, DAYS.map(lambda d: {"date": d})),
    st.builds(_op, st.just("isNull"), st.one_of(TEXTS, WHEN, st.just(_property("boolean")))),
    st.builds(_op, st.sampled_from(["=", "<>"]), st.just(_property("boolean")), st.booleans()),
    st.builds(_op, st.sampled_from(["s_intersects", "s_disjoint", "s_within"]),
              st.just(_property("geom")), BOXES.map(lambda b: {"bbox": b})),
    st.booleans(),
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(_op, st.just("not"), inner),
        st.builds(lambda name, parts: _op(name, *parts), st.sampled_from(["and", "or"]),
                  st.lists(inner, min_size=2, max_size=4)),
    ),
    max_leaves=8,
)  # fmt: skip


@settings(
    max_examples=300, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(TREES)
def test_any_filter_in_its_canonical_form_finds_what_it_meant(
    web: psycopg.Connection[Any], rows: dict[str, list[dict[str, Any]]], tree: Any
) -> None:
    values, meaning = Values(), Cql2()
    condition = Condition(values, ZoneInfo("UTC"), points=True).of(
        build(tree, Queryables.of(PLACES))
    )
    sql = f"SELECT fid FROM city.places t WHERE {condition} ORDER BY fid"
    with psycopg.RawCursor(web) as cursor:
        there = [fid for (fid,) in cursor.execute(sql.encode(), values.args)]
    assert there == [row["fid"] for row in rows["places"] if meaning.holds(tree, row)]
