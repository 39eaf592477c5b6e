"""The words that declarations are made of: ids, texts, zooms, and the columns of a layer.

Frozen values, checked once when they are made. The same classes read the YAML of `data/catalogue`
and the copy kept in `quartier.layers`, so there is one schema.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_ZOOM = 22  # beyond it a tile is narrower than 10 m and MapLibre asks for none
WEB_MERCATOR_LATITUDE = 85.0511287798066  # where the square world of the tiles ends
RESERVED_COLUMNS = frozenset(
    {"fid", "source_key", "geom", "tile_geom", "cell", "since", "valid_from", "valid_to"}
)
ID_PATTERN = r"^[a-z][a-z0-9_]{0,47}$"
COLUMN_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"
LayerId = Annotated[str, Field(pattern=ID_PATTERN)]
ColumnName = Annotated[str, Field(pattern=COLUMN_PATTERN)]
Text = str | dict[str, str]  # one string, or one for each language
Zoom = Annotated[int, Field(ge=0, le=MAX_ZOOM)]


class Value(BaseModel):
    """A value that cannot change and has no fields but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class GeometryType(StrEnum):
    """What a layer draws. A `line` or `polygon` may have several parts; `none` is a plain table."""

    POINT = "point"
    LINE = "line"
    POLYGON = "polygon"
    MIXED = "mixed"
    NONE = "none"


class ColumnType(StrEnum):
    """What a column holds. `datetime` is an instant, `json` any nested value."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    TIME = "time"
    JSON = "json"


class Column(Value):
    """One attribute of a layer. `source` (in YAML: `from`) is its header in the source."""

    name: ColumnName
    type: ColumnType = ColumnType.TEXT
    source: str | None = Field(default=None, alias="from")
    label: Text | None = None
    description: Text | None = None
    unit: str | None = None
    format: str | None = Field(
        default=None,
        description="strptime format of dates and times, or epoch_s, epoch_ms, excel; ISO 8601"
        " without one",
    )
    separator: str | None = Field(
        default=None, min_length=1, description="parts several values in one cell; makes a list"
    )
    aliases: dict[str, str] = Field(
        default={}, description="texts of the source and what they mean: typing errors, codes"
    )
    true_values: tuple[str, ...] = ("true", "t", "yes", "y", "1")
    false_values: tuple[str, ...] = ("false", "f", "no", "n", "0")
    required: bool = Field(default=False, description="a row without a value is quarantined")
    optional: bool = Field(default=False, description="the whole column may be missing")

    @model_validator(mode="after")
    def _separated_is_json(self) -> Self:
        if self.separator is not None and self.type is not ColumnType.JSON:
            raise ValueError(f"separator: {self.name} must be of type json to hold a list")
        return self

    @field_validator("name")
    @classmethod
    def _not_ours(cls, name: str) -> str:
        if name in RESERVED_COLUMNS:
            raise ValueError(f"{name!r} is a column of Quartier's own; choose another name")
        return name

    @property
    def header(self) -> str:
        return self.source or self.name


def in_language(text: Text, *wanted: str) -> str:
    """The text in the first wanted language it has, else English, else any it has."""
    if isinstance(text, str):
        return text
    for language in (*wanted, "en"):
        if language in text:
            return text[language]
    return next(iter(text.values()), "")
