"""The indexes by which a layer's points are walked and counted are there where they are wanted."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layers.changes import morton
from layers.feature_query import Cursor, FeatureQuery
from layers.feature_sql import count_statement, rows_statement
from layers.filters.queryables import Queryables
from layers.filters.requests import Box, in_box
from layers.model import Layer
from layers.morton_ranges import _column, _row, joined, ranges
from layers.point_indexes import CELLS, SLICES, columns
from tests.conftest import Database
from tests.examples import PATHS, TREES, layer

pytestmark = pytest.mark.db

CASES = layer(
    id="cases",
    geometry="point",
    columns=[{"name": "kind"}, {"name": "other"}, {"name": "at", "type": "date"}],
    category="kind",
    time="at",
    overview={"bucket": "month"},
)


def _box(said: tuple[float, float, float, float, int]) -> tuple[float, float, float, float]:
    west, south, wide, tall, small = said
    return west, south, west + wide / 10**small, south + tall / 10**small


def cell_of(longitude: float, latitude: float) -> int:
    return morton(_column(longitude), _row(latitude))


def indexed(database: Database) -> list[str]:
    return [
        definition.partition("(")[2].rstrip(")")
        for (definition,) in database.run(
            "SELECT indexdef FROM pg_indexes WHERE indexname = 'cases_slices_idx'"
        )
    ]


def test_a_layer_that_is_counted_by_time_has_it(database: Database) -> None:
    database.declare(CASES, TREES)
    assert indexed(database) == ["kind, at"]
    assert columns(TREES, SLICES) == ()


def test_every_layer_of_points_is_in_order_of_cells(database: Database) -> None:
    database.declare(TREES, PATHS)
    assert columns(PATHS, CELLS) == ()
    assert database.run(
        "SELECT tablename::text FROM pg_indexes WHERE indexdef LIKE '%(cell, fid)'"
    ) == [("trees",)]


def test_it_follows_the_declaration(database: Database) -> None:
    database.declare(CASES)
    says = [step.says for step in database.declare(CASES.model_copy(update={"category": "other"}))]
    assert "index layer cases by what it is asked for" in says
    assert indexed(database) == ["other, at"]
    assert database.declare(CASES.model_copy(update={"category": "other"})) == []


def test_one_that_somebody_dropped_is_made_again(database: Database) -> None:
    database.declare(CASES)
    database.run("DROP INDEX city.cases_slices_idx")
    assert [step.says for step in database.declare(CASES)] == [
        "index layer cases by what it is asked for"
    ]
    assert indexed(database) == ["kind, at"]


BOUNDS = st.tuples(
    st.floats(-179, 179), st.floats(-84, 84), st.floats(0, 1), st.floats(0, 1), st.integers(0, 7)
).map(_box)


@settings(max_examples=200, deadline=None)
@given(BOUNDS, st.integers(4, 300), st.integers(0, 10**9))
def test_ranges_hold_every_cell_of_a_box_and_inner_ones_no_other(
    bounds: tuple[float, float, float, float], most: int, seed: int
) -> None:
    found = ranges(bounds, most)
    assert list(found) == sorted(found)
    assert all(a.last < b.first for a, b in itertools.pairwise(found))
    west, south, east, north = bounds
    drawn = random.Random(seed)
    for _ in range(50):
        wide, tall = max(east - west, 1e-6), max(north - south, 1e-6)
        x = drawn.choice([west, east, drawn.uniform(west - wide, east + wide)])
        y = drawn.choice([south, north, drawn.uniform(south - tall, north + tall)])
        code = cell_of(x, y)
        at = next((each for each in found if each.first <= code <= each.last), None)
        if west <= x <= east and south <= y <= north:
            assert at is not None
        elif at is not None:
            assert not at.is_inside
    for each in joined(found):
        assert any(each.first <= one.first and one.last <= each.last for one in found)


def asked(database: Database, sql: str, args: tuple[object, ...]) -> list[Any]:
    """What a statement of the web answers, planned for its own values."""
    with (
        psycopg.connect(database.urls.web, autocommit=True) as connection,
        psycopg.RawCursor(connection) as cursor,
    ):
        cursor.execute(b"SET plan_cache_mode = force_custom_plan")
        return cursor.execute(sql.encode(), args).fetchall()


DIVIDED = layer(
    id="cases",
    geometry="point",
    columns=[{"name": "kind"}, {"name": "at", "type": "date", "required": True}],
    partitions={"by": "at", "every": "year"},
)


@pytest.mark.parametrize("of", [CASES, DIVIDED], ids=["of one table", "divided by time"])
def test_pages_of_a_box_are_its_rows_in_order_of_cells(database: Database, of: Layer) -> None:
    database.declare(of)
    database.run(
        "INSERT INTO city.cases (kind, at, geom) SELECT 'k', date '2019-01-01' + mod(n, 2000),"
        " ST_Point(2.3 + mod(n * 7919, 1000) * 1e-5,"
        " 48.85 + mod(n * 104729, 1000) * 1e-5, 4326) FROM generate_series(1, 3000) n"
    )
    for box in (
        (2.3, 48.85, 2.31, 48.86), (2.3021, 48.8532, 2.3088, 48.8577), (2.305, 48.855, 2.305, 48.9),
        (2.4, 48.9, 2.5, 49.0), (-180, -85, 180, 85),
    ):  # fmt: skip
        where = in_box(Box(box), Queryables.of(of))
        query = FeatureQuery(layer=of, where=where, limit=137)
        wanted = database.run(
            "SELECT cell, fid FROM city.cases WHERE ST_X(geom) BETWEEN :w AND :e"
            " AND ST_Y(geom) BETWEEN :s AND :n ORDER BY cell, fid",
            w=box[0], s=box[1], e=box[2], n=box[3],
        )  # fmt: skip
        found: list[tuple[int, int]] = []
        count = count_statement(query)
        assert asked(database, count.sql, count.args)[0][1] == len(wanted)
        while True:
            page = rows_statement(query, "t.cell, t.fid", query.limit)
            rows = asked(database, page.sql, page.args)
            found += rows[:137]
            if len(rows) <= 137:
                break
            cell, fid = found[-1]
            query = replace(query, after=Cursor(1, fid, (str(cell),), query.order))
        assert found == wanted, box


def test_a_page_of_a_box_reads_no_more_rows_than_it_holds(database: Database) -> None:
    database.declare(CASES)
    database.run(
        "INSERT INTO city.cases (geom) SELECT ST_Point(2.3 + mod(n * 7919, 1000) * 1e-5,"
        " 48.85 + mod(n * 104729, 1000) * 1e-5, 4326) FROM generate_series(1, 20000) n"
    )
    database.run("ANALYZE city.cases")
    where = in_box(Box((2.301, 48.851, 2.309, 48.859)), Queryables.of(CASES))
    page = rows_statement(FeatureQuery(layer=CASES, where=where, limit=10), "t.fid", 10)
    [(told,)] = asked(database, f"EXPLAIN (ANALYZE, FORMAT JSON) {page.sql}", page.args)
    plan = told[0]["Plan"]
    assert "Sort" not in str(plan)
    assert plan["Actual Rows"] == 11
    assert "cases_cells_idx" in str(plan)
