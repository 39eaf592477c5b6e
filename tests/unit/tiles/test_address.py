"""z, x and y at the door."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiles.address import MAX_LAYERS, Show, TileAddress, TileLayer, parse_layers
from tiles.errors import AddressRefused


@given(st.integers(0, 22).flatmap(lambda z: st.tuples(st.just(z), *[st.integers(0, 2**z - 1)] * 2)))
def test_every_address_of_the_grid_is_read(at: tuple[int, int, int]) -> None:
    assert TileAddress.parse(*map(str, at)) == at


@pytest.mark.parametrize(
    ("z", "x", "y", "wrong"),
    [
        ("23", "0", "0", "z"),
        ("3", "8", "0", "x"),
        ("3", "0", "8", "y"),
        ("-1", "0", "0", "z"),
        ("1e1", "0", "0", "z"),
        ("3", " 1", "0", "x"),
        ("3", "+1", "0", "x"),
        ("3", "", "0", "x"),
        ("3", "٣", "0", "x"),
        ("3", "1", "999999999999999999999", "y"),
    ],
)
def test_an_address_off_the_grid_names_what_is_wrong(z: str, x: str, y: str, wrong: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        TileAddress.parse(z, x, y)
    assert refused.value.parameter == wrong
    assert "from 0 to" in refused.value.fix


def test_layers_keep_the_order_they_were_asked_in() -> None:
    assert [each.name for each in parse_layers("b,a:heat")] == ["b", "a:heat"]


def test_a_presentation_stands_behind_a_colon() -> None:
    assert parse_layers("a:labels,a") == (TileLayer("a", Show.LABELS), TileLayer("a"))


@pytest.mark.parametrize("text", ["a:", "a:features", "a:heat:heat", "a:HEAT", "a,b:dots"])
def test_an_unknown_presentation_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(AddressRefused, match=":heat or"):
        parse_layers(text)


@pytest.mark.parametrize("text", ["a,a", ",".join(f"l{n}" for n in range(MAX_LAYERS + 1))])
def test_a_list_with_a_repeated_or_too_many_layers_is_refused(text: str) -> None:
    with pytest.raises(AddressRefused):
        parse_layers(text)
