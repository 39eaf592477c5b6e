"""What the public may learn of a layer's rows: a privacy policy for each class of them.

The exact rows lie in `city_raw`, the published ones in `city`, derived by triggers. A published
place depends on nothing but the policy and the area, the cell or the neighbourhood that the exact
one lies in, so that neither other questions nor other loads tell more (§2 of the quirks' list:
what crime maps do, and where it went wrong).
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
MERGES = 5  # a cell with too few rows becomes one of twice the width, this many times
CHOICES = 3  # points near a row, one of which is chosen by its place and a secret
PUBLISHED = ("location_method", "location_precision", "location_area")  # columns that are added
SUPPRESSED = "suppressed"  # and where numbers are suppressed


class Location(StrEnum):
    """What becomes of a place. `area` leaves a code and no geometry, `withhold` no row."""

    EXACT = "exact"
    SNAP = "snap"
    GRID = "grid"
    AREA = "area"
    WITHHOLD = "withhold"


class TimeUnit(StrEnum):
    """How much of a date or time is published: its start in the layer's time zone, or nothing."""

    EXACT = "exact"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"
    WITHHOLD = "withhold"


TIME_OF_PLACE = {
    Location.EXACT: TimeUnit.EXACT,
    Location.SNAP: TimeUnit.DAY,
    Location.GRID: TimeUnit.DAY,
    Location.AREA: TimeUnit.MONTH,
    Location.WITHHOLD: TimeUnit.WITHHOLD,
}


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Policy(_Value):
    """What is published of one class of rows."""

    location: Location
    time: TimeUnit | None = Field(
        default=None, description="without: day for snap and grid, month for area"
    )
    hide: tuple[Name, ...] = Field(default=(), description="columns that are published empty")
    cell_m: float = Field(
        default=500, ge=50, le=50_000, description="grid: the least width of a cell, in metres"
    )
    k: int = Field(
        default=5, ge=2, le=1000, description="grid and area: the fewest rows that share a place"
    )
    min_m: float = Field(default=25, ge=0, le=1000, description="snap: no nearer than this")
    max_m: float = Field(default=500, gt=0, le=20_000, description="snap: no farther than this")

    @property
    def kept_time(self) -> TimeUnit:
        return self.time or TIME_OF_PLACE[self.location]

    @model_validator(mode="after")
    def _only_its_own(self) -> Self:
        needs = {
            "cell_m": (Location.GRID,), "k": (Location.GRID, Location.AREA),
            "min_m": (Location.SNAP,), "max_m": (Location.SNAP,),
        }  # fmt: skip
        for name, of in needs.items():
            if name in self.model_fields_set and self.location not in of:
                raise ValueError(f"{name}: is for {' and '.join(of)}, not for {self.location}")
        if self.min_m >= self.max_m:
            raise ValueError(f"min_m: {self.min_m:g} must be less than max_m {self.max_m:g}")
        return self


class ClassPolicy(Policy):
    """The policy of the rows with one of these values in the column `by`."""

    values: tuple[str | int | bool, ...] = Field(min_length=1)


class Areas(_Value):
    """A layer of polygons, and the column that names them. No published place leaves its area."""

    layer: Name
    code: Name


class Suppress(_Value):
    """Numbers that count people: from 1 to below `under` they are published empty."""

    columns: tuple[Name, ...] = Field(min_length=1)
    under: int = Field(default=5, ge=2, le=1000)


class Privacy(_Value):
    """The policies of a layer. `otherwise` holds for every row that no other one names."""

    by: Name | None = Field(default=None, description="the column whose values are classes")
    areas: Areas | None = None
    anchors: Name | None = Field(
        default=None, description="a layer of points, or of lines (their middles), to snap to"
    )
    policies: tuple[ClassPolicy, ...] = ()
    otherwise: Policy
    suppress: Suppress | None = None

    @property
    def all_policies(self) -> tuple[Policy, ...]:
        """In the order of their numbers; `otherwise` is the last."""
        return (*self.policies, self.otherwise)

    def numbers(self, *locations: Location) -> list[int]:
        """Of the policies that do one of these with a place."""
        return [n for n, policy in enumerate(self.all_policies) if policy.location in locations]

    def shows(self, column: str) -> bool:
        """Whether any policy that hides something of places leaves this column to be seen."""
        return any(
            column not in policy.hide
            for policy in self.all_policies
            if policy.location not in (Location.EXACT, Location.WITHHOLD)
        )

    @property
    def signature(self) -> str:
        """A hash of all of it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        values = [str(value) for policy in self.policies for value in policy.values]
        if double := sorted({value for value in values if values.count(value) > 1}):
            raise ValueError(f"policies: {', '.join(double)} stands in two of them")
        wrong = None
        if self.policies and self.by is None:
            wrong = "by: name the column whose values the policies name"
        elif any("\0" in value for value in values):
            wrong = "policies: a value with a NUL is a value of no row"
        elif self.numbers(Location.SNAP) and self.anchors is None:
            wrong = "anchors: name the layer of points or lines to snap to"
        elif self.numbers(Location.AREA) and self.areas is None:
            wrong = "areas: name the layer of the areas, and the column of their code"
        if wrong:
            raise ValueError(wrong)
        return self
