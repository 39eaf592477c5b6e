"""Which header of a file a declared column means, however the publisher spelt it this time."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches

from ingest.errors import SourceRefused

DBF_NAME = 10  # characters of a column's name that a shapefile keeps
NAMED_HEADERS = 40  # of a wide table, as many are listed in a message


def fold(name: str) -> str:
    """The name without case, accents, and the kind of space between its words."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return "_".join(re.findall(r"\w+", plain.replace("_", " ")))


def _dbf_kept(name: str) -> str:
    """What a shapefile keeps of a name when it puts a letter without accent for one with."""
    return fold(name).replace("_", "")[:DBF_NAME]


def _dbf_dropped(name: str) -> str:
    """What a shapefile keeps of a name when it drops the letters that have accents."""
    composed = unicodedata.normalize("NFC", name)
    return _dbf_kept("".join(char for char in composed if char.isascii()))


def _dbf_cut(name: str) -> str:
    """What a shapefile keeps of a name that is cut before its separators are compared."""
    return fold(name[:DBF_NAME]).replace("_", "")


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


Spelling = Callable[[str], str]
SPELLINGS: tuple[Spelling, ...] = (_nfc, fold)
DBF_SPELLINGS: tuple[Spelling, ...] = (*SPELLINGS, _dbf_kept, _dbf_dropped, _dbf_cut)


class Headers:
    """The headers of one file, found by name."""

    def __init__(self, file: str, headers: Sequence[str], *, cut: bool = False) -> None:
        self._file = file
        self._all = headers
        self._spellings = DBF_SPELLINGS if cut else SPELLINGS

    def find(self, wanted: str) -> str | None:
        """The header that `wanted` means, or None; two that could be meant are refused."""
        if (exact := self._all.count(wanted)) == 1:
            return wanted
        if exact:
            raise SourceRefused(
                self._file, f"the header {wanted!r} stands there {exact} times; rename all but one"
            )
        for spelling in self._spellings:
            matches = [header for header in self._all if spelling(header) == spelling(wanted)]
            if len(matches) > 1:
                raise SourceRefused(
                    self._file,
                    f"{wanted!r} could be any of the headers {_listed(matches)}; "
                    "declare the one meant with `from`",
                )
            if matches:
                return matches[0]
        return None

    def nearest(self, wanted: str) -> str | None:
        folded = {fold(header): header for header in self._all}
        close = get_close_matches(fold(wanted), folded, n=1, cutoff=0.6)
        return folded[close[0]] if close else None

    def missing(self, column: str, wanted: str) -> SourceRefused:
        """The refusal that says which column is not there and which headers are."""
        meant = f" from {wanted!r}" if wanted != column else ""
        near = self.nearest(wanted)
        hint = f"; did you mean {near!r}?" if near else "."
        if len(self._all) == 1 and any(mark in self._all[0] for mark in ",;\t|"):
            hint = "; is source.delimiter the right one?"
        return SourceRefused(
            self._file,
            f"no column for {column!r}{meant}{hint} The headers are {_listed(self._all)}. "
            f"Declare `from:` with one of them, or `optional: true`",
        )


def refuse_shared(file: str, found: Iterable[tuple[str, str]]) -> None:
    """Refuse when one header answers for several declared columns only by its spelling."""
    users: dict[str, list[str]] = defaultdict(list)
    for column, header in found:
        users[header].append(column)
    for header, columns in users.items():
        if len(columns) > 1:
            raise SourceRefused(
                file,
                f"the header {header!r} is meant by {_listed(columns)}; "
                "declare which is which with `from`",
            )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:NAMED_HEADERS])
    return shown + (f" and {len(names) - NAMED_HEADERS} more" if len(names) > NAMED_HEADERS else "")
