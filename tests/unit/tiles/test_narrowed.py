"""Which parts of a layer its cube counts."""

from __future__ import annotations

import pytest

from layers.filters.queryables import Queryables
from layers.filters.read import read_filter
from tests.examples import layer
from tiles.narrowed import cube_part

HAVANA = layer(
    id="havana",
    geometry="point",
    time_zone="America/Havana",
    columns=[{"name": "at", "type": "datetime"}],
    time="at",
    overview={"bucket": "month"},
)


@pytest.mark.parametrize(
    ("at", "is_counted"),
    [
        ("2026-11-01T04:00:00Z", True),
        ("2026-11-01T05:00:00Z", False),  # clocks went back at one: the second midnight of that day
    ],
)
def test_a_month_begins_with_its_first_midnight(at: str, is_counted: bool) -> None:
    where = read_filter(f"at >= TIMESTAMP('{at}')", Queryables.of(HAVANA))
    assert (cube_part(HAVANA, where) is not None) is is_counted
