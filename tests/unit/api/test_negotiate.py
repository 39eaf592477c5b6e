"""Which form of an answer is chosen."""

from __future__ import annotations

import pytest

from api.negotiate import NotAcceptable, chosen
from layers.errors import QueryRefused

FORMS = {"json": "application/geo+json", "csv": "text/csv; charset=utf-8", "html": "text/html"}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("f", "accept", "wanted"),
    [
        (None, None, "json"),
        (None, "", "json"),
        (None, "*/*", "json"),
        (None, BROWSER, "html"),
        ("csv", BROWSER, "csv"),
        (None, "text/csv", "csv"),
        (None, "text/*", "csv"),
        (None, "TEXT/CSV;q=0.5, text/html;q=0.4", "csv"),
        (None, "application/geo+json, application/json", "json"),
        (None, "*/*, text/html;q=0", "json"),
        (None, "text/html;q=much, text/csv;q=0.9", "html"),
    ],
)
def test_f_decides_and_else_what_the_header_likes_best(
    f: str | None, accept: str | None, wanted: str
) -> None:
    assert chosen(FORMS, f, accept) == wanted


def test_an_unknown_form_is_refused_with_those_there_are() -> None:
    with pytest.raises(QueryRefused, match="write one of json, csv, html"):
        chosen(FORMS, "xml", None)


@pytest.mark.parametrize("accept", ["image/png", "text/html;q=0", "*/*;q=0"])
def test_a_client_that_takes_none_of_them_is_told_so(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="takes none of"):
        chosen(FORMS, None, accept)
