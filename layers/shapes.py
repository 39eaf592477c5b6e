"""Overviews of lines and polygons: what low zooms draw in the place of each geometry.

`city_overview.<id>__shapes` has a row for each band of zooms and feature, simplified to half a
pixel of the band's last zoom; from zoom 14, and at the layer's last zoom, tiles are made of the
table itself. A feature smaller than a pixel is a pixel, or not there, as often as keeps the
density right. `city_overview.<id>__labels` has one point in each polygon.

All of it is a function of the row, so triggers keep it true by making the rows anew that changed.
What takes the whole layer is done by `layers.shape_batch`: borders simplified together, and lines
joined into chains. A chain is a row whose `fid` is minus the least `fid` of its members; these are
`part_of` it and have no geometry. What of this a change makes untrue is undone until the next
batch.
"""

from __future__ import annotations

import hashlib

from layers.model import GeometryType, Layer
from layers.sql import ident, literal
from layers.tables import CITY, READERS, STAGE

OVERVIEW = "city_overview"
FORMAT = "1"  # raise it when the same rows are to give other shapes
FIRST_TRUE_ZOOM = 14  # from here on tiles show geometries as they are
LAST_CHAIN_ZOOM = 11  # above it each line is drawn by itself
DRAWN = frozenset({GeometryType.LINE, GeometryType.POLYGON, GeometryType.MIXED})


def has_shapes(layer: Layer) -> bool:
    return layer.geometry in DRAWN


def has_labels(layer: Layer) -> bool:
    return layer.geometry is GeometryType.POLYGON


def has_batch(layer: Layer) -> bool:
    """Whether something is made of several rows together."""
    return layer.overview.coverage or bool(layer.overview.merge_by)


def band_of(layer: Layer, z: int) -> int | None:
    """The last zoom of the band that a tile of zoom `z` is made of; None for the table itself."""
    if has_shapes(layer) and layer.minzoom <= z < min(layer.maxzoom, FIRST_TRUE_ZOOM):
        return z | 1
    return None


def bands(layer: Layer) -> list[int]:
    """The last zooms of a layer's bands, finest first."""
    used = {band_of(layer, z) for z in range(FIRST_TRUE_ZOOM)}
    return sorted((band for band in used if band is not None), reverse=True)


def chain_bands(layer: Layer) -> list[int]:
    return [band for band in bands(layer) if band <= LAST_CHAIN_ZOOM]


def chain_columns(layer: Layer) -> list[str]:
    """The columns that lines of one chain agree in: those declared, and those by which maps
    colour, filter and order lines.
    """
    if not layer.overview.merge_by:
        return []
    named = [*layer.overview.merge_by, *([layer.category] if layer.category else [])]
    named += [name.removeprefix("-") for name in layer.priority]
    if layer.time:
        named += [layer.time.start, *([layer.time.end] if layer.time.end else [])]
    return list(dict.fromkeys(named))


def signature(layer: Layer) -> str:
    """A hash of all that the rows of a layer's overview depend on beside its table."""
    said = (FORMAT, bands(layer), has_labels(layer), layer.overview.coverage, chain_columns(layer))
    return hashlib.sha256(repr(said).encode()).hexdigest()[:12]


def shapes_table(layer: Layer) -> str:
    return f"{OVERVIEW}.{ident(_shapes(layer))}"


def labels_table(layer: Layer) -> str:
    return f"{OVERVIEW}.{ident(_labels(layer))}"


def tables_of(layer: Layer) -> list[str]:
    """The tables that readers of the layer's tiles read beside its own."""
    return [f"{OVERVIEW}.{ident(name)}" for name in _names(layer)]


def _shapes(layer: Layer) -> str:
    return f"{layer.id}__shapes"


def _labels(layer: Layer) -> str:
    return f"{layer.id}__labels"


def _names(layer: Layer) -> list[str]:
    names = [_shapes(layer)] if has_shapes(layer) else []
    return [*names, _labels(layer)] if has_labels(layer) else names


# Making the tables ------------------------------------------------------------------------------


def fill_statements(layer: Layer, source: str) -> list[str]:
    """DDL that makes the overview of the rows of `source` beside the one that is read: filled in
    spatial order, and indexed once.
    """
    statements = []
    if has_shapes(layer):
        name = f"{STAGE}.{ident(_shapes(layer))}"
        statements += [
            f"CREATE TABLE {name} (band smallint NOT NULL, fid bigint NOT NULL,"
            " geom @postgis@.geometry(Geometry, 3857), size float8 NOT NULL, part_of bigint)",
            f"INSERT INTO {name} (band, fid, geom, size) {_made(layer, source)}"
            " ORDER BY s.band, s.geom",
            *_shape_indexes(layer, name),
        ]
    if has_labels(layer):
        name = f"{STAGE}.{ident(_labels(layer))}"
        statements += [
            f"CREATE TABLE {name} (fid bigint NOT NULL, geom @postgis@.geometry(Point, 3857)"
            " NOT NULL, size float8 NOT NULL, area float8 NOT NULL)",
            f"INSERT INTO {name} (fid, geom, size, area) {_labelled(layer, source)} ORDER BY geom",
            *_label_indexes(layer, name),
        ]
    return statements


def _shape_indexes(layer: Layer, name: str) -> list[str]:
    """Named, because names that PostgreSQL cuts could meet others in the next schema."""
    said = _shapes(layer)
    gist = [
        f"CREATE INDEX {ident(f'{said}_{band}')} ON {name} USING gist (geom) WHERE band = {band}"
        for band in bands(layer)
    ]
    if layer.overview.merge_by:
        where = "(part_of) WHERE part_of IS NOT NULL"
        gist.append(f"CREATE INDEX {ident(f'{said}_of')} ON {name} {where}")
    key = f"ADD CONSTRAINT {ident(f'{said}_pkey')} PRIMARY KEY (fid, band)"
    return [f"ALTER TABLE {name} {key}", *gist, f"ANALYZE {name}"]


def _label_indexes(layer: Layer, name: str) -> list[str]:
    said = _labels(layer)
    return [
        f"ALTER TABLE {name} ADD CONSTRAINT {ident(f'{said}_pkey')} PRIMARY KEY (fid)",
        f"CREATE INDEX {ident(f'{said}_geom')} ON {name} USING gist (geom)",
        f"CREATE INDEX {ident(f'{said}_size')} ON {name} (size)",
        f"ANALYZE {name}",
    ]


def place_statements(layer: Layer) -> list[str]:
    """DDL that puts what `fill_statements` made where it is read, and keeps what it was made by."""
    statements = []
    for name in _names(layer):
        statements += [
            f"DROP TABLE IF EXISTS {OVERVIEW}.{ident(name)}",
            f"ALTER TABLE {STAGE}.{ident(name)} SET SCHEMA {OVERVIEW}",
            f"GRANT SELECT ON {OVERVIEW}.{ident(name)} TO {READERS}",
        ]
    return statements


def remember_statements(layer: Layer) -> list[str]:
    """DDL that keeps what a new overview was made by; its batch is yet to come."""
    if not has_shapes(layer):
        return []
    stale = str(has_batch(layer)).lower()
    return [
        "INSERT INTO quartier.shape_state (layer_id, definition, stale)"
        f" VALUES ({literal(layer.id)}, {literal(signature(layer))}, {stale})"
        " ON CONFLICT (layer_id) DO UPDATE"
        " SET definition = excluded.definition, stale = excluded.stale"
    ]


def rebuild_statements(layer: Layer) -> list[str]:
    """DDL that makes the overview of a layer anew; the caller says what that touched."""
    if not has_shapes(layer):
        return []
    return [
        f"SELECT quartier.lock({literal(layer.id)})",
        *fill_statements(layer, f"{CITY}.{ident(layer.id)}"),
        *place_statements(layer),
        *remember_statements(layer),
    ]


def _made(layer: Layer, source: str) -> str:
    return (
        f"SELECT s.band, c.fid, s.geom, s.size FROM {source} c,"
        f" LATERAL quartier.shapes_of(c.fid, c.tile_geom, {_tops(bands(layer))}) s"
    )


def _labelled(layer: Layer, source: str) -> str:
    """A point a polygon, its size in tiles (square metres of EPSG:3857), its area on the ground."""
    return (
        "SELECT c.fid, quartier.label_point(c.tile_geom) AS geom,"
        " @postgis@.ST_Area(c.tile_geom) AS size,"
        f" quartier.ground_area(c.geom) AS area FROM {source} c"
        " WHERE c.tile_geom IS NOT NULL"
    )


def _tops(bands: list[int]) -> str:
    return f"'{{{','.join(map(str, bands))}}}'::int[]"


# Keeping them true ------------------------------------------------------------------------------


def function_statements(layer: Layer) -> list[str]:
    """DDL of `quartier."<id>__reshape"(fids)`, which the layer's triggers call: what is drawn of
    these features is made anew from the table as it is now. It answers the other members of
    chains that fell apart.
    """
    if not has_shapes(layer):
        return []
    name = reshape(layer)
    table = f"{CITY}.{ident(layer.id)} c"
    shapes = shapes_table(layer)
    labels = ""
    if has_labels(layer):
        labels = f"""
    DELETE FROM {labels_table(layer)} l WHERE l.fid = ANY (changed);
    INSERT INTO {labels_table(layer)} (fid, geom, size, area)
        {_labelled(layer, table.removesuffix(" c"))} AND c.fid = ANY (changed);"""
    return [f"""
CREATE OR REPLACE FUNCTION {name}(changed bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = pg_catalog, @postgis@, pg_temp AS $body$
DECLARE
    chains bigint[];
    others bigint[] := '{{}}';
BEGIN
    IF cardinality(changed) = 0 THEN
        RETURN others;
    END IF;{_stale(layer)}{_fall_apart(layer)}
    DELETE FROM {shapes} s WHERE s.fid = ANY (changed);
    INSERT INTO {shapes} (band, fid, geom, size)
        {_made(layer, table.removesuffix(" c"))} WHERE c.fid = ANY (changed);{labels}
    RETURN others;
END $body$""",
        f"REVOKE ALL ON FUNCTION {name}(bigint[]) FROM PUBLIC",
    ]  # fmt: skip


def reshape(layer: Layer) -> str:
    """The name of the function that makes the shapes of some features anew."""
    return f"quartier.{ident(f'{layer.id}__reshape')}"


def _stale(layer: Layer) -> str:
    if not has_batch(layer):
        return ""
    return f"""
    UPDATE quartier.shape_state SET stale = true
    WHERE layer_id = {literal(layer.id)} AND NOT stale;"""


def _fall_apart(layer: Layer) -> str:
    """A chain goes with the first of its members that changes; all are drawn singly again."""
    if not layer.overview.merge_by:
        return ""
    shapes = shapes_table(layer)
    return f"""
    SELECT array_agg(DISTINCT s.part_of) INTO chains
    FROM {shapes} s WHERE s.fid = ANY (changed) AND s.part_of IS NOT NULL;
    IF chains IS NOT NULL THEN
        others := ARRAY(SELECT DISTINCT s.fid FROM {shapes} s
                        WHERE s.part_of = ANY (chains) AND s.fid <> ALL (changed));
        DELETE FROM {shapes} s WHERE s.fid = ANY (chains);
        changed := changed || others;
    END IF;"""


def declarations(layer: Layer) -> str:
    """The variables that `maintain` and `places` need."""
    if not has_shapes(layer):
        return ""
    return """
    loosened bigint[];
    strayed geometry[];"""


def maintain(layer: Layer, touched: str, changed: str) -> str:
    """plpgsql that brings the overview from before a statement to after it. Both are SELECTs of
    fids: of all rows that changed, and of those whose shape may have.
    """
    if not has_shapes(layer):
        return ""
    strayed = ""
    if layer.overview.coverage:  # a border simplified with its neighbours' strays further
        strayed = f"""
    strayed := ARRAY(SELECT s.geom FROM {shapes_table(layer)} s
                     WHERE s.fid = ANY (ARRAY({touched})) AND s.geom IS NOT NULL);"""
    return f"""{strayed}
    loosened := {reshape(layer)}(ARRAY({changed}));"""


def differs(layer: Layer) -> str:
    """Whether an update of `old_rows r` to `new_rows n` changes what is drawn of a row, as SQL."""
    columns = ["tile_geom", *(ident(name) for name in chain_columns(layer))]
    return "(" + " OR ".join(f"r.{c} IS DISTINCT FROM n.{c}" for c in columns) + ")"


def places(layer: Layer) -> list[str]:
    """SELECTs of the cells (z, cell) that `maintain` touched beside the places of changed rows."""
    if not has_shapes(layer):
        return []
    found = []
    if layer.overview.merge_by:
        found.append(
            f"SELECT c.z, c.cell FROM {CITY}.{ident(layer.id)} r,"
            " LATERAL quartier.cells_of(r.tile_geom) c WHERE r.fid = ANY (loosened)"
        )
    if layer.overview.coverage:
        found.append("SELECT c.z, c.cell FROM unnest(strayed) g, LATERAL quartier.cells_of(g) c")
    return found


def forget_all(layer: Layer) -> str:
    """plpgsql for a TRUNCATE: rows go one by one, so that an older snapshot keeps them."""
    return "".join(f"\n    DELETE FROM {table};" for table in tables_of(layer))
