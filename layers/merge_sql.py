"""The statements that bring staged rows into a layer's table, as SQL text.

A stage is an unlogged table with `#row`, `#line`, `source_key`, the declared columns and
`geom`. Each function returns one statement; `layers.write` runs them in one transaction.
"""

from __future__ import annotations

from layers import slice_index
from layers.columns import ColumnType
from layers.model import Layer
from layers.sql import ident, literal
from layers.tables import CITY, STAGE, rows_table, type_name
from layers.triggers import KEEP_TIME, TRIGGERS

MOVED_DEGREES = 0.0005  # about 50 m


def stage_name(run_id: int) -> str:
    """The unlogged table of a run's rows, quoted."""
    return f"{STAGE}.{ident(f'run_{run_id}')}"


def build_table(run_id: int) -> str:
    """What that of a first load is called until it takes the layer's place: as no layer can be."""
    return f"__build_{run_id}"


def build_name(run_id: int) -> str:
    """The table a first load is built in, quoted, before it takes the layer's place."""
    return f"{STAGE}.{ident(build_table(run_id))}"


def values_of(layer: Layer, alias: str) -> list[str]:
    """Expressions of the declared columns and the geometry of a stage row, in table order."""
    values = [
        f"{alias}.{ident(c.name)}" + ("::jsonb" if c.type is ColumnType.JSON else "")
        for c in layer.columns
    ]
    return [*values, f"{alias}.geom"] if layer.has_geometry else values


def names_of(layer: Layer) -> list[str]:
    names = [ident(column.name) for column in layer.columns]
    return [*names, "geom"] if layer.has_geometry else names


def number_equal_rows(stage: str, *, among_rows: bool) -> str:
    """Rows of the same content are different features: the second gets `-2`, and so on.

    `among_rows`: only rows whose numbers are in `:rows` can be equal.
    """
    repeated = f"source_key IN (SELECT source_key FROM {stage} GROUP BY 1 HAVING count(*) > 1)"
    listed = '"#row" IN (SELECT unnest(CAST(:rows AS bigint[])))'  # hashed
    candidates = listed if among_rows else repeated
    return f"""
        UPDATE {stage} s SET source_key = s.source_key || '-' || n.ordinal
        FROM (
            SELECT ctid AS place,
                   row_number() OVER (PARTITION BY source_key ORDER BY "#row") AS ordinal
            FROM {stage} WHERE {candidates}
        ) n
        WHERE s.ctid = n.place AND n.ordinal > 1"""


def drop_repeated_rows(layer: Layer, stage: str) -> str:
    """Delete the later of rows that agree in the key and in everything else."""
    everything = ", ".join(["source_key", *names_of(layer)])
    return f"""
        DELETE FROM {stage} s USING (
            SELECT ctid AS place,
                   row_number() OVER (PARTITION BY {everything} ORDER BY "#row") AS ordinal
            FROM {stage}
            WHERE source_key IN (
                SELECT source_key FROM {stage} GROUP BY source_key HAVING count(*) > 1)
        ) n
        WHERE s.ctid = n.place AND n.ordinal > 1"""


def conflicting_keys(stage: str) -> str:
    """Keys that still stand on several rows, with the lines they stand on."""
    return f"""
        SELECT source_key, array_agg("#line" ORDER BY "#row") AS lines FROM {stage}
        GROUP BY source_key HAVING count(*) > 1 ORDER BY min("#row") LIMIT 5"""


def insert_built(layer: Layer, stage: str, build: str) -> str:
    """Fill a new table in spatial order, so that a tile's rows lie side by side on disk."""
    names = ", ".join(["source_key", *names_of(layer), "since"])
    values = ", ".join(["s.source_key", *values_of(layer, "s"), ":since"])
    order = order_of(layer)
    return f"INSERT INTO {build} ({names}) SELECT {values} FROM {stage} s ORDER BY {order}"


def order_of(layer: Layer, row: str = "s") -> str:
    """The order in which rows get their fids: as they lie in space."""
    return f'{row}.geom, {row}."#row"' if layer.has_geometry else f'{row}."#row"'


def span(layer: Layer, stage: str) -> str:
    """The first and the last time of a stage: `low` and `high` of the statements below, of a layer
    that is divided by time. They look for rows in no other part.
    """
    by = ident(layer.partitions.by) if layer.partitions else "NULL"
    return f"SELECT min({by}) AS low, max({by}) AS high FROM {stage}"


def _same(layer: Layer) -> str:
    """That a row `c` of the layer is a row `s` of the stage, by its key."""
    same = "c.source_key = s.source_key"
    if layer.partitions is None:
        return same
    by = ident(layer.partitions.by)
    kind = type_name(layer.column(layer.partitions.by).type)
    within = f"c.{by} BETWEEN CAST(:low AS {kind}) AND CAST(:high AS {kind})"
    return f"{same} AND c.{by} = s.{by} AND {within}"


def insert_new(layer: Layer, stage: str) -> str:
    table = rows_table(layer)
    names = ", ".join(["source_key", *names_of(layer)])
    values = ", ".join(["s.source_key", *values_of(layer, "s")])
    order = order_of(layer)
    return f"""
        INSERT INTO {table} ({names})
        SELECT {values} FROM {stage} s
        WHERE NOT EXISTS (SELECT FROM {table} c WHERE {_same(layer)})
        ORDER BY {order}"""


def insert_all(layer: Layer, build: str) -> str:
    """Put the rows of a table that could not take the empty layer's place into the one it has."""
    names = ", ".join(["source_key", *names_of(layer)])
    return f"INSERT INTO {rows_table(layer)} ({names}) SELECT {names} FROM {build} ORDER BY fid"


def update_changed(layer: Layer, stage: str) -> str:
    names, values = names_of(layer), values_of(layer, "s")
    sets = ", ".join(f"{n} = {v}" for n, v in zip(names, values, strict=True))
    differs = " OR ".join(f"c.{n} IS DISTINCT FROM {v}" for n, v in zip(names, values, strict=True))
    return f"""
        UPDATE {rows_table(layer)} c SET {sets} FROM {stage} s
        WHERE {_same(layer)} AND ({differs})"""


def moved(layer: Layer, stage: str) -> str:
    """How many rows are known by their key, and how many of those lie elsewhere now. A few metres
    are none: that is how far rounding, or another projection, takes a place.
    """
    return f"""
        SELECT count(*), count(*) FILTER (WHERE NOT ST_DWithin(c.geom, s.geom, {MOVED_DEGREES}))
        FROM {rows_table(layer)} c JOIN {stage} s ON {_same(layer)}"""


def delete_gone(layer: Layer, stage: str) -> str:
    """Delete what the source no longer has; a withheld row's old version stays."""
    return f"""
        DELETE FROM {rows_table(layer)} c
        WHERE NOT EXISTS (SELECT FROM {stage} s WHERE s.source_key = c.source_key)
          AND NOT EXISTS (
              SELECT FROM quartier.quarantine q
              WHERE q.run_id = :run AND q.column_name IS NULL AND q.source_key = c.source_key)"""


def delete_listed(layer: Layer) -> str:
    """Delete the rows of the keys `:gone`."""
    return f"""
        DELETE FROM {rows_table(layer)} c USING unnest(CAST(:gone AS text[])) g (key)
        WHERE c.source_key = g.key"""


def next_revision() -> str:
    return """
        SELECT quartier.revision_for_us(s)
        FROM quartier.layer_state s WHERE layer_id = :layer FOR UPDATE"""


def additions(layer: Layer) -> str:
    """How many things of others hang on the layer's table and would be lost with it: views,
    functions of its row type, foreign keys, triggers, indexes, rules, policies, publications,
    comments, options and grants.
    """
    table = f"{literal(f'{CITY}.{ident(layer.id)}')}::regclass"
    ours = ", ".join(
        literal(f"{layer.id}_{suffix}")
        for suffix in ("pkey", "source_key_key", "tile_geom_idx", slice_index.SUFFIX)
    )
    ours_too = TRIGGERS | {KEEP_TIME, "quartier_0_derived"}  # of a divided, a published table
    triggers = f"ARRAY[{', '.join(map(literal, sorted(ours_too)))}]"
    return f"""
        SELECT (SELECT count(*) FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
                WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
                  AND d.refobjid = {table} AND r.ev_class <> {table})
             + (SELECT count(*) FROM pg_rewrite WHERE ev_class = {table})
             + (SELECT count(*) FROM pg_depend d JOIN pg_type t ON t.oid = d.refobjid
                WHERE d.refclassid = 'pg_type'::regclass AND d.deptype = 'n'
                  AND {table} IN (t.typrelid, (SELECT e.typrelid FROM pg_type e
                                               WHERE e.oid = t.typelem)))
             + (SELECT count(*) FROM pg_description
                WHERE classoid = 'pg_class'::regclass AND objoid = {table} AND objsubid = 0)
             + (SELECT count(*) FROM pg_class WHERE oid = {table}
                AND (reloptions IS NOT NULL OR relreplident <> 'd' OR relrowsecurity))
             + (SELECT count(*) FROM pg_attribute WHERE attrelid = {table} AND attacl IS NOT NULL)
             + (SELECT count(*) FROM pg_statistic_ext WHERE stxrelid = {table})
             + (SELECT count(*) FROM pg_constraint
                WHERE confrelid = {table} OR contype = 'f' AND conrelid = {table})
             + (SELECT count(*) FROM pg_trigger
                WHERE tgrelid = {table} AND NOT tgisinternal AND tgname <> ALL ({triggers}))
             + (SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                WHERE i.indrelid = {table} AND c.relname NOT IN ({ours}))
             + (SELECT count(*) FROM pg_policy WHERE polrelid = {table})
             + (SELECT count(*) FROM pg_publication_rel WHERE prrelid = {table})
             + (SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a
                WHERE c.oid = {table} AND a.grantee <> c.relowner
                  AND a.grantee::regrole::text NOT IN ('quartier_web', 'quartier_officer'))"""
