"""Keys as they are read, and how often an address may show a wrong one."""

from __future__ import annotations

import pytest

from api.door import MOST_ADDRESSES, MOST_KEYS, WINDOW_S, WRONG_KEYS, TooManyWrongKeys, WrongKeys
from api.routers.runs import wants_page
from layers.errors import KeyRefused, QueryRefused
from layers.keys import KeyProof, NewKey, Scope
from layers.officer import RunsQuery, Signature, parse_gates

KEY = "qk_abcdefgh12_" + "s" * 43


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    "text",
    ["", "qk_", KEY[:-1], KEY + "s", KEY.upper(), f" {KEY}", f"{KEY}\n", KEY.replace("s", "é")],
)
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(KeyRefused) as refused:
        KeyProof.of(text)
    assert len(text) < 5 or text.strip() not in str(refused.value)


def test_a_key_is_never_printed() -> None:
    proof = KeyProof.of(KEY)
    assert proof.id == "abcdefgh12"
    assert "ssss" not in repr(proof)
    assert proof.digest.hex() not in repr(proof)
    assert repr(proof.digest) not in repr(proof)


def test_an_address_waits_after_many_wrong_keys_and_no_other_does() -> None:
    clock = Clock()
    wrong = WrongKeys(clock)
    for _ in range(WRONG_KEYS):
        wrong.check("1.2.3.4", b"x")
        wrong.wrong("1.2.3.4", b"x")
    with pytest.raises(TooManyWrongKeys) as refused:
        wrong.check("1.2.3.4", b"x")
    assert 0 < refused.value.wait_s <= WINDOW_S
    wrong.check("1.2.3.5", b"x")
    clock.now += WINDOW_S
    wrong.check("1.2.3.4", b"x")


def test_a_key_that_was_right_is_asked_about_whoever_shares_its_address() -> None:
    wrong = WrongKeys(Clock())
    wrong.right(b"mine")
    for _ in range(WRONG_KEYS):
        wrong.wrong("proxy", b"theirs")
    wrong.check("proxy", b"mine")
    with pytest.raises(TooManyWrongKeys):
        wrong.check("proxy", b"new")
    wrong.wrong("proxy", b"mine")  # it was revoked
    with pytest.raises(TooManyWrongKeys):
        wrong.check("proxy", b"mine")


def test_what_is_remembered_is_bounded() -> None:
    wrong = WrongKeys(Clock())
    for number in range(2 * MOST_ADDRESSES):
        wrong.wrong(str(number), b"x")
        wrong.right(number.to_bytes(4))
    assert (len(wrong._wrong), len(wrong._right)) == (MOST_ADDRESSES, MOST_KEYS)


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("application/json", False),
        ("application/json, text/html", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_browsers_get_the_page_and_programs_json(accept: str, page: bool) -> None:
    assert wants_page(accept) is page


@pytest.mark.parametrize(
    "make",
    [
        lambda: Signature(by=" ", note="x"),
        lambda: Signature(by="x", note=""),
        lambda: Signature(by="x", note="a\0b"),
        lambda: Signature(by="x" * 201, note="y"),
        lambda: RunsQuery(state="done"),
        lambda: parse_gates(["shrink", "no gate!"]),
    ],
)
def test_what_cannot_be_kept_or_asked_is_refused_at_the_door(make: object) -> None:
    assert callable(make)
    with pytest.raises(QueryRefused):
        make()


def test_a_key_needs_a_name_and_a_scope() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        NewKey(name=" ", scopes=(Scope.ACCEPT,))
    with pytest.raises(ValueError, match="needs a scope"):
        NewKey(name="x", scopes=())
