"""What the documentation tells analysts to run is run, and prints what it says it prints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.accept.documented import (
    Block,
    agrees,
    agrees_closely,
    commands,
    examples,
    sections,
)
from tests.accept.house import Table
from tests.accept.recorder import Recorder
from tests.accept.tools import NODE_MODULES, client_python, fetch, node, program, qgis_python, said
from tests.e2e.conftest import CHROMIUM, FLAGS

pytestmark = [pytest.mark.db, pytest.mark.e2e]

PAGES = ("recipes.md", "analysts.md")
SECTIONS = [
    (page, title)
    for page in PAGES
    for title, blocks in sections(page).items()
    if any(block.kind in ("sh", "console", "python", "python qgis", "r", "js") for block in blocks)
]
NEEDED = {"sh": ("curl", "jq"), "console": ("curl",)}
IN_VIEW = """async () => {
    while (tiles.getState() === "loading") await new Promise(done => setTimeout(done, 50));
    await new Promise(done => { map.once("rendercomplete", done); map.render(); });
    const extent = map.getView().calculateExtent(map.getSize());
    return {
        stops: stops.getFeatures().length,
        districts: map.getLayers().item(0).getFeaturesInExtent(extent).length,
    };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


def run(block: Block, url: str, folder: Path) -> str:
    """What a block prints; skipped where its program is not installed."""
    code = block.at(url)
    if block.kind in NEEDED:
        for name in (*NEEDED[block.kind], *(["ogr2ogr"] if "ogr" in code else [])):
            program(name, "gdal-bin" if name == "ogr2ogr" else name)
        return said("bash", "-euo", "pipefail", "-c", f"cd {folder}; {code}")
    script = folder / "recipe"
    there = f"import os; os.chdir({str(folder)!r})\n" if block.kind.startswith("python") else ""
    script.write_text(there + block.at(url))
    if block.kind == "python qgis":
        at = {"QT_QPA_PLATFORM": "offscreen", "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        return said(qgis_python(), script, **at)
    if block.kind == "python":
        return said(client_python(), script)
    return said(program("Rscript", "r-base-core r-cran-sf"), script)


def hold_to_what_is_shown(block: Block, url: str, folder: Path) -> None:
    if block.kind == "console":
        for command, shown in commands(block.at(url)):
            printed = run(Block("sh", command), url, folder)
            assert agrees_closely(printed, shown), f"{command}\n{printed[:2000]}"
        return
    printed = run(block, url, folder)
    if block.shown is not None:
        assert agrees(printed, block.shown), f"{block.code}\nprinted\n{printed[:2000]}"


@pytest.mark.parametrize(("page", "title"), SECTIONS, ids=lambda part: str(part))
def test_recipes_do_what_the_documentation_says(  # noqa: PLR0913 - two are the case
    recorder: Recorder, clients: Table, tmp_path: Path, request: pytest.FixtureRequest,
    page: str, title: str,
) -> None:  # fmt: skip
    ran = 0
    for block in sections(page)[title]:
        if block.reason is not None or block.kind in ("json", "text", "sql", "html", ""):
            continue
        if block.kind == "js":
            draw(block, recorder, request.getfixturevalue("browser"))
        else:
            hold_to_what_is_shown(block, recorder.url, tmp_path)
        ran += 1
    clients.add(f"docs/{page}", title, ran, len(recorder.asked))


def draw(block: Block, recorder: Recorder, browser: Browser) -> None:
    """A map of OpenLayers that shows what the server has in its view."""
    node()
    page: Page = browser.new_page(viewport={"width": 800, "height": 600})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_content('<div id="map" style="width: 800px; height: 600px"></div>')
    page.add_script_tag(path=NODE_MODULES / "ol" / "dist" / "ol.js")
    page.add_script_tag(content=block.at(recorder.url))
    found: dict[str, Any] = page.evaluate(IN_VIEW)
    page.close()
    assert errors == []
    at = "/collections/bus_stops/items"
    [bbox] = {each.said("bbox") for each in recorder.of(at)}
    assert found["stops"] == fetch(recorder.url + at, bbox=bbox)["numberMatched"] > 10
    assert found["districts"] > 5
    tiles = [each for each in recorder.asked if "/tiles/WebMercatorQuad/" in each.path]
    assert {each.status for each in tiles} <= {200, 204}


@pytest.mark.parametrize(("layer", "expression"), examples("filters.md"))
def test_every_example_of_the_reference_of_filters_matches_something(
    sample_city: str, layer: str, expression: str
) -> None:
    at = f"{sample_city}/collections/{layer}/items?limit=1&filter={quote(expression)}"
    assert fetch(at)["numberMatched"] > 0


def test_the_reference_of_filters_has_an_example_in_text_and_in_json(sample_city: str) -> None:
    at = f"{sample_city}/collections/trees/items?limit=1&skipGeometry=true&filter="
    [text] = [b.code for b in sections("filters.md")["Text"] if b.kind == "text"]
    [tree] = [b.code for b in sections("filters.md")["JSON"] if b.kind == "json"]
    assert fetch(at + quote(text.strip()))["numberMatched"] > 0
    assert fetch(at + quote(tree))["numberMatched"] > 0
