from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from api.web.words import languages, preferred_language, words


@pytest.mark.parametrize("language", languages())
def test_every_language_has_every_word(language: str) -> None:
    assert keys(words(language)) == keys(words("en"))


@pytest.mark.parametrize("language", languages())
def test_every_word_keeps_the_values_it_is_told(language: str) -> None:
    assert "{column}" in words(language)["undrawn"]
    assert "{count}" in words(language)["several"]


@pytest.mark.parametrize(
    ("asked", "accept", "wanted"),
    [
        pytest.param(None, "", "en", id="nothing asked"),
        pytest.param("de", "fr", "de", id="asked in the address"),
        pytest.param("de-AT", "", "de", id="a regional variety"),
        pytest.param("ca", "fr", "ca", id="a language only the catalogue may know"),
        pytest.param("<script>", "fr", "fr", id="nonsense is ignored"),
        pytest.param(None, "nl, fr;q=0.8, de;q=0.9", "de", id="the best that is known"),
        pytest.param(None, "*;q=0.1, ;;;", "en", id="a broken header"),
    ],
)
def test_the_language_is_the_one_asked_for_or_accepted(
    asked: str | None, accept: str, wanted: str
) -> None:
    assert preferred_language(asked, accept) == wanted


def keys(found: Mapping[str, Any]) -> set[str]:
    nested = {
        f"{name}.{key}" for name, value in found.items() if isinstance(value, dict) for key in value
    }
    return set(found) | nested
