"""Counted cells of 1.3 million reports of crime: exactly what SQL counts, whatever psql does to
them, and byte for byte what counting anew gives.

The oracle asks the table by the values themselves; where tiles are, the place alone says.
"""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from layers import overviews
from layers.catalogue_files import read_catalogue
from layers.model import Layer
from tests.accept.house import House, Table, house
from tests.asking import Asker, asking, features
from tests.conftest import Database
from tiles.address import TileAddress
from tiles.cell_query import Slice, cell_query, heat_query, slice_query

pytestmark = [pytest.mark.real, pytest.mark.db]

SEED = 20261128
REAL = Path(__file__).resolve().parents[1] / "real" / "catalogue" / "layers"
CRIMES = "mexico_crimes"
TRIPLES = 100
EDITS = 1_000
EDITS_IN_A_SCRIPT = 100
WEST, SOUTH, EAST, NORTH = -99.36, 19.05, -98.94, 19.59
FIRST_MONTH, LAST_MONTH = 2018 * 12, 2025 * 12


@pytest.fixture(scope="module")
def city(shared: Path) -> Iterator[House]:
    file = shared / "data" / "mexico-city" / "cdmx_fgj_carpetas_2019_2025.csv.gz"
    declared = yaml.safe_load((REAL / f"{CRIMES}.yaml").read_text())
    declared |= {"minzoom": 0, "overview": {"bucket": "month"}}
    declared["source"]["files"] = [str(file)]
    catalogue = Path(tempfile.mkdtemp(prefix="quartier-counts-"))
    (catalogue / "layers").mkdir()
    (catalogue / "layers" / f"{CRIMES}.yaml").write_text(yaml.safe_dump(declared))
    with house(catalogue) as made, made.database():
        made.run("apply")
        made.ingest(CRIMES)
        yield made
    shutil.rmtree(catalogue)


@dataclass(frozen=True, slots=True)
class Asked:
    """A zoom, one of the values counted apart or `None` for all (0: the others), and months."""

    z: int
    group: int | None
    months: tuple[int, int] | None

    @property
    def slice(self) -> Slice:
        first, last = self.months or (None, None)
        return Slice(self.group, first, last)


def some(of: Layer, detail_zoom: int, chance: random.Random) -> list[Asked]:
    found = []
    for n in range(TRIPLES):
        first = chance.randrange(FIRST_MONTH, LAST_MONTH)
        months = (first, first + chance.choice([0, 0, 2, 11, 40]))
        group = chance.choice([None, *range(len(of.groups) + 1)])
        found.append(Asked(n % detail_zoom, group, chance.choice([None, months, months])))
    return found


def counted_by_sql(database: Database, of: Layer, asked: Asked) -> int:
    conditions = ["geom IS NOT NULL"]
    values: dict[str, Any] = {}
    if asked.group == 0:
        conditions.append("(delito <> ALL (:groups) OR delito IS NULL)")
        values["groups"] = list(of.groups)
    elif asked.group is not None:
        conditions.append("delito = :group")
        values["group"] = of.groups[asked.group - 1]
    if asked.months is not None:
        when = "(fecha_hecho AT TIME ZONE 'America/Mexico_City')"
        conditions.append(
            f"{when} >= CAST(:first AS timestamp) AND {when} < CAST(:end AS timestamp)"
        )
        values["first"], values["end"] = _first_of(asked.months[0]), _first_of(asked.months[1] + 1)
    sql = f"SELECT count(*) FROM city.{CRIMES} WHERE {' AND '.join(conditions)}"
    return int(database.value(sql, **values))


def _first_of(month: int) -> str:
    return f"{month // 12}-{month % 12 + 1:02}-01"


def tiles_with_neighbours(database: Database, z: int) -> list[TileAddress]:
    """Every tile that a row stands in, and those around it, where nothing more may be counted."""
    rows = database.run(
        "SELECT DISTINCT floor((ST_X(geom) + 180) / 360 * :n)::int,"
        " floor((1 - ln(tan(radians(ST_Y(geom))) + 1 / cos(radians(ST_Y(geom)))) / pi()) / 2 * :n)"
        f"::int FROM city.{CRIMES} WHERE geom IS NOT NULL",
        n=2**z,
    )
    around = {
        (x + dx, y + dy)
        for x, y in rows
        for dx, dy in itertools.product((-1, 0, 1), repeat=2)
        if 0 <= x + dx < 2**z and 0 <= y + dy < 2**z
    }
    return [TileAddress(z, x, y) for x, y in sorted(around)]


def counted_in(tile: bytes) -> int:
    return sum(int(each["properties"]["point_count"]) for each in features(tile))


@dataclass(slots=True)
class Counts:
    """How the tiles of a database add up, asked as the web asks."""

    database: Database
    web: Asker
    of: Layer

    def check(self, asked: list[Asked], when: str) -> None:
        published = self.web.drawn(self.of).published
        tiles = {z: tiles_with_neighbours(self.database, z) for z in {each.z for each in asked}}
        table = Table(
            f"Counts {when} (detail zoom {published.detail_zoom}, cube to {published.cube_depth})",
            ["zoom", "triples", "tiles", "counted by tiles", "by SQL", "seconds"],
        )
        for z in sorted(tiles):
            self.check_whole(z, tiles[z])
            started, sums = time.monotonic(), [0, 0]
            wanted = [each for each in asked if each.z == z]
            for each in wanted:
                queries = [slice_query(published, "c", at, each.slice) for at in tiles[z]]
                found = sum(counted_in(self.web.tile(query)) for query in queries)
                expected = counted_by_sql(self.database, self.of, each)
                assert found == expected, (when, each)
                sums = [sums[0] + found, sums[1] + expected]
            seconds = f"{time.monotonic() - started:.1f}"
            table.add(z, len(wanted), len(tiles[z]), *sums, seconds)
        table.print()

    def check_whole(self, z: int, tiles: list[TileAddress]) -> None:
        """The unfiltered tiles, group by group, and those for heat maps."""
        published = self.web.drawn(self.of).published
        rows = self.database.value(f"SELECT count(*) FROM city.{CRIMES} WHERE geom IS NOT NULL")
        apart: dict[str, int] = {}
        for at in tiles:
            for each in features(self.web.tile(cell_query(published, "c", at))):
                for name, value in each["properties"].items():
                    if name.startswith("point_count") and not isinstance(value, str):
                        apart[name] = apart.get(name, 0) + value
        assert apart.pop("point_count") == rows
        for number, group in enumerate(("other", *self.of.groups)):
            expected = counted_by_sql(self.database, self.of, Asked(z, number, None))
            assert apart.pop(f"point_count:{group}") == expected, group
        assert apart == {}
        heat = [self.web.tile(heat_query(published, "c", at)) for at in tiles]
        assert sum(map(counted_in, heat)) == rows


# Edits -------------------------------------------------------------------------------------------


def an_edit(chance: random.Random, of: Layer, most: int) -> str:
    """One transaction as somebody writes it in psql; one in eight is rolled back."""
    fid = chance.randint(1, most)
    rows = chance.choice([f"= {fid}", f"= {fid}", f"BETWEEN {fid} AND {fid + 30}"])
    table, where = f"city.{CRIMES}", f"WHERE fid {rows}"
    spot = f"ST_Point({chance.uniform(WEST, EAST)!r}, {chance.uniform(SOUTH, NORTH)!r}, 4326)"
    kind = chance.choice([*map(str, of.groups), "HOMICIDIO DOLOSO"])
    day = f"'20{chance.randint(18, 25)}-{chance.randint(1, 12):02}-01 0{chance.randint(0, 9)}:00Z'"
    nudge = f"{chance.uniform(-0.001, 0.001):.7f}"
    when = chance.choice([day, day, "NULL", "'infinity'"])
    statement = chance.choice([
        f"UPDATE {table} SET geom = {spot} {where}",
        f"UPDATE {table} SET geom = ST_Translate(geom, {nudge}, 0) {where}",
        f"UPDATE {table} SET geom = NULL {where}",
        f"UPDATE {table} SET delito = '{kind}' {where}",
        f"UPDATE {table} SET fecha_hecho = {when} {where}",
        f"UPDATE {table} SET geom = {spot}, delito = '{kind}', fecha_hecho = {when} {where}",
        f"UPDATE {table} SET colonia = 'X' || fid {where}",
        f"INSERT INTO {table} (delito, fecha_hecho, geom) VALUES ('{kind}', {when}, {spot}),"
        f" (NULL, now(), {spot}), ('{kind}', {when}, NULL)",
        f"INSERT INTO {table} (delito, fecha_hecho, geom) SELECT delito, {when}, geom FROM {table}"
        f" {where}",
        f"DELETE FROM {table} {where}",
        f"MERGE INTO {table} t USING (SELECT fid FROM {table} {where}) s ON t.fid = s.fid"
        f" WHEN MATCHED AND t.fid % 3 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET geom = {spot}",
    ])  # fmt: skip
    other = f"SAVEPOINT a; DELETE FROM {table} WHERE fid = {fid + 1}; ROLLBACK TO a;"
    middle = chance.choice(["", "", other])
    return f"BEGIN; {statement}; {middle} {'ROLLBACK' if chance.random() < 0.125 else 'COMMIT'};\n"


def edit_by_psql(database: Database, of: Layer, chance: random.Random) -> None:
    program = shutil.which("psql")
    assert program is not None
    most = database.value(f"SELECT max(fid) FROM city.{CRIMES}")
    for _ in range(EDITS // EDITS_IN_A_SCRIPT):
        script = "".join(an_edit(chance, of, most) for _ in range(EDITS_IN_A_SCRIPT))
        subprocess.run(
            [program, database.urls.ingest, "-qX", "-v", "ON_ERROR_STOP=1"],
            input=script, text=True, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip


def kept(database: Database, of: Layer) -> list[tuple[Any, ...]]:
    """How many rows each table of the overview has, and all their bytes in short."""
    return [
        database.run(f"SELECT count(*), md5(string_agg(t::text, ' ' ORDER BY t)) FROM {table} t")[0]
        for table in overviews.tables_of(of)
    ]


def test_tiles_count_what_sql_counts_before_and_after_a_thousand_edits(city: House) -> None:
    chance = random.Random(SEED)
    of = read_catalogue(city.catalogue).layers[CRIMES]
    with city.database() as database, asking(database) as web:
        counts = Counts(database, web, of)
        detail_zoom = web.drawn(of).published.detail_zoom
        assert detail_zoom > 8
        counts.check(some(of, detail_zoom, chance), "of what was loaded")
        revision = web.drawn(of).published.revision
        started = time.monotonic()
        edit_by_psql(database, of, chance)
        made = web.drawn(of).published.revision - revision
        print(f"\n  {EDITS} transactions in {time.monotonic() - started:.1f} s, {made} revisions")
        assert made > EDITS / 2
        counts.check(some(of, web.drawn(of).published.detail_zoom, chance), "after the edits")
        maintained, started = kept(database, of), time.monotonic()
        database.run(f'SELECT quartier."{CRIMES}__overview"(false)')
        print(f"  rows and digests: {maintained}; again in {time.monotonic() - started:.1f} s")
        assert kept(database, of) == maintained
