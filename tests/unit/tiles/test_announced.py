"""Announced revisions: read, heeded, and no lever to make the database work."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from layers.catalog import Catalog, PublishedLayer
from layers.changes import ChangeLog
from layers.errors import LayerNotFound, QueryRefused, StoreUnavailable
from tests.examples import PARKS, TREES
from tiles import announced
from tiles.announced import MOST_LAYERS, Announcements, parse_revisions

pytestmark = pytest.mark.anyio


class Knowledge:
    """A worker's log, and a database that may be ahead of it."""

    def __init__(self) -> None:
        self.logs = {name: ChangeLog(revision=5) for name in ("trees", "parks")}
        self.committed = {"trees": 5, "parks": 5}
        self.reads = 0
        self.is_away = False

    @property
    def catalog(self) -> Catalog:
        how: dict[str, Any] = {"revision": 5, "changed_at": None, "config_hash": "h"}
        layers = {layer.id: PublishedLayer(layer=layer, **how) for layer in (TREES, PARKS)}
        return Catalog(layers=layers, maps={})

    def log_of(self, layer_id: str) -> ChangeLog:
        if layer_id not in self.logs:
            raise LayerNotFound(layer_id)
        return self.logs[layer_id]

    async def catch_up(self, layer_id: str, revision: int) -> None:
        if self.logs[layer_id].revision < revision:
            self.reads += 1
            seen = dict(self.committed)
            await asyncio.sleep(0.01)
            if self.is_away:
                raise StoreUnavailable("away")
            for name, reached in seen.items():
                self.logs[name].advance(reached, 0)


def test_a_vector_of_revisions_is_read() -> None:
    assert parse_revisions("trees:12,parks:0") == {"trees": 12, "parks": 0}


@pytest.mark.parametrize(
    "text",
    [
        "", "trees", "trees:", ":1", "trees:-1", "trees:1.5", "trees:x", "trees:1,", "trees:1,,a:2",
        "trees:٣", "trees:1,trees:2", f"trees:{10**18}", "trees:1:2", "trees: 1",
        ",".join(f"l{n}:1" for n in range(MOST_LAYERS + 1)),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_the_fix(text: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        parse_revisions(text)
    assert refused.value.parameter == "revision"
    assert refused.value.fix


async def test_what_is_known_costs_nothing() -> None:
    knowledge = Knowledge()
    assert await Announcements(knowledge).heed({"trees": 5, "parks": 3})
    assert knowledge.reads == 0


async def test_the_log_is_brought_up_to_what_was_announced() -> None:
    knowledge = Knowledge()
    knowledge.committed = {"trees": 7, "parks": 6}
    assert await Announcements(knowledge).heed({"trees": 7, "parks": 6})
    assert knowledge.logs["trees"].revision == 7
    assert knowledge.reads == 1


async def test_many_who_ask_share_a_read() -> None:
    knowledge = Knowledge()
    knowledge.committed["trees"] = 7
    announcements = Announcements(knowledge)
    heeded = await asyncio.gather(*(announcements.heed({"trees": 7}) for _ in range(50)))
    assert all(heeded)
    assert knowledge.reads == 1


async def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(QueryRefused, match="shrubs"):
        await Announcements(Knowledge()).heed({"shrubs": 1})


async def test_a_revision_that_does_not_exist_costs_few_reads_however_many_claim_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(announced, "PAUSE_S", 0.05)
    knowledge, until = Knowledge(), asyncio.get_running_loop().time() + 0.5
    announcements, asked = Announcements(knowledge), 0

    async def claim(number: int) -> None:
        nonlocal asked
        while asyncio.get_running_loop().time() < until:
            assert not await announcements.heed({"trees": 1000 + number})
            asked += 1

    await asyncio.gather(*(claim(number) for number in range(30)))
    assert asked >= 100
    assert knowledge.reads <= 12


async def test_a_true_announcement_is_heeded_in_the_midst_of_false_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(announced, "PAUSE_S", 0.02)
    knowledge = Knowledge()
    announcements = Announcements(knowledge)
    stopped = False

    async def lie(layer: str) -> None:
        while not stopped:
            await announcements.heed({layer: 10**9})

    liars = [asyncio.ensure_future(lie(layer)) for layer in ("trees", "parks", "trees")]
    for revision in range(6, 16):
        await asyncio.sleep(0.003)
        knowledge.committed["trees"] = revision
        assert await announcements.heed({"trees": revision})
        assert knowledge.logs["trees"].revision >= revision
    stopped = True
    await asyncio.gather(*liars)


async def test_a_database_that_is_away_is_said_to_those_who_were_told_of_more() -> None:
    knowledge = Knowledge()
    knowledge.is_away = True
    announcements = Announcements(knowledge)
    with pytest.raises(StoreUnavailable):
        await announcements.heed({"trees": 6})
    assert await announcements.heed({"trees": 5})
    knowledge.is_away = False
    knowledge.committed["trees"] = 6
    assert await announcements.heed({"trees": 6})
