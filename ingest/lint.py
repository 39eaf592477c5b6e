"""Texts that should not be published as they are: personal data, and what was decoded wrongly.

A lint, no proof: it finds what is written as people write it, and is cheap enough for every cell.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.cells import text_bytes

# kind: (bytes one of which must be there at all, RE2)
PERSONAL: dict[str, tuple[bytes, str]] = {
    "e-mail address": (b"@", r"[\w.+-]+@[\w-]+(\.[\w-]+)+"),
    "telephone number": (
        b"+0(",
        r"(^|[^\d.,+])((\+[1-9]\d{0,2}[ ./-]?|00[1-9]\d{0,2}[ ./-])(\(0\))?(\d[ ./-]?){7,10}\d"
        r"|0[1-9]([ .-]\d{2}){4}|\(\d{3}\) ?\d{3}-\d{4})($|[^\d.,])",
    ),
    "bank account": (b"0123456789", r"\b[A-Z]{2}\d{2}( ?[A-Z0-9]{4}){3,6}( ?[A-Z0-9]{1,4})?\b"),
    "number plate": (b"-", r"^[A-Z]{2}-\d{3}-[A-Z]{2}$|^[A-ZÄÖÜ]{1,3}-[A-Z]{1,2} \d{1,4}$"),
    "name of a person": (
        b".em",
        r"\b(M\.|Mme\.?|Mlle|Mr\.?|Mrs\.?|Herr|Frau|Sr\.|Sra\.|Sig\.) "
        r"(\p{Lu}[\p{L}'’-]+|\p{Lu}\.)( \p{Lu}[\p{L}'’-]+)*",
    ),
}
# Ã, Â or â€ with what UTF-8 read as Windows-1252 puts behind them.
MOJIBAKE = (
    r"Ã[\x{A0}-\x{BF}\x{80}-\x{9F}\x{152}-\x{17E}\x{2C6}\x{2DC}\x{2013}-\x{203A}\x{20AC}\x{2122}]"
    r"|Â[\x{A0}-\x{BF}]|â€[\x{A0}-\x{BF}\x{152}-\x{178}\x{2013}-\x{203A}\x{2122}]"
    r"|ï¿½|\x{FFFD}"
)
MOJIBAKE_BYTES = (b"\xc3\x83", b"\xc3\x82", b"\xc3\xa2\xe2\x82\xac", b"\xc3\xaf", b"\xef\xbf\xbd")


class Texts:
    """The distinct texts of a column, each looked at once, and how many cells hold it."""

    def __init__(self, values: pa.Array) -> None:
        counted = pc.value_counts(values)
        filled = counted.field("values").is_valid()
        self._texts = counted.field("values").filter(filled)
        self._counts = counted.field("counts").filter(filled)
        self._bytes = np.zeros(256, np.bool_)
        self._bytes[text_bytes(self._texts)] = True

    def counted(self) -> Iterator[tuple[str, int]]:
        """Each text and its number of cells."""
        return zip(self._texts.to_pylist(), self._counts.to_pylist(), strict=True)

    def personal(self) -> Iterator[tuple[str, int]]:
        """Each kind of personal data that is there, and in how many cells."""
        for kind, (needed, pattern) in PERSONAL.items():
            if self._bytes[list(needed)].any() and (found := self._matching(pattern)):
                yield kind, found

    def mojibake(self) -> int:
        """In how many cells there are characters that only a wrong decoding makes."""
        if not self._bytes[0xC2:].any():
            return 0
        whole = text_bytes(self._texts).tobytes()
        if not any(mark in whole for mark in MOJIBAKE_BYTES):
            return 0
        return self._matching(MOJIBAKE)

    def _matching(self, pattern: str) -> int:
        found = pc.match_substring_regex(self._texts, pattern)
        return int(pc.sum(self._counts.filter(found)).as_py() or 0)
