"""The index by which parts of a layer's points are counted is there where it is asked for."""

from __future__ import annotations

import pytest

from layers.slice_index import columns
from tests.conftest import Database
from tests.examples import TREES, layer

pytestmark = pytest.mark.db

CASES = layer(
    id="cases",
    geometry="point",
    columns=[{"name": "kind"}, {"name": "other"}, {"name": "at", "type": "date"}],
    category="kind",
    time="at",
    overview={"bucket": "month"},
)


def indexed(database: Database) -> list[str]:
    return [
        definition.partition("(")[2].rstrip(")")
        for (definition,) in database.run(
            "SELECT indexdef FROM pg_indexes WHERE indexname = 'cases_slices_idx'"
        )
    ]


def test_a_layer_that_is_counted_by_time_has_it(database: Database) -> None:
    database.declare(CASES, TREES)
    assert indexed(database) == ["kind, at"]
    assert columns(TREES) == ()


def test_it_follows_the_declaration(database: Database) -> None:
    database.declare(CASES)
    says = [step.says for step in database.declare(CASES.model_copy(update={"category": "other"}))]
    assert "index layer cases by what it is asked for" in says
    assert indexed(database) == ["other, at"]
    assert database.declare(CASES.model_copy(update={"category": "other"})) == []


def test_one_that_somebody_dropped_is_made_again(database: Database) -> None:
    database.declare(CASES)
    database.run("DROP INDEX city.cases_slices_idx")
    assert [step.says for step in database.declare(CASES)] == [
        "index layer cases by what it is asked for"
    ]
    assert indexed(database) == ["kind, at"]
