"""Real files of five cities: each row is accounted for, and each layer draws in a browser."""

from __future__ import annotations

import base64
import gzip
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mapbox_vector_tile
import pytest
from playwright.sync_api import Browser, Response, sync_playwright

from layers.catalogue_files import read_catalogue
from tests.accept.house import House, Table, house
from tests.e2e.conftest import CHROMIUM, FLAGS, Watched

pytestmark = [pytest.mark.real, pytest.mark.db, pytest.mark.e2e]

CATALOGUE = Path(__file__).resolve().parents[1] / "real" / "catalogue"
PIXELS = 40  # that must change when a layer is switched; a borough's outline has thousands

# layer: (rows, without a place, cells that cannot be read), as the data's README counts them
EXPECTED = {
    "new_york_boroughs": (5, 0, 0),
    "mexico_boroughs": (16, 0, 0),
    "chambery_bike_lines": (117, 0, 2),  # two features opened on the 31st of April
    "paris_roadworks": (1_136, 1, 0),  # and one that ends before it begins
    "paris_sites": (4_710, 0, 0),
    "vancouver_trees": (144_815, 20_922, 0),
    "mexico_crimes": (1_302_640, 0, 0),
}
WITHHELD = {"paris_roadworks": 1}
# layer: what is true of the published rows, as SQL
FACTS = {
    "new_york_boroughs": "ST_XMin(ST_Extent(geom)) BETWEEN -74.26 AND -74.25"
    " AND ST_YMax(ST_Extent(geom)) BETWEEN 40.91 AND 40.92 AND max(ST_NPoints(geom)) = 29219",
    "mexico_boroughs": "bool_or(name = 'Benito Juárez') AND bool_or(code = '09014')",
    "chambery_bike_lines": "count(*) FILTER (WHERE GeometryType(geom) = 'POINT') = 40"
    " AND count(DISTINCT line) = 12 AND count(done_on) = 36",
    "paris_roadworks": "min(starts_at) < '2018-01-01' AND count(permit) = 1"
    " AND count(document) = 230 AND bool_or(number = 'CP000225' AND geom IS NULL)",
    "paris_sites": "max(ends_on) = '2048-07-31' AND count(postcode) = 4702"
    " AND count(*) FILTER (WHERE GeometryType(geom) = 'MULTIPOLYGON') = 38",
    "vancouver_trees": "count(cultivar) = 144815 - 66867 AND count(DISTINCT neighbourhood) = 22"
    " AND count(*) FILTER (WHERE planted_on = '2018-11-25') = 83010",
    "mexico_crimes": "count(hora_hecho) = 1302640 - 247 AND count(DISTINCT delito) = 317"
    " AND count(*) FILTER (WHERE year = 2025) = 2 AND count(DISTINCT source_key) = 1302640",
}


@pytest.fixture(scope="module")
def city(shared: Path) -> Iterator[House]:
    assert (shared / "data" / "mexico-city").is_dir()
    with house(CATALOGUE) as made, made.database():
        made.run("apply")
        yield made


@pytest.fixture(scope="module")
def loaded(city: House) -> dict[str, dict[str, Any]]:
    """The report of the first load of each layer."""
    return {layer: city.ingest(layer) for layer in EXPECTED}


def test_the_catalogue_declares_just_what_is_tested() -> None:
    assert set(read_catalogue(CATALOGUE).layers) == set(EXPECTED)


def test_every_row_of_every_file_is_accounted_for(
    city: House, loaded: dict[str, dict[str, Any]]
) -> None:
    table = Table(
        "Real loads",
        ["layer", "files", "read", "published", "quarantined", "repeated", "no place", "bad cells",
         "seconds", "rows/s", "again"],
    )  # fmt: skip
    with city.database() as database:
        for layer, (rows, without_place, cells) in EXPECTED.items():
            report, counts = loaded[layer], loaded[layer]["counts"]
            again = city.ingest(layer)
            table.add(
                layer, len(report["facts"]), counts["read"], counts["inserted"],
                counts["quarantined"], counts["duplicates"], counts["without_place"],
                counts["cells"], f"{report['seconds']:.1f}",
                round(counts["read"] / report["seconds"]),
                f"{again['state']} in {again['seconds']:.2f} s",
            )  # fmt: skip
            assert report["state"] == "published"
            withheld = WITHHELD.get(layer, 0)
            assert counts["read"] == counts["inserted"] + withheld == counts["accounted"] == rows
            assert (counts["quarantined"], counts["duplicates"]) == (withheld, 0)
            assert (counts["without_place"], counts["cells"]) == (without_place, cells)
            assert again["state"] == "unchanged"
            assert again["revision"] == report["revision"] == 1
            assert again["counts"]["read"] == 0, "the same bytes were not read again"
            published = database.value(f"SELECT count(*) FROM city.{layer}", role="web")
            assert published == rows - withheld
            nowhere = database.value(f"SELECT count(*) FROM city.{layer} WHERE geom IS NULL")
            assert nowhere == without_place
            assert database.value(f"SELECT {FACTS[layer]} FROM city.{layer}") is True, layer
    table.print()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class Tiles:
    """What the tiles that a page fetched held."""

    def __init__(self) -> None:
        self.features: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.bytes = 0

    def on_response(self, response: Response) -> None:
        if "/tiles/" not in response.url or not response.url.endswith(".mvt"):
            return
        self.answers[response.status] += 1
        if response.status != 200:
            return
        body = response.body()
        self.bytes += len(body)
        body = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        for layer, content in mapbox_vector_tile.decode(body).items():
            self.features[layer] += len(content["features"])


COUNT_DIFFERENT = """async ([one, two]) => {
    const read = async (png) => {
        const image = await createImageBitmap(await (await fetch(png)).blob());
        const canvas = new OffscreenCanvas(image.width, image.height);
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        return new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
    };
    const [a, b] = [await read(one), await read(two)];
    return a.reduce((n, pixel, i) => n + (pixel !== b[i]), 0);
}"""


def differing(browser: Browser, one: bytes, two: bytes) -> int:
    """How many pixels of two pictures of one size differ."""
    page = browser.new_page()
    urls = [f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in (one, two)]
    count: int = page.evaluate(COUNT_DIFFERENT, urls)
    page.close()
    return count


@pytest.mark.usefixtures("loaded")
def test_every_layer_draws_in_a_browser(city: House, browser: Browser) -> None:
    pictures = Path(tempfile.mkdtemp(prefix="quartier-real-maps-"))
    print(f"\npictures: {pictures}")
    table = Table(
        "Real maps in Chromium",
        ["map", "layer", "features fetched", "pixels switched", "tiles", "kB", "seconds"],
    )
    with city.serving() as url:
        for name, shown in read_catalogue(CATALOGUE).maps.items():
            page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
            tiles, watched, started = Tiles(), Watched(page), time.monotonic()
            page.on("response", tiles.on_response)
            page.goto(f"{url}/maps/{name}")
            full = watched.settled()
            seconds = time.monotonic() - started
            page.screenshot(path=pictures / f"{name}.png")
            for layer in shown.layers:
                switch = page.locator(f'input[data-switch="{layer.id}"]')
                switch.evaluate("input => input.click()")
                pixels = differing(browser, full, watched.settled())
                switch.evaluate("input => input.click()")
                table.add(name, layer.id, tiles.features[layer.id], pixels,
                          sum(tiles.answers.values()), round(tiles.bytes / 1000),
                          f"{seconds:.1f}")  # fmt: skip
                assert tiles.features[layer.id] > 0
                assert pixels >= PIXELS
                watched.settled()
            assert watched.errors == []
            assert watched.hosts == {url.removeprefix("http://")}
            assert set(tiles.answers) <= {200, 204}
            page.close()
    table.print()
