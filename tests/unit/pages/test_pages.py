"""What the pages say, with a catalogue in memory and a build that is only pretended."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api import pages, styles_routes
from api.routers import landing
from api.web.assets import Assets, PagesNotBuilt, read_assets
from api.web.describe import Reader, describe_map, find_map
from layers.catalog import Bounds, Catalog, PublishedLayer
from layers.errors import MapNotFound
from tests.unit.styles.city import ALL, CITY, layer

HOSTILE = layer("hostile", title="<script>alert(1)</script>", attribution="</script><b>")
CHANGED = datetime(2026, 10, 5, 6, 12, tzinfo=UTC)
CATALOG = Catalog(
    layers={
        each.id: PublishedLayer(
            layer=each,
            revision=1,
            changed_at=CHANGED,
            config_hash="x",
            extent=Bounds(5, 45, 6, 46) if each.has_geometry else None,
            count=7,
        )
        for each in (*ALL, HOSTILE)
    },
    maps={"city": CITY},
)
BUILT = Assets(
    manifest={
        f"src/{page}.{kind}": {"file": f"{page}-1.{kind.replace('ts', 'js')}"}
        for page in ("map", "embed", "read")
        for kind in ("ts", "css")
    },
    glyph_ranges={},
)


BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Site:
    """The pages, asked without a network."""

    def __init__(self, root_path: str = "") -> None:
        app = FastAPI()
        app.include_router(pages.router)
        app.include_router(landing.router)
        app.include_router(styles_routes.router)
        self.app, self.root_path = app, root_path

    def get(self, path: str, **params: str) -> httpx.Response:
        return asyncio.run(self._get(path, params))

    async def _get(self, path: str, params: dict[str, str]) -> httpx.Response:
        transport = httpx.ASGITransport(self._with_state, root_path=self.root_path)
        async with httpx.AsyncClient(
            transport=transport, base_url="https://maps.example"
        ) as client:
            return await client.get(self.root_path + path, params=params, headers=BROWSER)

    async def _with_state(self, scope: Any, receive: Any, send: Any) -> None:
        state = {"catalog": lambda: CATALOG, "public_url": None}
        await self.app({**scope, "state": state}, receive, send)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(pages, "assets", lambda: BUILT)
    return Site()


PAGES = ["/", "/maps/city", "/embed/city", "/layers/bike", "/layers/budget", "/maps/hostile"]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_answers(site: Site, path: str) -> None:
    answer = site.get(path)
    assert answer.status_code == 200
    assert answer.text.startswith("<!doctype html>")


@pytest.mark.parametrize("path", ["/maps/nowhere", "/embed/nowhere", "/layers/nowhere"])
def test_a_page_that_is_not_there_says_so_in_the_readers_language(site: Site, path: str) -> None:
    answer = site.get(path, lang="de")
    assert answer.status_code == 404
    assert "Diese Seite gibt es nicht" in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_pages_ignore_parameters_they_do_not_know(site: Site, path: str) -> None:
    assert site.get(path, theme="pink", lang="!", x="1").status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_no_page_loads_from_another_host_or_runs_inline_code(site: Site, path: str) -> None:
    answer = site.get(path)
    loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*?(?:src|href)="([^"]*)"', answer.text)
    assert loaded
    assert all(url.startswith(("/", "data:,")) for url in loaded)
    shown = re.sub(r"<textarea.*?</textarea>", "", answer.text, flags=re.S)  # a snippet to copy
    assert " style=" not in shown
    assert " onclick=" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_an_embed_may_be_framed_by_anybody_and_a_page_may_not(site: Site) -> None:
    embed, page = site.get("/embed/city"), site.get("/maps/city")
    assert "frame-ancestors *" in embed.headers["content-security-policy"]
    assert "frame-ancestors 'self'" in page.headers["content-security-policy"]
    assert "x-frame-options" not in embed.headers


def test_the_policy_names_the_host_because_a_sandboxed_frame_has_no_self(
    site: Site,
) -> None:
    policy = site.get("/embed/city").headers["content-security-policy"]
    assert "script-src 'self' https://maps.example" in policy
    assert "worker-src blob:" in policy


def test_words_of_the_catalogue_are_never_markup(site: Site) -> None:
    for path in ("/", "/maps/hostile", "/layers/hostile"):
        text = site.get(path).text
        assert "<script>alert(1)" not in text
        assert "</script><b>" not in text


def test_a_map_page_carries_its_description_as_data(site: Site) -> None:
    page = page_data(site.get("/maps/city", lang="fr").text)
    assert page["language"] == "fr"
    assert page["map"]["title"] == "La ville"
    assert page["map"]["styles"]["dark"] == "/styles/city.json?theme=dark&lang=fr"
    bike = next(each for each in page["map"]["layers"] if each["id"] == "bike")
    assert bike["features"] == "/collections/bike/items"
    assert bike["legend"]["light"]["swatches"][0]["label"] == "Piste"


def test_the_legend_lists_the_topmost_layer_first_and_no_plain_tables(site: Site) -> None:
    page = page_data(site.get("/maps/city").text)
    ids = [each["id"] for each in page["map"]["layers"]]
    assert ids == [each.id for each in reversed(CITY.layers) if each.id != "budget"]


def test_a_layer_is_a_map_of_itself() -> None:
    described = describe_map(CATALOG, find_map(CATALOG, "trees"), Reader("en"))
    assert [each["id"] for each in described["layers"]] == ["trees"]
    assert described["bounds"] == (5, 45, 6, 46)
    with pytest.raises(MapNotFound):
        find_map(CATALOG, "nowhere")


def test_a_switch_is_checked_where_its_layer_starts_visible(site: Site) -> None:
    text = site.get("/maps/city").text
    assert re.search(r'data-switch="trees" checked', text)
    assert re.search(r'data-switch="crimes">', text)


def test_theme_and_direction_stand_in_the_page(site: Site) -> None:
    text = site.get("/maps/city", theme="dark", lang="ar").text
    assert '<html lang="ar" dir="rtl" data-theme="dark">' in text


@pytest.mark.usefixtures("site")
def test_pages_link_below_the_path_the_server_stands_under() -> None:
    text = Site(root_path="/atlas").get("/layers/bike").text
    assert 'href="/atlas/collections/bike/items"' in text
    assert 'src="/atlas/assets/read-1.js"' in text


def test_a_missing_build_is_a_sentence_and_not_a_failure(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Assets:
        raise PagesNotBuilt(Path("dist/manifest.json"))

    monkeypatch.setattr(pages, "assets", missing)
    answer = site.get("/")
    assert answer.status_code == 503
    assert "make up" in answer.text


def test_an_entry_lists_what_its_script_imports(tmp_path: Path) -> None:
    manifest = {
        "src/map.ts": {"file": "map-1.js", "imports": ["_start.js"]},
        "src/map.css": {"file": "map-1.css"},
        "_start.js": {"file": "start-1.js"},
    }
    (tmp_path / "glyphs").mkdir()
    (tmp_path / "glyphs/ranges.json").write_text("{}")
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    entry = read_assets(tmp_path).entry("map")
    assert (entry.script, entry.imports, entry.look) == ("map-1.js", ("start-1.js",), "map-1.css")


def test_an_unfinished_build_names_the_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PagesNotBuilt, match=r"manifest\.json is missing: run `make up`"):
        read_assets(tmp_path)


def test_a_style_is_found_by_map_and_by_layer(site: Site) -> None:
    for style_id in ("city", "trees"):
        style = site.get(f"/styles/{style_id}.json", theme="dark").json()
        assert style["layers"][0]["paint"]["background-color"] == "#15181d"
        assert style["glyphs"].startswith("https://maps.example/assets/glyphs/")


def test_an_unknown_theme_of_a_style_is_refused(site: Site) -> None:
    assert site.get("/styles/city.json", theme="pink").status_code == 422


def test_an_unknown_style_is_not_found(site: Site) -> None:
    with pytest.raises(MapNotFound):
        site.get("/styles/nowhere.json")


def page_data(text: str) -> Any:
    match = re.search(r'<script type="application/json" id="page">(.*?)</script>', text, re.S)
    assert match
    return json.loads(match[1])
