"""A tile made of the rows that a statement sends is, byte for byte, the one it would have made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mercantile
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from layers.database_urls import DatabaseUrls
from layers.model import Layer
from tests.asking import Asker, asking, features, published
from tests.conftest import Database, fresh_database
from tests.examples import layer
from tiles.address import TileAddress
from tiles.cell_query import cell_query
from tiles.fullness import MANY, Fullness
from tiles.packed_cells import packed_cells
from tiles.packed_points import packed_points
from tiles.parts import Budget
from tiles.query import TileQuery, tile_query

pytestmark = pytest.mark.db

TYPES = {
    "word": "text", "other": "text", "whole": "integer", "real": "number", "yes": "boolean",
    "day": "date", "instant": "datetime", "clock": "time", "nested": "json",
}  # fmt: skip
CASTS = {
    "integer": "bigint", "number": "float8", "datetime": "timestamptz", "json": "jsonb",
}  # fmt: skip


def odd(id: str, *priority: str) -> Layer:
    columns = [{"name": name, "type": kind} for name, kind in TYPES.items()]
    return layer(
        id=id, geometry="point", maxzoom=22, columns=columns, tile=list(TYPES),
        priority=list(priority), overview={"detail_zoom": 0},
    )  # fmt: skip


LAYERS = (
    odd("odd"),
    odd("by_word", "-word"),  # an order that is the database's own
    odd("by_number", "-real", "whole"),
    odd("by_time", "instant", "-day", "yes", "-clock"),
    odd("by_nested", "nested"),
)
Row = tuple[Any, ...]  # texts as SQL writes them, or None; then the place, in widths of a tile


@dataclass(frozen=True, slots=True)
class City:
    owner: Asker
    database: Database

    def both(self, ours: TileQuery, theirs: TileQuery) -> tuple[bytes, bytes, int]:
        """The tile as it is made here, as PostGIS makes it, and how many features it has."""
        here, there = (query.made(self.owner.row(query)) for query in (ours, theirs))
        assert here.features == there.features
        return here.tile, there.tile, here.features

    def of_points(self, of: Layer, at: TileAddress) -> tuple[bytes, bytes, int]:
        return self.both(packed_points(of, of.id, at), tile_query(of, of.id, at))


@pytest.fixture(scope="module")
def city(server: DatabaseUrls, template: str) -> Iterator[City]:
    with fresh_database(server, template) as database:
        database.declare(*LAYERS)
        with asking(database, role="ingest") as owner:
            # As those of the web are set: PostgreSQL writes instants in the session's zone.
            owner.run("SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'")
            yield City(owner, database)


# Rows --------------------------------------------------------------------------------------------

NEAR = "2026-07-14"
WORDS = st.one_of(
    st.sampled_from(["", "x", NEAR, "true", "1", "é", "🚲", "\x01\x02", "a" * 126, "b" * 5000]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
)
WHOLES = st.one_of(
    st.integers(-3, 300), st.sampled_from([2**63 - 1, -(2**63), 16_383, 16_384, 2**31])
)
REALS = st.one_of(
    st.sampled_from(["NaN", "Infinity", "-Infinity", "-0", "0", "1", "5e-324", "1e308"]),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)
DAYS = st.one_of(
    st.sampled_from(
        [
            NEAR,
            "infinity",
            "-infinity",
            "0001-01-01",
            "9999-12-31",
            "10000-01-01",
            "0001-12-31 BC",
            "0044-03-15 BC",
            "4714-11-24 BC",
            "5874897-12-31",
            "2000-02-29",
        ]
    ),
    st.dates().map(str),
)
CLOCKS = st.one_of(
    st.sampled_from(["00:00:00", "24:00:00", "23:59:59.999999", "12:30:00.5", "06:07:08"]),
    st.times().map(str),
)
INSTANTS = st.one_of(
    st.sampled_from(
        [
            "infinity",
            "-infinity",
            "0044-03-15 12:00:00.25+00 BC",
            "1999-12-31 23:59:59.75+00",
            "294276-12-31 23:59:59.999999+00",
            "4714-11-24 00:00:00+00 BC",
            "2026-07-14 12:00+02",
        ]
    ),
    st.datetimes().map("{}+00".format),
)
NESTED = st.sampled_from(["9", "10", '{"b": [1, null], "a": "x"}', "null", '"x"', "[]", "1.50"])
VALUES = {
    "word": WORDS, "other": WORDS, "whole": WHOLES.map(str), "real": REALS,
    "yes": st.sampled_from(["true", "false"]), "day": DAYS, "instant": INSTANTS, "clock": CLOCKS,
    "nested": NESTED,
}  # fmt: skip
# In the very middle of two units the two round otherwise; hardly any number is there.
AXIS = st.floats(-0.02, 1.02)
ROWS = st.lists(
    st.tuples(*(st.one_of(st.none(), VALUES[name]) for name in TYPES), AXIS, AXIS), max_size=12
)
PLAIN: Row = (*(None for _ in TYPES), 0.5001, 0.5001)


@st.composite
def some_tile(draw: st.DrawFn) -> mercantile.Tile:
    """Any tile; often one at the edge of the world, where cells end, or deeper than cells tell."""
    z = draw(st.one_of(st.sampled_from([0, 14, 16, 17, 22]), st.integers(0, 22)))
    place = st.one_of(st.sampled_from([0, 2**z - 1]), st.integers(0, 2**z - 1))
    return mercantile.Tile(draw(place), draw(place), z)


def write(city: City, of: Layer, at: mercantile.Tile, rows: list[Row]) -> None:
    size = 2.0**-at.z
    casts = [CASTS.get(kind, kind) for kind in TYPES.values()]
    values = ", ".join(f"u.c{n}::{cast}" for n, cast in enumerate(casts))
    arrays = ", ".join(f"${n + 1}::text[]" for n in range(len(casts)))
    names = ", ".join(f"c{n}" for n in range(len(casts)))
    degrees = [mercantile.lnglat(*_metres(at, size, row[-2:])) for row in rows]
    city.owner.run(
        f"INSERT INTO city.{of.id} ({', '.join(TYPES)}, geom)"
        f" SELECT {values}, ST_Point(least(180, greatest(-180, u.x)), u.y, 4326)"
        f" FROM unnest({arrays}, ${len(casts) + 1}::float8[], ${len(casts) + 2}::float8[])"
        f" AS u ({names}, x, y)",
        *([row[n] for row in rows] for n in range(len(casts))),
        [place.lng for place in degrees],
        [place.lat for place in degrees],
    )


def _metres(at: mercantile.Tile, size: float, place: Any) -> tuple[float, float]:
    world = 2 * 20037508.342789244
    x, y = (at.x + place[0]) * size, (at.y + place[1]) * size
    return (x - 0.5) * world, (0.5 - min(1.0002, max(-0.0002, y))) * world


# The rule ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", LAYERS, ids=lambda of: of.id)
@given(at=some_tile(), rows=ROWS)
@example(at=mercantile.Tile(8412, 5856, 14), rows=[])
@example(at=mercantile.Tile(8412, 5856, 14), rows=[PLAIN])
@example(at=mercantile.Tile(8412, 5856, 14), rows=[PLAIN] * 300)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_features_are_those_that_postgis_writes(
    city: City, of: Layer, at: mercantile.Tile, rows: list[Row]
) -> None:
    city.owner.run("BEGIN")
    try:
        write(city, of, at, rows)
        here, there, _ = city.of_points(of, TileAddress(at.z, at.x, at.y))
    finally:
        city.owner.run("ROLLBACK")
    assert here == there


def test_a_tile_of_very_many_values_and_columns_is_the_same(
    server: DatabaseUrls, template: str
) -> None:
    """Numbers of keys beyond 127 take two bytes, those of values beyond 16 383 three."""
    names = [f"c{n}" for n in range(150)]
    wide = layer(
        id="wide", geometry="point", overview={"detail_zoom": 0}, tile=names,
        columns=[{"name": f"c{n}", "type": ("text", "integer")[n % 2]} for n in range(150)],
    )  # fmt: skip
    with fresh_database(server, template) as database:
        database.declare(wide)
        values = ", ".join(
            f"nullif(n * {n % 7 + 1}, 30)" + ("" if n % 2 else "::text") for n in range(150)
        )
        database.run(
            f"INSERT INTO city.wide ({', '.join(names)}, geom) SELECT {values},"
            " ST_Point(4.85 + n * 0.000001, 45.2, 4326) FROM generate_series(1, 4000) n"
        )
        with asking(database) as web:
            at = TileAddress(*_tile(4.85, 45.2, 12))
            here, there, found = City(web, database).of_points(wide, at)
    assert found == 4000
    assert here == there


def test_a_tile_known_to_be_large_is_made_of_packed_rows_and_is_cut_like_any(city: City) -> None:
    of, at = LAYERS[0], TileAddress(14, 8412, 5856)
    fullness = Fullness()
    city.owner.run("BEGIN")
    try:
        write(city, of, mercantile.Tile(8412, 5856, 14), [PLAIN] * 9)
        first = city.owner.whole([city.owner.drawn(of)], at, fullness=fullness)
        assert "string_agg" not in city.owner.asked[-1]
        fullness.tell(of.id, at, MANY + 1)
        again = city.owner.whole([city.owner.drawn(of)], at, fullness=fullness)
        assert "string_agg" in city.owner.asked[-1]
        fullness.tell(of.id, at, MANY + 1)
        few = Budget(features=4)
        [part], _ = city.owner.parts([city.owner.drawn(of)], at, few, fullness)
    finally:
        city.owner.run("ROLLBACK")
    assert first == again
    assert len(features(again)) == 9
    assert (part.kept, part.matched) == (4, 9)


# Cells -------------------------------------------------------------------------------------------

KINDS: dict[str, list[Any]] = {
    "text": ["oak", "true", "3", "émile"],
    "integer": [1, -2, 300, 16_384],
    "number": [1, "2.5", -7],
    "boolean": [True, False],
}


@pytest.mark.parametrize("kind", [*KINDS, "none"])
def test_cells_are_those_that_postgis_writes(database: Database, kind: str) -> None:
    groups: list[Any] = KINDS.get(kind, [])
    declared: dict[str, Any] = {"groups": groups} if groups else {}
    of = layer(
        id="busy", geometry="point", tile=["kind"], category="kind" if groups else None,
        columns=[{"name": "kind", "type": kind if groups else "text"}],
        overview={"detail_zoom": 14} | declared,
    )  # fmt: skip
    database.declare(of)
    told = [str(value).lower() if isinstance(value, bool) else str(value) for value in groups]
    casted = {"integer": "bigint", "number": "float8", "boolean": "boolean"}.get(kind, "text")
    database.run(
        "INSERT INTO city.busy (kind, geom)"
        f" SELECT (CAST(:kinds AS text[]))[1 + (random() * {len(told)})::int]::{casted},"
        " ST_Point(4.85 + 0.2 * random() ^ 3, 45.2 + 0.2 * random() ^ 3, 4326)"
        " FROM generate_series(1, 6000)"
        # Towers of points of one place, which are counted together however deep one looks.
        f" UNION ALL SELECT (CAST(:kinds AS text[]))[1 + n % {max(1, len(told))}]::{casted},"
        " ST_Point(4.85 + n * 0.01, 45.3, 4326)"
        " FROM generate_series(1, 9) n, generate_series(1, n * n * 13)",
        kinds=told,
    )
    seen = 0
    with asking(database) as web:
        for z in range(14):
            tiles = {
                mercantile.tile(4.85 + 0.02 * step, 45.2 + 0.01 * step, z) for step in range(9)
            }
            for at in tiles:
                asked = published(database, of), "busy", TileAddress(at.z, at.x, at.y)
                here, there, found = City(web, database).both(
                    packed_cells(*asked), cell_query(*asked)
                )
                assert here == there
                seen += found
    assert seen > 5000


def test_an_emptied_tile_of_cells_holds_nothing_however_full_it_was(database: Database) -> None:
    of = layer(id="spots", geometry="point", overview={"detail_zoom": 14})
    database.declare(of)
    fullness, at = Fullness(), TileAddress(0, 0, 0)
    fullness.tell("spots", at, MANY + 1)
    with asking(database) as web:
        assert web.whole([web.drawn(of)], at, fullness=fullness) == b""


def test_a_category_that_is_called_like_a_count_leaves_the_count_alone(database: Database) -> None:
    of = layer(
        id="spots", geometry="point", columns=[{"name": "cluster"}], category="cluster",
        overview={"groups": ["a", "b"], "detail_zoom": 14},
    )  # fmt: skip
    database.declare(of)
    database.run(
        "INSERT INTO city.spots (cluster, geom)"
        " VALUES ('a', ST_Point(4.85, 45.2, 4326)), ('a', ST_Point(4.85, 45.2, 4326))"
    )
    with asking(database) as web:
        asked = published(database, of), "spots", TileAddress(3, 4, 2)
        here, there, found = City(web, database).both(packed_cells(*asked), cell_query(*asked))
    assert found == 1
    assert here == there


def test_a_layer_without_columns_is_the_same(database: Database) -> None:
    bare = layer(id="bare", geometry="point", tile=[], overview={"detail_zoom": 0})
    database.declare(bare)
    database.run("INSERT INTO city.bare (geom) VALUES (ST_Point(4.85, 45.2, 4326))")
    with asking(database) as web:
        here, there, found = City(web, database).of_points(bare, TileAddress(0, 0, 0))
    assert found == 1
    assert here == there


def test_a_count_is_named_after_its_group_however_long(database: Database) -> None:
    groups = [
        f"{'Robo de vehículo de servicio público, con violencia, de ' * 2}{n}" for n in (1, 2)
    ]
    of = layer(
        id="long", geometry="point", columns=[{"name": "kind"}], category="kind",
        overview={"groups": groups, "detail_zoom": 14},
    )  # fmt: skip
    database.declare(of)
    database.run(
        "INSERT INTO city.long (kind, geom) SELECT k, ST_Point(4.85, 45.2, 4326)"
        " FROM unnest(CAST(:kinds AS text[])) k",
        kinds=groups,
    )
    with asking(database) as web:
        [cell] = features(web.whole([web.drawn(of)], TileAddress(0, 0, 0)))
    assert [cell["properties"][f"point_count:{group}"] for group in groups] == [1, 1]


def _tile(longitude: float, latitude: float, z: int) -> tuple[int, int, int]:
    at = mercantile.tile(longitude, latitude, z)
    return at.z, at.x, at.y
