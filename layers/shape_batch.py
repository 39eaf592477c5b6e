"""What is drawn of a layer's rows together: borders that stay shared, lines joined into chains.

It takes the whole layer, so it runs at the end of a run and in `quartier apply`, not in triggers.
The caller holds the layer's lock. Where it changes anything, that is a revision (the
transaction's own, where it has made one) and is logged.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import psycopg
import shapely
import sqlalchemy as sa
from numpy.typing import NDArray

from layers.model import Layer
from layers.shape_sql import reshape
from layers.shapes import (
    bands,
    carried,
    chain_bands,
    chain_columns,
    has_batch,
    pixel_m,
    shapes_table,
)
from layers.sql import ident, literal
from layers.tables import CITY
from layers.triggers import LOG_BOUND

SNAP_M, GAP_M = 0.1, 1.0  # of EPSG:3857; a pixel of the finest band is 9.6 m
MOST_PLACES = 10_000  # logged one by one; beyond, everything counts as touched
Geometries = NDArray[np.object_]


def is_stale(connection: sa.Connection, layer: Layer) -> bool:
    """Whether rows changed since the last batch."""
    found = sa.text("SELECT stale FROM quartier.shape_state WHERE layer_id = :id")
    return has_batch(layer) and bool(connection.scalar(found, {"id": layer.id}))


def settle(connection: sa.Connection, layer: Layer) -> str:
    """Bring what is made of several rows up to the table; a sentence where that met a problem."""
    if not is_stale(connection, layer):
        return ""
    note = ""
    if layer.overview.coverage:
        note = _simplify_together(connection, layer)
    if layer.overview.merge_by:
        _join(connection, layer)
    fresh = sa.text("UPDATE quartier.shape_state SET stale = false WHERE layer_id = :id")
    connection.execute(fresh, {"id": layer.id})
    return note


# Coverages --------------------------------------------------------------------------------------


def _simplify_together(connection: sa.Connection, layer: Layer) -> str:
    """Simplify all polygons of each band at once. A polygon of which that would make something
    else keeps the shape it has by itself.
    """
    fids, polygons = _geometries(connection, layer, "tile_geom IS NOT NULL")
    clean, strays = _as_coverage(polygons)
    _make_table(connection, "settled (band int, fid bigint, geom @geometry)")
    for band in bands(layer):
        half = pixel_m(band) / 2
        simple = shapely.coverage_simplify(clean, half)
        good = shapely.is_valid(simple) & ~shapely.is_empty(simple) & (strays <= half)
        rows = zip(fids[good].tolist(), shapely.to_wkb(simple[good]), strict=True)
        _copy(connection, "settled (band, fid, geom)", [(band, *row) for row in rows])
    _replace(connection, layer)
    alone = np.count_nonzero(strays > pixel_m(max(bands(layer), default=0)) / 2)
    if not alone:
        return ""
    return (
        f"layer {layer.id}: {alone} of {len(polygons)} polygons overlap others or are not valid,"
        " so at low zooms their borders may part"
    )


def _as_coverage(polygons: Geometries) -> tuple[Geometries, NDArray[np.float64]]:
    """The polygons with borders that match vertex by vertex, and how many metres each was moved
    for it: infinitely many where nothing like it is left.
    """
    moved = np.zeros(len(polygons))
    if shapely.coverage_is_valid(polygons):
        return polygons, moved
    sound = shapely.is_valid(polygons)
    usable = polygons.copy()
    usable[~sound] = shapely.Polygon()
    clean = shapely.coverage_clean(  # type: ignore[attr-defined]  # newer than the stubs
        usable, snapping_distance=SNAP_M, gap_width=GAP_M
    )
    sound &= ~shapely.is_empty(clean)
    moved[~sound] = np.inf
    moved[sound] = shapely.hausdorff_distance(polygons[sound], clean[sound])
    return clean, moved


def _replace(connection: sa.Connection, layer: Layer) -> None:
    """Put the settled shapes in the place of those that differ; what is drawn as a single pixel
    stays a pixel.
    """
    smallest = " ".join(f"WHEN {band} THEN {pixel_m(band)}" for band in bands(layer))
    connection.execute(
        sa.text(
            "CREATE TEMP TABLE moved ON COMMIT DROP AS"
            " SELECT t.band, s.fid, s.geom AS old, t.geom AS new"
            f" FROM {shapes_table(layer)} s"
            ' JOIN settled t ON t.fid = s.fid AND t.band = s."#band"'
            f" JOIN {CITY}.{ident(layer.id)} c ON c.fid = s.fid"
            f" WHERE quartier.reach(c.tile_geom) >= CASE t.band {smallest} END"
            " AND s.geom::bytea IS DISTINCT FROM t.geom::bytea"
        )
    )
    connection.execute(
        sa.text(
            f"UPDATE {shapes_table(layer)} s SET geom = m.new FROM moved m"
            ' WHERE m.fid = s.fid AND m.band = s."#band"'
        )
    )
    _touch(connection, layer, "SELECT old FROM moved UNION ALL SELECT new FROM moved")
    connection.execute(sa.text("DROP TABLE moved, settled"))


# Chains -----------------------------------------------------------------------------------------


def _join(connection: sa.Connection, layer: Layer) -> None:
    """Join lines end to end; chains of the same members are left as they are."""
    wanted = _chains(connection, layer)
    there = _chains_there(connection, layer)
    gone = [chain for chain, members in there.items() if members != wanted.get(chain, (None,))[0]]
    new = {chain: made for chain, made in wanted.items() if made[0] != there.get(chain)}
    touched = [fid for chain in gone for fid in there[chain]]
    touched += [fid for members, _ in new.values() for fid in members]
    if not touched:
        return
    apart = sa.text(f"SELECT {reshape(layer)}(CAST(:fids AS bigint[]))")
    connection.execute(apart, {"fids": [there[chain][0] for chain in gone]})
    _make_table(connection, "chained (chain bigint, geom @geometry)")
    _copy(connection, "chained (chain, geom)", [(c, geom) for c, (_, geom) in new.items()])
    _make_table(connection, "member (fid bigint, chain bigint)")
    members = [(fid, chain) for chain, (fids, _) in new.items() for fid in fids]
    _copy(connection, "member (fid, chain)", members)
    _draw_chains(connection, layer)
    connection.execute(sa.text("CREATE TEMP TABLE loose (fid bigint) ON COMMIT DROP"))
    _copy(connection, "loose (fid)", [(fid,) for fid in sorted(set(touched))])
    _touch(
        connection,
        layer,
        f"SELECT c.tile_geom FROM {CITY}.{ident(layer.id)} c JOIN loose USING (fid)",
    )
    connection.execute(sa.text("DROP TABLE chained, member, loose"))


def _draw_chains(connection: sa.Connection, layer: Layer) -> None:
    """A chain carries what its lines agree in, which its first member tells."""
    shapes, tops = shapes_table(layer), chain_bands(layer)
    told = chain_columns(layer)
    names = "".join(f", {ident(column.name)}" for column in carried(layer))
    alike = "".join(f", c.{ident(k.name)}" if k.name in told else ", NULL" for k in carried(layer))
    statements = [
        f"DELETE FROM {shapes} s USING member m"
        ' WHERE s.fid = m.fid AND s."#band" = ANY (CAST(:tops AS int[]))',
        f'INSERT INTO {shapes} ("#band", fid, "#size", "#part_of"{names})'
        f" SELECT b, m.fid, ST_Length(c.tile_geom), m.chain"
        f"{''.join(f', c.{ident(column.name)}' for column in carried(layer))} FROM member m"
        f" JOIN {CITY}.{ident(layer.id)} c ON c.fid = m.fid"
        " CROSS JOIN unnest(CAST(:tops AS int[])) b",
        f'INSERT INTO {shapes} ("#band", fid, geom, "#size"{names})'
        f" SELECT s.band, j.chain, s.geom, s.size{alike} FROM chained j"
        f" JOIN {CITY}.{ident(layer.id)} c ON c.fid = -j.chain,"
        " LATERAL quartier.shapes_of(j.chain, j.geom, CAST(:tops AS int[])) s",
    ]
    for statement in statements:
        connection.execute(sa.text(statement), {"tops": tops})


def _chains_there(connection: sa.Connection, layer: Layer) -> dict[int, tuple[int, ...]]:
    there: dict[int, list[int]] = defaultdict(list)
    query = (
        f'SELECT DISTINCT "#part_of", fid FROM {shapes_table(layer)}'
        ' WHERE "#part_of" IS NOT NULL ORDER BY 1, 2'
    )
    for chain, fid in connection.execute(sa.text(query)):
        there[chain].append(fid)
    return {chain: tuple(members) for chain, members in there.items()}


def _chains(connection: sa.Connection, layer: Layer) -> dict[int, tuple[tuple[int, ...], bytes]]:
    """The members and the geometry of each chain there is to be, by its number."""
    if not chain_bands(layer):
        return {}
    columns = ", ".join(ident(name) for name in chain_columns(layer))
    single = "GeometryType(tile_geom) = 'LINESTRING' AND NOT ST_IsClosed(tile_geom)"
    kinds = f"jsonb_build_array({columns})::text"
    fids, lines, kind = _geometries_and(connection, layer, single, kinds)
    found: dict[int, tuple[tuple[int, ...], bytes]] = {}
    together = [np.array(chain) for chain in chains_of(lines, kind)]
    if not together:
        return {}
    merged = shapely.line_merge([shapely.multilinestrings(lines[chain]) for chain in together])
    for chain, geometry in zip(together, shapely.to_wkb(merged), strict=True):
        members = tuple(sorted(fids[chain].tolist()))
        found[-members[0]] = (members, geometry)
    return found


def chains_of(lines: Geometries, kind: NDArray[np.int64]) -> list[list[int]]:
    """Which lines make chains: those of one kind of which exactly two meet in an end.

    Answers the positions of the lines of each chain of two lines or more.
    """
    if not len(lines):
        return []
    ends = np.concatenate([shapely.get_point(lines, 0), shapely.get_point(lines, -1)])
    places = shapely.get_coordinates(ends) + 0.0  # no -0.0, which has other bits than 0.0
    keys = np.column_stack([np.tile(kind, 2), places.view(np.int64)])
    _, node, count = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    node = node.reshape(-1)
    line = np.tile(np.arange(len(lines)), 2)
    joined = np.flatnonzero(count[node] == 2)
    pairs = line[joined[np.argsort(node[joined], kind="stable")]].reshape(-1, 2)
    groups = defaultdict(list)
    for at, root in enumerate(_roots(len(lines), pairs.tolist())):
        groups[root].append(at)
    return [group for group in groups.values() if len(group) > 1]


def _roots(size: int, pairs: list[list[int]]) -> list[int]:
    """The least position that each position is linked with."""
    parent = list(range(size))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = at = parent[parent[at]]
        return at

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return [root(at) for at in range(size)]


# Rows in and out --------------------------------------------------------------------------------


def _geometries(
    connection: sa.Connection, layer: Layer, condition: str
) -> tuple[NDArray[np.int64], Geometries]:
    fids, geometries, _ = _geometries_and(connection, layer, condition, "''")
    return fids, geometries


def _geometries_and(
    connection: sa.Connection, layer: Layer, condition: str, text: str
) -> tuple[NDArray[np.int64], Geometries, NDArray[np.int64]]:
    """Fids in their order, geometries, and a number that stands for each value of `text`."""
    query = (
        f"SELECT fid, ST_AsBinary(tile_geom), {text} FROM {CITY}.{ident(layer.id)}"
        f" WHERE {condition} ORDER BY fid"
    )
    rows = connection.execute(sa.text(query)).all()
    numbers: dict[str, int] = {}
    return (
        np.array([row[0] for row in rows], np.int64),
        shapely.from_wkb(np.array([bytes(row[1]) for row in rows], object)),
        np.array([numbers.setdefault(row[2], len(numbers)) for row in rows], np.int64),
    )


def _make_table(connection: sa.Connection, columns: str) -> None:
    said = columns.replace("@geometry", "geometry(Geometry, 3857)")
    connection.execute(sa.text(f"CREATE TEMP TABLE {said} ON COMMIT DROP"))


def _copy(connection: sa.Connection, into: str, rows: list[tuple[Any, ...]]) -> None:
    """COPY rows to a temporary table; bytes are WKB of geometries (EPSG:3857)."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    with driver.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN".encode()) as copy:
        for row in rows:
            copy.write_row([_ewkb(v) if isinstance(v, bytes) else v for v in row])


def _ewkb(wkb: bytes) -> str:
    return shapely.to_wkb(shapely.set_srid(shapely.from_wkb(wkb), 3857), True, include_srid=True)


def _touch(connection: sa.Connection, layer: Layer, places: str) -> None:
    """Make a revision, and log these geometries with it."""
    count = int(connection.scalar(sa.text(f"SELECT count(*) FROM ({places}) p")) or 0)
    if not count:
        return
    key = literal(layer.id)
    revision = f"quartier.allocate_revision({key}, 0, 0, 0)"
    if count > MOST_PLACES:
        statement = f"SELECT quartier.touch_everything({key}, {revision})"
    else:
        statement = f"SELECT quartier.touch_places({key}, {revision}, ARRAY({places}), {LOG_BOUND})"
    connection.execute(sa.text(statement))
