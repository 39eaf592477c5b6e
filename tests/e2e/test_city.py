"""The sample city as people meet it: a map, an embed, and a command that cleans up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import expect
from typer.testing import CliRunner

from layers.cluster import Cluster
from quartier import app
from tests.e2e.conftest import QUARTIER, Up, Watched, stop

pytestmark = [pytest.mark.e2e, pytest.mark.db]


def get_json(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:
        return json.loads(answer.read())


def test_every_layer_of_the_city_draws_with_no_error_and_no_other_host(
    city: Up, watched: Watched
) -> None:
    style = get_json(f"{city.url}/styles/city.json")
    watched.page.goto(f"{city.url}/maps/city#15/{style['center'][1]}/{style['center'][0]}")
    before = watched.settled()
    switches = watched.page.locator("#panel input[type=checkbox]")
    assert switches.count() >= 12
    silent = []
    for number in range(switches.count()):
        switch = switches.nth(number)
        switch.evaluate("input => input.click()")
        after = watched.settled()
        if after == before:
            silent.append(switch.get_attribute("data-switch") or str(number))
        before = after
    assert silent == [], "switching these layers changed nothing on the map"
    assert watched.errors == []
    assert watched.hosts == {city.url.removeprefix("http://")}


def test_the_embed_draws_in_wordpress_sandbox(city: Up, watched: Watched, host_page: str) -> None:
    page = watched.page
    page.goto(host_page)
    frame = page.frame_locator("iframe")
    frame.locator("canvas.maplibregl-canvas").wait_for(timeout=30_000)
    picture = page.locator("iframe")
    blank = picture.screenshot()
    for _ in range(60):
        page.wait_for_timeout(500)
        if len(drawn := picture.screenshot()) > 2 * len(blank) and len(drawn) > 30_000:
            break
    assert len(drawn) > 30_000, "a drawn city is a rich picture"
    state = frame.locator("#state")
    expect(state).not_to_have_attribute("data-state", "loading", timeout=30_000)
    assert state.get_attribute("data-state") in ("", None)
    page.wait_for_load_state("networkidle")
    assert watched.errors == []
    assert watched.hosts == {host_page.split("/")[2], city.url.removeprefix("http://")}


def test_an_edit_by_sql_is_on_the_map_when_it_is_looked_at_again(
    city: Up, watched: Watched
) -> None:
    item = get_json(f"{city.url}/collections/car_parks/items?limit=1")["features"][0]
    longitude, latitude = item["geometry"]["coordinates"]
    url = f"{city.url}/maps/city#17/{latitude}/{longitude}"
    watched.page.goto(url)
    before = watched.settled()
    with Cluster(city.home).hold() as urls, psycopg.connect(urls.ingest) as connection:
        connection.execute("DELETE FROM city.car_parks WHERE fid = %s", (item["id"],))
    time.sleep(1)
    watched.page.reload()
    assert watched.settled() != before


@pytest.mark.parametrize("size", [(1280, 800), (390, 844), (280, 400)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_show_no_error_at_any_size_by_day_and_night(
    city: Up, watched: Watched, size: tuple[int, int], scheme: Any
) -> None:
    watched.page.set_viewport_size({"width": size[0], "height": size[1]})
    watched.page.emulate_media(color_scheme=scheme)
    for path in ("/", "/layers/trees", "/embed/bike"):
        watched.page.goto(city.url + path)
        watched.page.wait_for_load_state("networkidle")
        width = watched.page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0], f"{path} is wider than its window"
    assert watched.errors == []
    assert watched.hosts == {city.url.removeprefix("http://")}


def test_a_second_up_is_quick_loads_nothing_and_ctrl_c_stops_everything(city: Up) -> None:
    try:
        assert stop(city) == 0
        city.log.write_text("")
        started = time.monotonic()
        city.start_again()
        took = time.monotonic() - started
        assert " rows in " not in city.said(), "nothing is loaded again"
        assert took < 30, "ten seconds on a quiet machine"
        assert stop(city) == 0
        data = city.home / "postgres" / "data"
        assert (data / "PG_VERSION").exists()
        assert not (data / "postmaster.pid").exists()
        left = subprocess.run(
            ["pgrep", "-f", str(city.home)], capture_output=True, text=True, check=False
        )
        assert left.stdout.split() == []
    finally:
        if city.process.poll() is not None:  # the other tests want it up
            city.start_again()


def test_a_taken_port_is_told_before_anything_is_started(city: Up, tmp_path: Path) -> None:
    port = city.url.rsplit(":", 1)[1]
    told = {"QUARTIER_HOME": str(tmp_path), "QUARTIER_PORT": port}
    refused = subprocess.run(
        [QUARTIER, "up"], env=os.environ | told, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert f"port {port}" in refused.stderr
    assert "PORT=" in refused.stderr


def test_every_command_shows_an_example() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "quartier", "up", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Example:" in shown.stdout
    for command in ("serve", "apply", "ingest"):
        result = CliRunner().invoke(app, [command, "--help"])
        assert result.exit_code == 0
        assert "Example:" in result.stdout
