"""What a load must hold against before it is published: the gates of a layer, as it declares them.

A gate has a figure, a limit that the figure must not pass, and a severity. `refuse` stops the run,
`warn` is told in its report, `off` is not looked at. In YAML a gate may be its limit or severity
alone: `shrink: 0.5`, `growth: off`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0)]
NO_LICENCE = frozenset({"", "…", "...", "?", "-", "none", "unknown", "tbd", "todo", "n/a"})


class Severity(StrEnum):
    REFUSE = "refuse"
    WARN = "warn"
    OFF = "off"


class Gate(BaseModel):
    """One gate: its severity, and the limit that its figure must not pass."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    severity: Severity = Severity.REFUSE
    limit: Share = 0

    @model_validator(mode="before")
    @classmethod
    def _in_short(cls, given: Any) -> Any:
        if given is False:  # what YAML 1.1 makes of a bare off
            return {"severity": Severity.OFF}
        if isinstance(given, str):
            return {"severity": given}
        if isinstance(given, int | float) and not isinstance(given, bool):
            return {"limit": given}
        return given


class ShrinkGate(Gate):
    limit: Share = 0.2


class GrowthGate(Gate):
    severity: Severity = Severity.WARN
    limit: Share = 1


class WithheldGate(Gate):
    limit: Share = 0.1


class NullsGate(Gate):
    limit: Share = 0.2


class ExtentGate(Gate):
    """`within` is the box (west, south, east, north in degrees) that all places lie in."""

    limit: Share = 0.01
    within: tuple[float, float, float, float] | None = None

    @model_validator(mode="after")
    def _is_a_box(self) -> Self:
        if self.within is not None:
            west, south, east, north = self.within
            if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
                raise ValueError("within: write [west, south, east, north] in degrees")
        return self


class KeysGate(Gate):
    limit: Share = 0.5


class ColumnsGate(Gate):
    severity: Severity = Severity.WARN
    limit: Share = 0


class VocabularyGate(Gate):
    severity: Severity = Severity.WARN
    limit: Share = 0.05


class DatesGate(Gate):
    severity: Severity = Severity.WARN
    limit: Share = 0.01


class MojibakeGate(Gate):
    limit: Share = 0.001


class PersonalGate(Gate):
    """`allowed` are columns that may hold what looks like personal data: a public contact."""

    limit: Share = 0.001
    allowed: tuple[str, ...] = ()


class LicenceGate(Gate):
    """It has no figure: a layer names a licence or it does not."""


class Gates(BaseModel):
    """The gates of a layer. Shares are of the rows of a load, unless said otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shrink: ShrinkGate = Field(
        default=ShrinkGate(), description="rows fewer than in the last load, as a share of those"
    )
    growth: GrowthGate = Field(default=GrowthGate(), description="rows more than in the last load")
    withheld: WithheldGate = Field(default=WithheldGate(), description="rows withheld")
    nulls: NullsGate = Field(
        default=NullsGate(), description="how much a column's share of empty cells rose"
    )
    extent: ExtentGate = Field(
        default=ExtentGate(), description="places outside the box; without one, of the last load"
    )
    keys: KeysGate = Field(
        default=KeysGate(), description="of the rows known by their key, those that moved"
    )
    columns: ColumnsGate = Field(
        default=ColumnsGate(), description="columns of the source that came or went"
    )
    vocabulary: VocabularyGate = Field(
        default=VocabularyGate(), description="rows whose category has a value never seen"
    )
    dates: DatesGate = Field(default=DatesGate(), description="dates that no city can mean")
    mojibake: MojibakeGate = Field(
        default=MojibakeGate(), description="cells whose text was decoded wrongly"
    )
    personal: PersonalGate = Field(
        default=PersonalGate(), description="cells that look like personal data"
    )
    licence: LicenceGate = Field(default=LicenceGate(), description="the licence is named")
