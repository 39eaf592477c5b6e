"""The next item is made while the last one is at work, and nothing is lost of either."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.ahead import ahead


@given(st.lists(st.none() | st.integers(), max_size=20), st.integers(1, 5))
def test_every_item_comes_once_and_in_order(items: list[int | None], most: int) -> None:
    assert list(ahead(iter(items), most)) == items


@pytest.mark.parametrize("most", [1, 3])
def test_an_error_comes_where_its_item_would_have_come(most: int) -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third")

    found = ahead(failing(), most)
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(found)


def test_the_next_item_is_made_while_the_caller_has_the_last() -> None:
    made = threading.Event()

    def counting() -> Iterator[int]:
        yield 1
        made.set()
        yield 2

    found = ahead(counting())
    assert next(found) == 1
    assert made.wait(timeout=20), "nobody asked for the second yet"
    assert list(found) == [2]


def test_no_more_are_made_than_are_asked_for() -> None:
    made: list[int] = []

    def counting() -> Iterator[int]:
        for number in range(9):
            made.append(number)
            yield number

    found = ahead(counting(), 2)
    assert next(found) == 0
    found.close()
    assert len(made) <= 3


def test_closing_waits_for_what_is_being_made_and_closes_what_makes_it() -> None:
    may_go_on, closed = threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        try:
            yield 1
            may_go_on.wait(timeout=20)
            yield 2
            yield 3
        finally:
            closed.set()

    before = {*threading.enumerate()}
    found = ahead(slow())
    assert next(found) == 1
    threading.Timer(0.05, may_go_on.set).start()
    found.close()
    assert closed.is_set()
    new = {*threading.enumerate()} - before
    assert not [thread for thread in new if thread.name.startswith("ahead")]


def test_what_was_never_begun_closes_too() -> None:
    ahead(iter([1])).close()
