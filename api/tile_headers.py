"""What requests for tiles say in their headers, and what answers say of keeping them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from layers.model import Layer
from layers.tilesets import Tileset

BROTLI, GZIP, IDENTITY = b"br", b"gzip", b"identity"
PREFERRED = (BROTLI, GZIP, IDENTITY)  # where a client likes several equally well
SUFFIX = {BROTLI: "br", GZIP: "gz", IDENTITY: "id"}  # of ETags
QUALITY = re.compile(rb"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")
REMEMBERED = 1000  # headers whose meaning is kept at hand
STALE_IF_ERROR_S = 86_400  # an edge may serve on for a day while we cannot be reached

Takes = tuple[bytes, ...]

_known: dict[bytes, Takes] = {}


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[Takes, bytes | None]:
    """The encodings a client takes, the one it likes best first, and its If-None-Match."""
    accepts = tags = None
    for name, value in headers:
        if name == b"accept-encoding":
            accepts = value if accepts is None else accepts + b"," + value
        elif name == b"if-none-match":
            tags = value if tags is None else tags + b", " + value
    if accepts is None:
        return (IDENTITY,), tags
    return _known.get(accepts) or _takes(accepts), tags


def _takes(accepts: bytes) -> Takes:
    """RFC 9110's Accept-Encoding; identity is the last resort, whatever was said of it."""
    told = dict(_told(part) for part in accepts.lower().split(b",") if part.strip())
    other = told.get(b"*", 0.0)
    likes = {coding: told.get(coding, other) for coding in (BROTLI, GZIP)}
    # Not named, identity is taken by all, and liked less than what was named.
    likes[IDENTITY] = told.get(IDENTITY, other or 0.0005)
    taken = [coding for coding in PREFERRED if likes[coding] > 0]
    taken.sort(key=lambda coding: -likes[coding])
    if len(_known) >= REMEMBERED:
        _known.clear()
    order = _known[accepts] = tuple(dict.fromkeys([*taken, IDENTITY]))
    return order


def _told(part: bytes) -> tuple[bytes, float]:
    coding, _, weight = part.partition(b";")
    if not weight:
        return coding.strip(), 1.0
    quality = QUALITY.fullmatch(weight.replace(b" ", b"").replace(b"\t", b""))
    return coding.strip(), float(quality[1]) if quality else 0.0


def etag_of(validator: str, coding: bytes) -> bytes:
    """Weak, because compression may be improved later; told apart by encoding all the same."""
    return f'W/"{validator}-{SUFFIX[coding]}"'.encode()


def etag_held(tags: bytes, own: Sequence[bytes]) -> bytes | None:
    """The one of a tile's own ETags that the client has, by RFC 9110's weak comparison.

    In any encoding it is the same tile; the client is told the tag of the one it has.
    """
    if tags in own:
        return tags
    given = {tag.strip().removeprefix(b"W/") for tag in tags.split(b",")}
    if b"*" in given:
        return own[0]
    return next((tag for tag in own if tag.removeprefix(b"W/") in given), None)


def cache_control(layers: Sequence[Layer | Tileset]) -> bytes:
    """A composite keeps to its strictest layer. A browser keeps a tile and asks each time, where
    no layer says otherwise; an edge asks once in `s_maxage_s`, and serves on while we are away.
    """
    browser = min((layer.max_age_s or 0 for layer in layers), default=0)
    edge = min((layer.s_maxage_s for layer in layers), default=0)
    said = f"max-age={browser}, s-maxage={edge}, stale-if-error={STALE_IF_ERROR_S}"
    return said.encode()
