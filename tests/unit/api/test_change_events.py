"""Vectors, states and the changes between them."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from api.change_events import Known, changes_between, describe, event, parse_vector, state_of
from layers.catalog import PublishedLayer
from layers.changes import WHOLE, ChangeLog
from layers.errors import QueryRefused
from tests.examples import PARKS, TREES
from tests.unit.layers.test_changes import morton

CHANGED = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NOW = {
    "revision": 5,
    "updated": "2026-11-23T12:00:00+00:00",
    "configuration": "c" * 12,
}
ALL = {"all": True, "cells": [[0, 0, 0]]}


def published(revision: int, config: str = "c" * 32, of: object = TREES) -> PublishedLayer:
    assert of in (TREES, PARKS)
    layer = TREES if of is TREES else PARKS
    return PublishedLayer(layer=layer, revision=revision, changed_at=CHANGED, config_hash=config)


def logs(revision: int, base: int = 0) -> ChangeLog:
    """A log in which revision n touched the cell n/n of zoom 20."""
    log = ChangeLog()
    log.touch((20, morton(n, n), n, WHOLE) for n in range(1, revision + 1))
    log.advance(revision, base)
    return log


def between(known: Known | None, now: PublishedLayer, base: int = 0) -> object:
    before = {} if known is None else {"trees": known}
    told = changes_between(before, {"trees": now}, lambda _: logs(now.revision, base))
    return told.get("trees")


def test_a_vector_is_read_as_an_event_names_it() -> None:
    assert parse_vector("since", "parks:3,trees:12") == {"parks": 3, "trees": 12}


@pytest.mark.parametrize(
    "text",
    ["trees", "trees:", ":3", "trees:-1", "trees:1,", "Trees:1", "trees:1;parks:2", "trees:1.5",
     "trees:heat:1", "trees:" + "9" * 19, "trees:１", "trees:1\n"],
)  # fmt: skip
def test_a_vector_that_no_event_names_is_refused(text: str) -> None:
    with pytest.raises(QueryRefused, match="layer:revision"):
        parse_vector("since", text)


def test_exactly_what_came_after_is_told() -> None:
    told = between(Known(3), published(5))
    assert told == NOW | {"cells": [[20, 4, 4], [20, 5, 5]]}


def test_what_is_known_already_is_not_told() -> None:
    assert between(Known(5), published(5)) is None
    assert between(Known(5, "c" * 32), published(5)) is None


@pytest.mark.parametrize(
    ("known", "now", "base"),
    [
        (None, published(5), 0),
        (Known(3), published(5), 4),
        (Known(9), published(5), 0),
        (Known(5, "another"), published(5), 0),
        (Known(3, "another"), published(5), 0),
    ],
    ids=["new to the client", "base raised", "another history", "declared anew", "both"],
)
def test_what_cannot_be_told_apart_is_told_as_everything(
    known: Known | None, now: PublishedLayer, base: int
) -> None:
    told = between(known, now, base)
    assert told == NOW | ALL


def test_a_layer_that_is_withdrawn_says_so_once() -> None:
    before = {"parks": Known(3, "c"), "trees": Known(5, "c" * 32)}
    now = {"trees": published(5)}
    told = changes_between(before, now, lambda _: logs(5))
    assert told == {"parks": {"revision": 3, "withdrawn": True} | ALL}
    assert changes_between(state_of(now), now, lambda _: logs(5)) == {}


def test_an_event_is_named_by_the_state_it_leads_to_sorted_by_layer() -> None:
    layers = {"trees": published(5), "parks": published(2, of=PARKS)}
    text = event("state", state_of(layers), describe(layers))
    name, kind, data, *end = text.decode().split("\n")
    assert (name, kind, end) == ("id: parks:2,trees:5", "event: state", ["", ""])
    said = orjson.loads(data.removeprefix("data: "))
    assert list(said["layers"]) == ["parks", "trees"]
    assert said["layers"]["trees"] == NOW
