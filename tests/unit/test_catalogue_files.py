"""The catalogue's YAML: what is wrong is told with the file, the line and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from layers.catalogue_files import read_catalogue
from layers.columns import ColumnType, GeometryType
from layers.errors import CatalogueError

TREES = """\
id: trees
title: {en: Trees, fr: Arbres}
publisher: City of Example
licence: CC-BY-4.0
attribution: "© City of Example"
geometry: point
key: number
columns:
  - name: number
  - name: height
    type: number
    from: "Hauteur (m)"
tile: [height]
style:
  color: green
  classes:
    - value: a
      color: blue
"""
MAP = """\
id: city
title: The city
layers:
  - trees
  - {id: trees, visible: false}
view: {longitude: 4.8, latitude: 45.2, zoom: 13}
"""


def catalogue(folder: Path, trees: str = TREES, map_: str = MAP) -> Path:
    for name, text in (("layers/trees.yaml", trees), ("maps/city.yaml", map_)):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def problems(folder: Path) -> list[str]:
    """What is wrong, without the path of the folder."""
    with pytest.raises(CatalogueError) as caught:
        read_catalogue(folder)
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def test_a_catalogue_is_read_with_the_place_of_each_declaration(tmp_path: Path) -> None:
    found = read_catalogue(catalogue(tmp_path))
    trees = found.layers["trees"]
    assert trees.geometry is GeometryType.POINT
    assert trees.key == ("number",)
    assert trees.column("height").type is ColumnType.NUMBER
    assert trees.column("height").header == "Hauteur (m)"
    assert found.paths["trees"] == tmp_path / "layers" / "trees.yaml"
    assert [shown.visible for shown in found.maps["city"].layers] == [True, False]


CASES = {
    # id: (what stands in the file, what is written instead, the whole message)
    "an unknown field": (
        "licence:", "license:",
        ["layers/trees.yaml:1: licence: is missing; add it",
         "layers/trees.yaml:4: license: is not a field; did you mean licence?"],
    ),
    "an unknown field deep inside": (
        "    from:", "    fom:",
        ["layers/trees.yaml:12: columns.1.fom: is not a field; did you mean from?"],
    ),
    "an unknown field of a style": (
        "  color: green", "  colour: green",
        ["layers/trees.yaml:15: style.colour: is not a field; did you mean color?"],
    ),
    "an unknown field of a class": (
        "      color: blue", "      dashes: dotted",
        ["layers/trees.yaml:18: style.classes.0.dashes: is not a field; did you mean dash?"],
    ),
    "a missing field": (
        "publisher: City of Example\n", "",
        ["layers/trees.yaml:1: publisher: is missing; add it"],
    ),
    "an unknown geometry": (
        "geometry: point", "geometry: points",
        ["layers/trees.yaml:6: geometry: 'points': input should be 'point', 'line', 'polygon',"
         " 'mixed' or 'none'"],
    ),
    "an unknown type": (
        "type: number", "type: float",
        ["layers/trees.yaml:11: columns.1.type: 'float': input should be 'text', 'integer',"
         " 'number', 'boolean', 'date', 'datetime', 'time' or 'json'"],
    ),
    "text where a number belongs": (
        "key: number", "minzoom: low",
        ["layers/trees.yaml:7: minzoom: 'low': input should be a valid integer, unable to parse"
         " string as an integer"],
    ),
    "a zoom too deep": (
        "key: number", "maxzoom: 30",
        ["layers/trees.yaml:7: maxzoom: 30: input should be less than or equal to 22"],
    ),
    "a time zone that there is not": (
        "key: number", "time_zone: Europe/Pari",
        ["layers/trees.yaml:7: time_zone: 'Europe/Pari' is not a time zone; write one like"
         " Europe/Paris"],
    ),
    "a time zone that leads out of its folder": (
        "key: number", "time_zone: ../../etc/passwd",
        ["layers/trees.yaml:7: time_zone: '../../etc/passwd' is not a time zone; write one like"
         " Europe/Paris"],
    ),
    "a colour that there is not": (
        "color: green", "color: greenish",
        ["layers/trees.yaml:15: style.color: 'greenish' is neither #rrggbb nor one of blue,"
         " orange, green, rose, gold, sky, violet, ink"],
    ),
    "a column of ours": (
        "- name: number", "- name: geom",
        ["layers/trees.yaml:9: columns.0.name: 'geom' is a column of Quartier's own; choose"
         " another name"],
    ),
    "a column name that SQL would take": (
        "- name: number", "- name: Number of the tree",
        ["layers/trees.yaml:9: columns.0.name: 'Number of the tree': string should match pattern"
         " '^[a-z][a-z0-9_]{0,62}$'"],
    ),
    "a key that is no column": (
        "key: number", "key: nummer",
        ["layers/trees.yaml:7: key: no column 'nummer'; columns are number, height"],
    ),
    "a tile column that is no column": (
        "tile: [height]", "tile: [heights]",
        ["layers/trees.yaml:13: tile: no column 'heights'; columns are number, height"],
    ),
    "a column declared twice": (
        "- name: height", "- name: number",
        ["layers/trees.yaml:8: columns: number declared twice"],
    ),
    "zooms the wrong way round": (
        "key: number",
        "minzoom: 12\nmaxzoom: 9",
        ["layers/trees.yaml:7: minzoom: 12 is greater than maxzoom 9"],
    ),
    "an id that is not the file's name": (
        "id: trees", "id: tree",
        ["layers/trees.yaml:1: id is 'tree'; name the file tree.yaml"],
    ),
    "half a pair of coordinates": (
        "key: number", "source: {geometry: {longitude: x}}",
        ["layers/trees.yaml:7: source.geometry: give either longitude and latitude, or column"],
    ),
    "what is not YAML": (
        "key: number", "key: [number",
        ["layers/trees.yaml:8: not YAML: expected ',' or ']', but got ':'"],
    ),
    "a tab": (
        "  - name: number", "\t- name: number",
        ["layers/trees.yaml:9: not YAML: found character '\\t' that cannot start any token"],
    ),
    "a field written twice": (
        "geometry: point", "geometry: point\ngeometry: line",
        ["layers/trees.yaml:7: geometry: stands there twice; remove one"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("there", "instead", "told"), CASES.values(), ids=list(CASES))
def test_a_wrong_declaration_is_told_with_line_and_fix(
    tmp_path: Path, there: str, instead: str, told: list[str]
) -> None:
    assert there in TREES
    found = problems(catalogue(tmp_path, TREES.replace(there, instead, 1)))
    assert sorted(p for p in found if p.startswith("layers")) == sorted(told)


MAP_CASES = {
    "an unknown layer": (
        "  - trees\n", "  - tree\n",
        ["maps/city.yaml:4: layers: no layer 'tree'; did you mean trees?"],
    ),
    "an unknown field": (
        "title: The city", "titel: The city",
        ["maps/city.yaml:1: title: is missing; add it",
         "maps/city.yaml:2: titel: is not a field; did you mean title?"],
    ),
    "no layers": (
        "layers:\n  - trees\n  - {id: trees, visible: false}", "layers: []",
        ["maps/city.yaml:3: layers: list should have at least 1 item after validation, not 0"],
    ),
    "a place off the earth": (
        "latitude: 45.2", "latitude: 95",
        ["maps/city.yaml:6: view.latitude: 95: input should be less than or equal to 90"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("there", "instead", "told"), MAP_CASES.values(), ids=list(MAP_CASES))
def test_a_wrong_map_is_told_with_line_and_fix(
    tmp_path: Path, there: str, instead: str, told: list[str]
) -> None:
    assert there in MAP
    assert sorted(problems(catalogue(tmp_path, map_=MAP.replace(there, instead, 1)))) == told


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "- trees\n", "trees\n"])
def test_a_file_that_declares_nothing_says_what_belongs_there(tmp_path: Path, text: str) -> None:
    found = problems(catalogue(tmp_path, text))
    assert "layers/trees.yaml:1: expected `id: trees` and other fields" in found


def test_every_problem_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    wrong = TREES.replace("geometry: point", "geometry: dot").replace("color: green", "color: g")
    (catalogue(tmp_path, wrong) / "layers" / "parks.yaml").write_text("id: park\n")
    found = problems(tmp_path)
    assert len([p for p in found if p.startswith("layers/trees.yaml")]) == 2
    assert len([p for p in found if p.startswith("layers/parks.yaml")]) >= 4


def test_a_map_of_a_layer_without_geometry_says_so(tmp_path: Path) -> None:
    calls = TREES.replace("geometry: point", "geometry: none")
    assert problems(catalogue(tmp_path, calls)) == [
        "maps/city.yaml:4: layers: 'trees' has no geometry to draw; remove it",
        "maps/city.yaml:5: layers: 'trees' has no geometry to draw; remove it",
    ]


def test_a_map_and_a_layer_of_one_id_are_told(tmp_path: Path) -> None:
    folder = catalogue(tmp_path)
    (folder / "maps" / "trees.yaml").write_text(MAP.replace("id: city", "id: trees"))
    assert problems(folder) == [
        "maps/trees.yaml:1: id 'trees' is a layer's too; styles need one of them renamed"
    ]


def test_text_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    folder = catalogue(tmp_path)
    (folder / "layers" / "trees.yaml").write_bytes(TREES.encode("latin-1"))
    assert "layers/trees.yaml: not UTF-8 text; save it as UTF-8" in problems(folder)


def test_a_catalogue_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"gone: no such directory; set QUARTIER_CATALOGUE"):
        read_catalogue(tmp_path / "gone")


def test_a_merged_mapping_may_be_overridden(tmp_path: Path) -> None:
    merged = TREES.replace("  - name: height\n", "  - &height\n    name: height\n").replace(
        "tile: [height]\n", "  - <<: *height\n    name: width\ntile: [height]\n"
    )
    trees = read_catalogue(catalogue(tmp_path, merged)).layers["trees"]
    assert [(c.name, c.source) for c in trees.columns[1:]] == [
        ("height", "Hauteur (m)"),
        ("width", "Hauteur (m)"),
    ]


def test_a_list_in_the_place_of_a_name_is_told(tmp_path: Path) -> None:
    found = problems(catalogue(tmp_path, TREES + "? [a, b]\n: 1\n"))
    assert "layers/trees.yaml:19: not YAML: found unhashable key" in found


def test_yaml_runs_nothing(tmp_path: Path) -> None:
    evil = TREES.replace("key: number", "key: !!python/object/apply:os.system ['true']")
    assert any("not YAML" in problem for problem in problems(catalogue(tmp_path, evil)))


TILESET = """\
id: photo
title: Photograph
publisher: City of Example
licence: CC-BY-4.0
attribution: "© City of Example"
file: photo.tif
raster: {bands: [3, 2, 1], rescale: [0, 3000]}
"""


def with_tileset(tmp_path: Path, content: str, name: str = "photo") -> Path:
    for folder, file, text in (
        ("layers", "trees", TREES), ("maps", "city", MAP), ("tilesets", name, content)
    ):  # fmt: skip
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{file}.yaml").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_tileset_is_read_with_the_folder_its_file_is_relative_to(tmp_path: Path) -> None:
    found = read_catalogue(with_tileset(tmp_path, TILESET))
    assert found.tilesets["photo"].raster.rescale == ((0.0, 3000.0),)
    assert found.tilesets["photo"].is_raster
    assert found.paths["photo"] == tmp_path / "tilesets" / "photo.yaml"


@pytest.mark.parametrize(
    ("written", "instead", "says"),
    [
        ("photo.tif", "photo.vrt", "photo.yaml:6: file: 'photo.vrt' ends with none of .pmtiles"),
        ("photo.tif", "photo.pmtiles", "photo.yaml:7: raster: is for .tif files"),
        ("[0, 3000]", "[3000, 0]", "raster: rescale: 3000 must be less than 0"),
        ("[0, 3000]", "[0, .inf]", "raster: rescale: 0 must be less than inf"),
        ("[0, 3000]", "[[0, 1], [0, 2]]", "raster: rescale: give one range, or one for each"),
        ("[3, 2, 1]", "[0]", "raster.bands.0: 0: input should be greater than or equal to 1"),
        ("[3, 2, 1]", "[1, 2, 3, 4, 5]", "raster.bands"),
        ("[3, 2, 1]", "[1, 2]", "raster: bands: give one, three or four"),
        ("file: photo", "fiel: photo", "photo.yaml:6: fiel: is not a field; did you mean file?"),
    ],
)
def test_a_wrong_tileset_is_told_with_file_line_and_fix(
    tmp_path: Path, written: str, instead: str, says: str
) -> None:
    with pytest.raises(CatalogueError) as told:
        read_catalogue(with_tileset(tmp_path, TILESET.replace(written, instead)))
    assert says in str(told.value)


def test_a_tileset_may_not_have_the_id_of_a_layer_or_a_map(tmp_path: Path) -> None:
    wrong = with_tileset(tmp_path, TILESET.replace("id: photo", "id: trees"), "trees")
    with pytest.raises(CatalogueError, match="id 'trees' is a layer's or a map's too"):
        read_catalogue(wrong)
