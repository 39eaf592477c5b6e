from __future__ import annotations

import json

import pytest

from styles.build import Setting, layer_style
from styles.colours import Theme
from styles.legend import legend
from tests.unit.styles.city import ALL, BIKE, BUDGET, CRIMES, DISTRICTS, TREES


@pytest.mark.parametrize("theme", list(Theme))
@pytest.mark.parametrize("layer", [each for each in ALL if each.has_geometry], ids=lambda x: x.id)
def test_every_swatch_has_a_colour_that_the_map_draws(layer: object, theme: Theme) -> None:
    declared = next(each for each in ALL if each is layer)
    drawn = json.dumps(layer_style(declared, Setting(theme, ""))["layers"])
    for swatch in legend(declared, theme)["swatches"]:
        assert swatch["color"] in drawn


def test_classes_stand_in_declared_order_and_the_rest_comes_last() -> None:
    swatches = legend(BIKE, Theme.LIGHT, "fr")["swatches"]
    assert [each["label"] for each in swatches] == ["Piste", "lane", "shared", None]
    assert [each["dash"] for each in swatches] == ["solid", "dashed", "dotted", "solid"]


def test_the_heading_is_the_columns_label_in_the_language() -> None:
    assert legend(BIKE, Theme.LIGHT, "fr")["heading"] == "Type"


def test_a_category_without_classes_is_named_as_not_drawn() -> None:
    told = legend(CRIMES, Theme.LIGHT)
    assert (told["heading"], told["undrawn"], len(told["swatches"])) == (None, "Kind", 1)


def test_a_plain_layer_has_one_swatch_without_words() -> None:
    told = legend(TREES, Theme.DARK)
    assert [each["label"] for each in told["swatches"]] == [None]
    assert told["swatches"][0]["radius"] == 3


def test_boundaries_are_shown_as_the_lines_they_are() -> None:
    assert legend(DISTRICTS, Theme.LIGHT)["swatches"][0]["kind"] == "line"


def test_a_plain_table_has_no_shape() -> None:
    assert legend(BUDGET, Theme.LIGHT)["swatches"][0]["kind"] is None
