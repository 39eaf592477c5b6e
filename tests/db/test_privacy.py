"""What a layer's privacy leaves of its rows, whoever writes them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.errors import SourceRefused
from ingest.run import Job, run
from layers import retention
from layers.errors import ChangeRefused
from layers.history import roll_back
from layers.privacy_rows import public_fid
from layers.privacy_steps import derive_anew
from layers.purge import erase
from tests.conftest import Copies, Database, copied
from tests.examples import layer
from tests.privacy import (
    COLUMNS,
    CORNERS,
    CRIMES,
    DISTRICTS,
    POLICIES,
    PUBLIC_CRIMES,
    commit_crimes,
    crimes,
    surround,
)

pytestmark = pytest.mark.db
ROWS = 300


def fill(database: Database) -> None:
    surround(database, CRIMES)
    commit_crimes(database, ROWS)


cities = copied(fill)


@pytest.fixture
def city(cities: Copies) -> Iterator[Database]:
    with cities() as database:
        yield database


def published(city: Database, columns: str = "*") -> list[tuple[Any, ...]]:
    return city.run(f"SELECT {columns} FROM city.crimes ORDER BY fid")


def of_kind(city: Database, kind: str, columns: str) -> list[tuple[Any, ...]]:
    """Of the crimes of a kind: columns of `r`, the exact row, and `c`, what is published."""
    return city.run(
        f"SELECT {columns} FROM city_raw.crimes r LEFT JOIN city.crimes c"
        f" ON c.fid = {public_fid('r.fid')} WHERE r.kind = :kind ORDER BY r.fid",
        kind=kind,
    )


# What each policy leaves --------------------------------------------------------------------------


def test_an_exact_row_is_published_as_it_is(city: Database) -> None:
    same = "r.geom = c.geom AND r.street = c.street AND r.at = c.at AND r.clock = c.clock"
    assert set(of_kind(city, "theft", f"{same}, c.location_method")) == {(True, "exact")}


def test_a_withheld_row_is_not_published_at_all(city: Database) -> None:
    assert set(of_kind(city, "murder", "c.fid")) == {(None,)}
    assert city.value("SELECT withheld FROM quartier.public_privacy", role="web") == ROWS / 5


def test_an_area_leaves_no_place_and_no_hidden_column(city: Database) -> None:
    seen = of_kind(city, "assault", "c.geom, c.tile_geom, c.street, c.location_precision")
    assert set(seen) == {(None, None, None, None)}
    right = "c.location_area = CASE WHEN ST_X(r.geom) < 2.35 THEN 'west' ELSE 'east' END"
    assert set(of_kind(city, "assault", f"{right}, c.location_method")) == {(True, "area")}


def test_a_snapped_row_stands_on_one_of_the_nearest_corners_of_its_district(city: Database) -> None:
    for far, rank, side, method in of_kind(
        city, "noise",
        "ST_DistanceSphere(r.geom, c.geom), (SELECT count(*) FROM city.corners k WHERE"
        " ST_DistanceSphere(k.geom, r.geom) < ST_DistanceSphere(c.geom, r.geom) - 1),"
        " (ST_X(r.geom) < 2.35) = (ST_X(c.geom) < 2.35), c.location_method",
    ):  # fmt: skip
        assert 25 <= far <= 500
        assert rank < 6  # corners nearer than 25 m, or across the border, are passed over
        assert side
        assert method == "snap"


def test_a_cell_that_is_published_stands_for_k_rows_or_more(city: Database) -> None:
    groups = city.run(
        "SELECT location_area, ST_AsText(geom), location_precision, count(*) FROM city.crimes"
        " WHERE kind = 'burglary' AND geom IS NOT NULL GROUP BY 1, 2, 3"
    )
    assert len(groups) > 5
    assert all(count >= 3 and precision >= 500 for _, _, precision, count in groups)


def test_a_gridded_row_lies_in_the_cell_it_is_published_in_and_never_over_the_border(
    city: Database,
) -> None:
    near = "ST_DistanceSphere(r.geom, c.geom) <= 1.5 * c.location_precision"
    side = "(ST_X(r.geom) < 2.35) = (ST_X(c.geom) < 2.35)"
    assert set(of_kind(city, "burglary", f"{near}, {side}")) <= {(True, True), (None, None)}


@pytest.mark.parametrize(
    ("kind", "unit", "clock"),
    [("noise", "hour", "hour"), ("burglary", "day", None), ("assault", "month", None)],
)
def test_times_are_as_coarse_as_places_in_the_layers_zone(
    city: Database, kind: str, unit: str, clock: str | None
) -> None:
    right = f"c.at = date_trunc('{unit}', r.at, 'Europe/Paris')"
    day = "c.day = " + ("date_trunc('month', r.day)::date" if unit == "month" else "r.day")
    told = (
        f"c.clock = date_trunc('{clock}', r.clock::interval)::time" if clock else "c.clock IS NULL"
    )
    assert set(of_kind(city, kind, f"{right}, {day}, {told}")) == {(True, True, True)}


def test_a_row_of_no_class_that_is_named_is_published_as_otherwise(city: Database) -> None:
    city.run(
        "INSERT INTO city_raw.crimes (number, kind, geom) SELECT number, kind,"
        " ST_Point(2.31, 48.81, 4326) FROM (VALUES ('x', NULL), ('y', 'Theft')) v (number, kind)"
    )
    said = "SELECT location_method FROM city.crimes WHERE number IN ('x', 'y')"
    assert city.run(said) == [("snap",), ("snap",)]


def test_a_place_with_nothing_to_snap_to_is_not_published(city: Database) -> None:
    city.run(
        "INSERT INTO city_raw.crimes (number, kind, geom)"
        " VALUES ('x', 'noise', ST_Point(9, 48.81, 4326))"
    )
    said = "SELECT location_method, geom, location_area FROM city.crimes WHERE number = 'x'"
    assert city.run(said) == [("none", None, None)]


def test_small_numbers_are_suppressed_and_told_so(database: Database) -> None:
    calls = layer(
        id="calls",
        geometry="none",
        columns=[{"name": "district"}, {"name": "n", "type": "integer"}],
        privacy={"otherwise": {"location": "exact"}, "suppress": {"columns": ["n"], "under": 5}},
    )
    database.declare(calls)
    database.run(
        "INSERT INTO city_raw.calls (district, n) VALUES ('a', 0), ('b', 1), ('c', 4), ('d', 5),"
        " ('e', NULL)"
    )
    assert database.run("SELECT district, n, suppressed FROM city.calls ORDER BY 1") == [
        ("a", 0, False), ("b", None, True), ("c", None, True), ("d", 5, False), ("e", None, False),
    ]  # fmt: skip


# Whoever writes -----------------------------------------------------------------------------------


def test_the_web_reads_no_exact_row(city: Database) -> None:
    tables = city.run("SELECT tablename FROM pg_tables WHERE schemaname = 'city_raw'")
    assert len(tables) == 5
    for (table,) in tables:
        for role in ("web", "officer"):
            with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
                city.run(f'SELECT FROM city_raw."{table}"', role=role)
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        city.run("SELECT FROM quartier.secrets", role="web")
    for name in ("derive", "settle"):
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            city.run(f"SELECT quartier.crimes__{name}(NULL)", role="web")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO city.crimes (kind) VALUES ('theft')",
        "UPDATE city.crimes SET kind = 'theft'",
        "DELETE FROM city.crimes",
        "TRUNCATE city.crimes",
    ],
)
def test_published_rows_are_changed_by_nobody_but_their_exact_rows(
    city: Database, statement: str
) -> None:
    before = published(city)
    with pytest.raises(sa.exc.DBAPIError, match=r"change city_raw\.crimes instead"):
        city.run(statement)
    assert published(city) == before


def test_a_row_that_changes_its_class_is_published_as_its_new_one(city: Database) -> None:
    city.run("UPDATE city_raw.crimes SET kind = 'murder' WHERE number = 'n2'")
    assert city.run("SELECT FROM city.crimes WHERE number = 'n2'") == []
    city.run("UPDATE city_raw.crimes SET kind = 'theft' WHERE number = 'n2'")
    assert city.value("SELECT location_method FROM city.crimes WHERE number = 'n2'") == "exact"


def test_truncating_the_exact_rows_leaves_nothing_published(city: Database) -> None:
    city.run("TRUNCATE city_raw.crimes")
    assert published(city) == []
    assert city.run("SELECT FROM city_raw.crimes__cells") == []
    assert city.value("SELECT withheld FROM quartier.privacy_state") == 0
    assert city.value("SELECT count(*) FROM city_raw.crimes__history") == ROWS


def test_a_change_that_nobody_sees_changes_no_tile(city: Database) -> None:
    """The exact place of a withheld row moves: a revision, and nothing of it in the log."""
    cells = city.run("SELECT * FROM quartier.changes")
    city.run("UPDATE city_raw.crimes SET geom = ST_Point(2.31, 48.81, 4326) WHERE number = 'n3'")
    assert city.run("SELECT * FROM quartier.changes") == cells


@st.composite
def edits(draw: st.DrawFn) -> list[tuple[str, dict[str, Any]]]:
    places = st.tuples(st.floats(2.3, 2.4), st.floats(48.8, 48.9))
    near = st.tuples(st.floats(2.311, 2.318), st.floats(48.811, 48.815))
    kinds = st.sampled_from(["burglary", "burglary", "assault", "noise", "murder", None])
    told = []
    for _ in range(draw(st.integers(1, 12))):
        x, y = draw(st.one_of(near, places))
        low = draw(st.integers(1, 80))
        asked = {
            "x": x,
            "y": y,
            "kind": draw(kinds),
            "low": low,
            "high": low + draw(st.integers(0, 9)),
        }
        told.append((draw(st.sampled_from(EDITS)), asked))
    return told


EDITS = (
    "INSERT INTO city_raw.crimes (kind, geom) SELECT :kind, ST_Point(:x, :y, 4326)"
    " FROM generate_series(CAST(:low AS int), CAST(:high AS int))",
    "UPDATE city_raw.crimes SET geom = ST_Point(:x, :y, 4326) WHERE fid BETWEEN :low AND :high",
    "UPDATE city_raw.crimes SET kind = :kind WHERE fid BETWEEN :low AND :high",
    "DELETE FROM city_raw.crimes WHERE fid BETWEEN :low AND :high",
)
FIELDS = "fid, kind, street, at, location_method, location_precision, location_area, geom"


@settings(
    max_examples=16, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(edits=edits())
def test_what_edits_leave_is_what_deriving_all_anew_leaves(
    city: Database, edits: list[tuple[str, dict[str, Any]]]
) -> None:
    for statement, values in edits:
        used = {name: value for name, value in values.items() if f":{name}" in statement}
        city.run(statement, **used)
    kept = published(city, FIELDS)
    cells = city.run("SELECT * FROM city_raw.crimes__cells ORDER BY 1, 2, 3, 4")
    groups = city.run(
        "SELECT kind, count(*) FROM city.crimes WHERE location_method IN ('grid', 'area')"
        " GROUP BY kind, location_area, geom"
    )
    assert all(count >= {"burglary": 3, "assault": 4}[kind] for kind, count in groups)
    with city.transaction() as connection:
        derive_anew(connection, CRIMES, borders=False)
    assert published(city, FIELDS) == kept
    assert city.run("SELECT * FROM city_raw.crimes__cells ORDER BY 1, 2, 3, 4") == cells


# Nothing more is learnt ---------------------------------------------------------------------------


def test_two_loads_publish_the_same_places(cities: Copies) -> None:
    fields = "number, at, location_method, location_precision, location_area, geom"
    with cities() as one, cities() as other:
        other.run("DELETE FROM city_raw.crimes")
        for _ in range(2):
            commit_crimes(other, ROWS)
            again = other.run(f"SELECT {fields} FROM city.crimes ORDER BY number")
            assert again == one.run(f"SELECT {fields} FROM city.crimes ORDER BY number")
            other.run("TRUNCATE city_raw.crimes")


def test_rows_of_one_place_are_published_at_one_place(city: Database) -> None:
    """Else whoever averages many of them learns where they are."""
    city.run(
        "INSERT INTO city_raw.crimes (number, kind, geom) SELECT 'm' || n, kind,"
        " ST_Point(2.3171, 48.8314, 4326) FROM generate_series(1, 50) n,"
        " unnest(ARRAY['noise', 'burglary']) kind"
    )
    seen = "SELECT count(DISTINCT geom) FROM city.crimes WHERE number LIKE 'm%' GROUP BY kind"
    assert city.run(seen) == [(1,), (1,)]


def test_places_moved_within_their_cells_are_published_as_before(city: Database) -> None:
    before = published(city, FIELDS)
    inside = 'ST_Contains(d.geom, quartier.cell_envelope(r."#base", r."#finest"))'
    city.run(
        "UPDATE city_raw.crimes r SET geom = ST_Centroid(quartier.cell_envelope("
        'r."#base", r."#finest")) WHERE r."#finest" > 0'
        f" AND EXISTS (SELECT FROM city.districts d WHERE {inside})"
    )
    city.run(
        "UPDATE city_raw.crimes SET geom = ST_Point(CASE WHEN ST_X(geom) < 2.35 THEN 2.32 ELSE 2.37"
        " END, 48.85, 4326) WHERE kind = 'assault'"
    )
    assert published(city, FIELDS) == before


def test_ids_do_not_follow_places(cities: Copies, tmp_path: Path) -> None:
    """A file that is sorted by place is loaded; whoever walks the ids walks all over the city."""
    with cities() as city:
        rows = [f"s{n},theft,{2.3 + n * 1e-4:.4f},{48.8 + n * 1e-4:.4f}" for n in range(500)]
        path = tmp_path / "crimes.csv"
        path.write_text("number,kind,lon,lat\n" + "\n".join(rows))
        optional = [{"name": c.name, "type": c.type, "optional": True} for c in CRIMES.columns]
        city.run("TRUNCATE city_raw.crimes")
        sorted_file = crimes(columns=optional)
        city.declare(DISTRICTS, CORNERS, sorted_file)
        report = run(city.urls.ingest, Job(layer=sorted_file, files=(path,)))
        assert (report.counts.inserted, report.counts.adds_up) == (500, True)
        xs = [x for (x,) in published(city, "ST_X(geom)")]
        assert abs(statistics.correlation(range(500), xs)) < 0.3
        again = run(city.urls.ingest, Job(layer=sorted_file, files=(path,), again=True))
        assert (again.state, again.counts.unchanged) == ("unchanged", 500)


def test_k_is_counted_in_each_class_that_can_be_told_apart(database: Database) -> None:
    """Four burglaries and one assault of one cell are one policy's, and five rows; they are no five
    of a class.
    """
    surround(database, CRIMES)
    pooled = {"policies": [], "otherwise": {"location": "grid", "k": 5}}
    database.declare(DISTRICTS, CORNERS, crimes(privacy=POLICIES | pooled))
    database.run(
        "INSERT INTO city_raw.crimes (kind, geom) SELECT kind, ST_Point(2.311, 48.811, 4326)"
        " FROM unnest(CAST(:kinds AS text[])) kind",
        kinds=["burglary"] * 4 + ["assault"],
    )
    assert database.run("SELECT DISTINCT location_method, geom FROM city.crimes") == [
        ("none", None)
    ]
    hidden = pooled | {"otherwise": {"location": "grid", "k": 5, "hide": ["kind"]}}
    database.declare(DISTRICTS, CORNERS, crimes(privacy=POLICIES | hidden))
    assert database.run("SELECT DISTINCT location_method FROM city.crimes") == [("grid",)]


def in_cells(database: Database, *counts: int) -> None:
    """So many burglaries more in each of four cells beside each other."""
    for number, count in enumerate(counts):
        corner = "quartier.cell_at(quartier.cell(ST_Point(2.32, 48.85, 4326)), 14)"
        cell = f"quartier.cell_envelope({corner} + (CAST(:number AS bigint) << 28), 15)"
        database.run(
            f"INSERT INTO city_raw.crimes (kind, geom) SELECT 'burglary', ST_Centroid({cell})"
            " FROM generate_series(1, CAST(:count AS int))",
            number=number,
            count=count,
        )


def groups(database: Database) -> dict[str | None, set[int]]:
    """The fids that are published at each place."""
    found: dict[str | None, set[int]] = {}
    for fid, place in database.run(
        "SELECT fid, ST_AsText(geom) FROM city.crimes WHERE kind = 'burglary'"
    ):
        found.setdefault(place, set()).add(fid)
    return found


def test_rows_published_together_are_parted_into_no_group_smaller_than_k(
    database: Database,
) -> None:
    five = POLICIES | {"policies": [{"values": ["burglary"], "location": "grid", "k": 5}]}
    surround(database, crimes(privacy=five))
    in_cells(database, 3, 3, 5, 5)
    before = groups(database)
    assert sorted(len(each) for each in before.values()) == [5, 5, 6]
    in_cells(database, 0, 2, 0, 0)
    after = groups(database)
    assert None not in after
    for old in before.values():
        for new in after.values():
            assert not old & new or len(new) >= 5
            assert not old - new or not old & new or len(old - new) >= 5


def test_a_lonely_row_is_not_told_by_being_the_only_one_left_over(database: Database) -> None:
    """Eight in the west and one in the east: an area for the eight would tell where the one is."""
    surround(database, CRIMES)
    for place, count in (("2.31", 8), ("2.37", 1)):
        database.run(
            "INSERT INTO city_raw.crimes (kind, geom) SELECT 'assault',"
            f" ST_Point({place}, 48.81, 4326) FROM generate_series(1, {count})"
        )
    methods = "SELECT location_method, location_area FROM city.crimes GROUP BY 1, 2"
    assert database.run(methods) == [("none", None)]
    database.run(
        "INSERT INTO city_raw.crimes (kind, geom) SELECT 'assault', ST_Point(2.37, 48.81, 4326)"
        " FROM generate_series(1, 3)"
    )
    assert set(database.run(methods)) == {("area", "west"), ("area", "east")}


def test_an_area_smaller_than_a_cell_undoes_no_grid(database: Database) -> None:
    surround(database, CRIMES)
    database.run("DELETE FROM city.districts")
    database.run(
        "INSERT INTO city.districts (code, geom) VALUES"
        " ('yard', ST_MakeEnvelope(2.3100, 48.8100, 2.3102, 48.8102, 4326))"
    )
    database.run(
        "INSERT INTO city_raw.crimes (kind, geom)"
        " SELECT 'burglary', ST_Point(2.3101, 48.8101, 4326) FROM generate_series(1, 9)"
    )
    assert database.run(
        "SELECT DISTINCT location_method, geom, location_area FROM city.crimes"
    ) == [("none", None, None)]


def test_a_row_on_the_border_of_its_area_where_a_cell_ends_is_no_error(database: Database) -> None:
    surround(database, CRIMES)
    database.run("DELETE FROM city.districts")
    database.run(
        "INSERT INTO city.districts (code, geom) VALUES"
        " ('a', ST_MakeEnvelope(-1, 48, 0, 49, 4326)), ('b', ST_MakeEnvelope(0, 48, 1, 49, 4326))"
    )
    database.run(
        "INSERT INTO city_raw.crimes (kind, geom) SELECT 'burglary', ST_Point(0, 48.81, 4326)"
        " FROM generate_series(1, 9)"
    )
    assert database.value("SELECT count(*) FROM city.crimes") == 9


def test_what_a_row_was_published_as_goes_with_its_class(city: Database) -> None:
    """A theft that turns out to be a murder is not shown as the theft it was."""
    fid = city.value("SELECT fid FROM city.crimes WHERE number = 'n2'")
    city.run("UPDATE city_raw.crimes SET street = 'A' WHERE number = 'n2'")
    city.run("UPDATE city_raw.crimes SET kind = 'murder' WHERE number = 'n2'")
    assert city.value(f"SELECT count(*) FROM city_history.crimes WHERE fid = {fid}") == 0


def test_what_nobody_may_see_makes_no_revision(city: Database) -> None:
    seen = "SELECT max(made_at) FROM quartier.public_revisions WHERE layer_id = 'crimes'"
    before = city.run(seen, role="web")
    city.run("INSERT INTO city_raw.crimes (number, kind) VALUES ('x', 'murder')")
    city.run("UPDATE city_raw.crimes SET street = 'y' WHERE kind = 'assault'")
    assert city.run(seen, role="web") == before


def test_ids_tell_neither_order_nor_what_is_missing(city: Database) -> None:
    fids = [fid for (fid,) in published(city, "fid")]
    numbers = [int(number[1:]) for (number,) in published(city, "number")]
    assert abs(statistics.correlation(fids, numbers)) < 0.2
    assert max(fids) > 1 << 50


@pytest.mark.parametrize("key", [0, 1, -(1 << 63), (1 << 63) - 7])
def test_every_row_has_a_public_number_of_its_own(database: Database, key: int) -> None:
    row = database.run(
        "SELECT count(DISTINCT p), min(p), max(p) FROM (SELECT quartier.public_fid(n, CAST(:key AS"
        " bigint)) AS p FROM generate_series(1, 20000) n UNION ALL SELECT quartier.public_fid("
        "4503599627370495 - n, CAST(:key AS bigint)) FROM generate_series(0, 999) n) t",
        key=key,
    )[0]
    assert row[0] == 21_000
    assert row[1] >= 1
    assert row[2] < 1 << 52


# Declarations -------------------------------------------------------------------------------------


def test_a_public_layer_that_becomes_private_leaves_nothing_of_its_past(database: Database) -> None:
    surround(database, PUBLIC_CRIMES)
    commit_crimes(database, 50, table="city.crimes")
    database.run("UPDATE city.crimes SET street = 'Low Street' WHERE number = 'n1'")
    steps = database.declare(DISTRICTS, CORNERS, CRIMES)
    assert "publish no more of layer crimes than its privacy says" in [s.says for s in steps]
    assert database.value("SELECT count(*) FROM city_history.crimes") == 0
    assert set(of_kind(database, "murder", "c.fid")) == {(None,)}
    assert set(of_kind(database, "assault", "c.geom, c.street")) == {(None, None)}
    first = database.value(
        "SELECT history_from FROM quartier.layer_state WHERE layer_id = 'crimes'"
    )
    assert database.run(
        "SELECT min(revision) FROM quartier.public_revisions WHERE layer_id = 'crimes'"
    ) == [(first,)]
    database.run("INSERT INTO city_raw.crimes (number, kind) VALUES ('new', 'theft')")
    fids = "SELECT count(DISTINCT fid) FROM city_raw.crimes"
    assert database.value(fids) == 51
    assert database.declare(DISTRICTS, CORNERS, CRIMES) == []


def test_a_layer_without_rows_that_becomes_private_keeps_no_past_in_public(
    database: Database,
) -> None:
    surround(database, PUBLIC_CRIMES)
    commit_crimes(database, 50, table="city.crimes")
    database.run("DELETE FROM city.crimes")
    database.declare(DISTRICTS, CORNERS, CRIMES)
    assert database.value("SELECT count(*) FROM city_overview.crimes__history", role="web") == 0
    kept = "SELECT min(revision) FROM quartier.public_revisions WHERE layer_id = 'crimes'"
    assert database.value(kept, role="web") == 3


def test_the_change_log_forgets_where_exact_rows_were(database: Database) -> None:
    surround(database, PUBLIC_CRIMES)
    commit_crimes(database, 50, table="city.crimes")
    database.declare(DISTRICTS, CORNERS, CRIMES)
    told = "SELECT count(*) FROM quartier.public_changes WHERE layer_id = 'crimes'"
    assert database.value(told, role="web") == 0


def test_nobody_goes_back_to_before_a_layer_was_private(database: Database) -> None:
    surround(database, PUBLIC_CRIMES)
    commit_crimes(database, 50, table="city.crimes")
    database.run("UPDATE city.crimes SET street = 'x'")
    database.declare(DISTRICTS, CORNERS, CRIMES)
    with (
        database.transaction() as connection,
        pytest.raises(ChangeRefused, match="past is kept from revision 3 on"),
    ):
        roll_back(connection, CRIMES, 1, by="A", note="b")
    assert database.value("SELECT count(*) FROM city_raw.crimes") == 50


def test_a_column_that_is_left_out_is_not_left_published(database: Database) -> None:
    surround(database, PUBLIC_CRIMES)
    commit_crimes(database, 50, table="city.crimes")
    fewer = [each for each in COLUMNS if each["name"] != "clock"]
    with pytest.raises(ChangeRefused, match="column clock is still in the published table"):
        database.declare(DISTRICTS, CORNERS, crimes(columns=fewer))
    database.run("UPDATE city.crimes SET clock = NULL")
    database.declare(DISTRICTS, CORNERS, crimes(columns=fewer))
    assert set(of_kind(database, "murder", "c.fid")) == {(None,)}


def test_what_is_no_longer_declared_of_a_private_layer_is_no_longer_published(
    city: Database,
) -> None:
    fewer = [each for each in COLUMNS if each["name"] != "clock"]
    city.declare(DISTRICTS, CORNERS, crimes(columns=fewer))
    assert city.value("SELECT count(clock) FROM city.crimes") == 0
    assert city.value("SELECT count(clock) FROM city_raw.crimes") == ROWS


def test_triggers_of_others_on_exact_rows_are_passed_by_no_load(
    database: Database, tmp_path: Path
) -> None:
    surround(database, CRIMES)
    database.run(
        "CREATE FUNCTION city_raw.mask() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.street := ''masked''; RETURN NEW; END'"
    )
    database.run(
        "CREATE TRIGGER mask BEFORE INSERT ON city_raw.crimes FOR EACH ROW"
        " EXECUTE FUNCTION city_raw.mask()"
    )
    optional = [{**each, "optional": True} for each in COLUMNS]
    database.declare(DISTRICTS, CORNERS, crimes(columns=optional))
    path = tmp_path / "crimes.csv"
    path.write_text("number,kind,street,lon,lat\n1,theft,High Street,2.31,48.81\n")
    run(database.urls.ingest, Job(layer=crimes(columns=optional), files=(path,)))
    assert database.run("SELECT street FROM city.crimes") == [("masked",)]


def test_a_load_at_once_publishes_what_rows_one_by_one_do(cities: Copies, tmp_path: Path) -> None:
    fields = "number, at, location_method, location_precision, location_area, geom"
    optional = crimes(columns=[{**each, "optional": True} for each in COLUMNS])
    with cities() as one, cities() as other:
        path = tmp_path / "crimes.csv"
        rows = one.run(
            "SELECT number, kind, street, at::text, day, clock, ST_X(geom), ST_Y(geom)"
            " FROM city_raw.crimes"
        )
        names = "number,kind,street,at,day,clock,lon,lat"
        path.write_text("\n".join([names, *(",".join(map(str, row)) for row in rows)]))
        other.run("TRUNCATE city_raw.crimes")
        other.declare(DISTRICTS, CORNERS, optional)
        report = run(other.urls.ingest, Job(layer=optional, files=(path,)))
        assert report.counts.inserted == ROWS
        asked = f"SELECT {fields} FROM city.crimes ORDER BY number"
        assert other.run(asked) == one.run(asked)
        cells = "SELECT * FROM city_raw.crimes__cells ORDER BY 1, 2, 3, 4"
        assert other.run(cells) == one.run(cells)


def test_a_file_whose_columns_repeat_its_places_is_refused(
    database: Database, tmp_path: Path
) -> None:
    optional = [{**each, "optional": True} for each in COLUMNS]
    told = crimes(columns=[*optional, {"name": "x", "from": "Lon"}])
    surround(database, told)
    path = tmp_path / "crimes.csv"
    path.write_text("number,kind,lon,lat\n1,theft,2.31,48.81\n")
    with pytest.raises(SourceRefused, match="column x is read from 'lon'"):
        run(database.urls.ingest, Job(layer=told, files=(path,)))


def test_another_policy_is_applied_to_every_row_and_its_past_is_let_go(city: Database) -> None:
    city.run("UPDATE city_raw.crimes SET kind = 'theft' WHERE number = 'n1'")
    city.run("UPDATE city_raw.crimes SET kind = 'burglary' WHERE number = 'n1'")
    assert city.value("SELECT count(*) FROM city_history.crimes") > 0
    stricter = crimes(
        privacy=POLICIES | {"policies": [], "by": None, "otherwise": {"location": "withhold"}}
    )
    city.declare(DISTRICTS, CORNERS, stricter)
    assert published(city) == []
    assert city.value("SELECT count(*) FROM city_history.crimes") == 0
    city.declare(DISTRICTS, CORNERS, CRIMES)
    assert len(published(city)) == ROWS * 4 / 5


def test_privacy_is_not_taken_off_by_leaving_it_out(city: Database) -> None:
    with pytest.raises(ChangeRefused, match="its exact rows would be published"):
        city.declare(DISTRICTS, CORNERS, PUBLIC_CRIMES)


def test_triggers_that_somebody_dropped_are_put_back_and_every_row_derived(city: Database) -> None:
    city.run("DROP TRIGGER quartier_updated ON city_raw.crimes")
    city.run("UPDATE city_raw.crimes SET kind = 'murder'")
    city.declare(DISTRICTS, CORNERS, CRIMES)
    assert published(city) == []


def test_a_column_that_is_added_is_published(city: Database) -> None:
    more = crimes(
        columns=[*({"name": c.name, "type": c.type} for c in CRIMES.columns), {"name": "ward"}]
    )
    city.declare(DISTRICTS, CORNERS, more)
    city.run("UPDATE city_raw.crimes SET ward = 'w' WHERE number = 'n2'")
    assert city.value("SELECT ward FROM city.crimes WHERE number = 'n2'") == "w"


def test_nothing_is_published_before_there_are_borders_to_keep_to(database: Database) -> None:
    database.declare(DISTRICTS, CORNERS, CRIMES)
    with pytest.raises(sa.exc.DBAPIError, match="its privacy needs layer districts"):
        commit_crimes(database, 5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"policies": [], "by": None, "otherwise": {"location": "grid", "max_m": 3}},
            "max_m: is for snap",
        ),
        ({"by": None}, "by: name the column"),
        ({"anchors": None}, "anchors: name the layer"),
        ({"areas": None}, "areas: name the layer"),
        ({"by": "colour"}, "privacy.by: no column 'colour'"),
        ({"otherwise": {"location": "exact", "hide": ["colour"]}}, "no column 'colour'"),
        ({"suppress": {"columns": ["street"]}}, "street holds no numbers"),
        ({"policies": [{"values": ["a"], "location": "exact"}] * 2}, "a stands in two of them"),
        ({"policies": [{"values": [True], "location": "exact"}]}, "True is not of type text"),
        ({"by": "day"}, "day is of type date; classes are texts"),
        ({"policies": [{"values": ["a\0"], "location": "exact"}]}, "with a NUL"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        crimes(privacy=POLICIES | change)


def test_a_column_that_repeats_the_place_is_to_be_hidden() -> None:
    told: dict[str, Any] = {
        "columns": [
            {"name": "number"},
            {"name": "kind"},
            {"name": "street"},
            {"name": "x", "from": "lon"},
        ]
    }
    told |= {"source": {"geometry": {"longitude": "lon", "latitude": "lat"}}}
    with pytest.raises(ValidationError, match="column x repeats the exact place"):
        crimes(**told)


# The past -----------------------------------------------------------------------------------------


def test_a_rollback_brings_exact_rows_back_and_publishes_them_as_the_privacy_says(
    city: Database,
) -> None:
    before, revision = (
        published(city, FIELDS),
        city.value("SELECT revision FROM quartier.layer_state WHERE layer_id = 'crimes'"),
    )
    city.run("UPDATE city_raw.crimes SET kind = 'theft' WHERE fid < 100")
    city.run("DELETE FROM city_raw.crimes WHERE fid < 50")
    with city.transaction() as connection:
        done = roll_back(connection, CRIMES, revision, by="A", note="b")
    assert (done.inserted, done.updated) == (49, 40)  # ten were thefts before
    assert published(city, FIELDS) == before


def test_a_purge_leaves_nothing_of_a_row_in_any_table(city: Database) -> None:
    city.run("UPDATE city_raw.crimes SET street = 'Secret Street' WHERE number = 'n2'")
    city.run("UPDATE city_raw.crimes SET street = 'Other Street' WHERE number = 'n2'")
    with city.transaction() as connection:
        fid = city.value("SELECT fid FROM city.crimes WHERE number = 'n2'")
        receipt = erase(connection, CRIMES, key=None, fid=fid, by="A", note="b")
    assert (receipt.rows, receipt.past_rows) == (1, 2)
    for schema in ("city", "city_raw", "city_history"):
        for (table,) in city.run(f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'"):
            told = city.run(f'SELECT t::text FROM {schema}."{table}" t')
            assert not any(
                secret in row[0] for row in told for secret in ("(n2,", ",n2,", "Secret")
            )


def test_retention_lets_go_of_what_was_no_longer_so(city: Database) -> None:
    city.run("UPDATE city_raw.crimes SET street = 'Old Street' WHERE number = 'n2'")
    city.run("UPDATE city_raw.crimes SET street = 'New Street' WHERE number = 'n2'")
    with city.transaction() as connection:
        done = retention.trim(connection, CRIMES, 0)
    assert done.states == 4
    assert city.value("SELECT count(*) FROM city_history.crimes") == 0
    assert city.value("SELECT street FROM city.crimes WHERE number = 'n2'") == "New Street"
    with (
        city.transaction() as connection,
        pytest.raises(ChangeRefused, match="kept from revision 3"),
    ):
        roll_back(connection, CRIMES, 1, by="A", note="b")


def test_a_layer_of_which_no_policy_shows_a_value_is_loaded(
    database: Database, tmp_path: Path
) -> None:
    of = layer(
        id="calls",
        geometry="none",
        columns=[{"name": "at", "type": "datetime"}, {"name": "n", "type": "integer"}],
        privacy={"otherwise": {"location": "exact", "hide": ["n"], "time": "withhold"}},
    )
    database.declare(of)
    path = tmp_path / "calls.csv"
    path.write_text("at,n\n2026-01-01T12:00Z,1\n2026-01-02T12:00Z,2\n", encoding="utf-8")
    assert run(database.urls.ingest, Job(layer=of, files=(path,))).counts.inserted == 2
    assert database.run("SELECT at, n FROM city.calls") == [(None, None), (None, None)]
