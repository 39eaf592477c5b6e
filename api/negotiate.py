"""Which form of an answer a client wants: what `f` says, else what its Accept header prefers."""

from __future__ import annotations

from collections.abc import Mapping

from layers.errors import QueryRefused

PARAMETER = "f"


class NotAcceptable(Exception):
    """None of the forms there are is one that the client takes."""


def chosen(offered: Mapping[str, str], f: str | None, accept: str | None) -> str:
    """The name of the form wanted, of those offered (name: media type, the usual one first).

    Raises QueryRefused for an `f` that is not offered, NotAcceptable where the header rules all
    of them out.
    """
    names = list(offered)
    if f is not None:
        if f not in offered:
            raise QueryRefused(PARAMETER, f, f"write one of {', '.join(names)}")
        return f
    if not accept or accept.strip() == "*/*":
        return names[0]
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    liked = {name: _liking(media_type, ranges) for name, media_type in offered.items()}
    best = max(names, key=lambda name: liked[name])  # of equals the first
    if liked[best] <= 0:
        known = ", ".join(dict.fromkeys(offered.values()))
        raise NotAcceptable(f"Accept: {accept[:200]} takes none of {known}")
    return best


def _range(part: str) -> tuple[str, float]:
    """A media range and how much it is liked; what cannot be read counts as 1 (RFC 9110)."""
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media, min(1.0, max(0.0, float(value)))
            except ValueError:
                return media, 1.0
    return media, 1.0


def _liking(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """By the narrowest range that the type is in."""
    plain = media_type.partition(";")[0].strip().lower()
    for wanted in (plain, f"{plain.partition('/')[0]}/*", "*/*"):
        found = [liking for media, liking in ranges if media == wanted]
        if found:
            return max(found)
    return 0.0
