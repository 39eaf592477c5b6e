"""Filters in CQL2 text: read, refused, and brought to one form."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from api.tile_filters import TileAsked
from layers.crs import epsg
from layers.errors import QueryRefused
from layers.feature_query import FeatureQuery
from layers.filters.canonical import say
from layers.filters.errors import FilterRefused
from layers.filters.nodes import Shape, Spatial
from layers.filters.queryables import Queryables
from layers.filters.read import read_filter, read_tree
from layers.filters.text import parse_text
from tests.examples import layer

EXAMPLES = "standards/cql2_examples"
OBSERVED = layer(
    id="observed",
    geometry="point",
    time_zone="America/Mexico_City",
    columns=[
        {"name": "kind"},
        {"name": "when", "type": "datetime"},
        {"name": "day", "type": "date"},
        {"name": "count", "type": "integer"},
        {"name": "height", "type": "number"},
        {"name": "open", "type": "boolean"},
        {"name": "opens", "type": "time"},
        {"name": "tags", "type": "json", "separator": ","},
    ],
)
KNOWN = Queryables.of(OBSERVED, datetime(2026, 3, 2, 3, tzinfo=UTC))  # the evening of the 1st there


def plain(tree: Any) -> Any:
    """A tree as JSON would have it, instants and numbers written in one way."""
    if isinstance(tree, shapely.Geometry):
        return plain(json.loads(shapely.to_geojson(tree)))
    if isinstance(tree, dict):
        return {name: plain(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [plain(value) for value in tree]
    if isinstance(tree, str) and tree.endswith("Z"):
        return tree.replace(".000000Z", "Z")
    return tree


def test_every_example_of_the_standard_is_read_as_its_json_says(shared: Path) -> None:
    folder = shared / EXAMPLES
    texts = sorted((folder / "text").glob("*.txt"))
    assert len(texts) == 120
    for path in texts:
        tree = plain(parse_text(path.read_text(encoding="utf-8")))
        json_path = folder / "json" / f"{path.stem}.json"
        if json_path.exists():
            assert tree == plain(json.loads(json_path.read_text(encoding="utf-8"))), path.stem


def said(text: str) -> str:
    return say(read_filter(text, KNOWN))


@pytest.mark.parametrize(
    ("text", "otherwise"),
    [
        ("kind = 'a' AND count = 1", "count = 1 and ( kind='a')"),
        ("kind = 'a' OR kind = 'b'", "kind IN ('b', 'a', 'b')"),
        ("NOT (kind = 'a' AND count < 3)", "kind <> 'a' OR count >= 3"),
        ("count > 3", "NOT count <= 3"),
        ("count > 3", "count >= 4"),
        ("3 < count", "count > 3.0"),
        ("day < DATE('2026-03-01')", "day <= DATE('2026-02-28')"),
        ("when < DATE('2026-03-01')", "when < TIMESTAMP('2026-03-01T06:00:00Z')"),
        ("when = DATE('2026-03-01')", "T_INTERSECTS(when, INTERVAL('2026-03-01','2026-03-01'))"),
        ("day = today()", "day = DATE('2026-03-01')"),
        ("day >= today(-7)", "day >= '2026-02-22'"),
        ("count BETWEEN 1 AND 5", "count <= 5 AND NOT count < 1"),
        ("kind IN ('a')", "kind = 'a'"),
        ("NOT NOT open", "open = true OR open"),
        ("height = 1 + 2", "height = 3"),
        ("kind = 'a' AND true", "kind = 'a' OR false"),
        ("S_INTERSECTS(geom, BBOX(1,2,3,4))", "S_INTERSECTS(geometry, BBOX(1,2,0,3,4,9))"),
        ("\"kind\" = 'it''s'", "kind = 'it\\'s'"),
        (
            '{"op":"and","args":[{"op":"=","args":[{"property":"kind"},"a"]},{"op":">",'
            '"args":[{"property":"count"},3]}]}',
            "count >= 4 AND kind = 'a'",
        ),
    ],
)
def test_filters_that_ask_the_same_are_said_the_same(text: str, otherwise: str) -> None:
    assert said(text) == said(otherwise)


@pytest.mark.parametrize(
    ("text", "otherwise"),
    [
        ("kind = 'a'", "kind = 'b'"),
        ("kind = 'a'", "kind <> 'a'"),
        ("count = 1", "height = 1"),
        ("kind = '1'", "kind = 'text:1'"),
        ("kind IN ('a,b')", "kind IN ('a','b')"),
        ("height < 3", "height <= 2"),
        ("S_INTERSECTS(geom, POINT(1 2))", "S_INTERSECTS(geom, POINT(2 1))"),
        ("kind LIKE 'a'", "kind = 'a'"),
        ("when > TIMESTAMP('2026-03-01T00:00:00Z')", "when > DATE('2026-03-01')"),
    ],
)
def test_filters_that_ask_otherwise_are_not(text: str, otherwise: str) -> None:
    assert said(text) != said(otherwise)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected a value, a property or a function at character 1, found the end"),
        ("kind =", "expected a value, a property or a function at character 7, found the end"),
        ("kind = 'a' and", "at character 15, found the end"),
        ("kind = 'a' b", "expected AND, OR or the end at character 12, found 'b'"),
        ("kind = 'a", 'cannot read "\'a" at character 8'),
        ("kind = 'a'; DROP TABLE x", "cannot read '; DROP TABLE' at character 11"),
        ("knd = 'a'", "no property 'knd'; did you mean kind?"),
        ("source_key = 'a'", "there is no property 'source_key'"),
        ("kind = 1", "kind is a text and 1 is a whole number: they cannot be compared"),
        ("kind = 1", "write '1' in quotes"),
        ("count = '1'", "write 1 without quotes"),
        ("kind = NULL", "write IS NULL"),
        ("kind = kind = kind", "= is true or false"),
        ("day = DATE('2026-02-30')", "'2026-02-30' is no date"),
        ("when = TIMESTAMP('2026-02-01T00:00:00')", "does not say its time zone"),
        ("when = TIMESTAMP('2026-02-01T25:00:00Z')", "never was"),
        ("opens = '25:00'", "no time of day"),
        ("open > true", "does not compare true and false"),
        ("kind LIKE 'a\\'", "which escapes nothing"),
        ("kind LIKE 'a\\\\\\ ' AND count LIKE 'b'", "LIKE is for texts, and count"),
        ("kind IN ()", "IN () has no values"),
        ("foo(kind) = 1", "no function 'foo'; functions are lower"),
        ("lower(count) = 'a'", "operand 1 of lower is a text"),
        ("lower(kind, kind) = 'a'", "lower has 2 operands and takes 1"),
        ("kind + 1 = 2", "+ is for numbers, and kind is a text"),
        ("S_INTERSECTS(geom, POINT(200 95))", "lies outside of the world: longitude comes first"),
        ("S_INTERSECTS(geom, POLYGON((0 0,1 1,1 0,0 1,0 0)))", "is not valid (Self-intersection"),
        ("S_INTERSECTS(geom, POLYGON((0 0,1 1,1 0)))", "Points of LinearRing do not form a closed"),
        ("S_INTERSECTS(geom, POLYGON EMPTY)", "a geometry is empty"),
        ("S_INTERSECTS(geom, BBOX(1,2,3))", "a bbox has four numbers or six"),
        ("S_INTERSECTS(geom, BBOX(1,5,3,4))", "a bbox begins in the south"),
        ("S_INTERSECTS(geom, kind)", "S_INTERSECTS is for geometries, and kind is a text"),
        ("T_DURING(day, day)", "T_DURING is for intervals"),
        ("T_AFTER(kind, day)", "kind is a text, and no date and no instant"),
        ("T_AFTER(day, INTERVAL('2026-02-01','2026-01-01'))", "an interval ends before it starts"),
        ("A_CONTAINS(kind, ('a'))", "A_CONTAINS is for lists, and kind is a text"),
        ("tags = 'a'", "= does not compare a list; write A_EQUALS"),
        ("geom = 1", "write S_EQUALS"),
        ("count = 1e999", "a number is larger than can be compared with"),
        ("kind", "kind is a text; compare it with a value"),
        ("day = today(0.5)", "today() takes a whole number of days"),
        ("(" * 60 + "count=1" + ")" * 60, "is nested more than 40 deep"),
        ("NOT " * 5000 + "open", "is nested more than 40 deep"),
        ("- " * 5000 + "1 = count", "is nested more than 40 deep"),
        ("count = 1" + " - 1 - count" * 200, "is nested more than 60 deep"),
        ('{"op":"and","args":[true]}', "and has 1 operands; it takes two or more"),
        ('{"op":"=","args":[{"property":"kind"},null]}', "null is no value"),
        ('{"op":"=","args":[{"property":"kind"}', "is no JSON"),
        ('{"op":"=","args":[{"property":"kind"},{"date":5}]}', "date is no value of CQL2"),
        ('{"op":"=","args":[{"property":"kind"},"a"],"x":1}', "and nothing else"),
        ('{"op":"s_intersects","args":[{"property":"geom"},{"type":"Point"}]}', "GeoJSON"),
        ('{"op":"=","args":[{"property":"kind"},"a\\u0000"]}', "no text in the database can hold"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_place_and_the_fix(text: str, told: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        read_filter(text, KNOWN)
    assert told in refused.value.fix
    assert refused.value.parameter == "filter"


@pytest.mark.parametrize(
    "text", ["(" * 38 + "a=" + ")" * 38, "(" * 38 + "a=1", "(" * 5000, "casei(" * 5000, "f((" * 18]
)
def test_a_wrong_filter_takes_no_longer_the_deeper_it_is(text: str) -> None:
    with pytest.raises(FilterRefused):  # in a time that does not double with each parenthesis
        parse_text(text)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(QueryRefused):
        read_filter(text, KNOWN, language="cql2-text")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["op", "args", "property", "date", "type", "coordinates", "bbox"]),
                inner
                | st.sampled_from(["and", "=", "kind", "s_intersects", "geom", "Point", "in"]),
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_read_or_refused(tree: Any) -> None:
    with suppress(QueryRefused):
        read_tree(tree, KNOWN)


def test_shapes_may_be_in_another_system_in_its_own_order_of_axes() -> None:
    one = read_filter("S_INTERSECTS(geom, POINT(4.8 45.2))", KNOWN)
    other = read_filter("S_INTERSECTS(geom, POINT(45.2 4.8))", KNOWN, crs=epsg(4326))
    assert say(one) == say(other)
    with pytest.raises(QueryRefused, match="outside of the world"):
        read_filter("S_INTERSECTS(geom, POINT(95 5))", KNOWN, crs=epsg(4326))
    metres = read_filter("S_INTERSECTS(geom, BBOX(700000,6600000,700100,6600100))", KNOWN,
                         crs=epsg(2154))  # fmt: skip
    assert isinstance(metres, Spatial)
    assert isinstance(metres.right, Shape)
    assert metres.right.bounds == pytest.approx((3.0, 46.5, 3.0013, 46.5009), abs=1e-4)


def test_a_number_is_kept_exactly() -> None:
    assert "9007199254740993" in said("count = 9007199254740993")


def test_what_a_count_is_remembered_by_is_short_and_of_one_question() -> None:
    questions = ["kind = 'a'", "kind = 'b'", f"kind = '{'a' * 60_000}'"]
    known = [FeatureQuery(layer=OBSERVED, where=read_filter(q, KNOWN)).matches for q in questions]
    assert len(set(known)) == 3
    assert max(map(len, known)) < 100


@pytest.mark.parametrize(
    "said", ["day < today()", "day < TODAY(-1)", r'{"op": "\u0074oday", "args": []}']
)
def test_what_asks_for_something_else_tomorrow_is_known(said: str) -> None:
    assert TileAsked(None, {"filter": said}).by_clock
    assert not TileAsked(None, {"filter": "day < '2026-01-01'"}).by_clock
