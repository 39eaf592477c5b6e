"""Where a layer's rows come from, as it is declared."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from layers.columns import Value


class SourceGeometry(Value):
    """Where a table's geometry stands: two columns, or one that is parsed by its content.

    `column` may hold WKT, GeoJSON (a geometry or a Feature, Opendatasoft's `geo_shape`) or
    "lat, lon" (Opendatasoft's `geo_point_2d`).
    """

    longitude: str | None = None
    latitude: str | None = None
    column: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        pair = self.longitude is not None and self.latitude is not None
        if pair == (self.column is not None) or (self.longitude is None) != (self.latitude is None):
            raise ValueError("give either longitude and latitude, or column")
        return self


Format = Literal[
    "csv", "xlsx", "json", "geojson", "geojsonseq", "esrijson", "gbfs", "gtfs", "shapefile",
    "geopackage", "flatgeobuf", "parquet", "kml", "gpx", "osm",
]  # fmt: skip


class Source(Value):
    """Where a layer's rows come from and how to read them; what is not said is detected."""

    files: tuple[str, ...] = Field(
        default=(), description="paths relative to the YAML file; globs allowed"
    )
    format: Format | None = None
    crs: str | None = Field(default=None, description="such as EPSG:2154; overrides nothing read")
    encoding: str | None = None
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    header: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="which row of a table names its columns: 1 the first; 0: none does, and they"
        " are called column_1, column_2 …",
    )
    sublayer: str | None = Field(
        default=None,
        description="which layer, sheet or member of a file with several; '*' takes all members",
    )
    geometry: SourceGeometry | None = None
    null_values: tuple[str, ...] = ("",)
    decimal: Literal[".", ","] | None = Field(
        default=None, description="the decimal mark of numbers; the other one then parts thousands"
    )
    swap_axes: bool = Field(
        default=False, description="the source writes latitude, or northing, before longitude"
    )
    complete: bool = Field(
        default=True, description="the files hold the whole layer, so rows not in them are deleted"
    )
    late_after_h: float | None = Field(
        default=None,
        gt=0,
        le=100_000,
        description="hours without a load that ended well, after which /runs calls the layer late",
    )
