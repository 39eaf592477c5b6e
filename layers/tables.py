"""Layer tables as SQLAlchemy knows them, made from the declaration.

One table for each layer in each of the schemas: `city` (published rows), `city_history`
(rows as they were) and, for layers whose policy hides something, `city_raw` (exact rows).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from layers.columns import ColumnType, GeometryType
from layers.errors import ChangeRefused
from layers.model import Layer
from layers.sql import ident, literal

HISTORY_VIEWS = "city_overview"  # where each layer's history may be read, as <id>__history
CITY, HISTORY, RAW, STAGE = "city", "city_history", "city_raw", "city_stage"
PARTS = "city_parts"  # what a layer that is divided by time is divided into
READERS = "quartier_web, quartier_officer"
POSTGRES: sa.Dialect = pg.dialect()  # type: ignore[no-untyped-call]
MAX_FID = (1 << 53) - 1  # the largest integer that JavaScript and MVT readers keep exact

SQL_TYPES: dict[ColumnType, type[sa.types.TypeEngine[Any]]] = {
    ColumnType.TEXT: sa.Text,
    ColumnType.INTEGER: sa.BigInteger,
    ColumnType.NUMBER: sa.Double,
    ColumnType.BOOLEAN: sa.Boolean,
    ColumnType.DATE: sa.Date,
    ColumnType.DATETIME: pg.TIMESTAMP,
    ColumnType.TIME: sa.Time,
    ColumnType.JSON: pg.JSONB,
}

GEOMETRY_CHECKS: dict[GeometryType, str] = {
    GeometryType.LINE: "GeometryType(geom) IN ('LINESTRING', 'MULTILINESTRING')",
    GeometryType.POLYGON: "GeometryType(geom) IN ('POLYGON', 'MULTIPOLYGON')",
}


def sql_type(kind: ColumnType) -> sa.types.TypeEngine[Any]:
    """The PostgreSQL type of a declared column; an instant is stored with its zone."""
    if kind is ColumnType.DATETIME:
        return pg.TIMESTAMP(timezone=True)
    return SQL_TYPES[kind]()


def type_name(kind: ColumnType) -> str:
    """The PostgreSQL type as DDL writes it."""
    return str(sql_type(kind).compile(dialect=POSTGRES))


def data_columns(layer: Layer) -> list[sa.Column[Any]]:
    """The declared columns; `required` is a rule of ingest and no constraint of the table."""
    return [sa.Column(column.name, sql_type(column.type)) for column in layer.columns]


def _geometry(kind: str, srid: int, *constraints: Any, name: str = "geom") -> sa.Column[Any]:
    from geoalchemy2 import Geometry  # takes long to import; names and types do without it

    return sa.Column(name, Geometry(kind, srid=srid, spatial_index=False), *constraints)


_TILE_GEOM = "quartier.to_tile_geom(geom)"
# The same for nearly every point, without a call of a function in plpgsql for each row.
_TILE_GEOM_OF_POINT = (
    "CASE WHEN ST_X(geom) BETWEEN -180 AND 180 AND ST_Y(geom) BETWEEN -85.06 AND 85.06"
    f" THEN ST_Transform(geom, 3857) ELSE {_TILE_GEOM} END"
)


def _place_columns(layer: Layer, schema: str) -> list[sa.Column[Any]]:
    if not layer.has_geometry:
        return []
    point = layer.geometry is GeometryType.POINT
    columns = [_geometry("POINT" if point else "GEOMETRY", 4326)]
    if schema == RAW:  # no tile is made of exact rows
        return columns
    derived = sa.Computed(_TILE_GEOM_OF_POINT if point else _TILE_GEOM, persisted=True)
    columns.append(_geometry("GEOMETRY", 3857, derived, name="tile_geom"))
    if point:
        cell = sa.Computed("quartier.cell(geom)", persisted=True)
        columns.append(sa.Column("cell", sa.BigInteger, cell))
    return columns


def _place_checks(layer: Layer) -> list[sa.CheckConstraint]:
    if not layer.has_geometry:
        return []
    point = layer.geometry is GeometryType.POINT
    west, east = ("ST_X(geom)",) * 2 if point else ("ST_XMin(geom)", "ST_XMax(geom)")
    south, north = ("ST_Y(geom)",) * 2 if point else ("ST_YMin(geom)", "ST_YMax(geom)")
    checks = [
        sa.CheckConstraint(
            f"{west} >= -180 AND {east} <= 180", name="longitude lies within -180 and 180"
        ),
        sa.CheckConstraint(
            f"{south} >= -90 AND {north} <= 90", name="latitude lies within -90 and 90"
        ),
        sa.CheckConstraint("NOT ST_IsEmpty(geom)", name="geom is a place or null, never empty"),
    ]
    if not point:
        finite = "ST_Length(geom) + ST_Perimeter(geom) < 'Infinity'"  # NaN is greater than all
        checks.append(sa.CheckConstraint(finite, name="every coordinate of geom is a number"))
    if layer.geometry in GEOMETRY_CHECKS:
        kind = f"geom is a {layer.geometry}, in one part or several"
        checks.append(sa.CheckConstraint(GEOMETRY_CHECKS[layer.geometry], name=kind))
    return checks


def layer_table(layer: Layer, schema: str = CITY, name: str | None = None) -> sa.Table:
    """The table of a layer's rows: `fid`, `source_key`, the declared columns, `geom`,
    `tile_geom` and `cell` where they apply, and `since`, the revision that wrote the row. In the
    schema RAW it has nothing that tiles are made of.
    """
    since = sa.text(f"current_setting({literal('quartier.since_' + layer.id)})::bigint")
    divided = layer.partitions is not None  # its keys have the time in them, as indexes
    by = f"RANGE ({ident(layer.partitions.by)})" if layer.partitions else None
    return sa.Table(
        name or layer.id,
        sa.MetaData(),
        sa.Column(
            "fid",
            sa.BigInteger,
            sa.Identity(always=True, maxvalue=MAX_FID),
            primary_key=not divided,
            nullable=False,
        ),
        sa.Column(
            "source_key",
            sa.Text(collation="C"),  # an index of bytes, four times as quick to build
            nullable=False,
            unique=not divided,
            server_default=sa.text("'sql:' || gen_random_uuid()"),
        ),
        *data_columns(layer),
        *_place_columns(layer, schema),
        sa.Column("since", sa.BigInteger, nullable=False, server_default=since),
        *_place_checks(layer),
        sa.CheckConstraint(f"fid BETWEEN 1 AND {MAX_FID}", name="fid lies within 1 and 2^53 - 1"),
        schema=schema,
        postgresql_partition_by=by,
    )


def rows_table(layer: Layer) -> str:
    """Where the rows of a layer are written, quoted: those of a private one lie apart."""
    return f"{RAW if layer.privacy else CITY}.{ident(layer.id)}"


def past_table(layer: Layer) -> str:
    """Where those go that are changed or deleted, quoted."""
    return f"{RAW}.{ident(f'{layer.id}__history')}" if layer.privacy else _history(layer)


def _history(layer: Layer) -> str:
    return f"{HISTORY}.{ident(layer.id)}"


def history_view(layer: Layer) -> str:
    """The view through which a layer's history may be read, quoted."""
    return f"{HISTORY_VIEWS}.{ident(f'{layer.id}__history')}"


def history_table(layer: Layer, *, schema: str = HISTORY) -> sa.Table:
    """Rows as they were from revision `valid_from` until, not including, `valid_to`; with the
    schema of the views, as they may be read; with RAW, the exact ones.
    """
    place = [_geometry("GEOMETRY", 4326)] if layer.has_geometry else []
    return sa.Table(
        layer.id if schema == HISTORY else f"{layer.id}__history",
        sa.MetaData(),
        sa.Column("fid", sa.BigInteger, nullable=False),
        sa.Column("source_key", sa.Text, nullable=False),
        *data_columns(layer),
        *place,
        sa.Column("valid_from", sa.BigInteger, nullable=False),
        sa.Column("valid_to", sa.BigInteger, nullable=False),
        sa.CheckConstraint("valid_from < valid_to", name="a row was valid for some revision"),
        sa.Index(None, "fid", "valid_to"),
        schema=schema,
    )


def content_names(layer: Layer) -> list[str]:
    """The columns that make up a row's content: a change of any of them is a change."""
    place = ["geom"] if layer.has_geometry else []
    return ["source_key", *(column.name for column in layer.columns), *place]


def columns_missing(connection: sa.Connection, layer: Layer, table: str) -> list[str]:
    """DDL that adds to a table (its quoted name) the declared columns that it lacks.

    Raises ChangeRefused for a column that is there with another type.
    """
    rows = connection.execute(
        sa.text(
            "SELECT attname AS name, format_type(atttypid, atttypmod) AS kind FROM pg_attribute"
            " WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped"
        ),
        {"table": table},
    )
    there = {row.name: row.kind for row in rows}
    ddl = []
    for column in layer.columns:
        wanted = type_name(column.type)
        if column.name not in there:
            ddl.append(f"ALTER TABLE {table} ADD COLUMN {ident(column.name)} {wanted}")
        elif there[column.name] != wanted.lower():
            raise ChangeRefused(
                f"layer {layer.id}: column {column.name} is {there[column.name]}, declared"
                f" {column.type}; its values would have to be read anew: declare it under a"
                " new name"
            )
    return ddl
