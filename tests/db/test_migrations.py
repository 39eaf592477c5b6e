"""A database of an older schema, with data in it, is brought to the newest and loses nothing.

The dumps were made by the versions themselves: tests/fixtures/schemas.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import mapbox_vector_tile
import mercantile
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError

from layers import overviews, shape_batch, shapes
from layers.database_urls import DatabaseUrls
from layers.engine import postgis_schema, run_ddl
from layers.model import Layer
from layers.overview_rebuild import count_anew
from layers.schema_version import MIGRATIONS, newest_schema
from layers.setup import SCHEMAS, prepare_database
from layers.shape_sql import rebuild_statements
from layers.sql import literal
from tests.api.conftest import Service, serving
from tests.conftest import Database, fresh_database
from tests.fixtures.schemas import FOLDER, city_of

pytestmark = pytest.mark.db

DUMPS = sorted(path.name[:4] for path in FOLDER.glob("*.sql.gz"))
# Of no version: 0002 and 0003 came together with 0004, the last words of 0005 with 0006.
NEVER_ALONE = {"0002", "0003", "0005"}
CITY = ("trees", "streets", "parks", "calls")
RECORDS = ("quartier.revisions", "quartier.runs", "quartier.quarantine")
BOX = (4.79, 45.19, 4.92, 45.32)
PLACED = "SELECT count(*) FROM city.{} WHERE geom IS NOT NULL"
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A database that was brought up, what it held before, and one that was new at once."""

    database: Database
    layers: dict[str, Layer]
    before: dict[str, Rows]
    columns: dict[str, str]
    new: Database
    said: list[str]

    def now(self, table: str) -> Rows:
        return self.database.run(f"SELECT {self.columns[table]} FROM {table} ORDER BY 1, 2, 3")


@pytest.fixture(scope="module", params=DUMPS)
def city(request: pytest.FixtureRequest, server: DatabaseUrls, template: str) -> Iterator[Upgraded]:
    layers = {told["id"]: Layer.model_validate(told) for told in city_of(request.param)}
    with (
        fresh_database(server, "template0") as database,
        fresh_database(server, template) as new,
    ):
        with psycopg.connect(database.urls.owner, autocommit=True) as connection:
            dump = gzip.decompress((FOLDER / f"{request.param}.sql.gz").read_bytes())
            connection.execute(dump)
        columns = {table: _columns(database, table) for table in _tables()}
        before = {
            table: database.run(f"SELECT {names} FROM {table} ORDER BY 1, 2, 3")
            for table, names in columns.items()
        }
        prepare_database(database.urls.owner)
        assert database.value("SELECT version_num FROM quartier.alembic_version") == newest_schema()
        said = [step.says for step in database.declare(*layers.values())]
        new.declare(*layers.values())
        yield Upgraded(database, layers, before, columns, new, said)


def _tables() -> list[str]:
    return [*(f"{schema}.{each}" for schema in ("city", "city_history") for each in CITY), *RECORDS]


def _columns(database: Database, table: str) -> str:
    """What is stored and not worked out, as text."""
    names = database.run(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attnum > 0"
        " AND NOT attisdropped AND attgenerated = '' ORDER BY attnum", table=table,
    )  # fmt: skip
    assert names, table
    return ", ".join(f'"{name}"::text' for (name,) in names)


def test_every_older_schema_is_tried() -> None:
    known = {path.stem[1:5] for path in (MIGRATIONS / "versions").glob("v[0-9]*.py")}
    missing = known - {newest_schema()} - NEVER_ALONE - set(DUMPS)
    assert not missing, f"python -m tests.fixtures.schemas.make {' '.join(missing)} <commit>"


def test_no_row_and_no_record_is_another_than_it_was(city: Upgraded) -> None:
    assert all(city.before[f"city.{each}"] for each in CITY)
    assert all(city.before[table] for table in ("city_history.trees", *RECORDS))
    for table, rows in city.before.items():
        if table == "quartier.revisions":
            assert set(rows) <= set(city.now(table))
        else:
            assert city.now(table) == rows, table


def test_apply_has_nothing_to_do_a_second_time(city: Upgraded) -> None:
    assert city.database.declare(*city.layers.values()) == []


def test_the_schema_is_the_one_of_a_new_database(city: Upgraded) -> None:
    """Columns, keys, indexes, triggers, functions, views, and what each role may do."""
    brought, new = _schema(city.database), _schema(city.new)
    assert brought.keys() ^ new.keys() == set()
    assert {name: (brought[name], new[name]) for name in new if brought[name] != new[name]} == {}


def _schema(database: Database) -> dict[str, Any]:
    ours = f"nspname IN ({', '.join(map(literal, SCHEMAS))})"
    asked = {
        "relation": "SELECT c.oid::regclass::text, relkind, relpersistence,"
        " relowner::regrole::text,"
        " (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(relacl) a)"
        f" FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE {ours}"
        " AND relkind IN ('r', 'v', 'S')",
        "column": "SELECT c.oid::regclass || '.' || attname, format_type(atttypid, atttypmod),"
        " attnotnull, attidentity::text, attgenerated::text,"
        " translate(pg_get_expr(adbin, adrelid), '()', ''), attcollation::regcollation::text,"
        " attacl::text"
        " FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n"
        " ON n.oid = relnamespace LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)"
        f" WHERE {ours} AND relkind IN ('r', 'v') AND attnum > 0 AND NOT attisdropped",
        "constraint": "SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(c.oid)"
        f" FROM pg_constraint c JOIN pg_namespace n ON n.oid = connamespace WHERE {ours}",
        "index": "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index i"
        " JOIN pg_class c ON c.oid = indexrelid JOIN pg_namespace n ON n.oid = relnamespace"
        f" WHERE {ours}",
        "trigger": "SELECT tgrelid::regclass || '.' || tgname, pg_get_triggerdef(t.oid),"
        " tgenabled::text FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n"
        f" ON n.oid = relnamespace WHERE {ours} AND NOT tgisinternal",
        "function": "SELECT p.oid::regprocedure::text, md5(pg_get_functiondef(p.oid)),"
        " (SELECT array_agg(a::text ORDER BY a::text)"
        " FROM unnest(coalesce(proacl, acldefault('f', proowner))) a)"
        f" FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE {ours}",
        "view": "SELECT c.oid::regclass::text, pg_get_viewdef(c.oid) FROM pg_class c"
        f" JOIN pg_namespace n ON n.oid = relnamespace WHERE {ours} AND relkind = 'v'",
        "schema": "SELECT nspname, (SELECT array_agg(a::text ORDER BY a::text)"
        f" FROM unnest(nspacl) a) FROM pg_namespace WHERE {ours}",
    }
    return {f"{kind} {row[0]}": row[1:] for kind, sql in asked.items() for row in database.run(sql)}


def _made(connection: sa.Connection, of: Layer) -> list[Rows]:
    return [
        [tuple(row) for row in connection.execute(sa.text(f"SELECT t::text FROM {t} t ORDER BY 1"))]
        for t in (*overviews.tables_of(of), *shapes.tables_of(of))
    ]


def _check_overview(database: Database, of: Layer, *, settled: bool) -> None:
    """What is kept is what is made anew; then that is undone."""
    with database.connect() as autocommit:
        connection = autocommit.execution_options(isolation_level="READ COMMITTED")
        with connection.begin() as transaction:
            if not settled:
                shape_batch.settle(connection, of)
            kept = _made(connection, of)
            for statement, values in count_anew(of):
                connection.execute(sa.text(statement), values)
            if shapes.has_shapes(of):
                for ddl in rebuild_statements(of):
                    run_ddl(connection, ddl.replace("@postgis@", postgis_schema(connection)))
                shape_batch.settle(connection, of)
            for was, anew in zip(kept, _made(connection, of), strict=True):
                assert (set(was) - set(anew), set(anew) - set(was)) == (set(), set()), of.id
            transaction.rollback()


def test_overviews_are_what_they_would_be_made_anew(city: Upgraded) -> None:
    for each in CITY:
        _check_overview(city.database, city.layers[each], settled=True)


def test_every_tile_is_made_and_the_past_can_be_asked(city: Upgraded) -> None:
    asyncio.run(_ask(city))


async def _ask(city: Upgraded) -> None:
    async with serving(city.database) as service:
        for each in CITY:
            items = await service.get(f"/collections/{each}/items?limit=200")
            assert items.status_code == 200, items.text
            count = len(city.before[f"city.{each}"])
            assert items.json()["numberMatched"] == count
            placed = city.database.value(PLACED.format(each)) if each != "calls" else 0
            if each != "calls":
                async for name, z, drawn in _drawn(service, each):
                    if name == each and z in ((0, 5, 9, 11, 12) if each == "trees" else (12,)):
                        assert drawn == placed, (name, z)
                    assert drawn or not 9 <= z <= 12, (name, z)
        past = await service.get("/collections/trees/items?limit=200&as_of=1")
        assert past.status_code == 200, past.text
        assert len(past.json()["features"]) == 60


async def _drawn(service: Service, layer: str) -> AsyncIterator[tuple[str, int, int]]:
    """Every tile of the city from the world to zoom 12, and some below, hold what they should."""
    shown = {"trees": ("trees", "trees:heat"), "parks": ("parks", "parks:labels")}
    for name in shown.get(layer, (layer,)):
        for z in (0, 5, 9, 11, 12, 14, 16):
            box = BOX if z <= 12 else (4.81, 45.205, 4.812, 45.207)
            found: dict[int, int] = {}
            for t in mercantile.tiles(*box, z):
                answer = await service.get(f"/tiles/{name}/{t.z}/{t.x}/{t.y}.mvt")
                assert answer.status_code in (200, 204), (name, t, answer.text)
                drawn = mapbox_vector_tile.decode(answer.content) if answer.content else {}
                for feature in drawn.get(name, {"features": []})["features"]:
                    told = feature["properties"]
                    found[feature["id"]] = told.get("point_count", 1)
            yield name, z, sum(found.values())


def test_an_edit_makes_a_revision_a_past_and_an_overview(
    city: Upgraded, server: DatabaseUrls
) -> None:
    with fresh_database(server, city.database.name) as copy:
        for each in CITY:
            _edit(copy, city.layers[each])


def _edit(database: Database, of: Layer) -> None:
    each = of.id
    revision = f"SELECT revision FROM quartier.layer_state WHERE layer_id = '{each}'"
    before, past = database.value(revision), f"SELECT count(*) FROM city_history.{each}"
    known, rows = database.value(past), database.value(f"SELECT count(*) FROM city.{each}")
    names = ", ".join(f'"{c.name}"' for c in of.columns if c.name not in of.key)
    place = ", geom" if of.has_geometry else ""
    moved = ", ST_Translate(geom, 0.8, 0)" if of.has_geometry else ""
    keys = "".join(f', "{key}"' for key in of.key)
    with database.transaction() as connection:
        for statement in (
            f"INSERT INTO city.{each} ({names}{place}{keys}) SELECT {names}{moved}"
            f"{''.join(f', {chr(39)}edit{chr(39)}' for _ in of.key)} FROM city.{each}"
            f" WHERE fid = (SELECT max(fid) FROM city.{each})",
            f"DELETE FROM city.{each} WHERE fid = (SELECT min(fid) FROM city.{each})",
            *(
                [
                    f"UPDATE city.{each} SET geom = ST_Translate(geom, 0.4, 0) WHERE fid ="
                    f" (SELECT min(fid) FROM city.{each})"
                ]
                if of.has_geometry
                else []
            ),
        ):
            assert connection.execute(sa.text(statement)).rowcount == 1
    assert database.value(revision) == before + 1
    assert database.value(past) == known + (2 if of.has_geometry else 1)
    assert database.value(f"SELECT count(*) FROM city.{each}") == rows
    _check_overview(database, of, settled=False)


def test_readers_read_what_is_published_and_nothing_else(city: Upgraded) -> None:
    for each in CITY:
        assert city.database.value(f"SELECT count(*) FROM city.{each}", role="web")
        city.database.run(f"SELECT FROM city_overview.{each}__history LIMIT 1", role="web")
    for table in ("city_history.trees", "quartier.layers", "quartier.quarantine", "quartier.runs"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            city.database.run(f"SELECT FROM {table}", role="web")
    for table in ("city.trees", "city_overview.trees__history", "quartier.revisions"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            city.database.run(f"DELETE FROM {table}", role="web")
