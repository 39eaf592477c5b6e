"""What a tile's parameters narrow its layers to: `filter`, `datetime`, `properties`, a column's
value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

from api.deps import is_tracking
from api.feature_params import (
    advice,
    check_filter_words,
    filter_of,
    in_words_of_column,
    simple_names,
)
from layers.catalog import Catalog
from layers.crs import offered
from layers.errors import QueryRefused
from layers.feature_query import parse_columns
from layers.filters.canonical import conjunction
from layers.filters.nodes import EVERYTHING, Expression
from layers.filters.queryables import Queryables
from layers.filters.read import depends_on_the_day
from layers.filters.requests import in_time
from tiles.address import TileLayer
from tiles.announced import PARAMETER
from tiles.narrowed import Narrowed

FILTERS = ("filter", "filter-lang", "filter-crs", "datetime", "properties")
MOST_LETTERS = 8_000  # of a query string


class TileAsked(NamedTuple):
    """The parameters of a tile: the revisions that a client was told of, and what narrows it."""

    revisions: str | None
    narrowing: Mapping[str, str]

    @property
    def by_clock(self) -> bool:
        """Whether tomorrow the same words ask for other features."""
        return depends_on_the_day(self.narrowing.get("filter", ""))


def read_tile_asked(query_string: bytes) -> TileAsked:
    """Raises QueryRefused for what comes twice. Whether the rest is known depends on the layers."""
    found: dict[str, str] = {}
    if len(query_string) > MOST_LETTERS:
        raise QueryRefused("filter", "…", f"is too long for a tile: {MOST_LETTERS} letters at most")
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if is_tracking(name):
            continue
        if name in found:
            raise QueryRefused(name, value, "is given more than once; give it once")
        found[name] = value
    return TileAsked(found.pop(PARAMETER, None), found)


def narrowed(
    layers: Sequence[TileLayer], asked: Mapping[str, str], catalog: Catalog
) -> tuple[TileLayer, ...]:
    """The layers with the part of each that is asked for; each must know what is spoken of.

    Raises QueryRefused, LayerNotFound.
    """
    if not asked:
        return tuple(layers)
    return tuple(each._replace(narrowed=_narrowed(each.id, asked, catalog)) for each in layers)


def _narrowed(layer_id: str, asked: Mapping[str, str], catalog: Catalog) -> Narrowed | None:
    published = catalog.layer(layer_id)
    layer, known = published.layer, Queryables.of(published.layer)
    parts: list[Expression] = []
    for name, value in asked.items():
        if name in FILTERS:
            continue
        if name not in simple_names(layer):
            names = {*FILTERS, PARAMETER, *simple_names(layer)}
            raise QueryRefused(name, value, f"is not a parameter here; {advice(name, names)}")
        parts.append(in_words_of_column(name, value, known))
    if "datetime" in asked:
        parts.append(in_time(asked["datetime"], known))
    systems = offered(published.extent)
    check_filter_words(asked, systems)
    if "filter" in asked:
        parts.append(filter_of(asked, known, systems))
    columns = parse_columns(asked["properties"], layer) if "properties" in asked else None
    found = Narrowed(conjunction(parts) if parts else EVERYTHING, columns)
    return None if found.is_all else found
