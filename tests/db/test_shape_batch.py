"""Borders simplified together, lines joined into chains, and tile versions that tell of it all."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import shapely
import sqlalchemy as sa

from ingest.run import Job, run
from layers.catalogue_files import CatalogueFiles, read_catalogue
from layers.cli import apply_catalogue
from layers.model import Layer
from layers.shape_batch import settle
from layers.shapes import bands, pixel_m, shapes_table
from tests.conftest import Database
from tests.db.shapes import (
    AREAS,
    CHAINED,
    COVERED,
    LINES,
    answer,
    features,
    kept,
    log_of,
    query_of,
    rebuild,
    tiles_of,
)
from tests.db.test_shapes import edit, insert, says, shape_for
from tiles.address import TileAddress

pytestmark = pytest.mark.db

REAL = Path(__file__).resolve().parents[1] / "real" / "catalogue"


def batch(database: Database, of: Layer) -> str:
    with database.transaction() as connection:
        connection.execute(sa.text("SELECT quartier.lock(:id)"), {"id": of.id})
        return settle(connection, of)


def revision(database: Database, of: Layer) -> object:
    found = "SELECT revision FROM quartier.layer_state WHERE layer_id = :id"
    return database.value(found, id=of.id)


def wavy(columns: int, rows: int, dice: random.Random) -> list[str]:
    """Fields that share wavy borders, as WKT."""

    def border(one: tuple[int, int], other: tuple[int, int]) -> list[tuple[float, float]]:
        along = random.Random(str(sorted([one, other])))
        (x, y), (to_x, to_y) = sorted([one, other])
        steps = [(x + (to_x - x) * n / 40, y + (to_y - y) * n / 40) for n in range(41)]
        # Straight near the corners, where borders would cross otherwise.
        wide = [0.06 * max(0, min(n - 4, 36 - n, 10)) / 10 for n in range(41)]
        bend = [
            (a + along.uniform(-w, w) * (x == to_x), b + along.uniform(-w, w) * (y == to_y))
            for w, (a, b) in zip(wide, steps, strict=True)
        ]
        return bend if one <= other else bend[::-1]

    fields = []
    for x in range(columns):
        for y in range(rows):
            corners = [(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1), (x, y)]
            ring = [p for a, b in pairwise(corners) for p in border(a, b)]
            start = dice.randrange(1, len(ring) - 1)  # a source begins a ring anywhere
            ring = ring[start:-1] + ring[: start + 1]
            at = ", ".join(f"{4 + a * 0.1:.7f} {45 + b * 0.1:.7f}" for a, b in ring)
            fields.append(f"POLYGON(({at}))")
    dice.shuffle(fields)
    return fields


def drawn_in(database: Database, of: Layer, band: int) -> list[Any]:
    """The shapes of a band but for those that are smaller than a pixel, and so drawn as one."""
    rows = database.run(
        f"SELECT ST_AsBinary(s.geom) FROM {shapes_table(of)} s JOIN city.{of.id} c USING (fid)"
        f' WHERE s."#band" = {band} AND quartier.reach(c.tile_geom) >= {pixel_m(band)}'
    )
    return [shapely.from_wkb(bytes(wkb)) for (wkb,) in rows]


def gaps(database: Database, of: Layer) -> dict[int, float]:
    """For each band, what lies between or under several polygons, as a share of all."""
    found = {}
    for band in bands(of):
        shapes = drawn_in(database, of, band)
        if not shapes:
            continue
        joined = shapely.union_all(shapes)
        rings = [ring for part in shapely.get_parts(joined) for ring in part.interiors]
        holes = shapely.area(shapely.polygons(rings)).sum() if rings else 0.0
        found[band] = float(abs(shapely.area(shapes).sum() - joined.area) + holes) / joined.area
    return found


def test_fields_of_a_coverage_share_their_borders_in_every_band(database: Database) -> None:
    dice = random.Random(1)
    alone = COVERED.model_copy(update={"id": "alone", "overview": AREAS.overview})
    database.declare(COVERED, alone)
    fields = wavy(4, 4, dice)
    for of in (COVERED, alone):
        insert(database, of, fields)
    assert batch(database, COVERED) == ""
    together = gaps(database, COVERED)
    assert max(together.values()) < 1e-9
    assert max(gaps(database, alone).values()) > 1e-4, "each by itself they part"
    counts = database.run(
        f'SELECT "#band", sum(ST_NPoints(geom)) FROM {shapes_table(COVERED)} GROUP BY 1'
    )
    assert dict(counts)[5] < dict(counts)[13] / 4


def test_an_edited_field_is_drawn_by_itself_until_apply_joins_it_again(
    database: Database,
) -> None:
    database.declare(COVERED)
    insert(database, COVERED, wavy(3, 3, random.Random(1)))
    assert says(database.declare(COVERED)) == [
        "draw the borders together in the overview of layer covered"
    ]
    assert database.declare(COVERED) == []
    settled = kept(database, COVERED)
    at = revision(database, COVERED)
    database.run("UPDATE city.covered SET geom = ST_Translate(geom, 1, 0) WHERE fid = 5")
    database.run("UPDATE city.covered SET geom = ST_Translate(geom, -1, 0) WHERE fid = 5")
    assert kept(database, COVERED) != settled
    database.declare(COVERED)
    assert revision(database, COVERED) == 5
    assert at == 2


def test_a_coverage_that_is_none_is_drawn_with_a_note(database: Database) -> None:
    database.declare(COVERED)
    insert(database, COVERED, [
        "POLYGON((4 45, 5 45, 5 46, 4 46, 4 45))", "POLYGON((4.9 45, 6 45, 6 46, 4.9 46, 4.9 45))",
        "POLYGON((4 45, 5 46, 5 45, 4 46, 4 45))",
    ])  # fmt: skip
    assert batch(database, COVERED).startswith("layer covered: 2 of 3 polygons overlap others")
    assert database.value(f"SELECT count(*) FROM {shapes_table(COVERED)}") >= 2 * len(
        bands(COVERED)
    )


def test_a_field_that_fits_no_longer_is_drawn_by_itself_again(database: Database) -> None:
    """And not as it was when it did: what is kept is what would be made anew."""
    database.declare(COVERED)
    insert(database, COVERED, wavy(3, 3, random.Random(1)))
    batch(database, COVERED)
    database.run("UPDATE city.covered SET geom = ST_Translate(geom, 0.004, 0) WHERE fid = 1")
    assert "overlap others" in batch(database, COVERED)
    settled = kept(database, COVERED)
    rebuild(database, COVERED)
    batch(database, COVERED)
    assert kept(database, COVERED) == settled


@pytest.mark.real
@pytest.mark.parametrize("name", ["mexico_boroughs", "new_york_boroughs"])
def test_borders_of_real_boroughs_meet_at_every_zoom(
    database: Database, shared: Path, name: str
) -> None:
    found = read_catalogue(REAL).layers[name]
    of = found.model_copy(
        update={"overview": found.overview.model_copy(update={"coverage": True}), "minzoom": 0}
    )
    files = tuple(sorted(p for s in of.source.files for p in (REAL / "layers").glob(s)))
    database.declare(of)
    report = run(database.urls.ingest, Job(layer=of, files=files))
    assert report.state == "published"
    assert report.revision == 1, "the batch is part of the run's own revision"
    together = overlaps(database, of)
    rebuild(database, of)
    alone = overlaps(database, of)
    assert max(together.values()) < 1e-6, "what the boroughs themselves overlap, and no more"
    assert max(alone.values()) > 1e-5


def overlaps(database: Database, of: Layer) -> dict[int, float]:
    """For each band, how much of the polygons' area is covered twice."""
    found = {}
    for band in bands(of):
        drawn = drawn_in(database, of, band)
        if not drawn:
            continue
        assert shapely.is_valid(drawn).all()
        joined = shapely.union_all(drawn).area
        found[band] = float(shapely.area(drawn).sum() - joined) / joined
    return found


# Chains ----------------------------------------------------------------------------------------

STREET = [
    f"LINESTRING({4 + n / 100} 45.00{n % 2}, {4 + (n + 1) / 100} 45.00{(n + 1) % 2})"
    for n in range(9)
]
AT_9 = TileAddress(9, 261, 184)


def street(database: Database, kinds: str = "'a'") -> None:
    database.run(
        "INSERT INTO city.chained (kind, note, geom) SELECT "
        f"{kinds}, 'n' || n, ST_GeomFromText(w, 4326)"
        " FROM unnest(CAST(:shapes AS text[])) WITH ORDINALITY u (w, n) ORDER BY n",
        shapes=STREET,
    )


def drawn_at(database: Database, at: TileAddress) -> list[tuple[object, object]]:
    found = features(answer(database, query_of(CHAINED, at))[1])
    return sorted((str(f.get("id")), str(f["properties"])) for f in found)


def test_lines_that_agree_and_meet_are_one_at_low_zooms(database: Database) -> None:
    database.declare(CHAINED)
    street(database)
    one_by_one = drawn_at(database, AT_9)
    assert len(one_by_one) == 9
    batch(database, CHAINED)
    (chain,) = features(answer(database, query_of(CHAINED, AT_9))[1])
    assert chain["properties"] == {"kind": "a"}, "what its lines do not agree in is left out"
    assert not chain["id"]
    assert chain["geometry"]["type"] == "LineString"
    at_13 = TileAddress(13, 4188, 2946)
    assert all(f["id"] for f in features(answer(database, query_of(CHAINED, at_13))[1]))


def test_a_layer_counted_again_has_its_lines_joined_again(database: Database) -> None:
    database.declare(CHAINED)
    street(database)
    batch(database, CHAINED)
    files = CatalogueFiles({CHAINED.id: CHAINED}, {}, {})
    said = [step.says for step in apply_catalogue(database.urls.ingest, files, recount=["chained"])]
    assert said == [
        "count layer chained again",
        "draw the lines that meet in the overview of layer chained",
    ]
    assert len(drawn_at(database, AT_9)) == 1
    assert apply_catalogue(database.urls.ingest, files) == []


def test_lines_that_differ_or_fork_stay_apart(database: Database) -> None:
    database.declare(CHAINED)
    street(database, "CASE WHEN n <= 4 THEN 'a' ELSE 'b' END")
    insert(database, CHAINED, ["LINESTRING(4.02 45, 4.02 45.1)"])
    database.run("UPDATE city.chained SET kind = 'a' WHERE fid = 10")
    batch(database, CHAINED)
    members = database.run(
        f'SELECT "#part_of", array_agg(fid ORDER BY fid) FROM {shapes_table(CHAINED)}'
        ' WHERE "#part_of" IS NOT NULL AND "#band" = 9 GROUP BY 1 ORDER BY 1'
    )
    assert members == [(-5, [5, 6, 7, 8, 9]), (-3, [3, 4]), (-1, [1, 2])]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE city.chained SET geom = ST_Translate(geom, 0, 0.5) WHERE fid = 4",
        "UPDATE city.chained SET kind = 'b' WHERE fid = 4",
        "DELETE FROM city.chained WHERE fid = 1",
    ],
    ids=["moved", "another kind", "deleted"],
)
def test_a_chain_falls_apart_with_a_member_and_the_log_tells_of_all_its_places(
    database: Database, change: str
) -> None:
    database.declare(CHAINED)
    street(database)
    batch(database, CHAINED)
    end = TileAddress(11, 1047, 736)
    assert log_of(database, CHAINED).last_changed(*end) == 2
    database.run(change)
    assert len(drawn_at(database, AT_9)) >= 8
    assert log_of(database, CHAINED).last_changed(*end) == 3
    batch(database, CHAINED)
    assert len(drawn_at(database, AT_9)) < 4


def test_an_update_of_what_chains_do_not_tell_leaves_them(database: Database) -> None:
    database.declare(CHAINED)
    street(database)
    batch(database, CHAINED)
    database.run("UPDATE city.chained SET note = 'other' WHERE fid = 4")
    assert len(drawn_at(database, AT_9)) == 1
    assert database.declare(CHAINED) == []


def test_a_chain_is_as_important_as_the_most_important_of_its_lines(database: Database) -> None:
    ranked = CHAINED.model_copy(update={"priority": ("-rank",)})
    database.declare(ranked)
    street(database)
    insert(database, ranked, ["LINESTRING(4 44.8, 4.1 44.8)", "LINESTRING(4 44.9, 4.1 44.9)"])
    database.run("UPDATE city.chained SET rank = fid")
    batch(database, ranked)
    drawn = features(answer(database, query_of(ranked, AT_9))[1])
    assert [feature["id"] for feature in drawn] == [11, 10, 0]
    database.run("UPDATE city.chained SET rank = 99 WHERE fid = 4")
    batch(database, ranked)
    drawn = features(answer(database, query_of(ranked, AT_9))[1])
    assert [feature["id"] for feature in drawn] == [0, 11, 10]


def test_a_batch_that_changes_nothing_makes_no_revision(database: Database) -> None:
    database.declare(CHAINED, COVERED)
    street(database)
    insert(database, COVERED, wavy(2, 2, random.Random(1)))
    for of in (CHAINED, COVERED):
        batch(database, of)
        before = revision(database, of), kept(database, of)
        database.run("UPDATE quartier.shape_state SET stale = true")
        batch(database, of)
        assert (revision(database, of), kept(database, of)) == before


def test_a_ring_of_lines_is_a_chain(database: Database) -> None:
    database.declare(CHAINED)
    insert(database, CHAINED, ["LINESTRING(4 45, 4.1 45, 4.1 45.1)",
                               "LINESTRING(4 45, 4 45.1, 4.1 45.1)"])  # fmt: skip
    database.run("UPDATE city.chained SET kind = 'a'")
    batch(database, CHAINED)
    (ring,) = features(answer(database, query_of(CHAINED, AT_9))[1])
    points = [tuple(p) for part in ring["geometry"]["coordinates"] for p in
              (part if isinstance(part[0], list) else [part])]  # fmt: skip
    assert len(set(points)) >= 4


# What a batch and edits leave behind -------------------------------------------------------------


def random_layer(database: Database, of: Layer, dice: random.Random) -> None:
    database.declare(of)
    if of is COVERED:
        insert(database, of, wavy(4, 4, dice))
    elif of is CHAINED:
        lines = [f"LINESTRING({4.8 + x / 50} {45.1 + y / 50}, {4.8 + (x + dx) / 50}"
                 f" {45.1 + (y + dy) / 50})" for x in range(8) for y in range(8)
                 for dx, dy in ((1, 0), (0, 1)) if dice.random() < 0.7]  # fmt: skip
        insert(database, of, lines)
    else:
        insert(database, of, [shape_for(of, dice) for _ in range(80)])


@pytest.mark.parametrize("of", [COVERED, CHAINED], ids=lambda of: of.id)
def test_a_batch_after_edits_gives_what_a_batch_from_scratch_gives(
    database: Database, of: Layer
) -> None:
    dice = random.Random(6)
    random_layer(database, of, dice)
    for _ in range(6):
        batch(database, of)
        for _ in range(3):
            database.run(edit(of, dice))
        edited = kept(database, of)
        assert edited
    batch(database, of)
    after_edits = kept(database, of)
    rebuild(database, of)
    assert kept(database, of) != after_edits
    batch(database, of)
    assert kept(database, of) == after_edits


def around(database: Database, of: Layer, dice: random.Random) -> list[TileAddress]:
    """Tiles of all low zooms where the layer is."""
    found = []
    for z in range(14):
        n = 2**z
        x = n * (dice.uniform(3.9, 5.4) + 180) / 360
        y = n * (0.5 - math.asinh(math.tan(math.radians(dice.uniform(44.9, 45.5)))) / math.tau)
        found.append(TileAddress(z, int(x), int(y)))
    return found


@pytest.mark.parametrize("of", [LINES, AREAS, COVERED, CHAINED], ids=lambda of: of.id)
def test_every_tile_whose_bytes_changed_has_another_version(database: Database, of: Layer) -> None:
    dice = random.Random(12)
    random_layer(database, of, dice)
    batch(database, of)
    tiles = [at for _ in range(4) for at in around(database, of, dice)]
    before = tiles_of(database, of, tiles)
    log = log_of(database, of)
    versions = {at: log.last_changed(*at) for at in tiles}
    changed = 0
    for number in range(14):
        if number % 4 == 3:
            batch(database, of)
        else:
            database.run(edit(of, dice))
        log = log_of(database, of)
        for at, tile in tiles_of(database, of, tiles).items():
            version = log.last_changed(*at)
            if tile != before[at]:
                assert version > versions[at], (number, at)
                changed += 1
            before[at], versions[at] = tile, version
    assert changed > 40
