"""A map, as it is declared: layers in the order in which they are drawn, and a view."""

from __future__ import annotations

from pydantic import Field, field_validator

from layers.columns import MAX_ZOOM, LayerId, Text, Value


class MapLayer(Value):
    """One layer of a map, drawn in the order listed, from below."""

    id: LayerId
    visible: bool = True


class View(Value):
    """Where a map opens: degrees east and north of the centre, and zoom."""

    longitude: float = Field(ge=-180, le=180)
    latitude: float = Field(ge=-90, le=90)
    zoom: float = Field(ge=0, le=MAX_ZOOM)


class Map(Value):
    """A named composition of layers and a view: what is embedded."""

    id: LayerId
    title: Text
    description: Text = ""
    layers: tuple[MapLayer, ...] = Field(min_length=1)
    view: View | None = Field(default=None, description="without one: the extent of the layers")

    @field_validator("layers", mode="before")
    @classmethod
    def _ids_are_layers(cls, layers: object) -> object:
        if not isinstance(layers, (list, tuple)):
            return layers
        return [{"id": item} if isinstance(item, str) else item for item in layers]
