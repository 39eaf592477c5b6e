"""DDL of the overviews of lines and polygons, and what a layer's triggers do to keep them true."""

from __future__ import annotations

from layers.model import Layer
from layers.shapes import (
    OVERVIEW,
    bands,
    carried,
    chain_columns,
    chain_order,
    has_batch,
    has_labels,
    has_shapes,
    labels_name,
    labels_table,
    names_of,
    shapes_name,
    shapes_table,
    signature,
    tables_of,
)
from layers.sql import ident, literal
from layers.tables import CITY, READERS, STAGE, type_name


def fill_statements(layer: Layer, source: str) -> list[str]:
    """DDL that makes the overview of the rows of `source` beside the one that is read: filled in
    spatial order, and indexed once.
    """
    statements = []
    if has_shapes(layer):
        name = f"{STAGE}.{ident(shapes_name(layer))}"
        statements += [
            f'CREATE TABLE {name} ("#band" smallint NOT NULL, fid bigint NOT NULL,'
            ' geom @postgis@.geometry(Geometry, 3857), "#size" float8 NOT NULL,'
            f' "#part_of" bigint{_carried_columns(layer)})',
            f"INSERT INTO {name} {_made(layer, source)} ORDER BY s.band, s.geom",
            *_shape_indexes(layer, name),
        ]
    if has_labels(layer):
        name = f"{STAGE}.{ident(labels_name(layer))}"
        statements += [
            f"CREATE TABLE {name} (fid bigint NOT NULL, geom @postgis@.geometry(Point, 3857)"
            ' NOT NULL, "#size" float8 NOT NULL, "#area" float8 NOT NULL)',
            f"INSERT INTO {name} {_labelled(layer, source)} ORDER BY geom",
            *_label_indexes(layer, name),
        ]
    return statements


def _shape_indexes(layer: Layer, name: str) -> list[str]:
    """Named, because names that PostgreSQL cuts could meet others in the next schema."""
    said = shapes_name(layer)
    gist = [
        f'CREATE INDEX {ident(f"{said}_{band}")} ON {name} USING gist (geom) WHERE "#band" = {band}'
        for band in bands(layer)
    ]
    if layer.overview.merge_by:
        where = '("#part_of") WHERE "#part_of" IS NOT NULL'
        gist.append(f"CREATE INDEX {ident(f'{said}_of')} ON {name} {where}")
    key = f"""ADD CONSTRAINT {ident(f"{said}_pkey")} PRIMARY KEY (fid, "#band")"""
    return [f"ALTER TABLE {name} {key}", *gist, f"ANALYZE {name}"]


def _label_indexes(layer: Layer, name: str) -> list[str]:
    said = labels_name(layer)
    return [
        f"ALTER TABLE {name} ADD CONSTRAINT {ident(f'{said}_pkey')} PRIMARY KEY (fid)",
        f"CREATE INDEX {ident(f'{said}_geom')} ON {name} USING gist (geom)",
        f'CREATE INDEX {ident(f"{said}_size")} ON {name} ("#size")',
        f"ANALYZE {name}",
    ]


def place_statements(layer: Layer) -> list[str]:
    """DDL that puts what `fill_statements` made where it is read, and keeps what it was made by."""
    statements = []
    for name in names_of(layer):
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
    """The values of all columns of the shapes' table, in their order."""
    columns = "".join(f", c.{ident(column.name)}" for column in carried(layer))
    return (
        f"SELECT s.band, c.fid, s.geom, s.size, NULL::bigint{columns} FROM {source} c,"
        f" LATERAL quartier.shapes_of(c.fid, c.tile_geom, {_tops(bands(layer))}) s"
    )


def _carried_columns(layer: Layer) -> str:
    return "".join(f", {ident(column.name)} {type_name(column.type)}" for column in carried(layer))


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


def function_statements(layer: Layer) -> list[str]:
    """DDL of `quartier."<id>__reshape"(fids)`, which the layer's triggers call: what is drawn of
    these features is made anew from the table as it is now. It answers the other members of
    chains that fell apart.
    """
    if not has_shapes(layer):
        return []
    name, shapes = reshape(layer), shapes_table(layer)
    rows = f"{CITY}.{ident(layer.id)}"
    return [f"""
CREATE OR REPLACE FUNCTION {name}(changed bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = pg_catalog, @postgis@, pg_temp AS $body$
#variable_conflict use_variable
DECLARE
    chains bigint[];
    others bigint[] := '{{}}';
BEGIN
    IF cardinality(changed) = 0 THEN
        RETURN others;
    END IF;{_stale(layer)}{_fall_apart(layer)}
    DELETE FROM {shapes} s WHERE s.fid = ANY (changed);
    INSERT INTO {shapes}
        {_made(layer, rows)} WHERE c.fid = ANY (changed);{_label_anew(layer, rows)}
    RETURN others;
END $body$""",
        f"REVOKE ALL ON FUNCTION {name}(bigint[]) FROM PUBLIC",
    ]  # fmt: skip


def _label_anew(layer: Layer, rows: str) -> str:
    if not has_labels(layer):
        return ""
    labels = labels_table(layer)
    return f"""
    DELETE FROM {labels} l WHERE l.fid = ANY (changed);
    INSERT INTO {labels}
        {_labelled(layer, rows)} AND c.fid = ANY (changed);"""


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
    SELECT array_agg(DISTINCT s."#part_of") INTO chains
    FROM {shapes} s WHERE s.fid = ANY (changed) AND s."#part_of" IS NOT NULL;
    IF chains IS NOT NULL THEN
        others := ARRAY(SELECT DISTINCT s.fid FROM {shapes} s
                        WHERE s."#part_of" = ANY (chains) AND s.fid <> ALL (changed));
        DELETE FROM {shapes} s WHERE s.fid = ANY (chains);
        changed := changed || others;
    END IF;"""


def declarations(layer: Layer) -> str:
    """The variables that these and `places` need."""
    if not has_shapes(layer):
        return ""
    return """
    loosened bigint[];
    reshaped bigint[];
    relabelled bigint[];
    strayed geometry[];"""


def maintain(layer: Layer, rows: str) -> str:
    """plpgsql that brings the overview from before an INSERT or DELETE of `rows` to after it."""
    if not has_shapes(layer):
        return ""
    fids = f"SELECT fid FROM {rows}"
    return f"""{_stray(layer, fids)}
    loosened := {reshape(layer)}(ARRAY({fids}));"""


def find_updated(layer: Layer, updated: str) -> str:
    """plpgsql that finds what `maintain_updated` has to do; `updated` joins the old rows `r` of an
    UPDATE to their new rows `n`.
    """
    if not has_shapes(layer):
        return ""
    drawn, told = _drawn(layer), _told(layer)
    relabelled = ""
    if told:
        relabelled = f"""
    relabelled := ARRAY(SELECT n.fid FROM {updated} WHERE {_differ(told)});"""
    return f"""{_stray(layer, f"SELECT n.fid FROM {updated}")}
    reshaped := ARRAY(SELECT n.fid FROM {updated} WHERE {_differ(drawn)});{relabelled}"""


def maintain_updated(layer: Layer) -> str:
    """The same as `maintain` for an UPDATE. A row whose shape stays takes its new values along."""
    if not has_shapes(layer):
        return ""
    relabel = ""
    if told := _told(layer):
        relabel = f"""
    IF cardinality(relabelled) > 0 THEN
        UPDATE {shapes_table(layer)} s SET {", ".join(f"{name} = c.{name}" for name in told)}
        FROM {CITY}.{ident(layer.id)} c WHERE c.fid = s.fid AND s.fid = ANY (relabelled);
    END IF;"""
    return f"""
    loosened := {reshape(layer)}(reshaped);{relabel}"""


def _drawn(layer: Layer) -> list[str]:
    """The columns that decide what is drawn."""
    return ["tile_geom", *map(ident, [*chain_columns(layer), *chain_order(layer)])]


def _told(layer: Layer) -> list[str]:
    """The columns that shapes only carry."""
    names = [ident(column.name) for column in carried(layer)]
    return [name for name in names if name not in _drawn(layer)]


def _differ(columns: list[str]) -> str:
    return "(" + " OR ".join(f"r.{c} IS DISTINCT FROM n.{c}" for c in columns) + ")"


def _stray(layer: Layer, fids: str) -> str:
    """A border that was simplified with its neighbours' strays further than others do."""
    if not layer.overview.coverage:
        return ""
    return f"""
    strayed := ARRAY(SELECT s.geom FROM {shapes_table(layer)} s
                     WHERE s.fid = ANY (ARRAY({fids})) AND s.geom IS NOT NULL);"""


def places(layer: Layer) -> list[str]:
    """SELECTs of the cells (z, cell, parts) that `maintain` touched beside changed rows."""
    if not has_shapes(layer):
        return []
    found = []
    if layer.overview.merge_by:
        found.append(
            f"SELECT c.z, c.cell, -1::bigint AS parts FROM {CITY}.{ident(layer.id)} r,"
            " LATERAL quartier.cells_of(r.tile_geom) c WHERE r.fid = ANY (loosened)"
        )
    if layer.overview.coverage:
        found.append(
            "SELECT c.z, c.cell, -1::bigint AS parts"
            " FROM unnest(strayed) g, LATERAL quartier.cells_of(g) c"
        )
    return found


def forget_all(layer: Layer) -> str:
    """plpgsql for a TRUNCATE: rows go one by one, so that an older snapshot keeps them."""
    return "".join(f"\n    DELETE FROM {table};" for table in tables_of(layer))
