"""Overviews of lines and polygons: what they hold, and that any SQL keeps them true."""

from __future__ import annotations

import random
from typing import Any

import pytest
import shapely
import sqlalchemy as sa

from layers.layer_steps import Step
from layers.model import Layer
from layers.shapes import bands, labels_table, pixel_m, shapes_table
from tests.conftest import Database
from tests.db.shapes import (
    AREAS,
    LINES,
    MIXED,
    answer,
    features,
    kept,
    labels,
    labels_in,
    query_of,
    random_area,
    random_line,
    rebuild,
    tiles_of,
)
from tests.examples import layer
from tiles.address import TileAddress

pytestmark = pytest.mark.db

WORLD_M = 40075016.68557849
PLACE = shapely.from_wkt("POINT(4.9 45.2)")


def insert(database: Database, of: Layer, shapes: list[str]) -> None:
    database.run(
        f"INSERT INTO city.{of.id} (kind, geom) SELECT 'k' || n % 3, ST_GeomFromText(w, 4326)"
        " FROM unnest(CAST(:shapes AS text[])) WITH ORDINALITY u (w, n)",
        shapes=shapes,
    )


def shape_for(of: Layer, dice: random.Random) -> str:
    size = 10 ** dice.uniform(-5, -0.5)
    if of.geometry == "line" or (of.geometry == "mixed" and dice.random() < 0.4):
        return random_line(dice, size)
    if of.geometry == "mixed" and dice.random() < 0.2:
        return f"POINT({4.8 + dice.random() * 0.2} 45.2)"
    return random_area(dice, size)


def edit(of: Layer, dice: random.Random) -> str:
    """A statement as somebody might write it in psql."""
    some = f"fid % {dice.randint(2, 9)} = {dice.randint(0, 8)}"
    shape = f"ST_GeomFromText('{shape_for(of, dice)}', 4326)"
    return dice.choice([
        f"UPDATE city.{of.id} SET geom = {shape} WHERE {some}",
        f"UPDATE city.{of.id} SET geom = ST_Translate(geom, 0.01, 0), note = 'x' WHERE {some}",
        f"UPDATE city.{of.id} SET note = 'n{dice.randint(0, 9)}' WHERE {some}",
        f"UPDATE city.{of.id} SET geom = NULL WHERE {some} AND fid % 2 = 0",
        f"DELETE FROM city.{of.id} WHERE {some} AND fid % 3 = 0",
        f"INSERT INTO city.{of.id} (kind, geom) VALUES ('new', {shape}), ('none', NULL)",
        f"WITH gone AS (DELETE FROM city.{of.id} WHERE {some} RETURNING kind, geom)"
        f" INSERT INTO city.{of.id} (kind, geom) SELECT kind, geom FROM gone",
        f"INSERT INTO city.{of.id} (source_key, note) SELECT source_key, 'upserted'"
        f" FROM city.{of.id} WHERE {some}"
        " ON CONFLICT (source_key) DO UPDATE SET note = excluded.note, geom = excluded.geom",
    ])  # fmt: skip


@pytest.mark.parametrize("of", [LINES, AREAS, MIXED], ids=lambda of: of.id)
def test_a_maintained_overview_equals_a_rebuilt_one_byte_for_byte(
    database: Database, of: Layer
) -> None:
    dice = random.Random(8)
    database.declare(of)
    insert(database, of, [shape_for(of, dice) for _ in range(120)])
    for number in range(40):
        if number == 20:
            database.run(f"TRUNCATE city.{of.id}")
            assert kept(database, of) == []
            insert(database, of, [shape_for(of, dice) for _ in range(80)])
        with database.transaction() as connection:
            for _ in range(dice.randint(1, 3)):
                connection.execute(sa.text(edit(of, dice)))
            if dice.random() < 0.2:
                connection.rollback()
    maintained = kept(database, of)
    assert len(maintained) > 100
    rebuild(database, of)
    assert kept(database, of) == maintained


def in_extent(shape: Any, at: TileAddress) -> bool:
    """Whether a geometry (EPSG:3857) has more than a grid unit in the tile and its buffer."""
    side = WORLD_M / 2.0**at.z
    west, north = at.x * side - WORLD_M / 2, WORLD_M / 2 - at.y * side
    slack = side / 512  # a pixel: what an overview may stray
    edge = side * 64 / 4096 - slack
    box = shapely.box(west - edge, north - side - edge, west + side + edge, north + edge)
    return bool(shapely.intersects(shape, box))


@pytest.mark.parametrize("of", [LINES, AREAS], ids=lambda of: of.id)
def test_every_shape_larger_than_a_pixel_is_in_each_tile_it_reaches(
    database: Database, of: Layer
) -> None:
    dice = random.Random(21)
    database.declare(of)
    insert(database, of, [shape_for(of, dice) for _ in range(400)])
    rows = database.run(f"SELECT fid, ST_AsBinary(tile_geom) FROM city.{of.id}")
    shapes = {fid: shapely.from_wkb(bytes(wkb)) for fid, wkb in rows}
    asked = []
    for z in range(14):
        for _ in range(4):
            middle = shapely.centroid(shapes[dice.choice(list(shapes))])
            side = WORLD_M / 2.0**z
            x, y = int((middle.x + WORLD_M / 2) / side), int((WORLD_M / 2 - middle.y) / side)
            asked.append(TileAddress(z, x, y))
    tiles = tiles_of(database, of, asked)
    seen = 0
    for at in asked:
        found = {f["id"] for f in features(tiles[at])}
        wanted = {
            fid
            for fid, shape in shapes.items()
            if larger_than_a_pixel(shape, at.z) and in_extent(shape, at)
        }
        assert wanted <= found, at
        seen += len(wanted)
    assert seen > 200


def larger_than_a_pixel(shape: Any, z: int) -> bool:
    west, south, east, north = shape.bounds
    box = max(east - west, north - south)
    size = shape.length if shape.geom_type.endswith("LineString") else box
    return bool(size >= pixel_m(z))


def test_what_is_smaller_than_a_pixel_is_drawn_as_often_as_its_share_of_one(
    database: Database,
) -> None:
    database.declare(AREAS)
    side = pixel_m(11) * 0.5
    database.run(
        "INSERT INTO city.areas (kind, geom) SELECT 'k', ST_Transform(ST_MakeEnvelope("
        "545000 + n % 100 * 200, 5650000 + n / 100 * 200, 545000 + n % 100 * 200 + :side,"
        " 5650000 + n / 100 * 200 + :side, 3857), 4326) FROM generate_series(0, 9999) n",
        side=side,
    )
    drawn = {
        band: {fid for (fid,) in database.run(
            f'SELECT fid FROM {shapes_table(AREAS)} WHERE "#band" = {band}')}
        for band in bands(AREAS)
    }  # fmt: skip
    assert len(drawn[13]) == 10_000, "two pixels wide: all of them"
    assert len(drawn[11]) == pytest.approx(2_500, rel=0.02), "a quarter of a pixel each"
    assert len(drawn[9]) == pytest.approx(2_500 / 16, rel=0.15)
    assert drawn[7] <= drawn[9] <= drawn[11], "what a zoom shows the next one shows too"
    widths = database.run(
        f"SELECT DISTINCT round(quartier.reach(geom)::numeric, 3) FROM {shapes_table(AREAS)}"
        ' WHERE "#band" = 9'
    )
    assert [float(width) for (width,) in widths] == [pytest.approx(pixel_m(9), abs=0.01)]


def test_shapes_stray_less_than_a_pixel_and_stay_valid(database: Database) -> None:
    dice = random.Random(4)
    for of in (LINES, AREAS):
        database.declare(LINES, AREAS)
        insert(database, of, [shape_for(of, dice) for _ in range(150)])
        worst = database.run(
            'SELECT s."#band", max(ST_HausdorffDistance(s.geom, c.tile_geom)),'
            f" bool_and(ST_IsValid(s.geom)) FROM {shapes_table(of)} s JOIN city.{of.id} c"
            " USING (fid) WHERE ST_NumGeometries(c.tile_geom) = 1"
            "   AND NOT (ST_Dimension(c.tile_geom) = 2 AND ST_NRings(c.tile_geom) > 1)"
            '   AND quartier.reach(c.tile_geom) >= 78271.517 / 2 ^ s."#band" GROUP BY 1'
        )
        assert len(worst) > 3
        for band, distance, valid in worst:
            assert distance <= pixel_m(band), band
            assert valid


BOW = "POLYGON((4.8 45.1, 4.9 45.2, 4.9 45.1, 4.8 45.2, 4.8 45.1))"


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(BOW, id="a bow tie"),
        pytest.param("POLYGON((4 45, 4.1 45, 4.2 45, 4 45))", id="without area"),
        pytest.param("POLYGON((-180 -90, 180 -90, 180 90, -180 90, -180 -90))", id="the world"),
        pytest.param("MULTIPOLYGON(((4 45, 5 45, 5 46, 4 45)), ((4 45, 5 45, 5 46, 4 45)))",
                     id="the same part twice"),
        pytest.param("POLYGON((4 45, 5 45, 5 46, 4 46, 4 45), (7 47, 8 47, 8 48, 7 47))",
                     id="a hole outside"),
    ],
)  # fmt: skip
def test_no_polygon_is_too_broken_to_be_stored_and_drawn(database: Database, shape: str) -> None:
    database.declare(AREAS, MIXED)
    for of in (AREAS, MIXED):
        insert(database, of, [shape])
        assert database.value(f"SELECT count(*) FROM {shapes_table(of)}") > 0
        answer(database, query_of(of, TileAddress(5, 16, 11)))
    assert database.value(f"SELECT count(*) FROM {labels_table(AREAS)}") == 1


@pytest.mark.parametrize(
    "shape",
    ["LINESTRING(4.8 45.1, 4.8 45.1)", "MULTILINESTRING((4 45, 4 45), (4 45, 5 46))",
     "LINESTRING(4 45, 5 46, 4 45)"],
)  # fmt: skip
def test_no_line_is_too_broken_to_be_stored_and_drawn(database: Database, shape: str) -> None:
    database.declare(LINES)
    insert(database, LINES, [shape])
    answer(database, query_of(LINES, TileAddress(5, 16, 11)))


def test_an_older_snapshot_keeps_its_overview_through_a_truncate(database: Database) -> None:
    database.declare(AREAS)
    insert(database, AREAS, [random_area(random.Random(1), 0.1)])
    with database.transaction() as reader:
        reader.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        count = sa.text(f"SELECT count(*) FROM {shapes_table(AREAS)}")
        before = reader.scalar(count)
        database.run("TRUNCATE city.areas")
        assert before
        assert reader.scalar(count) == before
    assert database.value(f"SELECT count(*) FROM {shapes_table(AREAS)}") == 0


def test_an_update_of_attributes_leaves_shapes_and_changes_what_tiles_say(
    database: Database,
) -> None:
    database.declare(AREAS)
    insert(database, AREAS, ["POLYGON((4 45, 5 45, 5 46, 4 46, 4 45))"])
    places = f"SELECT ctid, geom::text FROM {shapes_table(AREAS)} ORDER BY 1"
    database.run("UPDATE city.areas SET note = note")
    before = database.run(places)
    database.run("UPDATE city.areas SET note = 'said'")
    assert [row[1] for row in database.run(places)] == [row[1] for row in before]
    (feature,) = features(answer(database, query_of(AREAS, TileAddress(6, 32, 22)))[1])
    assert feature["properties"] == {"kind": "k1", "note": "said"}


def test_the_largest_come_first_unless_the_declaration_says_otherwise(database: Database) -> None:
    ranked = AREAS.model_copy(update={"id": "ranked", "priority": ("-kind",)})
    database.declare(AREAS, ranked)
    squares = [f"POLYGON((4 45, {4 + s} 45, {4 + s} {45 + s}, 4 {45 + s}, 4 45))"
               for s in (0.2, 0.5, 0.3)]  # fmt: skip
    for of, wanted in ((AREAS, [2, 3, 1]), (ranked, [2, 1, 3])):
        insert(database, of, squares)
        found = features(answer(database, query_of(of, TileAddress(6, 32, 22)))[1])
        assert [feature["id"] for feature in found] == wanted


# Declarations -----------------------------------------------------------------------------------


def says(steps: list[Step]) -> list[str]:
    return [step.says for step in steps]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"minzoom": 9}, id="minzoom"),
        pytest.param({"maxzoom": 10}, id="maxzoom"),
        pytest.param({"tile": ("kind",)}, id="columns of tiles"),
    ],
)
def test_another_declaration_makes_the_overview_anew_with_a_revision(
    database: Database, change: dict[str, object]
) -> None:
    database.declare(AREAS)
    insert(database, AREAS, [random_area(random.Random(n), 0.1) for n in range(9)])
    changed = AREAS.model_copy(update=change)
    assert "make the overview of layer areas" in says(database.declare(changed))
    state = database.run("SELECT revision, base_revision FROM quartier.layer_state")
    assert state == [(2, 2)]
    assert database.declare(changed) == []
    found = database.run(f'SELECT DISTINCT "#band" FROM {shapes_table(changed)}')
    assert {band for (band,) in found} <= set(bands(changed))
    insert(database, changed, [random_area(random.Random(77), 0.1)])
    maintained = kept(database, changed)
    rebuild(database, changed)
    assert kept(database, changed) == maintained


def test_a_database_without_the_overview_gets_it(database: Database) -> None:
    database.declare(AREAS)
    insert(database, AREAS, [random_area(random.Random(n), 0.1) for n in range(9)])
    before = kept(database, AREAS)
    database.run("DROP TABLE city_overview.areas__shapes, city_overview.areas__labels")
    database.run("DELETE FROM quartier.shape_state")
    assert says(database.declare(AREAS)) == ["make the overview of layer areas"]
    assert kept(database, AREAS) == before
    answer(database, query_of(AREAS, TileAddress(6, 32, 22)))


def test_triggers_that_were_dropped_come_back_with_a_true_overview(database: Database) -> None:
    database.declare(AREAS)
    database.run("ALTER TABLE city.areas DISABLE TRIGGER quartier_inserted")
    insert(database, AREAS, [random_area(random.Random(5), 0.1)])
    assert kept(database, AREAS) == []
    database.declare(AREAS)
    maintained = kept(database, AREAS)
    assert maintained
    rebuild(database, AREAS)
    assert kept(database, AREAS) == maintained


def test_a_withdrawn_layers_overview_is_read_by_nobody_until_it_is_back(
    database: Database,
) -> None:
    database.declare(AREAS)
    for table in (shapes_table(AREAS), labels_table(AREAS)):
        database.run(f"SELECT FROM {table}", role="web")
    database.declare()
    for table in (shapes_table(AREAS), labels_table(AREAS)):
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            database.run(f"SELECT FROM {table}", role="web")
    database.declare(AREAS)
    for table in (shapes_table(AREAS), labels_table(AREAS)):
        database.run(f"SELECT FROM {table}", role="web")


def test_readers_cannot_call_what_keeps_an_overview(database: Database) -> None:
    database.declare(AREAS)
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        database.run("SELECT quartier.areas__reshape('{1}')", role="web")


def test_layers_of_any_name_have_overviews(database: Database) -> None:
    names = ["a" * 48, "a" * 47 + "b", "band", "select"]
    of = [AREAS.model_copy(update={"id": name}) for name in names]
    database.declare(*of)
    for each in of:
        insert(database, each, [random_area(random.Random(5), 0.1)])
        assert kept(database, each)


def test_columns_may_have_the_names_that_overviews_use(database: Database) -> None:
    names = ["size", "band", "area", "part_of", "place", "r", "c", "s", "l", "changed", "others"]
    odd = layer(
        id="odd", geometry="polygon", priority=["-size", "area"], category="band",
        columns=[{"name": name, "type": "integer"} for name in names], tile=names,
    )  # fmt: skip
    database.declare(odd)
    database.run(
        "INSERT INTO city.odd (size, area, changed, geom)"
        " VALUES (1, 2, 3, ST_MakeEnvelope(4, 45, 5, 46, 4326))"
    )
    database.run("UPDATE city.odd SET others = 4, r = 5")
    said = {"size": 1, "area": 2, "changed": 3, "others": 4, "r": 5}
    at = TileAddress(6, 32, 22)
    (feature,) = features(answer(database, query_of(odd, at))[1])
    assert feature["properties"] == said
    (label,) = labels(database, odd, at)
    assert label["properties"] == said


# Labels -----------------------------------------------------------------------------------------


def test_each_polygon_is_named_in_exactly_one_tile_of_a_zoom(database: Database) -> None:
    dice = random.Random(13)
    database.declare(AREAS)
    # Squares whose middles lie on edges and corners of tiles of zoom 10 and 11, and any others.
    edges = [f"POLYGON(({x - s} {y - s}, {x + s} {y - s}, {x + s} {y + s}, {x - s} {y + s},"
             f" {x - s} {y - s}))" for x in (4.921875, 5.2734375) for y in (45.0, 45.089036)
             for s in (0.01, 0.02)]  # fmt: skip
    insert(database, AREAS, edges + [random_area(dice, 0.05) for _ in range(60)])
    for z in (0, 5, 10, 11, 12, 16):
        smallest = 0 if z == AREAS.maxzoom else (4 * pixel_m(z)) ** 2
        wanted = [fid for (fid,) in database.run(
            f'SELECT fid FROM {labels_table(AREAS)} WHERE "#size" >= :least ORDER BY 1',
            least=smallest)]  # fmt: skip
        side = WORLD_M / 2.0**z
        asked = {
            (int((x + WORLD_M / 2) // side) + dx, int((WORLD_M / 2 - y) // side) + dy)
            for x, y in database.run(f"SELECT ST_X(geom), ST_Y(geom) FROM {labels_table(AREAS)}")
            for dx in (-1, 0, 1)
            for dy in (-1, 0, 1)
        }
        last = 2**z - 1
        inside = sorted((x, y) for x, y in asked if 0 <= x <= last and 0 <= y <= last)
        found = labels_in(database, AREAS, [TileAddress(z, x, y) for x, y in inside])
        assert sorted(label["id"] for label in found) == wanted, z
        for label in found:
            assert all(0 <= n < 4096 for n in label["geometry"]["coordinates"])


def test_a_label_stands_in_its_polygon_and_tells_its_area_on_the_ground(
    database: Database,
) -> None:
    dice = random.Random(3)
    database.declare(AREAS)
    horseshoe = "POLYGON((4 45, 5 45, 5 46, 4 46, 4 45.9, 4.9 45.9, 4.9 45.1, 4 45.1, 4 45))"
    insert(database, AREAS, [horseshoe, *(random_area(dice, 0.05) for _ in range(60))])
    outside = database.value(
        f"SELECT count(*) FROM {labels_table(AREAS)} l JOIN city.areas c USING (fid)"
        " WHERE NOT ST_Intersects(l.geom, c.tile_geom)"
    )
    assert outside == 0
    true = database.value("SELECT ST_Area(geom::geography) FROM city.areas WHERE fid = 1")
    (label, *_) = labels(database, AREAS, TileAddress(4, 8, 5))
    assert label["id"] == 1
    assert label["properties"] == {"kind": "k1", "area": round(true)}
