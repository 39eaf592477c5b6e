"""Statements that are put together: their parameters become columns, and nothing else does."""

from __future__ import annotations

import pytest

from tiles.batch import together


@pytest.mark.parametrize("quoted", ['"under $1"', "'$1'", "'it''s $1'", '"a""$1"', "E'\\\\$1'"])
def test_what_is_quoted_stays_as_it_is(quoted: str) -> None:
    text = together(f"SELECT {quoted}, $1", ["int4"])
    assert f'SELECT {quoted}, "#asked"."#1"' in text
