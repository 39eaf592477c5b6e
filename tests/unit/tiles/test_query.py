"""The tile statement, read without a database."""

from __future__ import annotations

import pytest

from layers.sql import ident
from tests.examples import TREES, layer
from tiles.address import TileAddress
from tiles.query import Cut, cut_query, tile_query

HOME = TileAddress(14, 8412, 5856)


def test_the_text_depends_on_the_layer_alone_so_it_is_prepared_once() -> None:
    assert (
        tile_query(TREES, "trees", HOME).sql == tile_query(TREES, "trees", TileAddress(0, 0, 0)).sql
    )
    assert tile_query(TREES, "trees", HOME).args == HOME


def test_only_declared_tile_columns_travel() -> None:
    sql = tile_query(TREES, "trees", HOME).sql
    assert '"genus"' in sql
    assert '"number"' not in sql


IMPORTANT = layer(id="x", geometry="point", priority=["-name"])


@pytest.mark.parametrize(
    "sql",
    [tile_query(IMPORTANT, "x", HOME).sql, cut_query(IMPORTANT, "x", HOME, Cut(100)).sql],
    ids=["whole", "cut"],
)
def test_every_limit_has_an_order_and_important_features_come_first(sql: str) -> None:
    order = sql.split("ORDER BY")[1].split("LIMIT")[0].strip()
    assert sql.count("LIMIT") == sql.count("ORDER BY") == 1
    assert order.startswith('"name" DESC NULLS LAST')
    assert "fid" in order


def test_a_cut_keeps_the_columns_that_the_style_needs() -> None:
    trees = TREES.model_copy(update={"tile": ("genus", "height", "planted")})
    sql = cut_query(trees, "trees", HOME, Cut(100, style_only=True)).sql
    assert '"genus"' in sql
    assert '"height"' not in sql


@pytest.mark.parametrize("name", ['x"; DROP TABLE trees; --', "a b", "ÉTÉ", '"'])
def test_a_hostile_name_stays_a_name(name: str) -> None:
    quoted = ident(name)
    assert quoted.startswith('"')
    assert quoted.endswith('"')
    assert quoted[1:-1].replace('""', "") == name.replace('"', "")


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a name"):
        ident(name)
