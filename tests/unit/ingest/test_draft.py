from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.draft import as_yaml, draft
from ingest.errors import SourceRefused
from ingest.inspect import inspect_files
from layers.catalogue_files import read_catalogue
from layers.columns import ColumnType, GeometryType
from layers.source import Source
from tests.unit.ingest.making import Folder, collection, feature, point


def typed(folder: Folder, *values: str) -> dict[str, object]:
    """How a column of these values is declared, less its name."""
    path = folder.text("a,b\n" + "".join(f'"{value}",x\n' for value in values))
    column = draft([path]).layer.column("a")
    return column.model_dump(exclude_defaults=True, exclude={"name"})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("1", "", "-3"), {"type": ColumnType.INTEGER}),
        (("1", "2.5", "3,5"), {"type": ColumnType.NUMBER}),
        (("01004", "75001"), {}),
        (("12345678901234567", "1"), {}),
        (("0", "0.5"), {"type": ColumnType.NUMBER}),
        (("Oui", "NON"), {"type": ColumnType.BOOLEAN, "true_values": ("oui",),
                          "false_values": ("non",)}),
        (("true", "false"), {"type": ColumnType.BOOLEAN}),
        (("2026-01-02", "2026-03-04"), {"type": ColumnType.DATE}),
        (("2026-01-02T10:00:00Z", "2026-01-02"), {"type": ColumnType.DATETIME}),
        (("12:30", "07:15:00"), {"type": ColumnType.TIME}),
        (("31/01/2026", "01/02/2026"), {"type": ColumnType.DATE, "format": "%d/%m/%Y"}),
        (("01/02/2026", "03/04/2026"), {}),
        (('{""a"":1}', "[2]"), {"type": ColumnType.JSON}),
        (("", ""), {}),
        (("word", "1"), {}),
    ],
)  # fmt: skip
def test_a_column_is_as_narrow_as_its_values(
    folder: Folder, values: tuple[str, ...], said: dict[str, object]
) -> None:
    assert typed(folder, *values) == said


def test_names_are_made_of_headers_and_never_taken_twice(folder: Folder) -> None:
    path = folder.text("Hauteur (m),hauteur m,geom_,1er étage,fid,,地址\n1,2,3,4,5,6,7\n")
    columns = draft([path]).layer.columns
    assert [(column.name, column.source) for column in columns] == [
        ("hauteur_m", "Hauteur (m)"), ("hauteur_m_2", "hauteur m"), ("geom_", None),
        ("c_1er_etage", "1er étage"), ("fid_", "fid"), ("column", "地址"),
    ]  # fmt: skip


def test_the_place_and_the_key_are_found(folder: Folder) -> None:
    path = folder.text("ref,colour,lat,lon\na,red,48,2\nb,red,49,3\n")
    made = draft([path])
    assert (made.layer.geometry, made.key) == (GeometryType.POINT, "ref")
    assert draft([folder.text("n,colour\n1,red\n")]).layer.geometry is GeometryType.NONE
    line = {"type": "LineString", "coordinates": [[2, 48], [3, 49]]}
    mixed = folder.json(collection(feature(point(2, 48)), feature(line)))
    assert draft([mixed]).layer.geometry is GeometryType.MIXED


def test_keys_that_only_some_files_have_are_optional(folder: Folder) -> None:
    path = folder.zip({"a.csv": b"x,lon,lat\n1,2,48\n", "b.csv": b"x,lon,lat,y\n1,2,48,z\n"})
    columns = {column.name: column.optional for column in draft([path]).layer.columns}
    assert columns == {"x": False, "lon": False, "lat": False, "y": True}


def test_a_table_whose_header_is_a_row_has_none(folder: Folder) -> None:
    layer = draft([folder.text("48.1|2.5|a\n48.2|2.6|b\n")]).layer
    assert layer.source.header == 0
    assert inspect_files(layer, [folder.path / "things.csv"]).taken == 2


def test_what_has_to_be_told_is_asked_for(folder: Folder) -> None:
    path = folder.zip({"a.csv": b"x\n1\n", "b.geojson": b'{"type":"Feature"}'})
    with pytest.raises(SourceRefused, match=r"declare source.sublayer as one of: a, b"):
        draft([path])
    assert draft([path], source=Source(sublayer="a")).layer.source.sublayer == "a"


def test_a_draft_is_a_file_of_the_catalogue(folder: Folder, tmp_path: Path) -> None:
    path = folder.text('Réf;lon;lat;tags\na;2;48;"[1]"\n', "Mes arbres (2026).csv")
    made = draft([path])
    layers = tmp_path / "catalogue" / "layers"
    layers.mkdir(parents=True)
    (layers / "mes_arbres_2026.yaml").write_text(as_yaml(made, [path]), encoding="utf-8")
    read = read_catalogue(tmp_path / "catalogue").layers["mes_arbres_2026"]
    assert read.columns == made.layer.columns
    assert read.source.files == (str(path),)
    assert yaml.safe_load(as_yaml(made, [path]))["geometry"] == "point"


@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=3, max_size=3),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=60, deadline=None)
def test_every_table_can_be_drafted_and_then_read_whole(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    """What its own draft reads of a file loses no row and no cell."""
    path = tmp_path_factory.mktemp("draft") / "a.json"
    path.write_text(json.dumps([dict(zip("xyz", row, strict=True)) for row in rows]))
    found = inspect_files(draft([path]).layer, [path])
    assert (found.read, found.withheld, found.cells) == (len(rows), 0, 0)
