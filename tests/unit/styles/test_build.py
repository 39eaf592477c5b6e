from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import api
from layers.catalog import Bounds
from layers.map import Map
from styles.build import Setting, Style, layer_style, map_style, with_bounds
from styles.colours import Theme
from styles.labels import FONTS
from tests.unit.styles.city import ALL, BIKE, CITY, CRIMES, LAYERS, TREES, WORKS, layer

DAY = Setting(Theme.LIGHT, "https://maps.example", "en")
NIGHT = DAY._replace(theme=Theme.DARK)
VALIDATOR = (
    Path(api.__file__).parent
    / "web/node_modules/@maplibre/maplibre-gl-style-spec/dist/gl-style-validate.mjs"
)


def test_every_style_is_valid_for_maplibre(tmp_path: Path) -> None:
    if not VALIDATOR.exists() or shutil.which("node") is None:
        pytest.skip("needs node and `npm ci` in api/web")
    styles = [map_style(CITY, LAYERS, setting) for setting in (DAY, NIGHT)]
    styles += [layer_style(each, setting) for each in ALL for setting in (DAY, NIGHT)]
    files = []
    for number, style in enumerate(styles):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps(style))
    checked = subprocess.run(
        ["node", VALIDATOR, *files], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_map_is_drawn_in_the_order_of_an_atlas() -> None:
    drawn = [each["id"] for each in map_style(CITY, LAYERS, DAY)["layers"]]
    wanted = [
        "ground", "land:fill", "parks:fill", "water:fill", "buildings:fill", "streets:casing",
        "streets:line", "districts:outline", "parking:fill", "parking:outline", "bike:casing",
        "bike:line", "trees:point", "streets:label", "bike:label",
    ]  # fmt: skip
    assert [each for each in drawn if each in wanted] == wanted


def test_layers_that_start_visible_share_a_source() -> None:
    sources = map_style(CITY, LAYERS, DAY)["sources"]
    assert sources["to-16"]["url"] == (
        "https://maps.example/tiles/"
        "bike,trees,districts,parking,streets,water,rivers,parks,land,buildings,"
        "districts:labels,water:labels.json"
    )


def test_polygons_are_named_at_points_of_their_own_the_largest_first() -> None:
    label = _part(map_style(CITY, LAYERS, DAY), "districts:label")
    assert label["source-layer"] == "districts:labels"
    assert label["layout"]["symbol-sort-key"] == ["-", ["to-number", ["get", "area"], 0]]
    assert _part(map_style(CITY, LAYERS, DAY), "rivers:label")["source-layer"] == "rivers"


def test_a_layer_hidden_at_first_has_a_source_of_its_own() -> None:
    style = map_style(CITY, LAYERS, DAY)
    assert style["sources"]["crimes"]["url"] == "https://maps.example/tiles/crimes.json"
    assert {each["layout"]["visibility"] for each in _of(style, "crimes")} == {"none"}
    assert {each["layout"]["visibility"] for each in _of(style, "trees")} == {"visible"}


def test_layers_of_different_last_zoom_share_no_source() -> None:
    drawn = Map(id="m", title="M", layers=("trees", "crimes"))
    sources = map_style(drawn, LAYERS, DAY)["sources"]
    assert {name: source["url"].rsplit("/", 1)[1] for name, source in sources.items()} == {
        "to-16": "trees.json",
        "to-14": "crimes.json",
    }


def test_a_withdrawn_layer_is_left_out() -> None:
    style = map_style(CITY, {"trees": TREES}, DAY)
    assert list(style["sources"]) == ["to-16"]
    assert {each["source-layer"] for each in style["layers"][1:]} == {"trees"}


def test_an_attribution_cannot_bring_markup() -> None:
    hostile = layer("trees", attribution="<img src=x onerror=alert(1)>")
    credit = layer_style(hostile, DAY)["sources"]["to-16"]["attribution"]
    assert credit == "&lt;img src=x onerror=alert(1)&gt;"


def test_classes_colour_by_the_category_and_everything_else_has_a_colour() -> None:
    line = _part(layer_style(BIKE, DAY), "bike:line")
    match = line["paint"]["line-color"]
    assert match[:2] == ["match", ["to-string", ["get", "kind"]]]
    assert match[2:4] == ["track", "#1e8449"]
    assert isinstance(match[-1], str)


def test_each_dash_is_a_style_layer_and_no_feature_is_drawn_twice() -> None:
    style = layer_style(BIKE, DAY)
    assert _part(style, "bike:line")["filter"][0] == "!"
    assert _part(style, "bike:line-dashed")["filter"][2] == ["literal", ["lane"]]
    assert _part(style, "bike:line-dotted")["filter"][2] == ["literal", ["shared"]]


def test_a_truth_is_matched_as_the_text_maplibre_makes_of_it() -> None:
    colour = _part(layer_style(WORKS, DAY), "works:point")["paint"]["circle-color"]
    assert colour[2] == "true"
    assert colour[4] == "false"


def test_a_category_without_classes_is_drawn_in_one_colour() -> None:
    colour = _part(layer_style(CRIMES, DAY), "crimes:point")["paint"]["circle-color"]
    assert isinstance(colour, str)


def test_a_mixed_layer_asks_what_each_feature_is() -> None:
    style = layer_style(WORKS, DAY)
    for part in ("works:fill", "works:casing", "works:point"):
        assert "geometry-type" in json.dumps(_part(style, part)["filter"])


def test_points_wear_a_halo_of_the_ground() -> None:
    style = layer_style(TREES, NIGHT)
    paint = _part(style, "trees:point")["paint"]
    assert paint["circle-stroke-width"] == 1
    assert paint["circle-stroke-color"] == style["layers"][0]["paint"]["background-color"]


def test_lines_have_casings_from_zoom_14() -> None:
    assert _part(layer_style(BIKE, DAY), "bike:casing")["minzoom"] == 14


def test_no_label_is_smaller_than_11_pixels_and_every_font_is_ours() -> None:
    for style in (map_style(CITY, LAYERS, DAY), layer_style(BIKE, NIGHT)):
        for each in style["layers"]:
            if each["type"] == "symbol":
                sizes = each["layout"]["text-size"][4::2]
                assert min(sizes) >= 11
                assert set(each["layout"]["text-font"]) <= set(FONTS)


def test_water_is_lettered_in_italics() -> None:
    label = _part(map_style(CITY, LAYERS, DAY), "rivers:label")
    assert label["layout"]["text-font"] == ["Source Sans Italic"]


def test_every_style_layer_says_whose_it_is() -> None:
    for each in map_style(CITY, LAYERS, DAY)["layers"][1:]:
        assert each["metadata"]["quartier:layer"] == each["source-layer"].removesuffix(":labels")


def test_a_layer_with_times_says_which_columns_they_are() -> None:
    about = layer_style(WORKS, DAY)["metadata"]["quartier:layers"]["works"]
    assert about["time"] == {
        "start": "starts",
        "end": "ends",
        "type": "date",
        "time_zone": "UTC",
    }


def test_a_plain_table_is_drawn_nowhere() -> None:
    style = layer_style(LAYERS["budget"], DAY)
    assert style["sources"] == {}
    assert [each["id"] for each in style["layers"]] == ["ground"]


def test_a_style_without_a_view_opens_on_its_extent() -> None:
    style = with_bounds(layer_style(TREES, DAY), Bounds(5.0, 45.0, 6.0, 46.0))
    assert style["center"] == [5.5, 45.5]
    mapped = with_bounds(map_style(CITY, LAYERS, DAY), Bounds(0, 0, 1, 1))
    assert mapped["center"] == [5.92, 45.57]


def _of(style: Style, layer_id: str) -> list[dict[str, Any]]:
    return [each for each in style["layers"] if each.get("source-layer") == layer_id]


def _part(style: Style, part_id: str) -> dict[str, Any]:
    return next(each for each in style["layers"] if each["id"] == part_id)
