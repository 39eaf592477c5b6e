from __future__ import annotations

from pathlib import Path

import pytest
import shapely

from ingest.errors import SourceRefused
from tests.unit.ingest.making import Folder, layer_of, take

POINTS = layer_of(geometry="point")
MIXED = layer_of(geometry="mixed")
PAD = "2,48\n" * 20


def table(folder: Folder, header: str, *cells: str) -> Path:
    quoted = (cell.replace('"', '""') for cell in cells)
    return folder.text(f"{header}\n" + "".join(f'"{cell}"\n' for cell in quoted))


@pytest.mark.parametrize(
    "header",
    ["longitude,latitude", "Lon,Lat", "lng,LAT", "longitud,latitud", "LONGITUDE,LATITUDE"],
)
def test_well_known_pairs_are_found(folder: Folder, header: str) -> None:
    assert take(POINTS, folder.text(f"{header}\n2.5,48.5\n")).shapes == ["POINT (2.5 48.5)"]


def test_x_and_y_need_a_declared_crs(folder: Folder) -> None:
    path = folder.text("x,y\n652709,6862305\n")
    with pytest.raises(SourceRefused, match=r"no column that holds the place.* headers are x, y"):
        take(POINTS, path)
    (shape,) = take(layer_of(geometry="point", source={"crs": "EPSG:2154"}), path).shapes
    assert shapely.distance(shapely.from_wkt(shape), shapely.Point(2.3557, 48.8591)) < 0.001


def test_a_shape_goes_before_its_label_point(folder: Folder) -> None:
    text = 'geo_point_2d;geo_shape\n"48, 2";"{""coordinates"": [3, 49], ""type"": ""Point""}"\n'
    assert take(POINTS, folder.text(text)).shapes == ["POINT (3 49)"]


def test_declared_columns_are_found_by_spelling_and_refused_when_missing(folder: Folder) -> None:
    path = folder.text("Longitude WGS,Latitude WGS\n2,48\n")
    source = {"geometry": {"longitude": "longitude_wgs", "latitude": "latitude_wgs"}}
    assert take(layer_of(geometry="point", source=source), path).shapes == ["POINT (2 48)"]
    with pytest.raises(SourceRefused, match=r"no column for 'geometry' from 'shape'"):
        take(layer_of(geometry="point", source={"geometry": {"column": "shape"}}), path)


def test_decimal_commas_in_degrees_are_read_and_told(folder: Folder) -> None:
    taken = take(POINTS, folder.text('lon;lat\n"2,352";"48,856"\n2.1;48.1\n'))
    assert taken.shapes == ["POINT (2.352 48.856)", "POINT (2.1 48.1)"]
    assert taken.notes["decimal_commas"] == 2


NOWHERE = ["0,0", "0.0,-0.0", ",", "2,", ",48", "NaN,NaN", "nan,48", "null,null"]


@pytest.mark.parametrize("pair", NOWHERE)
def test_no_coordinates_and_null_island_are_no_place(folder: Folder, pair: str) -> None:
    taken = take(POINTS, folder.text(f"lon,lat\n{pair}\n2,48\n"))
    assert taken.shapes == [None, "POINT (2 48)"]
    assert taken.notes["without_place"] == 1


def test_greenwich_and_the_equator_are_places(folder: Folder) -> None:
    taken = take(POINTS, folder.text("lon,lat\n0,51.48\n9.45,0\n"))
    assert taken.shapes == ["POINT (0 51.48)", "POINT (9.45 0)"]


def test_null_island_is_no_place_in_a_parsed_column_either(folder: Folder) -> None:
    taken = take(MIXED, table(folder, "geom", "POINT (0 0)", "0, 0", "LINESTRING (0 0, 1 1)"))
    assert taken.shapes == [None, None, "LINESTRING (0 0, 1 1)"]


@pytest.mark.parametrize(
    "text",
    [
        "48.5, 2.5",
        "48.5,2.5",
        "(48.5, 2.5)",
        "POINT (2.5 48.5)",
        "point(2.5 48.5)",
        "SRID=4326;POINT(2.5 48.5)",
        '{"type":"Point","coordinates":[2.5,48.5]}',
        '{"coordinates": [2.5, 48.5], "type": "Point"}',
        '{"type":"Feature","properties":{},"geometry":{"type":"Point","coordinates":[2.5,48.5]}}',
        '{"geometry":{"coordinates":[2.5,48.5],"type":"Point"},"type":"Feature"}',
        '{"lon": 2.5, "lat": 48.5}',
        '{"lat": "48.5", "lon": "2.5"}',
        "[48.5, 2.5]",
        "01010000000000000000000440 0000000000404840".replace(" ", ""),
    ],
)
def test_the_content_of_a_column_tells_its_form(folder: Folder, text: str) -> None:
    taken = take(POINTS, table(folder, "geom", text, text))
    assert taken.shapes == ["POINT (2.5 48.5)"] * 2


def test_forms_may_be_mixed_and_empty(folder: Folder) -> None:
    cells = [
        "48, 2",
        "",
        "POINT EMPTY",
        "{}",
        "null",
        '{"type":"Feature","geometry":null}',
        "POINT(3 49)",
    ]
    taken = take(POINTS, table(folder, "geom", *cells))
    assert taken.shapes == ["POINT (2 48)", None, None, None, None, None, "POINT (3 49)"]
    assert taken.notes["without_place"] == 5


def test_the_srid_of_a_cell_is_honoured(folder: Folder) -> None:
    cells = ["SRID=2154;POINT(652709 6862305)", "SRID=3857;POINT(262221 6250821)", "POINT(2 48)"]
    taken = take(POINTS, table(folder, "geom", *cells))
    near = [shapely.from_wkt(shape) for shape in taken.shapes]
    assert shapely.distance(near[0], near[1]) < 0.01
    assert taken.shapes[2] == "POINT (2 48)"
    assert taken.notes["rows_with_srid"] == 2


NO_PLACES = ["here", "POINT (2", '{"type":', "12", '{"a": 1}', "ff00ff00ff00ff00ff"]


@pytest.mark.parametrize("text", NO_PLACES)
def test_a_cell_that_is_no_place_withholds_its_row(folder: Folder, text: str) -> None:
    taken = take(POINTS, table(folder, "geom", "48, 2", text, "48, 2"))
    (refusal,) = taken.withheld
    assert (refusal.line, refusal.row, len(taken.rows)) == (3, 2, 2)
    assert refusal.reason.startswith("geom: ")


def test_a_coordinate_that_is_no_number_withholds_its_row(folder: Folder) -> None:
    taken = take(POINTS, folder.text("lon,lat\n2,48\neast,48\n2,48\n"))
    assert taken.withheld[0].reason == "lon: 'east' is not a number"


def test_a_few_coordinates_out_of_range_are_withheld(folder: Folder) -> None:
    taken = take(POINTS, folder.text(f"lon,lat\n{PAD}2,91.5\n98.5,-120\n190,48\n-99.1,19.4\n"))
    assert [refusal.reason for refusal in taken.withheld] == [
        "latitude 91.5 is outside −90…90; are latitude and longitude swapped?",
        "latitude -120.0 is outside −90…90",
        "longitude 190.0 is outside −180…180",
    ]
    assert taken.shapes[-1] == "POINT (-99.1 19.4)"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1067382,241224", r"x=1067382 y=241224 look like metres or feet .* EPSG:\d+"),
        ("652709,6862305", r"declare source.crs, for example EPSG:2154"),
        ("19.4,-99.1", r"are latitude and longitude swapped\?"),
    ],
)
def test_a_file_that_cannot_be_in_degrees_is_refused_with_a_guess(
    folder: Folder, row: str, said: str
) -> None:
    for count in (3, 1500):
        with pytest.raises(SourceRefused, match=said):
            take(POINTS, folder.text("lon,lat\n" + f"{row}\n" * count), batch_rows=500)


def test_the_first_thousand_places_tell_the_unit_whatever_the_batch(folder: Folder) -> None:
    metres, degrees = "652709,6862305\n", "2,48\n"
    wrong = folder.text("lon,lat\n" + metres * 600 + degrees * 5000)
    for batch_rows in (70, 65_536):
        with pytest.raises(SourceRefused, match="look like metres"):
            take(POINTS, wrong, batch_rows=batch_rows)
    assert len(take(POINTS, folder.text("lon,lat\n" + degrees * 600 + metres * 500)).rows) == 600


def test_unknown_systems_are_refused_with_an_example(folder: Folder) -> None:
    layer = layer_of(geometry="point", source={"crs": "Lambert"})
    with pytest.raises(SourceRefused, match=r"'Lambert' is no coordinate.*EPSG:2154"):
        take(layer, folder.text("lon,lat\n2,48\n"))


def test_places_out_of_reach_of_their_system_refuse_the_file(folder: Folder) -> None:
    layer = layer_of(geometry="point", source={"crs": "EPSG:32631"})
    with pytest.raises(SourceRefused, match=r"cannot be reached from EPSG:32631"):
        take(layer, folder.text("x,y\n" + "1e12,1e12\n" * 3))


def test_a_pair_can_fill_a_layer_of_mixed_shapes(folder: Folder) -> None:
    assert take(MIXED, folder.text("lon,lat\n2,48\n")).shapes == ["POINT (2 48)"]


def test_points_do_not_fit_a_layer_of_areas(folder: Folder) -> None:
    with pytest.raises(SourceRefused, match=r"geometry is a Point; the layer draws polygons"):
        take(layer_of(geometry="polygon"), folder.text("lon,lat\n2,48\n2,48\n"))


def test_a_shape_out_of_reach_is_withheld_alone(folder: Folder) -> None:
    layer = layer_of(geometry="polygon", source={"crs": "EPSG:32631"})
    ring = "POLYGON ((450000 5400000, 451000 5400000, 451000 5401000, 450000 5400000))"
    lost = "POLYGON ((1e30 1e30, 2e30 1e30, 2e30 2e30, 1e30 1e30))"
    taken = take(layer, table(folder, "geom", ring, lost, ring))
    assert (len(taken.rows), taken.withheld[0].row) == (2, 2)
    assert "cannot be reached from EPSG:32631" in taken.withheld[0].reason
