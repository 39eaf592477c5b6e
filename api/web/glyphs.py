"""Font files → MapLibre glyph ranges: `python glyphs.py FONT_FILES_DIR OUT_DIR`.

MapLibre draws letters from signed distance fields: 24 px to the em, 3 px of border, the edge at
three quarters of the scale, 8 px from black to white. `top` counts down from the ascender, as in
fontnik, whose figures every MapLibre client expects.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from ctypes import string_at
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import freetype

EM = 24  # pixels to the em
BORDER = 3  # pixels of field around a glyph
RADIUS = 8  # pixels over which the field runs from inside to outside
CUTOFF = 0.25  # where in that run the edge lies
RANGE = 256  # codepoints to a file

SUBSETS = ("latin", "latin-ext", "greek", "greek-ext", "cyrillic", "cyrillic-ext", "vietnamese")
STACKS = {
    "Source Sans Regular": "source-sans-3-{subset}-400-normal.woff",
    "Source Sans Italic": "source-sans-3-{subset}-400-italic.woff",
    "Source Sans Semibold": "source-sans-3-{subset}-600-normal.woff",
}


# FreeType's levels (128 at the edge, 128 more for each radius) on fontnik's scale (191 at the edge)
LEVELS = bytes(max(0, min(255, round(255 * (1 - CUTOFF + (v - 128) / 128)))) for v in range(256))


@dataclass(frozen=True, slots=True)
class Glyph:
    """One letter. `bitmap` has the border on all four sides; `width` and `height` do not."""

    codepoint: int
    bitmap: bytes
    width: int
    height: int
    left: int
    top: int
    advance: int


def main(fonts: Path, out: Path) -> None:
    with ProcessPoolExecutor() as pool:  # four milliseconds a letter, thousands of letters
        written = pool.map(partial(_make_stack, fonts, out), STACKS)
    (out / "ranges.json").write_text(json.dumps(dict(zip(STACKS, written, strict=True))))


def _make_stack(fonts: Path, out: Path, stack: str) -> list[str]:
    files = [fonts / STACKS[stack].format(subset=subset) for subset in SUBSETS]
    return write_stack(out, stack, glyphs(files))


def glyphs(files: Iterable[Path]) -> dict[int, Glyph]:
    """Every letter of a font that is split into several files; the first file with it wins."""
    found: dict[int, Glyph] = {}
    for file in files:
        face = freetype.Face(str(file))
        face.set_char_size(EM * 64)
        for codepoint, index in face.get_chars():
            if codepoint not in found and codepoint <= 0xFFFF:
                found[codepoint] = _glyph(face, codepoint, index)
    return found


def write_stack(out: Path, stack: str, letters: dict[int, Glyph]) -> list[str]:
    """Write the ranges that have letters and return their names, such as `0-255`."""
    by_range: dict[int, list[Glyph]] = {}
    for codepoint in sorted(letters):
        by_range.setdefault(codepoint // RANGE, []).append(letters[codepoint])
    (out / stack).mkdir(parents=True, exist_ok=True)
    names = []
    for number, members in by_range.items():
        names.append(f"{number * RANGE}-{number * RANGE + RANGE - 1}")
        (out / stack / f"{names[-1]}.pbf").write_bytes(encode(stack, names[-1], members))
    return names


def encode(stack: str, name: str, members: Iterable[Glyph]) -> bytes:
    """The protobuf of one range: a list of one font stack with its letters."""
    body = _field(1, stack.encode()) + _field(2, name.encode())
    for glyph in members:
        body += _field(3, _encode_glyph(glyph))
    return _field(1, body)


def _encode_glyph(glyph: Glyph) -> bytes:
    encoded = _number(1, glyph.codepoint)
    if glyph.bitmap:
        encoded += _field(2, glyph.bitmap)
    encoded += _number(3, glyph.width) + _number(4, glyph.height)
    encoded += _number(5, _zigzag(glyph.left)) + _number(6, _zigzag(glyph.top))
    return encoded + _number(7, glyph.advance)


def _glyph(face: Any, codepoint: int, index: int) -> Glyph:
    face.load_glyph(index, freetype.FT_LOAD_NO_HINTING | freetype.FT_LOAD_NO_BITMAP)
    slot = face.glyph
    advance = round(slot.advance.x / 64)
    if not slot.outline.n_points:
        return Glyph(codepoint, b"", 0, 0, 0, -_ascender(face), advance)
    slot.render(freetype.FT_RENDER_MODE_SDF)
    field = slot.bitmap
    trim = RADIUS - BORDER  # FreeType pads a field by its radius
    rows, width = field.rows - 2 * trim, field.width - 2 * trim
    buffer = string_at(field._FT_Bitmap.buffer, field.rows * field.pitch).translate(LEVELS)
    starts = (y * field.pitch + trim for y in range(trim, trim + rows))
    bitmap = b"".join(buffer[start : start + width] for start in starts)
    return Glyph(
        codepoint,
        bitmap,
        width - 2 * BORDER,
        rows - 2 * BORDER,
        slot.bitmap_left + RADIUS,
        slot.bitmap_top - RADIUS - _ascender(face),
        advance,
    )


def _ascender(face: Any) -> int:
    return round(int(face.size.ascender) / 64)


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    return bytes(_septets(value))


def _septets(value: int) -> Iterator[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
