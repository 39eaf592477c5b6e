"""Groups of features hold each feature once, and their measures are what Python works out."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layers.aggregate import Groups, centre, outline, read_groups
from layers.columns import Column, ColumnType, GeometryType
from layers.errors import QueryRefused, QueryTooCostly
from layers.feature_query import FeatureQuery
from layers.filters.queryables import Queryables
from layers.filters.read import read_filter
from layers.grouping import (
    GridShape,
    GroupOrder,
    GroupQuery,
    output_names,
    parse_grid,
    parse_keys,
    parse_measures,
    parse_order,
)
from layers.model import Layer
from layers.store import Store
from layers.tables import CITY
from tests.conftest import Copies, Database, copied

pytestmark = pytest.mark.db
ZONE = ZoneInfo("Europe/Paris")
ABOUT: dict[str, Any] = {
    "publisher": "City", "licence": "CC0-1.0", "attribution": "City", "time_zone": ZONE.key,
}  # fmt: skip
TREES = Layer(
    id="trees", title="Trees", geometry=GeometryType.POINT, **ABOUT,
    columns=(
        Column(name="genus", type=ColumnType.TEXT), Column(name="height", type=ColumnType.NUMBER),
        Column(name="age", type=ColumnType.INTEGER), Column(name="sick", type=ColumnType.BOOLEAN),
        Column(name="planted", type=ColumnType.DATE), Column(name="seen", type=ColumnType.DATETIME),
        Column(name="notes", type=ColumnType.JSON),
    ),
)  # fmt: skip
PARKS = Layer(
    id="parks", title="Parks", geometry=GeometryType.POLYGON, **ABOUT,
    columns=(Column(name="name", type=ColumnType.TEXT),),
)  # fmt: skip
CALLS = Layer(
    id="calls",
    title="Calls",
    geometry=GeometryType.NONE,
    **ABOUT,
    columns=(Column(name="day", type=ColumnType.DATE),),
)
KNOWN = Queryables.of(TREES)
ROWS = 600
AUTUMN = "timestamptz '2025-10-25 20:10Z'"  # clocks in Paris show two hours from 2 to 3 next night


def fill(database: Database) -> None:
    database.declare(TREES, PARKS, CALLS)
    database.run(
        f"INSERT INTO {CITY}.trees (genus, height, age, sick, planted, seen, geom) SELECT"
        " (ARRAY['Tilia', 'tilia', 'Acer', '', NULL, 'a,\"b'])[1 + mod(n * 7, 6)],"
        " CASE WHEN mod(n, 5) > 0 THEN mod(n * 37, 1000) / 7.0 END,"
        " CASE WHEN mod(n, 7) > 0 THEN mod(n * 13, 40) - 20 END,"
        " CASE WHEN mod(n, 3) > 0 THEN mod(n, 2) = 0 END,"
        " CASE WHEN mod(n, 11) > 0 THEN date '2019-12-25' + mod(n * 17, 900) END,"
        f" CASE WHEN mod(n, 13) > 0 THEN {AUTUMN} + mod(n * 7, 600) * interval '20 minutes' END,"
        " CASE WHEN mod(n, 17) > 0 THEN"
        "  ST_Point(2.2 + mod(n * 0.0317, 0.2), 48.8 + mod(n * 0.0711, 0.1), 4326) END"
        f" FROM generate_series(1, {ROWS}) n"
    )
    database.run(
        f"UPDATE {CITY}.trees SET planted = 'infinity', seen = '-infinity',"
        " geom = ST_Point(3, 86, 4326) WHERE fid = 5"
    )
    database.run(
        f"INSERT INTO {CITY}.parks (name, geom) SELECT 'Park ' || n, ST_Buffer(ST_SetSRID("
        "ST_MakePoint(2.2 + n * 0.01, 48.8 + mod(n, 4) * 0.01), 4326), 0.004)"
        " FROM generate_series(1, 20) n"
    )


cities = copied(fill)


class Rows(list[dict[str, Any]]):
    def __repr__(self) -> str:
        return f"{len(self)} rows"


@pytest.fixture(scope="module")
def rows(unwritten: Database) -> Rows:
    """As Python has them; times that never end as texts."""
    names = ("fid", "genus", "height", "age", "sick", "planted", "seen", "x", "y")
    found = unwritten.run(
        "SELECT fid, genus, height, age, sick, planted::text, to_jsonb(seen) #>> '{}',"
        " CASE WHEN abs(ST_Y(geom)) < 85 THEN ST_X(tile_geom) END, ST_Y(tile_geom)"
        f" FROM {CITY}.trees"
    )
    return Rows(dict(zip(names, row, strict=True)) for row in found)


def ask(city: Database, query: GroupQuery, **more: Any) -> Groups:
    async def asked() -> Groups:
        store = Store(city.urls.web, size=1, **more)
        try:
            return await read_groups(store, query)
        finally:
            await store.close()

    return asyncio.run(asked())


def query_of(
    group_by: str = "", measures: str = "", *, grid: str = "", filter_: str = "", **more: Any
) -> GroupQuery:
    layer, sortby = more.pop("layer", TREES), more.pop("sortby", "")
    known = Queryables.of(layer)
    keys, asked = parse_keys(group_by, known), parse_measures(measures, known)
    cells = parse_grid(grid, 48.85) if grid else None
    order = parse_order(sortby, output_names(keys, asked, has_grid=cells is not None))
    features = FeatureQuery(layer=layer, geometry=False)
    if filter_:
        features = replace(features, where=read_filter(filter_, known))
    return GroupQuery(of=features, keys=keys, measures=asked, grid=cells, order=order, **more)


# A second reading of what keys and measures mean ---------------------------------------------


def local(row: dict[str, Any], name: str) -> datetime | None:
    said = row[name]
    if said is None or "infinity" in said:
        return None
    when = datetime.fromisoformat(said)
    return when.astimezone(ZONE) if when.tzinfo else when


def unit_of(row: dict[str, Any], name: str, unit: str) -> Any:
    when = local(row, name)
    if when is None:
        return row[name]
    if unit == "hour":
        start = when.astimezone(UTC).replace(minute=0, second=0)
        return start.isoformat()
    day = when.date()
    starts: dict[str, Callable[[date], date]] = {
        "year": lambda d: d.replace(month=1, day=1),
        "quarter": lambda d: d.replace(month=(d.month - 1) // 3 * 3 + 1, day=1),
        "month": lambda d: d.replace(day=1),
        "week": lambda d: d - timedelta(days=d.weekday()),
        "day": lambda d: d,
    }
    return starts[unit](day).isoformat()


PARTS: dict[str, Callable[[datetime], int]] = {
    "year": lambda w: w.year, "month": lambda w: w.month, "day": lambda w: w.day,
    "weekday": lambda w: w.isoweekday(), "hour": lambda w: w.hour,
}  # fmt: skip


def value_of(row: dict[str, Any], said: str) -> Any:
    if ":" in said:
        return unit_of(row, *said.split(":"))
    if "(" in said:
        part, name = said[:-1].split("(")
        when = local(row, name)
        return None if when is None else PARTS[part](when)
    return row[said]


def measured(said: str, group: list[dict[str, Any]]) -> Any:
    op, name = said[:-1].split("(")
    values = [row[name] for row in group if row[name] is not None]
    if op == "distinct":
        return len(set(values))
    if not values:
        return None
    plain: dict[str, Callable[[list[Any]], Any]] = {"min": min, "max": max, "sum": sum}
    if op in plain:
        return plain[op](values)
    if op == "mean":
        return statistics.fmean(values)
    at = (0.5 if op == "median" else int(op[1:]) / 100) * (len(values) - 1)
    ordered = sorted(values)
    below, share = ordered[math.floor(at)], at - math.floor(at)
    return below + (ordered[math.ceil(at)] - below) * share


KEYS = [
    "genus", "age", "sick", "planted", "seen:hour", "weekday(seen)", "hour(seen)", "year(planted)",
    *(f"planted:{unit}" for unit in ("year", "quarter", "month", "week", "day")),
    *(f"seen:{unit}" for unit in ("year", "quarter", "month", "week", "day")),
]  # fmt: skip
MEASURES = [
    "sum(height)", "sum(age)", "mean(height)", "mean(age)", "min(age)", "max(height)",
    "median(height)", "p90(height)", "p1(age)", "distinct(genus)", "distinct(age)",
]  # fmt: skip


@settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    st.lists(st.sampled_from(KEYS), max_size=3, unique=True),
    st.lists(st.sampled_from(MEASURES), max_size=4, unique=True),
)
def test_groups_by_anything_hold_each_row_once_and_measure_it_right(
    unwritten: Database, rows: Rows, keys: list[str], measures: list[str]
) -> None:
    found = ask(unwritten, query_of(",".join(keys), ",".join(measures), limit=10_000))
    expected: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        expected[tuple(value_of(row, key) for key in keys)].append(row)
    assert sum(group.count for group in found.groups) == found.matched == ROWS
    assert len(found.groups) == found.total == len(expected)
    for group in found.groups:
        mine = expected[group.values]
        assert group.count == len(mine)
        for told, said in zip(group.measures, measures, strict=True):
            value = measured(said, mine)
            assert told == (value if value is None else pytest.approx(value, rel=1e-9)), said


def test_both_hours_that_a_clock_shows_twice_are_told_apart(unwritten: Database) -> None:
    hours = [group.values[0] for group in ask(unwritten, query_of("seen:hour")).groups]
    assert {"2025-10-26T00:00:00+00:00", "2025-10-26T01:00:00+00:00"} < set(hours)
    in_words = ask(unwritten, query_of("hour(seen)", filter_="seen = DATE('2025-10-26')")).groups
    assert [group.values[0] for group in in_words] == list(range(24))


def test_groups_come_in_order_and_what_has_no_value_comes_last(unwritten: Database) -> None:
    genera = [group.values[0] for group in ask(unwritten, query_of("genus")).groups]
    assert genera == ["", "Acer", "Tilia", 'a,"b', "tilia", None]
    most = ask(unwritten, query_of("age", sortby="-count,age")).groups
    assert [g.count for g in most] == sorted((g.count for g in most), reverse=True)
    for one, other in pairwise(most):
        if one.count == other.count and other.values[0] is not None:
            assert one.values[0] < other.values[0]


def test_a_limit_cuts_the_groups_and_not_their_sums(unwritten: Database) -> None:
    every = ask(unwritten, query_of("age"))
    some = ask(unwritten, query_of("age", limit=3))
    assert some.groups == every.groups[:3]
    assert (some.total, some.matched) == (every.total, every.matched) == (len(every.groups), ROWS)


def test_no_key_is_one_group_and_no_feature_is_none_of_any_kind(unwritten: Database) -> None:
    [whole] = ask(unwritten, query_of(measures="sum(age)")).groups
    assert whole.count == ROWS
    nothing = ask(unwritten, query_of("genus", filter_="fid < 0"))
    assert (list(nothing.groups), nothing.total, nothing.matched) == ([], 0, 0)
    assert nothing.revision == every_revision(unwritten)
    [none] = ask(unwritten, query_of(measures="sum(age),distinct(age)", filter_="fid < 0")).groups
    assert (none.count, none.measures) == (0, (None, 0))


def every_revision(city: Database) -> int:
    return int(city.value("SELECT revision FROM quartier.public_state WHERE layer_id = 'trees'"))


@pytest.mark.parametrize("grid", ["square:500", "hex:300", "square:37.5", "hex:5000"])
def test_each_place_lies_in_its_cell(unwritten: Database, rows: Rows, grid: str) -> None:
    query = query_of("fid", grid=grid, limit=10_000)
    assert query.grid is not None
    places = {row["fid"]: row for row in rows}
    for group in ask(unwritten, query).groups:
        row = places[group.values[0]]
        if row["x"] is None:
            assert group.cell is None
            continue
        assert group.cell is not None
        ring = [mercator(*corner) for corner in outline(query.grid, group.cell)]
        cell = shapely.Polygon(ring)
        assert cell.exterior.is_ccw
        assert cell.distance(shapely.Point(row["x"], row["y"])) < 0.02
        middle = shapely.Point(mercator(*centre(query.grid, group.cell)))
        assert cell.centroid.distance(middle) < 0.05
        sides = [math.dist(*pair) for pair in pairwise(ring)]
        scale = math.cos(math.radians(49))
        assert [side * scale for side in sides] == pytest.approx(
            [query.grid.side_m] * (4 if query.grid.shape is GridShape.SQUARE else 6), abs=0.05
        )


def mercator(longitude: float, latitude: float) -> tuple[float, float]:
    y = math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2))
    return math.radians(longitude) * 6_378_137, y * 6_378_137


@pytest.mark.parametrize("grid", ["square:500", "hex:500"])
def test_cells_of_a_grid_do_not_overlap_and_hold_all_there_is(
    unwritten: Database, grid: str
) -> None:
    query = query_of(grid=grid, limit=10_000)
    assert query.grid is not None
    found = ask(unwritten, query)
    assert sum(group.count for group in found.groups) == ROWS
    cells = [outline(query.grid, group.cell) for group in found.groups if group.cell is not None]
    shapes = [shapely.Polygon([mercator(*corner) for corner in ring]) for ring in cells]
    together = shapely.union_all([shape.buffer(-0.05) for shape in shapes]).area
    assert together == pytest.approx(sum(shape.area for shape in shapes), rel=1e-3)


def test_a_shape_is_in_the_cell_of_a_point_on_it(unwritten: Database) -> None:
    query = query_of("name", grid="square:200", layer=PARKS)
    assert query.grid is not None
    for group in ask(unwritten, query).groups:
        [(wkt,)] = unwritten.run(
            f"SELECT ST_AsText(geom) FROM {CITY}.parks WHERE name = :name", name=group.values[0]
        )
        assert group.cell is not None
        assert shapely.from_wkt(wkt).intersects(shapely.Polygon(outline(query.grid, group.cell)))


def test_the_past_has_the_groups_it_had(cities: Copies) -> None:
    with cities() as database:
        before = every_revision(database)
        for grid in ("", "hex:400"):
            then = ask(database, query_of("genus", "sum(age)", grid=grid))
            database.run(f"UPDATE {CITY}.trees SET genus = 'Acer', age = 3 WHERE fid < 300")
            database.run(f"DELETE FROM {CITY}.trees WHERE fid > 550")
            now = query_of("genus", "sum(age)", grid=grid)
            assert ask(database, now).groups != then.groups
            past = FeatureQuery(layer=TREES, geometry=False, as_of=before)
            again = ask(database, GroupQuery(
                of=past, keys=now.keys, measures=now.measures, grid=now.grid,
            ))  # fmt: skip
            assert again == then
            database.run(f"INSERT INTO {CITY}.trees (genus) VALUES ('x')")
            before = every_revision(database)


def test_shapes_of_the_past_lie_in_the_cells_they_lay_in(cities: Copies) -> None:
    with cities() as database:
        database.run(  # beyond the end of the square world, and across it
            f"INSERT INTO {CITY}.parks (name, geom) SELECT n::text,"
            " ST_MakeEnvelope(n, 84.9, n + 1, 84.9 + n / 10.0, 4326) FROM generate_series(1, 4) n"
            " UNION ALL SELECT 'north', ST_MakeEnvelope(1, 86, 2, 87, 4326)"
        )
        now = query_of("name", grid="hex:400", layer=PARKS)
        then = ask(database, now)
        database.run(f"UPDATE {CITY}.parks SET geom = ST_Translate(geom, 1, -1)")
        assert ask(database, now).groups != then.groups
        past = replace(now, of=replace(now.of, as_of=then.revision))
        assert ask(database, past) == then


def test_a_question_that_would_cost_too_much_is_refused_with_advice(unwritten: Database) -> None:
    with pytest.raises(QueryTooCostly, match="add a bbox"):
        ask(unwritten, query_of("genus"), cost_ceiling=1.0)


def test_a_column_called_count_is_told_beside_the_count() -> None:
    traffic = TREES.model_copy(update={"columns": (Column(name="count", type=ColumnType.INTEGER),)})
    query = query_of("count", "sum(count)", layer=traffic, sortby="-count")
    assert query.outputs == ("column:count", "count", "sum(count)")
    assert query.order == (GroupOrder(1, is_descending=True),)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"group_by": "gens"}, "did you mean genus?"),
        ({"group_by": "geom"}, "is of type geometry, which makes no groups"),
        ({"group_by": "notes"}, "makes no groups"),
        ({"group_by": "genus:month"}, "is of type text, which has no month"),
        ({"group_by": "seen:minute"}, "one of year, quarter, month, week, day, hour"),
        ({"group_by": "planted:hour"}, "one of year, quarter, month, week, day"),
        ({"group_by": "hour(planted)"}, "is of type date, which has no hour"),
        ({"group_by": "lower(genus)"}, "write a column, or one of year, month"),
        ({"group_by": "a,b"}, "columns are genus, height"),
        ({"group_by": "fid,genus,age,sick,planted,seen,height"}, "names more than 6"),
        ({"measures": "mean(genus)"}, "mean is of numbers"),
        ({"measures": "min(genus)"}, "min is of numbers and times"),
        ({"measures": "p0(age)"}, "p1 to p99"),
        ({"measures": "p100(age)"}, "p1 to p99"),
        ({"measures": "sum(nothing)"}, "columns are"),
        ({"measures": "height"}, "such as mean(fid)"),
        ({"grid": "square"}, "write square:500"),
        ({"grid": "round:5"}, "write square:500"),
        ({"grid": "hex:0.1"}, "from 1 to 1000000"),
        ({"grid": "hex:nan"}, "write square:500"),
        ({"grid": "hex:1_0"}, "write square:500"),
        ({"sortby": "height"}, "groups have count"),
        ({"limit": 0}, "from 1 to 10000"),
        ({"grid": "hex:5", "layer": CALLS}, "rows of this layer have no place"),
    ],
)
def test_what_makes_no_groups_is_refused_with_the_fix(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        query_of(**asked)
    assert told in str(refused.value)
