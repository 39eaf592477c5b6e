"""What the web asks for whoever shows a key. Each question is one function of the database, which
looks at the key itself before it answers.

Answers are JSON texts, as the database made them: what a view tells is told in one place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import category

import orjson

from layers.errors import LayerNotFound, QueryRefused
from layers.keys import KeyProof
from layers.sqlstates import meant_errors
from layers.store import Store

STATES = ("running", "published", "unchanged", "refused")
MAX_PAGE = 1_000
LONGEST_NAME, LONGEST_NOTE = 200, 2_000  # letters
ROLLBACK_TIMEOUT = "15min"  # a layer of millions of rows that all changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who does something, and why. Both are kept."""

    by: str
    note: str

    def __post_init__(self) -> None:
        for name, longest in (("by", LONGEST_NAME), ("note", LONGEST_NOTE)):
            text = getattr(self, name)
            if not text.strip() or "\0" in text:
                raise QueryRefused(name, text, "say who and why")
            if any(category(letter) in ("Cc", "Cf") and letter != "\n" for letter in text):
                raise QueryRefused(name, "…", "holds signs that nobody sees; write plain text")
            if any("\ud800" <= letter <= "\udfff" for letter in text):
                raise QueryRefused(name, "…", "holds half a letter, which cannot be kept")
            if len(text) > longest:
                raise QueryRefused(name, f"{text[:20]}…", f"write at most {longest} letters")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsQuery:
    """Which runs, the newest first."""

    layer: str | None = None
    state: str | None = None
    before: int | None = None
    limit: int = 50

    def __post_init__(self) -> None:
        if self.layer is not None:
            parse_layer(self.layer)
        if self.state is not None and self.state not in STATES:
            raise QueryRefused("state", self.state, f"is one of {', '.join(STATES)}")


def parse_layer(layer_id: str) -> str:
    """Raises LayerNotFound for what can be no layer's id."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", layer_id):
        raise LayerNotFound(layer_id)
    return layer_id


def parse_gates(gates: Sequence[str]) -> list[str]:
    """Names of gates; raises QueryRefused for what is none."""
    for gate in gates:
        if not re.fullmatch(r"[a-z]{1,40}", gate):
            raise QueryRefused("gates", gate, "name gates as the run does, such as shrink")
    return list(dict.fromkeys(gates))


@dataclass(frozen=True, slots=True)
class Officer:
    """Whoever showed a key, and the way to the database that such requests take."""

    store: Store
    proof: KeyProof

    async def key(self) -> Any:
        """What the key is for; raises KeyRefused."""
        return await self._one("quartier.officer_key($1, $2)")

    async def runs(self, query: RunsQuery) -> list[Any]:
        return await self._all(
            "quartier.officer_runs($1, $2, $3, $4, $5, $6)",
            query.layer, query.state, query.before, query.limit,
        )  # fmt: skip

    async def run(self, run_id: int) -> Any:
        return await self._one("quartier.officer_run($1, $2, $3)", run_id)

    async def quarantine(self, run_id: int, *, after: int = 0, limit: int) -> list[Any]:
        return await self._all(
            "quartier.officer_quarantine($1, $2, $3, $4, $5)", run_id, after, limit
        )

    async def freshness(self) -> list[Any]:
        return await self._all("quartier.officer_freshness($1, $2)")

    async def revisions(self, layer_id: str, *, before: int | None, limit: int) -> list[Any]:
        return await self._all(
            "quartier.officer_revisions($1, $2, $3, $4, $5)", layer_id, before, limit
        )

    async def accept(self, run_id: int, gates: Sequence[str], signed: Signature) -> Any:
        """Let the next load of a refused run's files pass these gates."""
        return await self._one(
            "quartier.officer_accept($1, $2, $3, $4, $5, $6)",
            run_id, list(gates), signed.by, signed.note,
        )  # fmt: skip

    async def roll_back(
        self, layer_id: str, revision: int, seen: int | None, signed: Signature
    ) -> Any:
        """Make a layer what it was. `seen` is the newest revision that the officer knows of."""
        call = "SELECT quartier.officer_roll_back($1, $2, $3, $4, $5, $6, $7)::text"
        async with self.store.connection() as connection, connection.transaction():
            await connection.execute(f"SET LOCAL statement_timeout = '{ROLLBACK_TIMEOUT}'")
            with meant_errors():
                told = await connection.fetchval(
                    call, self.proof.id, self.proof.digest, layer_id, revision, seen,
                    signed.by, signed.note,
                )  # fmt: skip
        return orjson.loads(told)

    async def _one(self, call: str, *args: object) -> Any:
        return (await self._all(call, *args))[0]

    async def _all(self, call: str, *args: object) -> list[Any]:
        sql = f"SELECT answer::text AS answer FROM {call} answer"
        async with self.store.connection() as connection:
            with meant_errors():
                rows = await connection.fetch(sql, self.proof.id, self.proof.digest, *args)
        return [orjson.loads(row["answer"]) for row in rows]
