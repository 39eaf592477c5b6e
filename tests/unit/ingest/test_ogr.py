from __future__ import annotations

import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pytest
import shapely

from ingest.errors import SourceRefused
from ingest.files import SHAPEFILE
from tests.unit.ingest.making import Folder, layer_of, take

TREES = layer_of("name", {"name": "height", "type": "number"}, geometry="point")
POINTS = ["POINT (2 48)", "POINT (3 49)", "POINT (2.5 48.5)"]


def write(path: Path, *wkt: str | None, crs: str | None = "EPSG:4326", **more: Any) -> Path:
    """A file of these shapes, with the columns name and height."""
    shapes = shapely.from_wkt(np.array(wkt, dtype=object))
    names = more.pop("names", [f"n{number}" for number in range(len(wkt))])
    pyogrio.raw.write(
        path,
        shapely.to_wkb(shapes),
        [np.array(names, dtype=object), np.arange(len(wkt)) + 0.5],
        np.array(more.pop("fields", ["name", "height"]), dtype=object),
        geometry_type=more.pop("geometry_type", "Point"),
        crs=crs,
        **more,
    )
    return path


@pytest.fixture
def shapefile(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    return write(tmp_path / "made" / "trees.shp", *POINTS, None)


def zipped(shapefile: Path, *suffixes: str, under: str = "") -> Path:
    path = shapefile.parent.parent / "trees.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for suffix in suffixes or SHAPEFILE:
            part = shapefile.with_suffix(f".{suffix}")
            if part.exists():
                archive.write(part, f"{under}{part.name}")
    return path


def test_a_shapefile_is_read_beside_its_parts_or_in_a_zip(shapefile: Path) -> None:
    for path in (shapefile, zipped(shapefile), zipped(shapefile, under="Données/Arbres 2026/")):
        taken = take(TREES, path, batch_rows=3)
        assert taken.column("name") == ["n0", "n1", "n2", "n3"]
        assert taken.column("height") == [0.5, 1.5, 2.5, 3.5]
        assert taken.column("line") == [1, 2, 3, 4]
        assert taken.shapes == [*POINTS, None]
        assert taken.facts[0].format == "shapefile"
        assert taken.progress[-1] == taken.total_bytes


def test_without_prj_the_crs_must_be_declared(shapefile: Path) -> None:
    path = zipped(shapefile, "shp", "shx", "dbf")
    with pytest.raises(SourceRefused, match=r"its .prj is missing; declare source.crs"):
        take(TREES, path)
    declared = layer_of("name", geometry="point", source={"crs": "EPSG:4326"})
    assert take(declared, path).shapes[0] == POINTS[0]


def test_without_dbf_only_a_layer_without_columns_is_read(shapefile: Path) -> None:
    path = zipped(shapefile, "shp", "shx", "prj")
    with pytest.raises(SourceRefused, match=r"its .dbf is missing, so name, height cannot be read"):
        take(TREES, path)
    assert take(layer_of(geometry="point"), path).read == 4


def test_a_missing_shx_is_rebuilt(shapefile: Path) -> None:
    taken = take(TREES, zipped(shapefile, "shp", "dbf", "prj"))
    assert taken.read == 4
    assert taken.notes["shx_rebuilt"] is True


def test_a_shp_cut_short_is_refused(shapefile: Path) -> None:
    shapefile.write_bytes(shapefile.read_bytes()[:-20])
    with pytest.raises(SourceRefused, match=r"trees.shp: the .shp is cut short"):
        take(TREES, shapefile)


@pytest.mark.parametrize(("encoding", "found"), [("UTF-8", "utf-8"), ("CP1252", "cp1252")])
def test_texts_without_cpg_are_told_by_their_bytes(
    tmp_path: Path, encoding: str, found: str
) -> None:
    path = write(tmp_path / "a.shp", POINTS[0], names=["Orée ñ"], encoding=encoding)
    with_cpg = take(TREES, path)
    path.with_suffix(".cpg").unlink()
    without = take(TREES, path)
    assert with_cpg.column("name") == without.column("name") == ["Orée ñ"]
    assert without.facts[0].encoding == found


def test_names_cut_by_the_shapefile_are_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.shp", POINTS[0], fields=["gestionnai", "hauteur_de"])
    layer = layer_of(
        {"name": "manager", "from": "gestionnaire"},
        {"name": "height", "type": "number", "from": "Hauteur de l'arbre"},
        geometry="point",
    )
    taken = take(layer, path)
    assert (taken.column("manager"), taken.column("height")) == (["n0"], [0.5])
    assert taken.notes["headers_spelt_otherwise"] == {
        "manager": "gestionnai",
        "height": "hauteur_de",
    }


def test_two_shapefiles_in_a_zip_need_a_sublayer(tmp_path: Path, folder: Folder) -> None:
    members: dict[str, bytes] = {}
    for name in ("north", "south"):
        path = write(tmp_path / f"{name}.shp", *POINTS)
        members |= {part.name: part.read_bytes() for part in tmp_path.glob(f"{path.stem}.*")}
    packed = folder.zip(members)
    with pytest.raises(SourceRefused, match=r"source.sublayer as one of: north, south"):
        take(TREES, packed)
    layer = layer_of("name", geometry="point", source={"sublayer": "south"})
    assert take(layer, packed).read == 3


def test_a_projected_file_comes_out_in_degrees(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", "POINT (652709 6862305)", crs="EPSG:2154")
    taken = take(TREES, path)
    assert (
        shapely.distance(shapely.from_wkt(taken.shapes[0]), shapely.Point(2.3557, 48.8591)) < 0.001
    )
    assert taken.facts[0].crs == "EPSG:2154"


def test_a_declared_crs_that_the_file_denies_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", "POINT (652709 6862305)", crs="EPSG:2154")
    layer = layer_of("name", geometry="point", source={"crs": "EPSG:27572"})
    with pytest.raises(SourceRefused, match=r"file says EPSG:2154, source.crs says EPSG:27572"):
        take(layer, path)
    same = layer_of("name", geometry="point", source={"crs": "epsg:2154"})
    assert take(same, path).read == 1


def test_a_geopackage_of_several_layers_needs_a_sublayer(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", *POINTS, layer="trees")
    write(path, POINTS[0], layer="banks", append=True)
    with pytest.raises(SourceRefused, match=r"several layers; .* one of: trees, banks"):
        take(TREES, path)
    layer = layer_of("name", geometry="point", source={"sublayer": "banks"})
    assert take(layer, path).read == 1
    with pytest.raises(SourceRefused, match=r"no layer 'lamps'"):
        take(layer_of("name", geometry="point", source={"sublayer": "lamps"}), path)


def test_arcs_become_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", "LINESTRING (0 0, 1 1)", geometry_type="Unknown")
    arc = b"\x01\x08\x00\x00\x00\x03\x00\x00\x00" + np.array([0, 0, 1, 1, 2, 0], "<f8").tobytes()
    header = b"GP\x00\x01" + (4326).to_bytes(4, "little")
    with sqlite3.connect(path) as database:
        database.create_function("ST_IsEmpty", 1, lambda _: 0)
        for name in ("MinX", "MaxX", "MinY", "MaxY"):
            database.create_function(f"ST_{name}", 1, lambda _: 0.0)
        (table,) = database.execute("SELECT table_name FROM gpkg_contents").fetchone()
        database.execute(f'UPDATE "{table}" SET geom = ?', (header + arc,))
    database.close()
    line = shapely.from_wkt(take(layer_of("name", geometry="line"), path).shapes[0])
    assert shapely.get_num_points(line) > 10
    assert shapely.length(line) == pytest.approx(np.pi, rel=0.01)


def test_a_file_that_is_no_geopackage_inside_is_refused(folder: Folder) -> None:
    with pytest.raises(SourceRefused, match=r"things.gpkg: it is damaged or not what it seems"):
        take(TREES, folder.data(b"SQLite format 3\x00" + b"x" * 5000, "things.gpkg"))


def test_names_that_mean_something_to_gdal_are_only_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", *POINTS)
    odd = path.rename(tmp_path / "a!b?.zip #1.gpkg")
    assert take(TREES, odd).read == 3


def test_values_keep_their_types(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    pyogrio.raw.write(
        path,
        shapely.to_wkb(shapely.points([[2, 48]])),
        [
            np.array([7], np.int32),
            np.array([True]),
            np.array(["2026-07-05"], "datetime64[D]"),
            np.array(["2026-07-05T12:00:00"], "datetime64[ms]"),
        ],
        np.array(["n", "ok", "day", "at"], dtype=object),
        geometry_type="Point",
        crs="EPSG:4326",
    )
    kinds = {"n": "integer", "ok": "boolean", "day": "date", "at": "datetime"}
    columns: list[dict[str, object]] = [
        {"name": name, "type": kind} for name, kind in kinds.items()
    ]
    (row,) = take(layer_of(*columns, geometry="point", time_zone="Europe/Paris"), path).rows
    assert (row["n"], row["ok"], str(row["day"])) == (7, True, "2026-07-05")
    assert str(row["at"]) == "2026-07-05 10:00:00+00:00"


def test_a_gzipped_geopackage_is_read(tmp_path: Path, folder: Folder) -> None:
    path = write(tmp_path / "a.gpkg", *POINTS)
    assert take(TREES, folder.gz(path.read_bytes(), "a.gpkg.gz")).read == 3
    assert take(TREES, folder.zip({"deep/a.gpkg": path.read_bytes()})).read == 3
