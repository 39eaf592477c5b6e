"""The documentation says what the code has: settings, catalogue fields, commands, addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from api.app import Parts, create_app
from api.ogc_tile_path import OgcTilePath
from api.settings import ApiSettings
from api.tile_path import TilePath
from api.tileset_path import TilesetPath
from layers.columns import Column
from layers.filters.functions import FUNCTIONS, TODAY
from layers.filters.words import OPERATORS
from layers.gates import Gates
from layers.hints import Overview, StyleClass, StyleHints, TimeColumns
from layers.map import Map, MapLayer, View
from layers.model import Layer
from layers.partitions import Partitions
from layers.privacy import Policy, Privacy
from layers.settings import StoreSettings
from layers.source import Source, SourceGeometry
from layers.tilesets import RasterHints, Tileset
from quartier import COMMANDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ +(?P<title>.+)$", re.M)
FENCED = re.compile(r"^ *```.*?^ *```", re.M | re.S)
SECTIONS: list[tuple[type[BaseModel], str]] = [
    (Layer, "Layer"),
    (Column, "Column"),
    (Source, "Source"),
    (SourceGeometry, "Source geometry"),
    (TimeColumns, "Time"),
    (StyleHints, "Style"),
    (Overview, "Overview"),
    (Gates, "Gates"),
    (Partitions, "Partitions"),
    (Privacy, "Privacy"),
    (Policy, "Policy"),
    (StyleClass, "Style"),
    (Map, "Map"),
    (MapLayer, "Map"),
    (View, "Map"),
    (Tileset, "Tileset"),
    (RasterHints, "Tileset"),
]


def prose(page: Path) -> str:
    """The text of a page without its examples."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def section(page: Path, title: str) -> str:
    """What stands between a heading and the next."""
    text = page.read_text(encoding="utf-8")
    start = next(found for found in HEADING.finditer(text) if found["title"] == title)
    after = FENCED.sub("", text[start.end() :])
    following = HEADING.search(after)
    return after[: following.start()] if following else after


@pytest.mark.parametrize("settings", [StoreSettings, ApiSettings])
def test_every_setting_is_listed_as_it_describes_itself(settings: type[BaseModel]) -> None:
    rows = (DOCS / "settings.md").read_text(encoding="utf-8").splitlines()
    missing = [
        name
        for name, field in settings.model_fields.items()
        if not any(
            row.startswith(f"| `QUARTIER_{name.upper()}` |")
            and row.endswith(f"| {field.description} |")
            for row in rows
        )
    ]
    assert missing == []


def test_no_setting_is_listed_that_does_not_exist() -> None:
    known = {f"QUARTIER_{name.upper()}" for name in StoreSettings.model_fields}
    known |= {f"QUARTIER_{name.upper()}" for name in ApiSettings.model_fields}
    known |= {"QUARTIER_TEST_DATABASE_URL"}
    for page in PAGES:
        used = set(re.findall(r"QUARTIER_[A-Z_]+[A-Z]", page.read_text(encoding="utf-8")))
        assert used <= known, page.name


@pytest.mark.parametrize(("model", "title"), SECTIONS)
def test_every_catalogue_field_has_its_row(model: type[BaseModel], title: str) -> None:
    rows = section(DOCS / "catalogue.md", title)
    named = [field.alias or name for name, field in model.model_fields.items()]
    assert [name for name in named if f"\n| `{name}` |" not in rows] == []


def test_every_command_is_described() -> None:
    index = prose(DOCS / "index.md")
    assert [name for name in COMMANDS if f"| `quartier {name}" not in index] == []


def test_every_function_and_operator_of_filters_has_a_row_with_an_example() -> None:
    page = DOCS / "filters.md"
    functions, operators = section(page, "Functions"), section(page, "Operators")
    for name in (*FUNCTIONS, TODAY):
        assert re.search(rf"^\| `{name}` \|.*\| `.*\b{name}\(.*` \|$", functions, re.M), name
    for name in OPERATORS.values():
        word = "IS NULL" if name == "isNull" else name.upper()
        assert f"`{word}`" in operators, name
    assert all(told.about in functions for name, told in FUNCTIONS.items() if name != "weekday")


def application() -> FastAPI:
    """The application behind the fast path; it is made and never started."""
    url = "postgresql://nobody@localhost/nothing"
    served = create_app(Parts.from_settings(ApiSettings(web_database_url=url)))
    assert isinstance(served, OgcTilePath)
    assert isinstance(served.app, TilesetPath)
    assert isinstance(served.app.app, TilePath)
    inner: Any = served.app.app
    while not isinstance(inner, FastAPI):
        inner = inner._app
    return inner


def every_address() -> list[str]:
    return list(_addresses(application().routes))


def _addresses(routes: list[Any]) -> Iterator[str]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route.path
        else:
            yield from _addresses(inner.routes)


def test_every_address_is_described() -> None:
    index = prose(DOCS / "index.md")
    paths = [path for path in every_address() if path != "/assets"]  # described as /assets/…
    assert len(paths) > 30
    assert [path for path in paths if f"`{path}`" not in index] == []


def anchors(page: Path) -> set[str]:
    titles = [found["title"] for found in HEADING.finditer(prose(page))]
    words = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {word.strip().replace(" ", "-") for word in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for found in LINK.finditer(prose(page)):
        path, _, anchor = found["target"].partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(found["target"])
    assert broken == []
