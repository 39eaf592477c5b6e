"""Questions put together are answered as they would have been alone."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import asyncpg
import pytest

from layers.store import Store
from tests.conftest import Database
from tiles.batch import MOST_TOGETHER, BatchedDatabase, together

pytestmark = [pytest.mark.db, pytest.mark.anyio]

SQL = "SELECT $1::int * $2::int AS product, repeat('x', $2::int)::bytea AS tile -- a remark"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class CountingStore(Store):
    asked = 0

    def connection(self):  # type: ignore[no-untyped-def]
        self.asked += 1
        return super().connection()


async def test_each_asker_gets_its_own_answer_and_few_statements_are_run(
    database: Database,
) -> None:
    store = CountingStore(database.urls.web, size=2)
    async with aclosing(BatchedDatabase(store, connections=2)) as batched:
        rows = await asyncio.gather(*(batched.fetchrow(SQL, n, n % 7) for n in range(500)))
    await store.close()
    assert [row["product"] for row in rows] == [n * (n % 7) for n in range(500)]
    assert [row["tile"] for row in rows] == [b"x" * (n % 7) for n in range(500)]
    assert store.asked <= 500 / MOST_TOGETHER + 10


async def test_different_statements_are_kept_apart(database: Database) -> None:
    store = Store(database.urls.web, size=2)
    async with aclosing(BatchedDatabase(store, connections=2)) as batched:
        one = [batched.fetchrow("SELECT $1::int + 1 AS n", n) for n in range(20)]
        two = [batched.fetchrow("SELECT $1::text || '!' AS n", str(n)) for n in range(20)]
        rows = await asyncio.gather(*one, *two)
    await store.close()
    assert [row["n"] for row in rows] == [*range(1, 21), *(f"{n}!" for n in range(20))]


async def test_a_statement_without_a_row_answers_none(database: Database) -> None:
    store = Store(database.urls.web, size=1)
    async with aclosing(BatchedDatabase(store, connections=1)) as batched:
        asked = [batched.fetchrow("SELECT 1 AS n WHERE $1::int > 3", n) for n in range(6)]
        rows = await asyncio.gather(*asked)
    await store.close()
    assert [row and row["n"] for row in rows] == [None] * 4 + [1] * 2


async def test_arguments_that_make_no_array_are_asked_one_by_one(database: Database) -> None:
    store = Store(database.urls.web, size=1)
    async with aclosing(BatchedDatabase(store, connections=1)) as batched:
        sql = "SELECT cardinality($1::int[]) AS n"
        rows = await asyncio.gather(*(batched.fetchrow(sql, [1] * n) for n in range(5)))
    await store.close()
    assert [row["n"] for row in rows] == [0, 1, 2, 3, 4]


async def test_an_error_is_told_to_those_who_asked_together(database: Database) -> None:
    store = Store(database.urls.web, size=1)
    async with aclosing(BatchedDatabase(store, connections=1)) as batched:
        asked = (batched.fetchrow("SELECT 1 / $1::int AS n", n) for n in (1, 0))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert any(isinstance(answer, asyncpg.DivisionByZeroError) for answer in answers)
        assert (await batched.fetchrow("SELECT 1 / $1::int AS n", 1))["n"] == 1
    await store.close()


def test_placeholders_become_columns_of_the_arrays() -> None:
    said = together("SELECT $1 + $12 + $2", ["int4"] * 12)
    assert 'SELECT "#asked"."#1" + "#asked"."#12" + "#asked"."#2"' in said
