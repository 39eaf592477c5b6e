"""Small layers that tests declare."""

from __future__ import annotations

from typing import Any

from layers.model import Layer

COMMON: dict[str, Any] = {
    "title": "A layer",
    "publisher": "City of Example",
    "licence": "CC-BY-4.0",
    "attribution": "© City of Example",
}


def layer(**declared: Any) -> Layer:
    """A layer of this declaration; what is not said is filled in."""
    columns = declared.pop("columns", [{"name": "name"}])
    return Layer.model_validate(COMMON | {"columns": columns} | declared)


TREES = layer(
    id="trees",
    geometry="point",
    key="number",
    columns=[
        {"name": "number"},
        {"name": "genus"},
        {"name": "height", "type": "number", "unit": "m"},
        {"name": "planted", "type": "date"},
    ],
    category="genus",
    tile=["genus", "height", "planted"],
)
PATHS = layer(id="paths", geometry="line", columns=[{"name": "name"}, {"name": "kind"}])
PARKS = layer(id="parks", geometry="polygon")
CALLS = layer(
    id="calls",
    geometry="none",
    columns=[{"name": "day", "type": "date"}, {"name": "calls", "type": "integer"}],
)
ANYTHING = layer(id="anything", geometry="mixed")
