"""What a client says in its headers, by RFC 9110."""

from __future__ import annotations

import pytest

from api import tile_headers
from api.tile_headers import cache_control, etag_held, read_headers
from tests.examples import PARKS, TREES

TAGS = (b'W/"v-br"', b'W/"v-gz"', b'W/"v-id"')


@pytest.mark.parametrize(
    ("accepts", "order"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip", "gzip identity"),
        ("GZIP", "gzip identity"),
        ("gzip, deflate, br, zstd", "br gzip identity"),
        ("br", "br identity"),
        ("br;q=0, gzip", "gzip identity"),
        ("br;q=0.5, gzip", "gzip br identity"),
        ("br;q=0.5, gzip;q=0.5", "br gzip identity"),
        ("gzip;q=0.001", "gzip identity"),
        ("gzip;q=0.001, identity;q=0.5", "identity gzip"),
        ("*", "br gzip identity"),
        ("*;q=0.5, gzip", "gzip br identity"),
        ("*;q=0, gzip", "gzip identity"),
        ("*;q=0", "identity"),
        ("gzip;q=0, *", "br identity"),
        ("gzip ; q=1.000 , br ; q=0.000", "gzip identity"),
        ("gzip;q=2", "identity"),
        ("gzip;q=x", "identity"),
        ("gzip;level=9", "identity"),
        ("gzipped, x-br", "identity"),
        (",,gzip,", "gzip identity"),
        ("identity;q=0", "identity"),
    ],
)
def test_encodings_are_taken_in_the_order_a_client_likes_them(
    accepts: str | None, order: str
) -> None:
    headers = [] if accepts is None else [(b"accept-encoding", accepts.encode())]
    for _ in "twice":
        assert b" ".join(read_headers(headers)[0]).decode() == order


def test_a_header_given_twice_is_one_list() -> None:
    takes, tags = read_headers(
        [
            (b"accept-encoding", b"gzip"),
            (b"if-none-match", b'"a"'),
            (b"accept-encoding", b"br"),
            (b"if-none-match", b'"b"'),
        ]
    )
    assert takes == (b"br", b"gzip", b"identity")
    assert tags == b'"a", "b"'


def test_headers_that_nobody_else_sends_are_not_remembered_without_end() -> None:
    for number in range(3 * tile_headers.REMEMBERED):
        read_headers([(b"accept-encoding", b"gzip;q=0.5, x-%d" % number)])
    assert len(tile_headers._known) <= tile_headers.REMEMBERED


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ('W/"v-gz"', 'W/"v-gz"'),
        ('"v-gz"', 'W/"v-gz"'),
        ('W/"v-br"', 'W/"v-br"'),
        ('"x", W/"v-id"', 'W/"v-id"'),
        ('W/"v-br",W/"v-gz"', 'W/"v-br"'),
        ("*", 'W/"v-br"'),
        ('W/"w-gz"', None),
        ('"v"', None),
        ("v-gz", None),
        ("", None),
    ],
)
def test_any_encoding_of_the_tile_a_client_holds_is_the_tile(given: str, held: str | None) -> None:
    assert etag_held(given.encode(), TAGS) == (held and held.encode())


def test_a_composite_is_kept_no_longer_than_its_strictest_layer_allows() -> None:
    lasting = TREES.model_copy(update={"max_age_s": 600, "s_maxage_s": 3600})
    shorter = PARKS.model_copy(update={"max_age_s": 60, "s_maxage_s": 7200})
    edge = b"stale-if-error=86400"
    assert cache_control([lasting]) == b"max-age=600, s-maxage=3600, " + edge
    assert cache_control([lasting, shorter]) == b"max-age=60, s-maxage=3600, " + edge
    assert cache_control([lasting, PARKS]) == b"max-age=0, s-maxage=1, " + edge
