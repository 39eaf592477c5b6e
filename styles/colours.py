"""The colours of an atlas plate, by day and by night, and the arithmetic of reading them."""

from __future__ import annotations

import colorsys
from enum import StrEnum
from typing import NamedTuple

from layers.hints import PALETTE

MARK_CONTRAST = 3.0  # WCAG 1.4.11: what a mark needs against what it lies on
QUIET_LIGHTNESS = 15.0  # L* that the background may stray from the ground


class Theme(StrEnum):
    """By day or by night."""

    LIGHT = "light"
    DARK = "dark"


class Ground(NamedTuple):
    """What a theme draws on and with, before any layer speaks."""

    land: str
    panel: str
    ink: str
    second_ink: str
    hairline: str
    accent: str
    water_ink: str


class Background(NamedTuple):
    """How the city is drawn behind the layers, one colour for each role."""

    land: str
    green: str
    water: str
    building: str
    street: str
    casing: str
    boundary: str


GROUND = {
    Theme.LIGHT: Ground(
        "#f7f5f0", "#ffffff", "#20242a", "#5a616b", "#dcd8cf", "#1c5d99", "#3d6477"
    ),
    Theme.DARK: Ground("#15181d", "#1d2127", "#eceae5", "#a3aab4", "#2e343c", "#7fb4e6", "#86a9bd"),
}
BACKGROUND = {
    Theme.LIGHT: Background(
        "#f7f5f0", "#e1e8d3", "#cfdfe6", "#e8e3d9", "#ffffff", "#dcd6ca", "#d2ccc0"
    ),
    Theme.DARK: Background(
        "#15181d", "#1a2520", "#172935", "#20242b", "#2b3139", "#0f1216", "#30373f"
    ),
}
CATEGORY = {  # keyed by the names in layers.hints.PALETTE
    Theme.LIGHT: {
        "blue": "#4016b5",
        "orange": "#612102",
        "green": "#176e4a",
        "rose": "#f12678",
        "gold": "#b17e0b",
        "sky": "#5694b3",
        "violet": "#a443f8",
        "ink": "#2b3137",
    },
    Theme.DARK: {
        "blue": "#adaefb",
        "orange": "#ec8330",
        "green": "#7bf779",
        "rose": "#b1376a",
        "gold": "#75661c",
        "sky": "#4292a3",
        "violet": "#9a35ee",
        "ink": "#e0d5ce",
    },
}


def data_colour(colour: str, theme: Theme) -> str:
    """The colour as this theme draws it, moved in lightness alone until it is read on the ground.

    A palette name has one colour for each theme. A hexadecimal colour already means something
    to somebody (a bike path's green), so it keeps its hue.
    """
    if colour in PALETTE:
        return CATEGORY[theme][colour]
    ground = GROUND[theme].land
    hue, lightness, saturation = colorsys.rgb_to_hls(*_channels(colour))
    step = -0.02 if theme is Theme.LIGHT else 0.02
    while contrast(colour, ground) < MARK_CONTRAST and 0 <= lightness + step <= 1:
        lightness += step
        colour = _hex(colorsys.hls_to_rgb(hue, lightness, saturation))
    return colour.lower()


def quiet_colour(colour: str, theme: Theme) -> str:
    """The colour mixed with the ground until it stays behind the data."""
    ground = GROUND[theme].land
    wanted = CATEGORY[theme].get(colour, colour)
    for share in range(100, -1, -4):
        mixed = mix(wanted, ground, share / 100)
        if abs(lightness(mixed) - lightness(ground)) <= QUIET_LIGHTNESS:
            return mixed
    return ground


def mix(colour: str, ground: str, share: float) -> str:
    """`share` of the colour, the rest of the ground."""
    over, under = _channels(colour), _channels(ground)
    return _hex(tuple(a * share + b * (1 - share) for a, b in zip(over, under, strict=True)))


def contrast(one: str, other: str) -> float:
    """The WCAG 2 contrast ratio of two #rrggbb colours, from 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def lightness(colour: str) -> float:
    """CIE L*, from 0 (black) to 100 (white)."""
    luminance = _luminance(colour)
    if luminance > (6 / 29) ** 3:
        return float(116 * luminance ** (1 / 3) - 16)
    return luminance * (29 / 3) ** 3


def _channels(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def _hex(channels: tuple[float, ...]) -> str:
    return "#" + "".join(f"{round(channel * 255):02x}" for channel in channels)


def _luminance(colour: str) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _channels(colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
