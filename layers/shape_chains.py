"""Lines that agree and meet end to end, joined into chains for low zooms."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import shapely
import sqlalchemy as sa
from numpy.typing import NDArray

from layers.columns import Column
from layers.model import Layer
from layers.shape_rows import Geometries, copy_rows, geometries_and, make_table, touch
from layers.shape_sql import reshape
from layers.shapes import carried, chain_bands, chain_columns, chain_order, shapes_table
from layers.sql import ident
from layers.tables import CITY, type_name


def join(connection: sa.Connection, layer: Layer) -> None:
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
    make_table(connection, "chained (chain bigint, geom @geometry)")
    copy_rows(connection, "chained (chain, geom)", [(c, geom) for c, (_, geom) in new.items()])
    make_table(connection, "member (fid bigint, chain bigint)")
    members = [(fid, chain) for chain, (fids, _) in new.items() for fid in fids]
    copy_rows(connection, "member (fid, chain)", members)
    _draw_chains(connection, layer)
    connection.execute(sa.text("CREATE TEMP TABLE loose (fid bigint) ON COMMIT DROP"))
    copy_rows(connection, "loose (fid)", [(fid,) for fid in sorted(set(touched))])
    touch(
        connection,
        layer,
        f"SELECT c.tile_geom FROM {CITY}.{ident(layer.id)} c JOIN loose USING (fid)",
    )
    connection.execute(sa.text("DROP TABLE chained, member, loose"))


def _told(layer: Layer, column: Column) -> str:
    """What a chain carries in a column, as an aggregate over its members `c`."""
    value = f"c.{ident(column.name)}"
    if column.name in chain_columns(layer):
        return f"(array_agg({value} ORDER BY c.fid))[1]"
    if (order := chain_order(layer).get(column.name)) is not None:
        return f"(array_agg({value} ORDER BY {value} {order}))[1]"
    return f"CAST(NULL AS {type_name(column.type)})"


def _draw_chains(connection: sa.Connection, layer: Layer) -> None:
    """A chain carries what its lines agree in, and the best they have of the priority."""
    shapes, tops = shapes_table(layer), chain_bands(layer)
    names = "".join(f", {ident(column.name)}" for column in carried(layer))
    told = "".join(f", {_told(layer, column)} AS {ident(column.name)}" for column in carried(layer))
    statements = [
        f"DELETE FROM {shapes} s USING member m"
        ' WHERE s.fid = m.fid AND s."#band" = ANY (CAST(:tops AS int[]))',
        f'INSERT INTO {shapes} ("#band", fid, "#size", "#part_of"{names})'
        f" SELECT b, m.fid, ST_Length(c.tile_geom), m.chain"
        f"{''.join(f', c.{ident(column.name)}' for column in carried(layer))} FROM member m"
        f" JOIN {CITY}.{ident(layer.id)} c ON c.fid = m.fid"
        " CROSS JOIN unnest(CAST(:tops AS int[])) b",
        f'INSERT INTO {shapes} ("#band", fid, geom, "#size"{names})'
        f" SELECT s.band, j.chain, s.geom, s.size{names} FROM ("
        f"SELECT m.chain{told} FROM member m JOIN {CITY}.{ident(layer.id)} c ON c.fid = m.fid"
        " GROUP BY m.chain) t JOIN chained j ON j.chain = t.chain,"
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
    fids, lines, kind = geometries_and(connection, layer, single, kinds)
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
