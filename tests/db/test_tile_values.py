"""What columns hold, as tiles carry it."""

from __future__ import annotations

import pytest

from tests.asking import asking, features
from tests.conftest import Database
from tests.examples import layer
from tiles.address import TileAddress

pytestmark = pytest.mark.db

NESTED = layer(
    id="nested",
    geometry="point",
    columns=[{"name": "kind"}, {"name": "more", "type": "json"}],
    tile=["kind", "more"],
    overview={"detail_zoom": 0},
)


@pytest.mark.parametrize(
    "value", ['{"n": 1, "kind": "mine"}', "[1, 2]", '"text"', "null"],
    ids=["object", "list", "text", "null"],
)  # fmt: skip
def test_a_nested_value_travels_as_text_under_its_columns_name(
    database: Database, value: str
) -> None:
    database.declare(NESTED)
    database.run(
        "INSERT INTO city.nested (kind, more, geom)"
        " VALUES ('own', CAST(:value AS jsonb), ST_Point(4.85, 45.2, 4326))",
        value=value,
    )
    with asking(database) as web:
        [found] = features(web.whole([web.drawn(NESTED)], TileAddress(0, 0, 0)))
    assert found["properties"] == {"kind": "own", "more": value}
