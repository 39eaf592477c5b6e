"""How a layer of observations is divided by time, as it is declared."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Period(StrEnum):
    """A calendar unit, in the layer's time zone."""

    YEAR = "year"
    MONTH = "month"


class Partitions(BaseModel):
    """One table for each period of the column `by`: a load writes to those of its rows alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str
    every: Period = Period.YEAR
