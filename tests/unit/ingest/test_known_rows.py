"""Which rows of a file a layer holds already: as many as it has of each content, and no more."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.known_rows import KnownRows, Odd, known_rows

CONTENTS = [f"{n:032x}" for n in (0, 1, 7, 1 << 100, 0xABCDEF)]


def numbered(contents: list[str]) -> list[str]:
    """The keys that loads give to rows of these contents."""
    seen: Counter[str] = Counter()
    keys = []
    for content in contents:
        seen[content] += 1
        keys.append(content if seen[content] == 1 else f"{content}-{seen[content]}")
    return keys


def known(contents: list[str]) -> KnownRows:
    return KnownRows(pa.chunked_array([numbered(contents)], pa.string()))


rows = st.lists(st.sampled_from(CONTENTS), max_size=30)


@given(held=rows, batches=st.lists(rows, max_size=4))
def test_what_is_staged_and_what_is_gone_make_the_layer_the_file(
    held: list[str], batches: list[list[str]]
) -> None:
    sifter, staged = known(held), []
    for batch in batches:
        sifted = sifter.sift(pa.array(batch, pa.string()))
        assert len(sifted.keys) == sum(sifted.wanted.to_pylist())
        staged += sifted.keys.to_pylist()
    file = [content for batch in batches for content in batch]
    new = {content for content in file if content not in held}
    staged = numbered([key for key in staged if key in new]) + [k for k in staged if k not in new]
    left = Counter(numbered(held)) - Counter(sifter.gone()) + Counter(staged)
    assert left == Counter(numbered(file))
    assert sifter.unchanged == len(file) - len(staged)


def test_a_part_of_a_longer_array_is_read_from_its_own_beginning() -> None:
    sifter = known(CONTENTS[:2])
    part = pa.array([CONTENTS[4], CONTENTS[0], CONTENTS[3]], pa.string())[1:]
    assert sifter.sift(part).wanted.to_pylist() == [False, True]


@pytest.mark.parametrize(
    "keys", [[f"{CONTENTS[1]}-2"], [CONTENTS[1], f"{CONTENTS[1]}-3"], [CONTENTS[1], CONTENTS[1]]]
)
def test_keys_that_no_load_gives_are_not_relied_on(keys: list[str]) -> None:
    with pytest.raises(Odd):
        KnownRows(pa.chunked_array([keys], pa.string()))
    assert known_rows(pa.chunked_array([keys], pa.string())) is None


def test_a_key_that_somebody_gave_by_sql_is_of_no_row_of_a_file() -> None:
    sifter = KnownRows(pa.chunked_array([[CONTENTS[0], "sql:1", "x"]], pa.string()))
    sifter.sift(pa.array([CONTENTS[0]], pa.string()))
    assert sorted(sifter.gone()) == ["sql:1", "x"]
