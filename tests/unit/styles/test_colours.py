from __future__ import annotations

import pytest

from layers.hints import PALETTE
from styles.colours import (
    BACKGROUND,
    CATEGORY,
    GROUND,
    MARK_CONTRAST,
    QUIET_LIGHTNESS,
    Theme,
    contrast,
    data_colour,
    lightness,
    quiet_colour,
)

THEMES = list(Theme)


def test_contrast_and_lightness_agree_with_known_values() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
    assert lightness("#ffffff") == pytest.approx(100)
    assert lightness("#777777") == pytest.approx(50.0, abs=0.1)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", PALETTE)
def test_every_palette_colour_is_read_on_its_ground(name: str, theme: Theme) -> None:
    assert contrast(CATEGORY[theme][name], GROUND[theme].land) >= MARK_CONTRAST


@pytest.mark.parametrize("theme", THEMES)
def test_text_is_read_on_page_and_panel(theme: Theme) -> None:
    ground = GROUND[theme]
    for text in (ground.ink, ground.second_ink, ground.accent, ground.water_ink):
        assert contrast(text, ground.land) >= 4.5
        assert contrast(text, ground.panel) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("role", BACKGROUND[Theme.LIGHT]._fields)
def test_the_background_stays_near_the_ground(role: str, theme: Theme) -> None:
    colour = getattr(BACKGROUND[theme], role)
    assert abs(lightness(colour) - lightness(GROUND[theme].land)) <= QUIET_LIGHTNESS


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("colour", ["#ffff00", "#000000", "#ffffff", "#1e8449", "#0033cc"])
def test_a_declared_colour_is_always_read_on_the_ground(colour: str, theme: Theme) -> None:
    assert contrast(data_colour(colour, theme), GROUND[theme].land) >= MARK_CONTRAST


def test_a_declared_colour_that_is_read_already_is_kept() -> None:
    assert data_colour("#1E8449", Theme.LIGHT) == "#1e8449"


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("colour", ["#2266aa", "#ffffff", "#000000", "rose"])
def test_a_colour_of_the_background_is_made_quiet(colour: str, theme: Theme) -> None:
    quiet = quiet_colour(colour, theme)
    assert abs(lightness(quiet) - lightness(GROUND[theme].land)) <= QUIET_LIGHTNESS
