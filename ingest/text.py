"""Bytes to UTF-8: which encoding a file is in, decided on the whole of it, and its text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ingest.errors import SourceRefused

CHUNK_BYTES = 1 << 22
FLAWED_SHARE = 10  # valid characters beyond ASCII for each wrong byte that still make a file UTF-8
BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
NOT_CP1252 = (b"\x81", b"\x8d", b"\x8f", b"\x90", b"\x9d")
FIRST_OF_SEVERAL = 0xC2  # the least byte that starts a character beyond ASCII


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How a file's bytes are to be read, and how sure that is.

    `flaws` counts bytes that are wrong in a file that is otherwise UTF-8; `mojibake` counts
    characters that look like UTF-8 once read as Windows-1252.
    """

    name: str
    guessed: bool = False
    flaws: int = 0
    mojibake: int = 0


class _Survey:
    """Counts, over a whole file, what speaks for and against UTF-8."""

    def __init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self.wide = 0
        self.flaws = 0
        self.mojibake = 0
        self.not_cp1252 = False

    def add(self, chunk: bytes, final: bool = False) -> None:
        waiting = self.decoder.getstate()[0]
        if chunk.isascii() and not waiting and not final:
            return
        text = np.frombuffer(chunk, np.uint8)
        starts = np.flatnonzero(text >= FIRST_OF_SEVERAL)
        self.wide += len(starts)
        self.mojibake += _mojibake(text, starts)
        try:
            self.decoder.decode(chunk, final)
        except UnicodeDecodeError:
            self._count_flaws(waiting + chunk, final)

    def _count_flaws(self, data: bytes, final: bool) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        text = self.decoder.decode(data, final)
        self.decoder.errors = "strict"
        self.flaws += len(re.findall(r"[\udc80-\udcff]", text))
        self.not_cp1252 |= any(byte in data for byte in NOT_CP1252)


def _mojibake(text: npt.NDArray[np.uint8], starts: npt.NDArray[np.intp]) -> int:
    """How many characters are Ã or Â with one behind it that UTF-8 read as Windows-1252 gives."""
    starts = starts[starts < len(text) - 2]
    first, second, third = text[starts], text[starts + 1], text[starts + 2]
    wrong = (first == 0xC3) & np.isin(second, (0x82, 0x83)) & np.isin(third, (0xC2, 0xE2))
    return int(wrong.sum())


def find_encoding(name: str, chunks: Iterable[bytes], declared: str | None) -> Encoding:
    """Read the file through and say how its text is encoded; what is declared wins."""
    survey = _Survey()
    for number, chunk in enumerate(chunks):
        if number == 0:
            known = _codec(name, declared) if declared else _by_mark(chunk)
            if known not in (None, "utf-8"):
                return Encoding(name=known)
        survey.add(chunk)
    survey.add(b"", final=True)
    if declared and survey.flaws:
        raise SourceRefused(
            name, f"source.encoding says {declared}, but {survey.flaws} bytes are not UTF-8"
        )
    return _judged(name, survey)


def _judged(name: str, survey: _Survey) -> Encoding:
    if survey.flaws == 0:
        return Encoding(name="utf-8", mojibake=survey.mojibake)
    if survey.wide >= FLAWED_SHARE * survey.flaws:
        return Encoding(name="utf-8", flaws=survey.flaws, mojibake=survey.mojibake)
    if survey.not_cp1252:
        raise SourceRefused(
            name,
            "the text is neither UTF-8 nor Windows-1252; "
            "declare source.encoding, for example mac_roman or cp850",
        )
    return Encoding(name="cp1252", guessed=True)


def _by_mark(head: bytes) -> str | None:
    for mark, name in BOMS:
        if head.startswith(mark):
            return name
    return bare_utf16(head)


def bare_utf16(head: bytes) -> str | None:
    """Which UTF-16 a text without mark is in: every other byte of it is mostly zero."""
    even, odd = head[0:4096:2], head[1:4096:2]
    if len(odd) < 2:
        return None
    if even.count(0) * 2 > len(even) and not odd.count(0):
        return "utf-16-be"
    return "utf-16-le" if odd.count(0) * 2 > len(odd) and not even.count(0) else None


def _codec(file: str, name: str) -> str:
    try:
        return codecs.lookup(name).name.removesuffix("-sig")
    except LookupError as exc:
        raise SourceRefused(
            file, f"source.encoding {name!r} is not an encoding; write utf-8, cp1252 or latin-1"
        ) from exc


def utf8(name: str, chunks: Iterable[bytes], encoding: Encoding) -> Iterator[bytes]:
    """Yield the text as UTF-8 without byte order mark. Flawed bytes are left as they are."""
    first = True
    for chunk in _transcoded(name, chunks, encoding):
        yield chunk.removeprefix(codecs.BOM_UTF8) if first else chunk
        first = False


def _transcoded(name: str, chunks: Iterable[bytes], encoding: Encoding) -> Iterator[bytes]:
    if encoding.name == "utf-8":
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding.name)("strict")
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", True).encode()
    except UnicodeDecodeError as exc:
        wrong = exc.object[exc.start : exc.start + 1].hex()
        raise SourceRefused(
            name, f"byte 0x{wrong} is not {encoding.name}; declare another source.encoding"
        ) from exc
