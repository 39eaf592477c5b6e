"""TileJSON 3.0, by the specification's own schema where it lies at hand."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from layers.catalog import Bounds, PublishedLayer
from layers.model import Layer
from tests.examples import PARKS, TREES, layer
from tiles.address import TileLayer
from tiles.drawn import Drawn
from tiles.tilejson import tilejson


def published(declared: Layer, extent: Bounds | None = None) -> Drawn:
    known = PublishedLayer(
        layer=declared, revision=1, changed_at=None, config_hash="x", extent=extent
    )
    return Drawn(TileLayer(declared.id), known)


@pytest.mark.real
def test_the_document_is_valid_by_the_schema(shared: Path) -> None:
    [schema] = (shared / "standards" / "tilejson").glob("*.json")
    document = tilejson([published(TREES), published(PARKS)], "http://city.test")
    jsonschema.validate(document, json.loads(schema.read_text()))


def test_the_bounds_hold_every_layer_and_are_the_world_where_nothing_is_known() -> None:
    here = published(TREES, Bounds(1, 2, 3, 4))
    there = published(PARKS, Bounds(2, 0, 5, 3))
    assert tilejson([here, there], "")["bounds"] == [1, 0, 5, 4]
    assert tilejson([published(TREES)], "")["bounds"][0] == -180


def test_zooms_reach_from_the_first_to_the_last_layer() -> None:
    deep = layer(id="deep", geometry="point", minzoom=12, maxzoom=18)
    document = tilejson([published(TREES), published(deep)], "")
    assert (document["minzoom"], document["maxzoom"]) == (0, 18)


def test_an_attribution_is_text_and_never_markup() -> None:
    hostile = layer(id="x", geometry="point", attribution="<img src=x onerror=alert(1)>")
    assert "<" not in tilejson([published(hostile)], "")["attribution"]


def test_the_same_attribution_is_said_once() -> None:
    assert tilejson([published(TREES), published(PARKS)], "")["attribution"].count("Example") == 1
