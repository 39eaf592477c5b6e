"""Features as pages, which whoever answers `/items` shows."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from api import pages
from api.html import item_page, items_page
from layers.catalog import PublishedLayer
from tests.unit.pages.test_pages import BUILT
from tests.unit.styles.city import layer

pytestmark = pytest.mark.usefixtures("built")
SITES = layer(
    "sites",
    columns=[
        {"name": "name", "label": {"en": "Name", "fr": "Nom"}},
        {"name": "height", "type": "number", "unit": "m"},
        {"name": "lit", "type": "boolean"},
        {"name": "page"},
        {"name": "lanes", "type": "json", "separator": ";"},
        {"name": "raw", "type": "json"},
        {"name": "unasked"},
    ],
)
PUBLISHED = PublishedLayer(layer=SITES, revision=3, changed_at=None, config_hash="x")
PROPERTIES = {
    "name": "<b>Halle</b>",
    "height": 12.5,
    "lit": True,
    "page": "https://halle.test/?a=1&b=2",
    "lanes": ["left", "right"],
    "raw": {"a": [1]},
}
POLYGON = {"type": "Polygon", "coordinates": [[[4.8, 45.2], [4.9, 45.2], [4.9, 45.3], [4.8, 45.2]]]}
FEATURE = {"type": "Feature", "id": 7, "geometry": POLYGON, "properties": PROPERTIES}
EMPTY: dict[str, Any] = {
    "id": 8, "geometry": None, "properties": dict.fromkeys(PROPERTIES),
}  # fmt: skip
NEXT = {"rel": "next", "href": "https://maps.example/collections/sites/items?cursor=8&f=html"}


def shown(path: str, features: list[dict[str, Any]], **headers: str) -> httpx.Response:
    app = FastAPI()

    @app.get("/items")
    async def items(request: Request) -> Response:
        return items_page(request, PUBLISHED, features, [NEXT], matched=1234)

    @app.get("/item")
    async def item(request: Request) -> Response:
        return item_page(request, PUBLISHED, features[0])

    async def asked() -> httpx.Response:
        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": {"public_url": None}}, receive, send)

        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url="https://maps.example") as to:
            return await to.get(path, headers=headers)

    return asyncio.run(asked())


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "assets", lambda: BUILT)


def test_features_are_rows_under_the_labels_of_their_columns() -> None:
    text = shown("/items?lang=fr", [FEATURE, EMPTY]).text
    assert re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', text) == [
        "fid", "Nom", "height, m", "lit", "page", "lanes", "raw",
    ]  # fmt: skip
    assert "1234" in text
    assert '<td class="number">12.5</td><td>oui</td>' in text
    assert "<td>left, right</td>" in text
    assert '<a href="/collections/sites/items/7?f=html">7</a>' in text
    assert "<td></td>" in text


def test_a_value_is_never_markup_and_an_address_is_a_link() -> None:
    for path in ("/items", "/item"):
        text = shown(path, [FEATURE]).text
        assert "<b>Halle" not in text
        assert 'href="https://halle.test/?a=1&amp;b=2" rel="nofollow noopener"' in text
    hostile = {**FEATURE, "properties": {"name": "javascript:alert(1)", "page": "x https://a b"}}
    assert 'href="javascript' not in shown("/items", [hostile]).text


def test_a_page_leads_to_the_next_and_to_what_programs_are_given() -> None:
    text = shown("/items?bbox=1,2,3,4&f=html&lang=en", [FEATURE]).text
    assert (
        'href="https://maps.example/collections/sites/items?cursor=8&amp;f=html" rel="next"' in text
    )
    assert 'href="?bbox=1%2C2%2C3%2C4&amp;f=geojson" rel="alternate"' in text


def test_no_match_is_a_sentence() -> None:
    text = shown("/items", []).text
    assert "No feature matches." in text
    assert "<table" not in text


def test_a_feature_has_its_values_and_its_place_on_the_map() -> None:
    text = shown("/item", [FEATURE]).text
    assert "Feature 7" in text
    assert "<dt>height, m</dt>" in text
    assert 'href="/maps/sites#17/45.2/4.8"' in text
    assert "unasked" not in text


@pytest.mark.parametrize(
    "geometry",
    [
        pytest.param(None, id="none"),
        pytest.param({"type": "Point", "coordinates": [652_000.0, 6_862_000.0]}, id="metres"),
        pytest.param({"type": "Point", "coordinates": []}, id="empty"),
        pytest.param({"type": "GeometryCollection", "geometries": []}, id="an empty collection"),
    ],
)
def test_what_has_no_place_in_degrees_is_not_on_the_map(geometry: Any) -> None:
    assert "/maps/sites#" not in shown("/item", [{**FEATURE, "geometry": geometry}]).text


def test_a_page_of_features_is_kept_for_as_long_as_it_is_the_same() -> None:
    for path in ("/items", "/item"):
        answer = shown(path, [FEATURE])
        assert answer.headers["vary"] == "Accept, Accept-Language"
        held = {"if-none-match": answer.headers["etag"]}
        assert shown(path, [FEATURE], **held).status_code == 304
        assert shown(path, [{**FEATURE, "id": 9}], **held).status_code == 200
