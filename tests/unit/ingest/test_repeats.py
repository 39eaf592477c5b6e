"""Rows of equal content are found while they stream by."""

from __future__ import annotations

import hashlib
from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ingest.repeats import Numbers, Repeats


def key(content: int) -> str:
    return hashlib.md5(str(content).encode()).hexdigest()


@given(st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=6))
def test_every_row_that_has_an_equal_is_found_and_no_other(batches: list[list[int]]) -> None:
    repeats, seen, number = Repeats(), [], 1
    for contents in batches:
        rows = list(range(number, number + len(contents)))
        repeats.add(pa.array([key(c) for c in contents], pa.string()), pa.array(rows, pa.int64()))
        seen += list(zip(rows, contents, strict=True))
        number += len(contents)
    every = [content for _, content in seen]
    assert sorted(repeats.rows() or []) == [row for row, c in seen if every.count(c) > 1]


def test_a_slice_of_a_batch_is_read_where_it_begins() -> None:
    repeats = Repeats()
    keys = pa.array([key(1), key(2), key(3), key(2)])
    repeats.add(keys.slice(1), pa.array([10, 11, 12], pa.int64()))
    assert sorted(repeats.rows() or []) == [10, 12]


@given(st.lists(st.lists(st.integers(0, 40), max_size=20), max_size=9))
def test_equal_rows_are_numbered_in_the_order_of_the_file(batches: list[list[int]]) -> None:
    numbers, seen = Numbers(), Counter[int]()
    for contents in batches:
        wanted = []
        for content in contents:
            seen[content] += 1
            wanted.append(key(content) + (f"-{seen[content]}" if seen[content] > 1 else ""))
        assert (
            numbers.number(pa.array([key(c) for c in contents], pa.string())).to_pylist() == wanted
        )


def test_keys_of_which_the_first_half_agrees_are_told_apart() -> None:
    numbers = Numbers()
    alike = ["0" * 16 + f"{number:016x}" for number in (5, 3, 9)]
    assert numbers.number(pa.array(alike)).to_pylist() == alike
    more = ["0" * 16 + f"{number:016x}" for number in (9, 4, 3, 11, 9)]
    wanted = [more[0] + "-2", more[1], more[2] + "-2", more[3], more[4] + "-3"]
    assert numbers.number(pa.array(more)).to_pylist() == wanted


def test_a_slice_is_numbered_where_it_begins() -> None:
    keys = pa.array([key(1), key(2), key(3), key(2)]).slice(1)
    assert Numbers().number(keys).to_pylist() == [key(2), key(3), key(2) + "-2"]
