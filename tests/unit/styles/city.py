"""Layers of every kind, as a city might declare them."""

from __future__ import annotations

from typing import Any

from layers.map import Map
from layers.model import Layer


def layer(layer_id: str, geometry: str = "point", **declared: Any) -> Layer:
    """A layer with a name and a kind; say only what matters to the test."""
    columns = [
        {"name": "name", "label": {"en": "Name", "fr": "Nom"}},
        {"name": "kind", "label": {"en": "Kind", "fr": "Type"}},
        {"name": "starts", "type": "date"},
        {"name": "ends", "type": "date"},
        {"name": "lit", "type": "boolean"},
        {"name": "lanes", "type": "integer"},
    ]
    return Layer.model_validate(
        {
            "id": layer_id,
            "title": {"en": layer_id.title(), "fr": f"{layer_id} (fr)"},
            "publisher": "City",
            "licence": "CC-BY-4.0",
            "attribution": "© City of Quartier",
            "geometry": geometry,
            "columns": columns,
            **declared,
        }
    )


BIKE = layer(
    "bike",
    "line",
    category="kind",
    style={
        "label": "name",
        "classes": [
            {"value": "track", "label": {"en": "Track", "fr": "Piste"}, "color": "#1e8449"},
            {"value": "lane", "color": "green", "dash": "dashed", "width": 2},
            {"value": "shared", "dash": "dotted"},
        ],
    },
)
TREES = layer("trees", style={"color": "green", "label": "name", "radius": 3})
CRIMES = layer("crimes", category="kind", maxzoom=14)
WORKS = layer(
    "works",
    "mixed",
    category="lit",
    time={"start": "starts", "end": "ends"},
    style={"color": "orange", "classes": [{"value": True}, {"value": False, "dash": "dashed"}]},
)
DISTRICTS = layer("districts", "polygon", style={"role": "boundary", "label": "name"})
PARKING = layer("parking", "polygon", category="lanes", style={"classes": [{"value": 2}]})
STREETS = layer(
    "streets",
    "line",
    category="kind",
    style={
        "role": "street",
        "label": "name",
        "classes": [{"value": "primary", "width": 6}, {"value": "path", "dash": "dotted"}],
    },
)
WATER = layer("water", "polygon", style={"role": "water", "label": "name", "color": "#2266aa"})
RIVERS = layer("rivers", "line", style={"role": "water", "label": "name"})
PARKS = layer("parks", "polygon", style={"role": "green"})
LAND = layer("land", "polygon", style={"role": "land"})
BUILDINGS = layer("buildings", "polygon", style={"role": "building"}, minzoom=13)
BUDGET = layer("budget", "none")

ALL = [
    BIKE, TREES, CRIMES, WORKS, DISTRICTS, PARKING, STREETS, WATER, RIVERS, PARKS, LAND,
    BUILDINGS, BUDGET,
]  # fmt: skip
LAYERS = {each.id: each for each in ALL}
CITY = Map.model_validate(
    {
        "id": "city",
        "title": {"en": "The city", "fr": "La ville"},
        "layers": [{"id": each.id, "visible": each.id not in ("crimes", "works")} for each in ALL],
        "view": {"longitude": 5.92, "latitude": 45.57, "zoom": 13},
    }
)
