"""An open map follows the data: edits by psql appear, and only what they touched is fetched."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import mercantile
import pytest
from playwright.sync_api import Page, Request, Route, expect

from layers.change_cells import Cell
from layers.cluster import Cluster
from tests.e2e.conftest import ROOT, Up, Watched
from tests.e2e.test_city import get_json
from tests.unit.layers.test_change_cells import touches

pytestmark = [pytest.mark.e2e, pytest.mark.db]

SHOWN_WITHIN_S = (
    20.0  # two on an idle machine; a browser that draws by software on a busy one is slow
)
PATIENCE_S = 60.0
TILE = re.compile(r"/tiles/(?P<layers>[^/]+)/(?P<z>\d+)/(?P<x>\d+)/(?P<y>\d+)\.mvt$")


@dataclass
class Tiles:
    """The tiles a page asks for, and its streams of changes, from when it is told to look."""

    page: Page
    asked: list[str] = field(default_factory=list)
    streams: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", self._on_request)

    def _on_request(self, request: Request) -> None:
        if TILE.search(urlsplit(request.url).path):
            self.asked.append(request.url)
        elif urlsplit(request.url).path == "/changes":
            self.streams.append(request.url)

    def hears(self) -> None:
        """Wait for the stream of changes to be open."""
        self.until(lambda: bool(self.streams))
        self.page.wait_for_timeout(500)

    def until(self, condition: Any) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            self.page.wait_for_timeout(50)


@pytest.fixture
def tiles(watched: Watched) -> Tiles:
    return Tiles(watched.page)


@pytest.fixture
def sql(city: Up) -> Iterator[Any]:
    """psql, run on the city's database."""
    program = shutil.which("psql")
    assert program is not None
    with Cluster(city.home).hold() as urls:

        def run(statement: str) -> str:
            ended = subprocess.run(
                [program, urls.ingest, "-qXAt", "-v", "ON_ERROR_STOP=1", "-c", statement],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            return ended.stdout.strip()

        yield run


def a_car_park(city: Up, number: int) -> tuple[int, float, float]:
    feature = get_json(f"{city.url}/collections/car_parks/items?limit=20")["features"][number]
    longitude, latitude = feature["geometry"]["coordinates"]
    return feature["id"], longitude, latitude


def cells_of(*places: tuple[float, float]) -> list[Cell]:
    found = [mercantile.tile(*place, 20) for place in places]
    return [Cell(20, at.x, at.y) for at in found]


def address(url: str) -> tuple[int, int, int]:
    found = TILE.search(urlsplit(url).path)
    assert found is not None
    return int(found["z"]), int(found["x"]), int(found["y"])


def assert_touched_alone(asked: list[str], cells: list[Cell], revision: str) -> None:
    """Every request is for a tile that the edit touched, once, and names the revision."""
    assert asked, "something is fetched again"
    assert len(set(asked)) == len(asked), "nothing is fetched twice"
    for url in asked:
        at = address(url)
        assert any(touches(cell, *at) for cell in cells), f"{url} was not touched"
        assert revision in parse_qs(urlsplit(url).query)["revision"][0].split(",")


def test_an_edit_by_psql_shows_on_an_open_map_and_only_its_tiles_are_fetched(
    city: Up, watched: Watched, tiles: Tiles, sql: Any
) -> None:
    watched.page.set_viewport_size({"width": 800, "height": 600})
    fid, longitude, latitude = a_car_park(city, 1)
    watched.page.goto(f"{city.url}/maps/city#17/{latitude}/{longitude}")
    before = watched.settled()
    tiles.hears()
    tiles.asked.clear()
    moved = longitude + 0.0003
    sql(f"UPDATE city.car_parks SET geom = ST_Point({moved}, {latitude}, 4326) WHERE fid = {fid}")
    committed = time.monotonic()
    canvas = watched.page.locator("canvas.maplibregl-canvas")
    while canvas.screenshot() == before:
        assert time.monotonic() - committed < PATIENCE_S
    took = time.monotonic() - committed
    revision = sql("SELECT revision FROM quartier.layer_state WHERE layer_id = 'car_parks'")
    after = watched.settled()
    places = (longitude, latitude), (moved, latitude)
    assert_touched_alone(tiles.asked, cells_of(*places), f"car_parks:{revision}")
    assert took < SHOWN_WITHIN_S, f"shown {took:.2f} s after the commit"
    assert watched.errors == []
    watched.page.reload()
    assert watched.settled() == after, "what is shown is what a new page shows"


def test_what_changed_while_out_of_view_is_new_when_it_is_looked_at_again(
    city: Up, watched: Watched, tiles: Tiles, sql: Any
) -> None:
    fid, longitude, latitude = a_car_park(city, 2)
    here, away = f"#17/{latitude}/{longitude}", f"#17/{latitude + 0.02}/{longitude + 0.02}"
    watched.page.goto(f"{city.url}/maps/city{here}")
    before = watched.settled()
    tiles.hears()
    watched.page.evaluate("place => { location.hash = place }", away)
    watched.settled()
    tiles.asked.clear()
    sql(f"DELETE FROM city.car_parks WHERE fid = {fid}")
    revision = sql("SELECT revision FROM quartier.layer_state WHERE layer_id = 'car_parks'")
    watched.page.wait_for_timeout(1000)
    assert tiles.asked == [], "nothing that is out of view is fetched"
    watched.page.evaluate("place => { location.hash = place }", here)
    after = watched.settled()
    assert after != before
    cells = cells_of((longitude, latitude))
    assert_touched_alone(tiles.asked, cells, f"car_parks:{revision}")
    assert watched.errors == []
    watched.page.reload()
    assert watched.settled() == after


def test_what_changed_while_nobody_looked_is_told_when_somebody_does(
    city: Up, watched: Watched, tiles: Tiles, sql: Any
) -> None:
    """A page in the background keeps no stream; what it missed comes with the next one."""
    fid, longitude, latitude = a_car_park(city, 3)
    watched.page.goto(f"{city.url}/maps/city#17/{latitude}/{longitude}")
    watched.settled()
    tiles.hears()
    ended: list[str] = []
    watched.page.on("requestfailed", lambda request: ended.append(request.url))
    look_away(watched.page, "hidden")
    tiles.until(lambda: ended == tiles.streams)
    tiles.asked.clear()
    sql(f"DELETE FROM city.car_parks WHERE fid = {fid}")
    revision = sql("SELECT revision FROM quartier.layer_state WHERE layer_id = 'car_parks'")
    watched.page.wait_for_timeout(500)
    assert tiles.asked == []
    look_away(watched.page, "visible")
    tiles.until(lambda: tiles.asked)
    watched.settled()
    assert len(tiles.streams) == 2
    cells = cells_of((longitude, latitude))
    assert_touched_alone(tiles.asked, cells, f"car_parks:{revision}")


def look_away(page: Page, state: str) -> None:
    """Tell the page that its tab is shown or hidden; a headless browser has none."""
    page.evaluate(
        "state => { Object.defineProperty(document, 'visibilityState',"
        " { value: state, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')) }",
        state,
    )


def test_an_open_popup_and_the_line_of_freshness_follow_the_data(
    city: Up, watched: Watched, tiles: Tiles, sql: Any
) -> None:
    fid, longitude, latitude = a_car_park(city, 5)
    watched.page.goto(f"{city.url}/maps/car_parks#17/{latitude}/{longitude}")
    watched.settled()
    tiles.hears()
    box = watched.page.locator("canvas.maplibregl-canvas").bounding_box()
    assert box is not None
    watched.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    values = watched.page.locator(".popup dl.values:not([aria-busy])")
    values.wait_for()  # read once: what is read from here on was told to be new
    newest = watched.page.locator(".fresh time")
    before = newest.get_attribute("datetime") or ""
    sql(f"UPDATE city.car_parks SET capacity = 98765 WHERE fid = {fid}")
    values.get_by_text("98,765").wait_for(timeout=PATIENCE_S * 1000)
    expect(newest).not_to_have_attribute("datetime", before, timeout=PATIENCE_S * 1000)


def test_an_embed_in_a_sandbox_on_another_site_follows_too(
    city: Up, watched: Watched, tiles: Tiles, host_page: str, sql: Any
) -> None:
    watched.page.goto(host_page)
    tiles.until(lambda: tiles.asked)
    tiles.hears()
    watched.page.wait_for_timeout(2000)
    z, x, y = address(tiles.asked[-1])
    place = middle(z, x, y)
    tiles.asked.clear()
    sql(
        "INSERT INTO city.car_parks (id, name, geom)"
        f" VALUES ('live', 'New', ST_Point({place[0]}, {place[1]}, 4326))"
    )
    tiles.until(lambda: tiles.asked)
    watched.page.wait_for_timeout(1000)
    revision = sql("SELECT revision FROM quartier.layer_state WHERE layer_id = 'car_parks'")
    assert_touched_alone(tiles.asked, cells_of(place), f"car_parks:{revision}")
    assert watched.errors == []


def middle(z: int, x: int, y: int) -> tuple[float, float]:
    bounds = mercantile.bounds(x, y, z)
    return (bounds.west + bounds.east) / 2, (bounds.south + bounds.north) / 2


def test_the_recipe_of_the_documentation_makes_any_maplibre_map_follow(
    city: Up, watched: Watched, tiles: Tiles, sql: Any
) -> None:
    text = (ROOT / "docs" / "map-clients.md").read_text()
    recipe = text[text.index("### In MapLibre") :]
    script = recipe[recipe.index("<script>") + 8 : recipe.index("</script>")]
    assert len(script.strip().splitlines()) <= 20
    script = script.replace("http://127.0.0.1:8000", city.url)
    tree = get_json(f"{city.url}/collections/trees/items?limit=1")["features"][0]
    longitude, latitude = tree["geometry"]["coordinates"]
    library = ROOT / "api/web/node_modules/maplibre-gl/dist/maplibre-gl.js"
    page = (
        '<!doctype html><link rel="icon" href="data:,"><div id="map" style="height: 600px"></div>'
        f'<script src="/maplibre.js"></script><script>{script}'
        f"map.jumpTo({{ center: [{longitude}, {latitude}], zoom: 16 }})</script>"
    )

    def answer(route: Route) -> None:
        if route.request.url.endswith(".js"):
            route.fulfill(path=library, content_type="text/javascript")
        else:
            route.fulfill(body=page, content_type="text/html")

    watched.page.route(re.compile(r"/(recipe|maplibre\.js)$"), answer)
    watched.page.goto(f"{city.url}/recipe")
    tiles.hears()
    before = watched.settled()
    tiles.asked.clear()
    sql(f"DELETE FROM city.trees WHERE fid = {tree['id']}")
    tiles.until(lambda: tiles.asked)
    assert watched.settled() != before
    revision = sql("SELECT revision FROM quartier.layer_state WHERE layer_id = 'trees'")
    assert_touched_alone(tiles.asked, cells_of((longitude, latitude)), f"trees:{revision}")
    assert watched.errors == []
