"""Bytes to UTF-8: which encoding a file is in, decided on the whole of it, and its text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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
MOJIBAKE = re.compile(r"Ã[\x80-\xbf€-™]|â€[\x80-\xbf™œ“”]|Â[\xa0-\xbf]")


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
        self.decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.wide = 0
        self.flaws = 0
        self.mojibake = 0
        self.not_cp1252 = False

    def add(self, chunk: bytes, final: bool = False) -> None:
        if chunk.isascii() and not final and not self.decoder.getstate()[0]:
            return
        text = self.decoder.decode(chunk, final)
        if text.isascii():
            return
        self.mojibake += len(MOJIBAKE.findall(text))
        self.wide += len(re.findall(r"[^\x00-\x7f\udc80-\udcff]", text))
        self._add_flaws(text, chunk)

    def _add_flaws(self, text: str, chunk: bytes) -> None:
        try:
            text.encode()
        except UnicodeEncodeError:
            self.flaws += len(re.findall(r"[\udc80-\udcff]", text))
            self.not_cp1252 |= any(byte in chunk for byte in NOT_CP1252)


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
    sample = head[:4096]
    if len(sample) >= 4 and sample.count(0) * 3 > len(sample):
        return "utf-16-be" if sample[0] == 0 else "utf-16-le"
    return None


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
