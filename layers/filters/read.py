"""Filters as requests bring them: a text, the language it is in, and the system of its shapes."""

from __future__ import annotations

import reprlib
from typing import Any

import orjson

from layers.crs import CRS84, Crs
from layers.errors import QueryRefused
from layers.filters.build import build
from layers.filters.errors import FilterRefused
from layers.filters.functions import TODAY
from layers.filters.nodes import Expression
from layers.filters.queryables import Queryables
from layers.filters.text import parse_text

TEXT, JSON = "cql2-text", "cql2-json"
LANGUAGES = (TEXT, JSON)
ALIASES = {"cql-text": TEXT}  # which GDAL looks for in OpenAPI, and says
MOST_LETTERS = 64 * 1024
SHOWN = 200


def depends_on_the_day(said: str) -> bool:
    """Whether a filter may ask for something else tomorrow. JSON can spell a word by numbers."""
    return TODAY in said.lower() or "\\u" in said


def language_of(said: str | None, parameter: str = "filter") -> str | None:
    """The language that a parameter names, if it names one. Raises QueryRefused."""
    language = ALIASES.get(said, said) if said is not None else None
    if language is not None and language not in LANGUAGES:
        raise QueryRefused(f"{parameter}-lang", language, f"write one of {', '.join(LANGUAGES)}")
    return language


def read_filter(
    said: str,
    queryables: Queryables,
    *,
    language: str | None = None,
    crs: Crs = CRS84,
    parameter: str = "filter",
) -> Expression:
    """The expression of a filter in CQL2; without a language, the one it looks like.

    Raises QueryRefused.
    """
    language = language_of(language, parameter)
    shown = said[:SHOWN]
    if len(said) > MOST_LETTERS:
        raise QueryRefused(parameter, shown, f"has more than {MOST_LETTERS} letters")
    is_json = said.lstrip().startswith("{") if language is None else language == JSON
    try:
        return build(_parsed_json(said) if is_json else parse_text(said), queryables, crs)
    except FilterRefused as exc:
        raise QueryRefused(parameter, shown, str(exc)) from None


def read_tree(
    tree: Any, queryables: Queryables, *, crs: Crs = CRS84, parameter: str = "filter"
) -> Expression:
    """The expression of a filter that came as CQL2 JSON within other JSON."""
    try:
        return build(tree, queryables, crs)
    except FilterRefused as exc:
        raise QueryRefused(parameter, reprlib.repr(tree)[:SHOWN], str(exc)) from None


def _parsed_json(said: str) -> Any:
    try:
        return orjson.loads(said)
    except orjson.JSONDecodeError as exc:
        raise FilterRefused(f"is no JSON: {exc}") from None
