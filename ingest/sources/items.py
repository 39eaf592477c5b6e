"""A stream of GeoJSON cut into its features, without ever holding the file.

Only brackets outside strings are looked at, a block at a time and all at once; what lies between
two brackets of a feature is left to the JSON parser. The features may be the members of a
collection, the elements of an array, or follow one another with anything JSON has between
values: a comma, a line end, a record separator, or nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import orjson

from ingest.errors import SourceRefused
from ingest.rows import Ints

Layout = Literal["collection", "array", "sequence"]

NEWLINE, OBJECT, ARRAY = ord("\n"), ord("{"), ord("[")
NAME_BYTES = 4096  # as far before its bracket `features` may stand, blanks and all
MAX_ITEM_BYTES = 512 << 20
MAX_ENVELOPE_BYTES = 16 << 20
BETWEEN = b" \t\r\n,\x1e"  # what may stand between two features
FEATURES = re.compile(rb'"features"\s*:\s*\Z')
ITEM_DEPTH: dict[Layout, int] = {"collection": 2, "array": 1, "sequence": 0}
STEP = np.zeros(256, np.int8)  # how each byte changes the depth
STEP[[ord("{"), ord("[")]] = 1
STEP[[ord("}"), ord("]")]] = -1


@dataclass(frozen=True, slots=True)
class Item:
    """One object found, or what stands where an object should; line and column are its start."""

    text: bytes
    line: int
    column: int = 1
    is_object: bool = True


@dataclass(frozen=True, slots=True)
class Brackets:
    """The brackets outside strings in a block: where, and the depth before and after each."""

    at: Ints
    before: Ints
    after: Ints


def find_brackets(data: bytes, depth: int) -> tuple[Brackets, bool]:
    """The brackets of data that starts outside a string, and whether it ends inside one."""
    text = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(text == ord('"'))
    quotes = quotes[~_escaped(text, quotes)]
    step = STEP[text]
    at = np.flatnonzero(step)
    if len(quotes):
        at = at[np.searchsorted(quotes, at) % 2 == 0]
    after = depth + np.cumsum(step[at], dtype=np.int64)
    before = after - step[at]
    return Brackets(at.astype(np.int64), before, after), len(quotes) % 2 == 1


def _escaped(text: npt.NDArray[np.uint8], quotes: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Which quotes have an odd number of backslashes before them."""
    odd = np.zeros(len(quotes), np.bool_)
    left = np.arange(len(quotes))
    at = quotes - 1
    while len(left):
        slashed = (at >= 0) & (text[np.maximum(at, 0)] == ord("\\"))
        left, at = left[slashed], at[slashed] - 1
        odd[left] = ~odd[left]
    return odd


@dataclass(slots=True)
class Items:
    """The features of one file, in order. `envelope` gathers what stands around them."""

    name: str
    layout: Layout
    chunks: Iterator[bytes]
    envelope: bytearray = field(default_factory=bytearray)
    data: bytes = b""  # what has not been given, from outside any string
    depth: int = 0  # at the start of data
    line: int = 1  # at the start of data
    column: int = 1
    inside: bool = False  # whether the start of data lies between features

    def __iter__(self) -> Iterator[Item]:
        self.inside = self.layout == "sequence"
        for chunk in self.chunks:
            self.data += chunk
            yield from self._whole()
            self._check_size()
        yield from self._end()

    def _whole(self) -> Iterator[Item]:
        """The items that end in the data, which is then cut behind the last of them."""
        brackets, _ = find_brackets(self.data, self.depth)
        self._check_closed(brackets)
        base = ITEM_DEPTH[self.layout]
        newlines = _newlines(self.data)
        taken = 0
        start: int | None = None
        for at, before, after in _near(brackets, base):
            if not self.inside:
                if before == base - 1 and after == base and self._opens_features(at):
                    self.envelope += self.data[taken : at + 1]
                    self.inside, taken = True, at + 1
            elif before == base and after == base + 1:
                start = at if self.data[at] == OBJECT else None
            elif before == base + 1 and after == base and start is not None:
                yield from self._strangers(self.data[taken:start], taken, newlines)
                yield Item(self.data[start : at + 1], *self._position(start, newlines))
                taken, start = at + 1, None
            elif after == base - 1:
                yield from self._strangers(self.data[taken:at], taken, newlines)
                self.inside, taken = False, at
        if taken:
            self.depth = base
            self.line, self.column = self._position(taken, newlines)
            self.data = self.data[taken:]

    def _opens_features(self, at: int) -> bool:
        if self.data[at] != ARRAY:
            return False
        return (
            self.layout == "array" or FEATURES.search(self.data[max(0, at - 99) : at]) is not None
        )

    def _position(self, at: int, newlines: list[int]) -> tuple[int, int]:
        """The line and column of a place in the data."""
        passed = bisect_left(newlines, at)
        if not passed:
            return self.line, self.column + at
        return self.line + passed, at - newlines[passed - 1]

    def _strangers(self, text: bytes, at: int, newlines: list[int]) -> Iterator[Item]:
        """Values that are no objects where features should be; anything else is a syntax error."""
        if not (text := text.strip(BETWEEN)):
            return
        line, _ = self._position(at, newlines)
        try:
            values = orjson.loads(b"[" + text + b"]")
        except orjson.JSONDecodeError as exc:
            shown = text[:40].decode("utf-8", "replace")
            raise SourceRefused(
                self.name, f"line {line}: {shown!r} is not JSON; a feature should stand here"
            ) from exc
        for value in values:
            yield Item(orjson.dumps(value), line, is_object=False)

    def _check_closed(self, brackets: Brackets) -> None:
        wrong = np.flatnonzero(brackets.after < 0)
        if len(wrong):
            at = int(brackets.at[wrong[0]])
            newlines = _newlines(self.data)
            line, column = self._position(at, newlines)
            raise SourceRefused(
                self.name,
                f"line {line}, column {column}: {chr(self.data[at])!r} closes what was not opened",
            )

    def _check_size(self) -> None:
        if len(self.data) > (MAX_ITEM_BYTES if self.inside else MAX_ENVELOPE_BYTES):
            what = "the feature is" if self.inside else "what stands around the features is"
            raise SourceRefused(
                self.name, f"line {self.line}: {what} larger than {len(self.data) >> 20} MB"
            )

    def _end(self) -> Iterator[Item]:
        brackets, in_string = find_brackets(self.data, self.depth)
        depth = int(brackets.after[-1]) if len(brackets.after) else self.depth
        if in_string or depth or (self.inside and self.layout != "sequence"):
            blank = self.data[: len(self.data) - len(self.data.lstrip(BETWEEN))]
            raise SourceRefused(
                self.name,
                f"the file ends in the middle of what begins on line "
                f"{self.line + blank.count(NEWLINE)}; it was cut short, fetch it again",
            )
        if self.inside:
            yield from self._strangers(self.data, 0, [])
        else:
            self.envelope += self.data


def _newlines(data: bytes) -> list[int]:
    return np.flatnonzero(np.frombuffer(data, np.uint8) == NEWLINE).tolist()


def _is_features(data: bytes, at: int) -> bool:
    """Whether the bracket there opens the value of a member called features."""
    return FEATURES.search(data[max(0, at - NAME_BYTES) : at]) is not None


def _near(brackets: Brackets, base: int) -> Iterator[tuple[int, int, int]]:
    """The brackets around items and around the array that holds them, with their depths."""
    lower = np.minimum(brackets.before, brackets.after)
    near = (lower == base) | (lower == base - 1)
    return zip(
        brackets.at[near].tolist(),
        brackets.before[near].tolist(),
        brackets.after[near].tolist(),
        strict=True,
    )


def find_layout(chunks: Iterator[bytes]) -> Layout:
    """How the features lie in the file, told by its first value."""
    data = b""
    for chunk in chunks:
        data += chunk
        brackets, _ = find_brackets(data, 0)
        for at, before, after in _near(brackets, 1):
            if before == 0 and data[at] == ARRAY:
                return "array"
            if before == 1 and data[at] == ARRAY and _is_features(data, at):
                return "collection"
            if after == 0:
                return "sequence"
        if len(data) > MAX_ITEM_BYTES:
            break
    return "sequence"
