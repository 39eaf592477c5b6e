"""Many tiles in one statement: questions of one text that are asked at once are put together.

What is asked is not changed: the statement becomes the lateral side of a join with its arguments,
so that each answer is the one it would have given alone.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Sequence
from typing import Any

from layers.store import Store

MOST_TOGETHER = 64  # questions; fewer where answers were large
MOST_BYTES = 16 * 2**20  # of answers, aimed at
FIRST_GUESS = MOST_BYTES / 4
PLACEHOLDER = re.compile(
    r"""(E?'(?:[^'\\]|''|\\.)*'|"(?:[^"]|"")*")|\$(\d+)"""
)  # or what is quoted
Question = tuple[Sequence[object], "asyncio.Future[Any]"]


class BatchedDatabase:
    """A `tiles.render.Database` over a store, for work that asks for many tiles at a time."""

    def __init__(self, store: Store, *, connections: int) -> None:
        self._store = store
        self._connections = connections
        self._waiting: dict[str, deque[Question]] = {}
        self._types: dict[str, Sequence[str] | None] = {}
        self._sizes: dict[str, float] = {}
        self._workers: set[asyncio.Task[None]] = set()

    async def fetchrow(self, sql: str, *args: object) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(sql, deque()).append((args, answer))
        if len(self._workers) < self._connections:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return await answer

    async def aclose(self) -> None:
        for worker in list(self._workers):
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self) -> None:
        await asyncio.sleep(0)  # let those who ask in this very round ask
        while self._waiting:
            sql = next(iter(self._waiting))
            questions = self._take(sql)
            if questions:
                await self._answer(sql, questions)

    def _take(self, sql: str) -> list[Question]:
        waiting = self._waiting[sql]
        together = max(1, min(MOST_TOGETHER, int(MOST_BYTES / self._sizes.get(sql, FIRST_GUESS))))
        taken = [waiting.popleft() for _ in range(min(together, len(waiting)))]
        if not waiting:
            del self._waiting[sql]
        return [(args, answer) for args, answer in taken if not answer.done()]

    async def _answer(self, sql: str, questions: list[Question]) -> None:
        try:
            rows = await self._ask(sql, [args for args, _ in questions])
        except asyncio.CancelledError:
            for _, answer in questions:
                answer.cancel()
            raise
        except Exception as exc:
            for _, answer in questions:
                if not answer.done():
                    answer.set_exception(exc)
            return
        for (_, answer), row in zip(questions, rows, strict=True):
            if not answer.done():
                answer.set_result(row)
        sizes = [len(value) for row in rows if row for value in row if isinstance(value, bytes)]
        self._sizes[sql] = max(1.0, self._sizes.get(sql, FIRST_GUESS) / 2, *sizes)

    async def _ask(self, sql: str, asked: list[Sequence[object]]) -> list[Any]:
        async with self._store.connection() as connection:
            if sql not in self._types:
                self._types[sql] = await _types_of(connection, sql)
            types = self._types[sql]
            if types is None or len(asked) == 1:
                return [await connection.fetchrow(sql, *args) for args in asked]
            columns = [list(column) for column in zip(*asked, strict=True)]
            rows = await connection.fetch(together(sql, types), *columns)
        answers: list[Any] = [None] * len(asked)
        for row in rows:
            answers[row["#n"] - 1] = row
        return answers


async def _types_of(connection: Any, sql: str) -> Sequence[str] | None:
    """The types of a statement's parameters, or None where an array of them cannot be made."""
    found = (await connection.prepare(sql)).get_parameters()
    if not found or any(each.kind != "scalar" or each.schema != "pg_catalog" for each in found):
        return None
    return [each.name for each in found]


def together(sql: str, types: Sequence[str]) -> str:
    """The statement for arrays of arguments; `#n` tells which of them a row answers."""
    numbers = range(1, len(types) + 1)
    arrays = ", ".join(f"${n}::{name}[]" for n, name in zip(numbers, types, strict=True))
    names = ", ".join(f'"#{n}"' for n in numbers)
    inner = PLACEHOLDER.sub(lambda found: found[1] or f'"#asked"."#{found[2]}"', sql)
    return f"""
        SELECT "#asked"."#n", "#answer".*
        FROM unnest({arrays}) WITH ORDINALITY AS "#asked"({names}, "#n")
        CROSS JOIN LATERAL (
            {inner}
        ) AS "#answer\""""
