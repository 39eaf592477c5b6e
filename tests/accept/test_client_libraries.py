"""OWSLib and @camptocamp/ogc-client find their way from the landing page to the last feature."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.accept.house import Table
from tests.accept.recorder import Recorder
from tests.accept.tools import NODE_MODULES, SCRIPTS, client_python, fetch, node, said, told

pytestmark = pytest.mark.db

BOX = "4.84,45.20,4.85,45.21"
WEEK = "2026-10-01/2026-10-07"
TALL = "genus = 'Tilia' AND height_m > 20"


def collections(url: str) -> list[str]:
    return [each["id"] for each in fetch(f"{url}/collections")["collections"]]


def columns(url: str, schema: str) -> list[str]:
    return list(fetch(f"{url}/collections/trees/{schema}")["properties"])


def matched(url: str, layer: str, **asked: str) -> int:
    count: int = fetch(f"{url}/collections/{layer}/items", **asked)["numberMatched"]
    return count


def test_owslib_finds_everything(recorder: Recorder, clients: Table) -> None:
    found = told("owslib_walk.py", recorder.url, python=client_python())
    assert recorder.refused() == []
    requests, url = len(recorder.asked), recorder.url
    assert {"self", "service-desc", "conformance", "data"} <= set(found["links"])
    assert found["conformance"] == fetch(f"{url}/conformance")["conformsTo"]
    assert found["openapi"] == "3.0.3"
    assert found["collections"] == found["features"] == collections(url)
    assert found["title"] == "Trees"
    assert found["queryables"] == columns(url, "queryables")
    assert found["schema"] == columns(url, "schema")
    assert (found["limit"], found["item"]) == (7, 1)
    assert found["bbox"] == matched(url, "trees", bbox=BOX) == 144
    assert found["datetime"] == matched(url, "crimes", datetime=WEEK) > 0
    assert found["filter"] == matched(url, "trees", filter=TALL) > 0
    clients.add(f"OWSLib {found['version']}", "every method", len(found) - 1, requests)


def test_ogc_client_finds_everything(recorder: Recorder, clients: Table) -> None:
    url = recorder.url
    found: dict[str, Any] = json.loads(
        said(node(), SCRIPTS / "ogc_client.mjs", NODE_MODULES, url).splitlines()[-1]
    )
    assert recorder.refused() == []
    requests = len(recorder.asked)
    every = collections(url)
    assert found["collections"] == found["features"] == every
    assert found["tiles"] == [name for name in every if name != "hotline_calls"]
    assert (found["hasFeatures"], found["hasTiles"]) == (True, True)
    assert found["matrixSets"] == ["WebMercatorQuad"]
    assert "application/geo+json" in found["formats"]
    assert set(columns(url, "queryables")) >= set(found["queryables"]) > {"genus", "height_m"}
    assert set(columns(url, "sortables")) >= set(found["sortables"]) > {"genus", "height_m"}
    assert len(found["items"]) == 5
    assert found["item"] == 1
    assert {each["properties"]["genus"] for each in fetch(found["url"])["features"]} == {"Tilia"}
    tile = next(link for link in fetch(found["tileset"])["links"] if link["rel"] == "item")
    assert "{tileMatrix}" in tile["href"]
    clients.add(f"ogc-client {found['version']}", "every method", len(found) - 1, requests)
