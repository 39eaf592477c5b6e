"""The hash of what shows in a tile: another one, and every worker makes its tiles anew."""

from __future__ import annotations

from typing import Any

import pytest

from layers.layer_steps import config_hash
from tests.examples import layer

COLUMNS = [{"name": "a"}, {"name": "b"}]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"overview": {"groups": ["x"]}}, {"overview": {"groups": ["y"]}}),
        ({"category": "a"}, {"category": "b"}),
        (
            {"tile": ["a", "b"], "style": {"label": "a"}},
            {"tile": ["a", "b"], "style": {"label": "b"}},
        ),
        ({"overview": {"detail_zoom": 3}}, {"overview": {"detail_zoom": 4}}),
    ],
    ids=["groups", "category", "columns the style needs", "detail zoom"],
)
def test_what_shows_in_a_tile_changes_the_hash(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    base: dict[str, Any] = {"id": "x", "geometry": "point", "columns": COLUMNS, "category": "a"}
    assert config_hash(layer(**base | before)) != config_hash(layer(**base | after))


def test_an_id_is_no_name_of_a_table_of_overviews() -> None:
    with pytest.raises(ValueError, match="one _ at a time"):
        layer(id="trees__cube", geometry="point")
