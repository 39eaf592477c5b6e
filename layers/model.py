"""A layer, as its publisher declares it: one value, checked once when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from layers.columns import Column, ColumnName, ColumnType, GeometryType, LayerId, Text, Value, Zoom
from layers.gates import Gates
from layers.hints import MAX_GROUPS, Overview, StyleHints, TimeColumns
from layers.partitions import Partitions
from layers.privacy import PUBLISHED, SUPPRESSED, Location, Privacy
from layers.source import Source


class Layer(Value):
    """One published collection, as its publisher declares it.

    Coordinates are stored in EPSG:4326 (longitude, latitude) and served in EPSG:3857 tiles.
    """

    id: LayerId
    title: Text
    description: Text = ""
    theme: str = "city"
    publisher: str
    contact: str | None = None
    licence: str
    attribution: str
    keywords: tuple[str, ...] = ()
    time_zone: str = "UTC"
    geometry: GeometryType
    key: tuple[ColumnName, ...] = Field(
        default=(), description="columns whose values name a row; without, its content does"
    )
    source: Source = Source()
    columns: tuple[Column, ...]
    minzoom: Zoom = 0
    maxzoom: Zoom = 16
    tile: tuple[ColumnName, ...] | None = Field(
        default=None, description="columns that travel in tiles; without, those the style needs"
    )
    priority: tuple[str, ...] = Field(
        default=(), description="columns, most important first; -name for descending"
    )
    category: ColumnName | None = None
    time: TimeColumns | None = None
    style: StyleHints = StyleHints()
    overview: Overview = Overview()
    max_age_s: int | None = Field(
        default=None, ge=0, description="seconds a client may keep a tile without asking"
    )
    s_maxage_s: int = Field(
        default=1, ge=0, description="seconds an edge cache may keep a tile without asking"
    )
    gates: Gates = Field(default=Gates(), description="what a load must hold to be published")
    keep_history_days: int | None = Field(
        default=None, ge=1, description="days that past states of rows are kept; without: for good"
    )
    privacy: Privacy | None = Field(
        default=None, description="what the public may learn of each class of rows"
    )
    partitions: Partitions | None = Field(
        default=None, description="one table for each year or month of a layer of observations"
    )

    @field_validator("id")
    @classmethod
    def _not_a_table_of_ours(cls, layer_id: str) -> str:
        if "__" in layer_id:
            raise ValueError(f"{layer_id!r}: write one _ at a time; __ names tables of overviews")
        return layer_id

    @field_validator("key", mode="before")
    @classmethod
    def _one_key_is_a_list(cls, key: object) -> object:
        return [key] if isinstance(key, str) else key

    @field_validator("time", mode="before")
    @classmethod
    def _one_column_is_a_start(cls, time: object) -> object:
        return {"start": time} if isinstance(time, str) else time

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as exc:
            raise ValueError(f"{zone!r} is not a time zone; write one like Europe/Paris") from exc
        return zone

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        names = [column.name for column in self.columns]
        if double := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"columns: {', '.join(sorted(double))} declared twice")
        for field, used in self._columns_named():
            if used not in names:
                raise ValueError(f"{field}: no column {used!r}; columns are {', '.join(names)}")
        if self.minzoom > self.maxzoom:
            raise ValueError(f"minzoom: {self.minzoom} is greater than maxzoom {self.maxzoom}")
        return self

    @model_validator(mode="after")
    def _overview_fits(self) -> Self:
        said = self.overview
        wrong = None
        if said.groups and self.category is None:
            wrong = "overview.groups: name the category whose values they are"
        elif said.bucket and (self.time is None or not self._is_dated(self.time.start)):
            wrong = "overview.bucket: name a date or datetime column in time"
        elif said.coverage and self.geometry is not GeometryType.POLYGON:
            wrong = "overview.coverage: is for polygons"
        elif said.merge_by and self.geometry is not GeometryType.LINE:
            wrong = "overview.merge_by: is for lines"
        elif (said.bucket or said.detail_zoom) and self.geometry is not GeometryType.POINT:
            wrong = "overview.bucket and overview.detail_zoom: are for points"
        if wrong:
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _partitions_fit(self) -> Self:
        if self.partitions is not None and (wrong := self._odd_partitions(self.partitions.by)):
            raise ValueError(wrong)
        return self

    def _odd_partitions(self, by: str) -> str | None:
        """Why the layer cannot be divided by this column, if it cannot."""
        if not self._is_dated(by):
            return f"partitions.by: {by} is of type {self.column(by).type}, no date or datetime"
        if not self.column(by).required:
            return f"partitions.by: declare column {by} as required: every row has its time"
        if self.key and by not in self.key:
            return (
                f"partitions.by: {by} must be part of the key: it tells where a row is looked for"
            )
        if self.privacy is not None:
            return "partitions: a layer with privacy cannot be divided; leave one of them out"
        return None

    @model_validator(mode="after")
    def _privacy_fits(self) -> Self:
        if self.privacy is None:
            return self
        found = (self._odd_privacy(), self._odd_classes(), self._odd_numbers())
        if wrong := next(filter(None, found), None):
            raise ValueError(wrong)
        return self

    def _odd_privacy(self) -> str | None:
        """Why a layer of this geometry and these columns cannot have its privacy, if it cannot."""
        if self.privacy is None:
            return None
        added = {*PUBLISHED, SUPPRESSED} & self._by_name().keys()
        only_rows = {Location.EXACT, Location.WITHHOLD}
        placed = {policy.location for policy in self.privacy.all_policies} - only_rows
        if self.geometry not in (GeometryType.POINT, GeometryType.NONE):
            return f"privacy: is for points and plain tables, not for {self.geometry}"
        if placed and not self.has_geometry:
            return f"privacy: a table without geometry has no place to {min(placed)}"
        if added:
            return f"columns: {min(added)} is a column that privacy adds; choose another name"
        if shown := self._places_shown():
            return f"privacy: column {shown} repeats the exact place; hide it, or leave it out"
        return None

    def _odd_numbers(self) -> str | None:
        if self.privacy is None or self.privacy.suppress is None:
            return None
        numeric = (ColumnType.INTEGER, ColumnType.NUMBER)
        odd = [n for n in self.privacy.suppress.columns if self.column(n).type not in numeric]
        return f"privacy.suppress.columns: {odd[0]} holds no numbers" if odd else None

    def _places_shown(self) -> str | None:
        """A column read from where the place is read from, that a policy leaves to be seen."""
        place = self.source.geometry
        if place is None or self.privacy is None:
            return None
        headers = {str(name).casefold() for name in (place.longitude, place.latitude, place.column)}
        told = (column for column in self.columns if column.header.casefold() in headers)
        return next((column.name for column in told if self.privacy.shows(column.name)), None)

    def _odd_classes(self) -> str | None:
        """Why the column `by` cannot hold the values that policies name, if it cannot."""
        if self.privacy is None or self.privacy.by is None:
            return None
        column = self.column(self.privacy.by)
        kinds: dict[ColumnType, type] = {
            ColumnType.TEXT: str, ColumnType.INTEGER: int, ColumnType.BOOLEAN: bool,
        }  # fmt: skip
        if column.type not in kinds:
            said = "classes are texts, integers or booleans"
            return f"privacy.by: {column.name} is of type {column.type}; {said}"
        for policy in self.privacy.policies:
            for value in policy.values:
                if type(value) is not kinds[column.type]:
                    said = f"of type {column.type}, as {column.name} is; write texts in quotes"
                    return f"privacy.policies: {value!r} is not {said}"
        return None

    def as_published(self) -> Layer:
        """The layer as the public sees it: with the columns that its privacy adds."""
        if self.privacy is None or self._by_name().keys() >= set(self._added()):
            return self
        added = tuple(Column(name=name, **told) for name, told in self._added().items())
        return self.model_copy(update={"columns": (*self.columns, *added)})

    def _added(self) -> dict[str, dict[str, Any]]:
        method, precision, area = PUBLISHED
        added: dict[str, dict[str, Any]] = {}
        if self.has_geometry:
            added |= {
                method: {"description": "how the place was made coarser: exact, snap, grid, area"},
                precision: {
                    "type": ColumnType.INTEGER, "unit": "m",
                    "description": "the exact place lies about this near; empty where it is shown,"
                    " or not told at all",
                },
                area: {"description": "the code of the area that the exact place lies in"},
            }  # fmt: skip
        if self.privacy is not None and self.privacy.suppress:
            said = f"a number from 1 to {self.privacy.suppress.under - 1} is left out"
            added[SUPPRESSED] = {"type": ColumnType.BOOLEAN, "description": said}
        return added

    def _is_dated(self, name: str) -> bool:
        return self.column(name).type in (ColumnType.DATE, ColumnType.DATETIME)

    def _columns_named(self) -> list[tuple[str, str]]:
        named = [("key", name) for name in self.key]
        named += [("tile", name) for name in self.tile or ()]
        named += [("priority", name.removeprefix("-")) for name in self.priority]
        named += [("category", self.category)] if self.category else []
        named += [("style.label", self.style.label)] if self.style.label else []
        named += [("gates.personal.allowed", name) for name in self.gates.personal.allowed]
        named += [("overview.merge_by", name) for name in self.overview.merge_by]
        named += [("partitions.by", self.partitions.by)] if self.partitions else []
        named += self._columns_private()
        if self.time:
            named += [("time.start", self.time.start)]
            named += [("time.end", self.time.end)] if self.time.end else []
        return named

    def _columns_private(self) -> list[tuple[str, str]]:
        if self.privacy is None:
            return []
        named = [("privacy.by", self.privacy.by)] if self.privacy.by else []
        named += [("privacy.hide", n) for p in self.privacy.all_policies for n in p.hide]
        if self.privacy.suppress:
            named += [("privacy.suppress.columns", n) for n in self.privacy.suppress.columns]
        return named

    def column(self, name: str) -> Column:
        """The column of this name; raises KeyError where there is none."""
        return self._by_name()[name]

    def _by_name(self) -> Mapping[str, Column]:
        return {column.name: column for column in self.columns}

    @property
    def has_geometry(self) -> bool:
        return self.geometry is not GeometryType.NONE

    @property
    def groups(self) -> tuple[str | int | bool, ...]:
        """The category's values that an overview counts apart; all others are one more group."""
        if self.category is None:
            return ()
        if self.overview.groups is not None:
            return self.overview.groups
        return tuple(dict.fromkeys(drawn.value for drawn in self.style.classes))[:MAX_GROUPS]

    @property
    def tile_columns(self) -> tuple[Column, ...]:
        """The columns that travel in tiles, in declared order."""
        if self.tile is not None:
            return tuple(self.column(name) for name in self.tile)
        return tuple(self.column(name) for name in self._names_styled())

    @property
    def style_columns(self) -> tuple[Column, ...]:
        """Those of them that the style needs: no budget of a tile leaves them out."""
        needed = self._names_styled()
        return tuple(column for column in self.tile_columns if column.name in needed)

    def _names_styled(self) -> dict[str, None]:
        unseen = (
            "key", "priority", "tile", "overview.merge_by", "gates.personal.allowed",
            "partitions.by",
        )  # fmt: skip
        return dict.fromkeys(
            name
            for field, name in self._columns_named()
            if field not in unseen and not field.startswith("privacy.")
        )

    def covers(self, z: int) -> bool:
        """Whether tiles of zoom `z` hold anything of this layer."""
        return self.has_geometry and self.minzoom <= z <= self.maxzoom
