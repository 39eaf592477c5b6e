"""What a layer says of how it looks: its style, its time, and what low zooms hold."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from layers.columns import ColumnName, Text, Value, Zoom

MAX_GROUPS = 16  # of an overview, and one more for all other values
PALETTE = ("blue", "orange", "green", "rose", "gold", "sky", "violet", "ink")


def _known_colour(colour: str) -> str:
    if colour in PALETTE or re.fullmatch(r"#[0-9a-fA-F]{6}", colour):
        return colour
    raise ValueError(f"{colour!r} is neither #rrggbb nor one of {', '.join(PALETTE)}")


Colour = Annotated[str, AfterValidator(_known_colour)]


class StyleClass(Value):
    """How one value of the category column is drawn, in legend order."""

    value: str | int | bool
    label: Text | None = None
    color: Colour | None = None
    dash: Literal["solid", "dashed", "dotted"] = "solid"
    width: float | None = Field(default=None, gt=0, le=40)


class StyleHints(Value):
    """What a good map of this layer needs to know. Widths and radii are pixels at zoom 14."""

    role: Literal["land", "water", "green", "building", "street", "boundary", "data"] = "data"
    color: Colour | None = None
    classes: tuple[StyleClass, ...] = ()
    radius: float | None = Field(default=None, gt=0, le=40)
    width: float | None = Field(default=None, gt=0, le=40)
    opacity: float | None = Field(default=None, gt=0, le=1)
    label: ColumnName | None = None


class TimeColumns(Value):
    """The column that says when; with `end`, a feature lasts from `start` to `end`."""

    start: ColumnName
    end: ColumnName | None = None


class TimeBucket(StrEnum):
    """How coarsely an overview tells when: calendar units in the layer's time zone."""

    YEAR = "year"
    QUARTER = "quarter"
    MONTH = "month"


class Overview(Value):
    """What low zooms hold in the place of every feature."""

    groups: tuple[str | int | bool, ...] | None = Field(
        default=None,
        max_length=MAX_GROUPS,
        description="values of the category that are counted apart; without, the style's classes",
    )
    bucket: TimeBucket | None = Field(
        default=None, description="count points by year, quarter or month of the layer's time"
    )
    detail_zoom: Zoom | None = Field(
        default=None, description="where points take the place of counts; without, by the data"
    )
    coverage: bool = Field(
        default=False, description="polygons share borders, which stay shared when simplified"
    )
    merge_by: tuple[ColumnName, ...] = Field(
        default=(), description="lines that agree in these columns become one at low zooms"
    )
