"""What is drawn of a layer's rows together: borders that stay shared, lines joined into chains.

It takes the whole layer, so it runs at the end of a run and in `quartier apply`, not in triggers.
The caller holds the layer's lock. Where it changes anything, that is a revision (the
transaction's own, where it has made one) and is logged.
"""

from __future__ import annotations

import numpy as np
import shapely
import sqlalchemy as sa
from numpy.typing import NDArray

from layers.model import Layer
from layers.shape_chains import join
from layers.shape_rows import Geometries, copy_rows, geometries, make_table, touch
from layers.shapes import bands, has_batch, pixel_m, shapes_table
from layers.sql import ident
from layers.tables import CITY

SNAP_M, GAP_M = 0.1, 1.0  # of EPSG:3857; a pixel of the finest band is 9.6 m


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
        join(connection, layer)
    fresh = sa.text("UPDATE quartier.shape_state SET stale = false WHERE layer_id = :id")
    connection.execute(fresh, {"id": layer.id})
    return note


def _simplify_together(connection: sa.Connection, layer: Layer) -> str:
    """Simplify all polygons of each band at once. A polygon of which that would make something
    else keeps the shape it has by itself.
    """
    fids, polygons = geometries(connection, layer, "tile_geom IS NOT NULL")
    clean, strays = _as_coverage(polygons)
    make_table(connection, "settled (band int, fid bigint, geom @geometry)")
    make_table(connection, "alone (fid bigint)")
    for band in bands(layer):
        half = pixel_m(band) / 2
        simple = shapely.coverage_simplify(clean, half)
        good = shapely.is_valid(simple) & ~shapely.is_empty(simple) & (strays <= half)
        copy_rows(connection, "alone (fid)", [(fid,) for fid in fids[~good].tolist()])
        rows = zip(fids[good].tolist(), shapely.to_wkb(simple[good]), strict=True)
        copy_rows(connection, "settled (band, fid, geom)", [(band, *row) for row in rows])
    _keep_alone(connection, layer)
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


def _keep_alone(connection: sa.Connection, layer: Layer) -> None:
    """What is not simplified together has its own shape, and not one of an earlier batch."""
    tops = f"'{{{','.join(map(str, bands(layer)))}}}'::int[]"
    connection.execute(
        sa.text(
            "INSERT INTO settled (band, fid, geom) SELECT s.band, c.fid, s.geom"
            f" FROM {CITY}.{ident(layer.id)} c,"
            f" LATERAL quartier.shapes_of(c.fid, c.tile_geom, {tops}) s"
            " WHERE c.fid IN (SELECT fid FROM alone) AND NOT EXISTS"
            " (SELECT FROM settled t WHERE (t.band, t.fid) = (s.band, c.fid))"
        )
    )
    connection.execute(sa.text("DROP TABLE alone"))


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
    touch(connection, layer, "SELECT old FROM moved UNION ALL SELECT new FROM moved")
    connection.execute(sa.text("DROP TABLE moved, settled"))
