"""What a request for features asks: its parameters read into a FeatureQuery, each checked once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.deps import is_tracking
from api.openapi_parts import DEFAULT_LIMIT, ITEM_PARAMETERS, OF_WHICH_FEATURES
from layers.catalog import PublishedLayer
from layers.columns import MAX_ZOOM, ColumnType
from layers.crs import CRS84, Crs, offered, parse_crs
from layers.errors import QueryRefused, StoreBusy
from layers.feature_query import (
    MAX_DIGITS,
    MAX_LIMIT,
    Cursor,
    FeatureQuery,
    parse_columns,
    parse_sort,
)
from layers.filters import temporal
from layers.filters.canonical import compare, conjunction
from layers.filters.errors import FilterRefused
from layers.filters.nodes import Expression, Kind, Literal
from layers.filters.queryables import Queryables
from layers.filters.read import language_of, read_filter, read_tree
from layers.filters.requests import Box, in_box, in_time, of_ids, with_words
from layers.filters.values import clock, day, instant, moment, number, text
from layers.grouping import (
    MAX_GROUPS,
    MAX_KEYS,
    MAX_VALUES,
    USUAL_GROUPS,
    USUAL_VALUES,
    Grid,
    GroupQuery,
    Key,
    output_names,
    parse_grid,
    parse_keys,
    parse_measures,
    parse_order,
)
from layers.model import Layer

PARAMETERS = frozenset((*ITEM_PARAMETERS, "f"))
OF_GROUPS = frozenset(("group_by", "measures", "grid", "sortby", "limit", "f"))
GROUP_PARAMETERS = OF_GROUPS | {*OF_WHICH_FEATURES}
OF_FACETS = frozenset(("facets", "limit", "f"))
FACET_PARAMETERS = OF_FACETS | {*OF_WHICH_FEATURES}
FIRST = ("offset", "0")  # which ogc-client says each time; there is no other offset
Asked = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The features asked for. `as_of` is still to be resolved; `limit` tells what was said."""

    query: FeatureQuery
    limit: int | None
    as_of: str | None


def read_asked(
    items: list[tuple[str, str]],
    published: PublishedLayer,
    parameters: frozenset[str] = PARAMETERS,
) -> dict[str, str]:
    """The parameters by their names; raises QueryRefused for one that is unknown or comes twice."""
    asked: dict[str, str] = {}
    known = {*parameters, *simple_names(published.layer)}
    for name, value in items:
        if name not in known and (is_tracking(name) or (name, value) == FIRST):
            continue
        if name not in known:
            raise QueryRefused(name, value, f"is not a parameter here; {advice(name, known)}")
        if name in asked:
            raise QueryRefused(name, value, "is given more than once; give it once")
        asked[name] = value
    return asked


def advice(name: str, known: set[str]) -> str:
    if name == FIRST[0]:
        return "the link next leads to the page behind this one"
    if near := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {near[0]}?"
    return f"parameters are {', '.join(sorted(known))}"


def simple_names(layer: Layer) -> list[str]:
    """The columns that may be asked for by name=value."""
    found = Queryables.of(layer).properties.values()
    return [
        each.name for each in found
        if each.kind not in (Kind.ARRAY, Kind.GEOMETRY) and each.name not in PARAMETERS
    ]  # fmt: skip


def wanted(asked: Asked, published: PublishedLayer) -> Wanted:
    """What the parameters ask for; raises QueryRefused."""
    layer = published.layer
    known = Queryables.of(layer)
    systems = offered(published.extent)
    query = FeatureQuery(
        layer=layer,
        where=_where(asked, known, systems),
        sort=parse_sort(_text(asked, "sortby"), layer) if asked.get("sortby") else (),
        columns=parse_columns(asked["properties"], layer) if "properties" in asked else None,
        geometry=not _flag(asked, "skipGeometry"),
        crs=_crs(asked, "crs", systems),
        digits=_whole(asked, "precision", 0, MAX_DIGITS),
        zoom=_whole(asked, "zoom", 0, MAX_ZOOM),
        after=Cursor.decode(_text(asked, "cursor")) if "cursor" in asked else None,
        limit=limit if (limit := _whole(asked, "limit", 1, MAX_LIMIT)) else DEFAULT_LIMIT,
    )
    return Wanted(query, limit, asked.get("as_of"))


def _where(asked: Asked, known: Queryables, systems: tuple[Crs, ...]) -> Expression:
    """All conditions, in whatever words they were asked, as one."""
    parts: list[Expression] = []
    of_box = _crs(asked, "bbox-crs", systems)
    check_filter_words(asked, systems)
    if "bbox" in asked:
        box = Box.parse(asked["bbox"], of_box)
        parts.append(in_box(box, known))
    if "datetime" in asked:
        parts.append(in_time(_text(asked, "datetime"), known))
    if "ids" in asked:
        parts.append(of_ids(_text(asked, "ids")))
    if asked.get("q"):
        parts.append(with_words(_text(asked, "q"), known))
    if "filter" in asked:
        parts.append(filter_of(asked, known, systems))
    parts += [
        in_words_of_column(name, asked[name], known)
        for name in asked
        if name not in PARAMETERS
    ]  # fmt: skip
    return conjunction(parts)


def check_filter_words(asked: Asked, systems: tuple[Crs, ...]) -> None:
    """What is said of a filter is right also where there is none; raises QueryRefused."""
    _crs(asked, "filter-crs", systems)
    language_of(_text(asked, "filter-lang") if "filter-lang" in asked else None)


def filter_of(asked: Asked, known: Queryables, systems: tuple[Crs, ...]) -> Expression:
    crs, said = _crs(asked, "filter-crs", systems), asked["filter"]
    language = asked.get("filter-lang")
    if isinstance(said, str):
        return read_filter(said, known, language=language, crs=crs)
    if language not in (None, "cql2-json"):
        raise QueryRefused("filter-lang", language, "a filter that is JSON is cql2-json")
    return read_tree(said, known, crs=crs)


READERS = {
    Kind.TEXT: text, Kind.DATE: day, Kind.INSTANT: moment, Kind.TIME: clock,
}  # fmt: skip


def in_words_of_column(name: str, said: Any, known: Queryables) -> Expression:
    """`genus=Tilia`: a column and the value it shall have."""
    column = known.named(name)
    fix = f"write {'an' if column.kind is Kind.INTEGER else 'a'} {column.kind}"
    try:
        literal = _literal(str(said), column.kind)
        if column.kind is Kind.INSTANT and literal.kind is Kind.DATE:
            return temporal.compared("=", column, literal, known.zone)
        return compare("=", column, literal)
    except FilterRefused as exc:
        raise QueryRefused(name, said, str(exc)) from None
    except ValueError:
        raise QueryRefused(name, said, fix) from None


def _literal(said: str, kind: Kind) -> Literal:
    if kind is Kind.BOOLEAN:
        if said not in ("true", "false"):
            raise FilterRefused("write true or false")
        return Literal(said == "true", kind)
    if kind.is_numeric and (not said.isascii() or "_" in said or said != said.strip()):
        raise ValueError(said)  # which Python would read as a number, and nobody else
    if kind is Kind.INTEGER:
        return number(int(said))
    if kind is Kind.NUMBER:
        return Literal(float(number(float(said)).value), kind)  # type: ignore[arg-type]
    if kind is Kind.INSTANT:
        return moment(said) if len(said) == 10 else instant(said)
    return READERS[kind](said)


def _crs(asked: Asked, name: str, systems: tuple[Crs, ...]) -> Crs:
    return parse_crs(name, _text(asked, name), systems) if name in asked else CRS84


def _text(asked: Asked, name: str) -> str:
    value = asked[name]
    if isinstance(value, list):  # from a body in JSON
        return ",".join(map(str, value))
    return str(value)


def _whole(asked: Asked, name: str, least: int, most: int) -> int | None:
    if name not in asked:
        return None
    said = str(asked[name])
    if not (said.isascii() and said.isdigit() and len(said) < 10 and least <= int(said) <= most):
        raise QueryRefused(name, said[:60], f"write a whole number from {least} to {most}")
    return int(said)


def _flag(asked: Asked, name: str) -> bool:
    said = str(asked.get(name, "false")).lower()
    if said not in ("true", "false"):
        raise QueryRefused(name, said[:60], "write true or false")
    return said == "true"


def read_groups_asked(
    asked: Asked, features: FeatureQuery, published: PublishedLayer
) -> GroupQuery:
    """How the features are to be grouped; raises QueryRefused."""
    known = Queryables.of(published.layer)
    keys = parse_keys(_text(asked, "group_by"), known) if "group_by" in asked else ()
    measures = parse_measures(_text(asked, "measures"), known) if "measures" in asked else ()
    grid = _grid(_text(asked, "grid"), published) if "grid" in asked else None
    outputs = output_names(keys, measures, has_grid=grid is not None)
    limit = _whole(asked, "limit", 1, MAX_GROUPS)
    return GroupQuery(
        of=features, keys=keys, grid=grid, measures=measures,
        order=parse_order(_text(asked, "sortby"), outputs) if "sortby" in asked else (),
        limit=USUAL_GROUPS if limit is None else limit,
    )  # fmt: skip


def _grid(said: str, published: PublishedLayer) -> Grid:
    """Raises StoreBusy for a grid that tells no latitude until it is known where the layer lies."""
    latitude = 0.0 if "@" in said else _middle(published)
    return parse_grid(said, latitude)


def read_facets_asked(asked: Asked, layer: Layer) -> tuple[tuple[Key, ...], int]:
    """The facets whose values are to be counted, and how many values of each; raises
    QueryRefused.
    """
    said = asked.get("facets", ",".join(_usual_facets(layer)))
    keys = parse_keys(str(said), Queryables.of(layer), "facets")
    if "facets" in asked and not keys:
        raise QueryRefused("facets", str(said)[:60], "names no column; leave it out, or name some")
    return keys, _whole(asked, "limit", 1, MAX_VALUES) or USUAL_VALUES


def _usual_facets(layer: Layer) -> list[str]:
    """The category, or where there is none what is likely to be chosen from."""
    if layer.category is not None and layer.column(layer.category).type is not ColumnType.JSON:
        return [layer.category]
    likely = (ColumnType.TEXT, ColumnType.BOOLEAN)
    return [column.name for column in layer.columns if column.type in likely][:MAX_KEYS]


def _middle(published: PublishedLayer) -> float:
    """The latitude that a layer lies at. Raises StoreBusy until that is known."""
    if published.count is None and published.layer.has_geometry:
        raise StoreBusy(
            "where this layer lies is not known yet; a grid such as hex:500@48 tells a latitude"
        )
    extent = published.extent
    return 0.0 if extent is None else (extent.south + extent.north) / 2
