"""Overviews of points: exact whatever is written, and the same whether kept or counted anew."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import asyncpg
import mapbox_vector_tile
import mercantile
import pytest
import sqlalchemy as sa

from layers import overviews
from layers.catalog import PublishedLayer
from layers.model import Layer
from layers.overviews import ROW_DEPTH
from tests.conftest import Database
from tests.examples import layer
from tiles.address import TileAddress
from tiles.cell_query import Slice, cell_query, depth_of, heat_query, slice_query
from tiles.query import TileQuery

pytestmark = pytest.mark.db

GROUPS = ("oak", "lime", "plane")
BUSY = layer(
    id="busy",
    geometry="point",
    time_zone="America/Mexico_City",
    columns=[
        {"name": "kind"},
        {"name": "seen", "type": "datetime"},
        {"name": "note"},
    ],
    category="kind",
    time="seen",
    overview={"groups": list(GROUPS), "bucket": "month", "detail_zoom": 12},
)
FREE = BUSY.model_copy(
    update={"id": "free", "overview": BUSY.overview.model_copy(update={"detail_zoom": None})}
)
SEED = 20261126


def published(database: Database, of: Layer) -> PublishedLayer:
    detail, depth = database.run(
        "SELECT detail_zoom, cube_depth FROM quartier.layer_state WHERE layer_id = :id", id=of.id
    )[0]
    return PublishedLayer(
        layer=of, revision=1, changed_at=None, config_hash="", detail_zoom=detail, cube_depth=depth
    )


def insert(
    database: Database, of: Layer, count: int, chance: random.Random, *, wide: float
) -> None:
    rows = ", ".join(a_row(chance, wide) for _ in range(count))
    database.run(f"INSERT INTO city.{of.id} (kind, seen, geom) VALUES {rows}")


def a_row(chance: random.Random, wide: float) -> str:
    kind = chance.choice([*GROUPS, "elm", None])
    seen = chance.choice(
        ["infinity", None, *(f"20{y}-0{m}-01 03:00+00" for y in (24, 25) for m in (1, 2, 7))]
    )
    place = a_place(chance, wide)
    return f"({_text(kind)}, {_text(seen)}::timestamptz, {place})"


def a_place(chance: random.Random, wide: float) -> str:
    if chance.random() < 0.1:
        return chance.choice(["NULL", "ST_Point(12, 89.9, 4326)", "ST_Point(4.8, 45.2, 4326)"])
    return f"ST_Point({4.8 + chance.gauss(0, wide)}, {45.2 + chance.gauss(0, wide)}, 4326)"


def _text(value: str | None) -> str:
    return "NULL" if value is None else f"'{value}'"


def kept(database: Database, of: Layer) -> list[list[tuple[Any, ...]]]:
    """Everything in the overview's tables."""
    return [
        database.run(f"SELECT t::text FROM {table} t ORDER BY t")
        for table in overviews.tables_of(of)
    ]


def an_edit(chance: random.Random, of: Layer) -> str:
    """A statement of any SQL client, on one row or on many."""
    some = f"fid % {chance.choice([7, 40, 300])} = {chance.randrange(7)}"
    table = f"city.{of.id}"
    return chance.choice([
        f"UPDATE {table} SET geom = {a_place(chance, 0.2)} WHERE {some}",
        f"UPDATE {table} SET geom = ST_Translate(geom, 0.00001, 0) WHERE {some}",
        f"UPDATE {table} SET kind = '{chance.choice([*GROUPS, 'elm'])}' WHERE {some}",
        f"UPDATE {table} SET seen = seen + interval '40 days' WHERE {some}",
        f"UPDATE {table} SET note = 'x' || {chance.random()} WHERE {some}",
        f"UPDATE {table} SET kind = kind WHERE {some}",
        f"DELETE FROM {table} WHERE {some}",
        f"INSERT INTO {table} (kind, seen, geom) VALUES {a_row(chance, 0.2)}, {a_row(chance, 9)}",
        f"INSERT INTO {table} (source_key, kind, geom) SELECT source_key, 'lime', geom FROM {table}"
        f" WHERE {some} ON CONFLICT (source_key) DO UPDATE SET kind = excluded.kind",
        f"MERGE INTO {table} t USING (SELECT min(fid) AS fid FROM {table}) s ON t.fid = s.fid"
        f" WHEN MATCHED THEN UPDATE SET geom = {a_place(chance, 1)}",
    ])  # fmt: skip


@pytest.mark.parametrize("of", [BUSY, FREE], ids=["fixed", "by the data"])
def test_a_maintained_overview_is_the_one_that_is_counted_anew(
    database: Database, of: Layer
) -> None:
    chance = random.Random(SEED)
    database.declare(of)
    insert(database, of, 800, chance, wide=0.2)
    for _ in range(60):
        with database.transaction() as connection:
            for _ in range(chance.choice([1, 1, 3])):
                connection.execute(sa.text(an_edit(chance, of)))
    maintained = kept(database, of)
    assert maintained[0]
    database.run(f'SELECT quartier."{of.id}__overview"(false)')
    assert kept(database, of) == maintained


EVERY_WRITE = [
    "INSERT INTO city.busy (source_key, kind, geom) SELECT source_key, 'lime', geom FROM city.busy"
    " UNION ALL SELECT 'new' || n, 'oak', ST_Point(4.7, 45.1 + n * 0.01, 4326)"
    " FROM generate_series(1, 30) n ON CONFLICT (source_key) DO UPDATE SET geom ="
    " ST_Translate(excluded.geom, 0.1, 0)",
    "WITH gone AS (DELETE FROM city.busy WHERE fid % 2 = 0 RETURNING fid)"
    " INSERT INTO city.busy (kind, geom) SELECT 'oak', ST_Point(4.7, 45.1 + fid * 0.001, 4326)"
    " FROM gone",
    "MERGE INTO city.busy t USING (SELECT fid FROM city.busy UNION ALL SELECT -n FROM"
    " generate_series(1, 25) n) s ON t.fid = s.fid WHEN MATCHED AND t.fid % 3 = 0 THEN DELETE"
    " WHEN MATCHED THEN UPDATE SET geom = ST_Point(4.9, 45.3, 4326)"
    " WHEN NOT MATCHED THEN INSERT (kind, geom) VALUES ('elm', ST_Point(4.6, 45.0, 4326))",
]


@pytest.mark.parametrize("statement", EVERY_WRITE, ids=["conflict", "with", "merge"])
@pytest.mark.parametrize("bound", [20, 100_000])
def test_a_statement_of_several_kinds_is_counted_once_however_it_is_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch, statement: str, bound: int
) -> None:
    monkeypatch.setattr("layers.overview_upkeep.REBUILT_ROWS", bound)
    database.declare(BUSY)
    insert(database, BUSY, 60, random.Random(SEED), wide=0.2)
    database.run(statement)
    database.run("UPDATE city.busy SET kind = 'plane' WHERE fid % 5 = 0")
    maintained = kept(database, BUSY)
    database.run('SELECT quartier."busy__overview"(false)')
    assert kept(database, BUSY) == maintained


def test_a_trigger_of_the_city_that_writes_the_row_again_is_counted_once(
    database: Database,
) -> None:
    database.declare(BUSY)
    database.run(
        "CREATE FUNCTION city.again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE city.busy SET geom = ST_Translate(NEW.geom, 0.5, 0), kind = 'lime'"
        " WHERE fid = NEW.fid; RETURN NULL; END $$"
    )
    database.run(
        "CREATE TRIGGER again AFTER INSERT ON city.busy FOR EACH ROW EXECUTE FUNCTION city.again()"
    )
    for count in (1, 3, 50):
        database.run(
            "INSERT INTO city.busy (kind, geom) SELECT 'oak', ST_Point(4.8, 45 + n * 0.01, 4326)"
            f" FROM generate_series(1, {count}) n"
        )
    maintained = kept(database, BUSY)
    assert database.value("SELECT n FROM city_overview.busy WHERE depth = 0") == 54
    assert database.value("SELECT min(n) FROM city_overview.busy") > 0
    database.run('SELECT quartier."busy__overview"(false)')
    assert kept(database, BUSY) == maintained


def test_what_is_rolled_back_is_not_counted(database: Database) -> None:
    database.declare(BUSY)
    insert(database, BUSY, 50, random.Random(SEED), wide=0.2)
    before = kept(database, BUSY)
    with database.transaction() as connection:
        connection.execute(sa.text("DELETE FROM city.busy WHERE fid % 2 = 0"))
        connection.rollback()
    assert kept(database, BUSY) == before


def test_truncate_leaves_nothing_counted(database: Database) -> None:
    database.declare(BUSY)
    insert(database, BUSY, 50, random.Random(SEED), wide=0.2)
    database.run("TRUNCATE city.busy")
    assert kept(database, BUSY) == [[], []]


# Tiles -------------------------------------------------------------------------------------------


@pytest.fixture
def web(database: Database) -> Iterator[Web]:
    web = Web(database)
    yield web
    web.close()


class Web:
    """What the web's role reads through the statements of tiles."""

    def __init__(self, database: Database) -> None:
        self._runner = asyncio.Runner()
        self._connection = self._runner.run(asyncpg.connect(database.urls.web))

    def tile(self, query: TileQuery) -> Any:
        row = self._runner.run(self._connection.fetchrow(query.sql, *query.args))
        assert row is not None
        tile = query.made(row).tile
        return mapbox_vector_tile.decode(tile) if tile else {}

    def close(self) -> None:
        self._runner.run(self._connection.close())
        self._runner.close()


def addresses(database: Database, of: Layer, z: int) -> list[TileAddress]:
    rows = database.run(
        f"SELECT DISTINCT ST_X(geom), ST_Y(geom) FROM city.{of.id} WHERE cell IS NOT NULL"
    )
    tiles = {mercantile.tile(x, y, z) for x, y in rows}
    # The neighbours too: a point on an edge may stand in one by another arithmetic.
    near = {n for t in tiles for n in mercantile.neighbors(t)} | tiles
    return [TileAddress(t.z, t.x, t.y) for t in sorted(near)]


def features(web: Web, queries: list[TileQuery]) -> list[dict[str, Any]]:
    return [
        feature
        for query in queries
        for drawn in web.tile(query).values()
        for feature in drawn["features"]
    ]


@pytest.mark.parametrize("z", [0, 5, 9, 11])
def test_the_counts_of_all_tiles_of_a_zoom_are_the_rows_with_a_place(
    database: Database, web: Web, z: int
) -> None:
    database.declare(BUSY)
    insert(database, BUSY, 500, random.Random(SEED), wide=0.3)
    of = published(database, BUSY)
    found = features(web, [cell_query(of, "busy", at) for at in addresses(database, BUSY, z)])
    rows = dict(database.run(
        "SELECT coalesce(nullif(kind, 'elm'), 'other'), count(*) FROM city.busy"
        " WHERE cell IS NOT NULL GROUP BY 1"
    ))  # fmt: skip
    assert sum(each["properties"]["point_count"] for each in found) == sum(rows.values())
    for kind, count in rows.items():
        name = f"point_count:{kind}"
        assert sum(each["properties"].get(name, 0) for each in found) == count
    assert len({each["id"] for each in found}) == len(found)
    heat = features(web, [heat_query(of, "busy:heat", at) for at in addresses(database, BUSY, z)])
    assert sum(each["properties"]["point_count"] for each in heat) == sum(rows.values())
    assert {frozenset(each["properties"]) for each in heat} == {frozenset({"point_count"})}


@pytest.mark.parametrize("z", [12, 16, 21])
def test_a_heat_map_counts_each_point_once_above_the_detail_zoom_too(
    database: Database, web: Web, z: int
) -> None:
    database.declare(BUSY.model_copy(update={"maxzoom": 22}))
    insert(database, BUSY, 60, random.Random(SEED), wide=0.001)
    of = published(database, BUSY)
    heat = features(web, [heat_query(of, "h", at) for at in addresses(database, BUSY, z)])
    rows = database.value("SELECT count(*) FROM city.busy WHERE cell IS NOT NULL")
    assert sum(each["properties"]["point_count"] for each in heat) == rows


@pytest.mark.parametrize("z", [3, 9, 11])
def test_a_slice_counts_the_rows_of_its_group_and_buckets(
    database: Database, web: Web, z: int
) -> None:
    chance = random.Random(SEED + z)
    database.declare(BUSY)
    insert(database, BUSY, 500, chance, wide=0.3)
    of = published(database, BUSY)
    assert depth_of(3) <= of.cube_depth < depth_of(11), "both ways of counting are taken"
    for _ in range(6):
        group = chance.choice([None, 0, 1, 2, 3])
        first = chance.choice([None, 2024 * 12 - 1, 2024 * 12, 2025 * 12 + 6])
        last = None if first is None else first + chance.choice([0, 1, 12])
        wanted = Slice(group, first, last)
        queries = [slice_query(of, "busy", at, wanted) for at in addresses(database, BUSY, z)]
        found = sum(each["properties"]["point_count"] for each in features(web, queries))
        assert found == database.value(
            "SELECT count(*) FROM city.busy,"
            " LATERAL (SELECT seen AT TIME ZONE 'America/Mexico_City' AS t) l"
            " WHERE cell IS NOT NULL AND (:g = -1 OR CASE kind"
            " WHEN 'oak' THEN 1 WHEN 'lime' THEN 2 WHEN 'plane' THEN 3 ELSE 0 END = :g)"
            " AND (:f = 0 OR t >= make_date(:f / 12, :f % 12 + 1, 1)"
            " AND t < make_date((:l + 1) / 12, (:l + 1) % 12 + 1, 1))",
            g=-1 if group is None else group,
            f=first or 0,
            l=last or 0,
        ), wanted


def test_a_cell_says_at_which_zoom_it_opens(database: Database, web: Web) -> None:
    chance = random.Random(SEED)
    of_layer = BUSY
    database.declare(of_layer)
    insert(database, of_layer, 300, chance, wide=0.02)
    insert(database, of_layer, 30, chance, wide=3)
    of = published(database, of_layer)
    cells = dict(database.run("SELECT fid, cell FROM city.busy WHERE cell IS NOT NULL"))
    for z in (0, 4, 8, 11):
        shift = 2 * (ROW_DEPTH - depth_of(z))
        inside: dict[int, list[int]] = {}
        for cell in cells.values():
            inside.setdefault(cell >> shift, []).append(cell)
        found = features(
            web, [cell_query(of, "busy", at) for at in addresses(database, of_layer, z)]
        )
        clusters = [each for each in found if each["properties"]["point_count"] > 1]
        assert clusters
        for each in clusters:
            members = inside[each["id"] & (1 << 40) - 1]
            opens = next(
                (
                    k
                    for k in range(z + 1, 12)
                    if len({m >> 2 * (ROW_DEPTH - depth_of(k)) for m in members}) > 1
                ),
                12,
            )
            assert each["properties"]["expansion_zoom"] == opens
            assert each["properties"]["cluster"] is True


def test_a_cell_of_one_point_carries_its_fid_and_its_group(database: Database, web: Web) -> None:
    database.declare(BUSY)
    database.run("INSERT INTO city.busy (kind, geom) VALUES ('oak', ST_Point(4.8, 45.2, 4326))")
    at = mercantile.tile(4.8, 45.2, 8)
    query = cell_query(published(database, BUSY), "busy", TileAddress(at.z, at.x, at.y))
    [found] = features(web, [query])
    assert found["id"] == database.value("SELECT fid FROM city.busy")
    assert found["properties"] == {"point_count": 1, "point_count:oak": 1, "kind": "oak"}


# The detail zoom ---------------------------------------------------------------------------------


def detail(database: Database, of: Layer) -> tuple[int, int, int]:
    [(zoom, revision, base)] = database.run(
        "SELECT detail_zoom, revision, base_revision FROM quartier.layer_state"
        " WHERE layer_id = :id",
        id=of.id,
    )
    return zoom, revision, base


def crowd(count: int, first: float = 4.8) -> str:
    return (
        f"INSERT INTO city.free (geom) SELECT ST_Point({first} + (n % 200) * 0.0002,"
        f" 45.2 + (n / 200) * 0.0002, 4326) FROM generate_series(1, {count}) n"
    )


def test_the_detail_zoom_follows_the_data_and_then_every_tile_has_changed(
    database: Database,
) -> None:
    database.declare(FREE)
    assert detail(database, FREE)[0] == 0
    database.run(crowd(overviews.TOO_FULL))
    assert detail(database, FREE)[0] == 0, "a little fuller than full moves nothing"
    database.run(crowd(overviews.TOO_FULL // 2, 4.9))
    zoom, revision, base = detail(database, FREE)
    assert zoom > 0
    assert revision == base
    fullest = database.value(f"SELECT max(n) FROM city_overview.free WHERE depth = {zoom}")
    assert fullest <= overviews.FULL_TILE
    database.run("DELETE FROM city.free WHERE fid % 10 > 0")
    assert detail(database, FREE)[0] == 0, "room for all of them again"
    assert detail(database, FREE)[1] == detail(database, FREE)[2]


def test_a_declared_detail_zoom_stays(database: Database) -> None:
    fixed = FREE.model_copy(
        update={"overview": FREE.overview.model_copy(update={"detail_zoom": 3})}
    )
    database.declare(fixed)
    database.run(crowd(30_000))
    assert detail(database, fixed)[0] == 3


def test_a_new_declaration_counts_anew(database: Database) -> None:
    database.declare(BUSY)
    insert(database, BUSY, 100, random.Random(SEED), wide=0.2)
    before = detail(database, BUSY)
    other = BUSY.overview.model_copy(update={"groups": ("elm",), "bucket": None})
    steps = database.declare(BUSY.model_copy(update={"overview": other}))
    assert [step.says for step in steps][-2:] == [
        "make the overview of layer busy",
        "index layer busy by what it is asked for",  # no longer: without a bucket, not by time
    ]
    assert detail(database, BUSY)[2] == before[1] + 1
    elms = database.value("SELECT count(*) FROM city.busy WHERE kind = 'elm' AND cell IS NOT NULL")
    assert database.value("SELECT g1 FROM city_overview.busy WHERE depth = 0") == elms
    assert database.declare(BUSY.model_copy(update={"overview": other})) == []


def test_a_layer_whose_overview_an_older_version_never_made_can_be_withdrawn_and_comes_back(
    database: Database,
) -> None:
    database.declare(BUSY)
    insert(database, BUSY, 20, random.Random(SEED), wide=0.2)
    database.run("DROP TABLE city_overview.busy, city_overview.busy__cube")
    database.run("UPDATE quartier.layers SET overview = ''")
    database.declare()
    database.declare(BUSY)
    assert database.value("SELECT n FROM city_overview.busy WHERE depth = 0") == database.value(
        "SELECT count(cell) FROM city.busy"
    )


def test_what_a_category_cannot_hold_is_a_group_of_no_row(database: Database, web: Web) -> None:
    numbered = layer(
        id="numbered",
        geometry="point",
        columns=[{"name": "rank", "type": "integer"}],
        category="rank",
        overview={"groups": [1, "un$1known", "$body0$"], "detail_zoom": 12},
    )
    database.declare(numbered)
    database.run("INSERT INTO city.numbered (rank, geom) VALUES (1, ST_Point(4.8, 45.2, 4326))")
    at = mercantile.tile(4.8, 45.2, 8)
    query = cell_query(published(database, numbered), "n", TileAddress(at.z, at.x, at.y))
    [found] = features(web, [query])
    assert found["properties"]["rank"] == 1


def test_the_web_reads_an_overview_only_while_its_layer_is_published(database: Database) -> None:
    database.declare(BUSY)
    reads = "SELECT has_table_privilege('quartier_web', 'city_overview.busy', 'SELECT')"
    assert database.value(reads) is True
    database.declare()
    assert database.value(reads) is False
    database.declare(BUSY)
    assert database.value(reads) is True
