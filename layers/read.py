"""Questions about the features of a layer, as values, and the statements that answer them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect

from layers.catalog import Bounds
from layers.errors import QueryRefused
from layers.model import Layer
from layers.sql import ident
from layers.store import Store
from layers.tables import layer_table

MAX_LIMIT = 10_000
GEOJSON_DIGITS = 9  # 0.1 mm; what was stored, without the noise of its last bits
MERCATOR_SAFE_LATITUDE = 85.0  # beyond it the index on tile_geom does not hold every row
PROPERTIES = "#properties"  # an alias that no declared column can have
DIALECT: sa.Dialect = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]


class Statement(NamedTuple):
    """SQL with $1, $2 … and the values for them."""

    sql: str
    args: tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureQuery:
    """Which features of a layer: in a bbox (longitude first), after a fid, at most `limit`."""

    layer: Layer
    bbox: Bounds | None = None
    after: int = 0
    limit: int = 100

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise QueryRefused("limit", self.limit, f"write a number from 1 to {MAX_LIMIT}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePage:
    """Features as GeoJSON texts, in order of fid, all of one snapshot at `revision`."""

    features: tuple[str, ...]
    next_after: int | None
    matched: int
    revision: int


def parse_bbox(text: str) -> Bounds:
    """`west,south,east,north` in degrees, or six numbers with heights, which are left out.

    `west` may be greater than `east`: the box then crosses 180°. Raises QueryRefused.
    """
    fix = "write west,south,east,north in degrees, for example 2.2,48.8,2.4,48.9"
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise QueryRefused("bbox", text, fix) from None
    if len(numbers) == 6:
        numbers = [*numbers[:2], *numbers[3:5]]
    if len(numbers) != 4:
        raise QueryRefused("bbox", text, f"has {len(numbers)} numbers; {fix}")
    west, south, east, north = numbers
    if not (-180 <= west <= 180 and -180 <= east <= 180):
        raise QueryRefused("bbox", text, f"longitudes lie within -180 and 180; {fix}")
    if not (-90 <= south <= north <= 90):
        raise QueryRefused("bbox", text, f"latitudes lie within -90 and 90, south first; {fix}")
    return Bounds(west, south, east, north)


def page_statement(query: FeatureQuery) -> Statement:
    """One row a feature: `fid` and `feature`, a GeoJSON text; one more than the limit."""
    table = layer_table(query.layer)
    chosen = (
        sa.select(*feature_columns(query.layer, table))
        .where(table.c.fid > query.after, *in_bbox(query, table))
        .order_by(table.c.fid)
        .limit(query.limit + 1)
    )
    return compiled(chosen)


def count_statement(query: FeatureQuery) -> Statement:
    table = layer_table(query.layer)
    return compiled(sa.select(sa.func.count()).select_from(table).where(*in_bbox(query, table)))


def feature_statement(layer: Layer, fid: int) -> Statement:
    table = layer_table(layer)
    return compiled(sa.select(*feature_columns(layer, table)).where(table.c.fid == fid))


def feature_columns(layer: Layer, table: sa.FromClause) -> list[sa.ColumnElement[Any]]:
    """`fid` and `feature`: GeoJSON put together as text in SQL, half as much again as json_agg
    manages.
    """
    geometry: sa.ColumnElement[Any] = sa.literal("null")
    if layer.has_geometry:
        as_text = sa.func.ST_AsGeoJSON(table.c.geom, sa.literal_column(str(GEOJSON_DIGITS)))
        geometry = sa.func.coalesce(as_text, "null")
    named = sa.select(*(table.c[column.name] for column in layer.columns)).correlate(table)
    row = named.subquery(PROPERTIES)
    whole: sa.ColumnClause[Any] = sa.literal_column(ident(PROPERTIES))
    properties = sa.select(sa.func.row_to_json(whole)).select_from(row)
    feature = sa.func.concat(
        '{"type":"Feature","id":', table.c.fid, ',"geometry":', geometry, ',"properties":',
        properties.scalar_subquery(), "}",
    )  # fmt: skip
    return [table.c.fid, feature.label("feature")]


def in_bbox(query: FeatureQuery, table: sa.FromClause) -> list[sa.ColumnElement[bool]]:
    """The condition that a row lies in the box, if one is asked for; raises QueryRefused."""
    if query.bbox is None:
        return []
    if not query.layer.has_geometry:
        raise QueryRefused("bbox", ",".join(map(str, query.bbox)), "this layer has no geometry")
    boxes = [query.bbox]
    if query.bbox.west > query.bbox.east:
        boxes = [query.bbox._replace(east=180.0), query.bbox._replace(west=-180.0)]
    return [sa.or_(*(_intersects(box, table) for box in boxes))]


def _intersects(box: Bounds, table: sa.FromClause) -> sa.ColumnElement[bool]:
    srid: sa.ColumnClause[Any] = sa.literal_column("4326")
    envelope = sa.func.ST_MakeEnvelope(*map(_number, box), srid)
    if box.west == box.east or box.south == box.north:  # no area, so no polygon
        corners = (sa.func.ST_Point(*map(_number, pair), srid) for pair in (box[:2], box[2:]))
        envelope = sa.func.ST_Envelope(sa.func.ST_MakeLine(*corners))
    exact: sa.ColumnElement[bool] = sa.func.ST_Intersects(table.c.geom, envelope)
    if max(-box.south, box.north) > MERCATOR_SAFE_LATITUDE or "tile_geom" not in table.c:
        return exact
    # The index is on tile_geom: transform the box, never the column, and a metre more of it.
    reach = sa.func.ST_Expand(sa.func.ST_Transform(envelope, sa.literal_column("3857")), 1.0)
    return sa.and_(table.c.tile_geom.op("&&")(reach), exact)


def _number(value: float) -> sa.ColumnElement[float]:
    return sa.cast(sa.literal(value), sa.Double)


def compiled(statement: sa.Select[Any]) -> Statement:
    """The statement as asyncpg takes it."""
    compiled = statement.compile(dialect=DIALECT)
    values = compiled.params
    return Statement(str(compiled), tuple(values[name] for name in compiled.positiontup or ()))


class Counts:
    """How many features matched, while the layer stays at the revision they were counted at.

    Counting takes a hundred times as long as a page, and every page of a walk has the same count.
    """

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._known: dict[tuple[str, Bounds | None], tuple[int, int]] = {}

    def get(self, query: FeatureQuery, revision: int) -> int | None:
        known = self._known.get((query.layer.id, query.bbox))
        return known[1] if known and known[0] == revision else None

    def put(self, query: FeatureQuery, revision: int, matched: int) -> None:
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[query.layer.id, query.bbox] = (revision, matched)


async def read_page(store: Store, query: FeatureQuery, counts: Counts) -> FeaturePage:
    """A page, its count and the revision, all of one snapshot."""
    page, count = page_statement(query), count_statement(query)
    state = "SELECT revision FROM quartier.public_state WHERE layer_id = $1"
    async with (
        store.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        rows = await connection.fetch(page.sql, *page.args)
        revision = await connection.fetchval(state, query.layer.id)
        if (matched := counts.get(query, revision)) is None:
            matched = await connection.fetchval(count.sql, *count.args)
            counts.put(query, revision, matched)
    return page_of(query, rows, matched, revision)


def page_of(query: FeatureQuery, rows: Sequence[Any], matched: int, revision: int) -> FeaturePage:
    """The page that these rows make; there is another where one more came than was asked for."""
    shown = rows[: query.limit]
    return FeaturePage(
        features=tuple(row["feature"] for row in shown),
        next_after=shown[-1]["fid"] if len(rows) > query.limit else None,
        matched=matched,
        revision=revision,
    )


async def read_feature(store: Store, layer: Layer, fid: int) -> str | None:
    """One feature as a GeoJSON text, or None."""
    statement = feature_statement(layer, fid)
    row = await store.fetchrow(statement.sql, *statement.args)
    return row["feature"] if row else None
