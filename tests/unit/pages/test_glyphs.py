"""The letters, read back as a MapLibre client reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import api
from api.web.glyphs import BORDER, SUBSETS, Glyph, encode, glyphs, write_stack

FONTS = Path(api.__file__).parent / "web/node_modules/@fontsource/source-sans-3/files"
A = Glyph(65, bytes(range(56)), width=2, height=1, left=-3, top=-9, advance=300)
SPACE = Glyph(32, b"", width=0, height=0, left=0, top=-25, advance=5)


def test_a_range_holds_what_was_put_in() -> None:
    stack, name, letters = decode(encode("Sans Regular", "0-255", [SPACE, A]))
    assert (stack, name) == ("Sans Regular", "0-255")
    assert letters == [SPACE, A]


def test_only_ranges_with_letters_are_written(tmp_path: Path) -> None:
    far = Glyph(0x2013, b"", 0, 0, 0, 0, 12)
    assert write_stack(tmp_path, "Sans", {65: A, 0x2013: far}) == ["0-255", "8192-8447"]
    written = sorted(path.name for path in (tmp_path / "Sans").iterdir())
    assert written == ["0-255.pbf", "8192-8447.pbf"]


@pytest.fixture(scope="module")
def letters() -> dict[int, Glyph]:
    file = FONTS / "source-sans-3-greek-ext-400-normal.woff"
    if not file.exists():
        pytest.skip("needs `npm ci` in api/web")
    return glyphs([file])


def test_a_bitmap_has_its_border_on_all_sides(letters: dict[int, Glyph]) -> None:
    for glyph in letters.values():
        if glyph.bitmap:
            area = (glyph.width + 2 * BORDER) * (glyph.height + 2 * BORDER)
            assert len(glyph.bitmap) == area


def test_a_letter_is_inside_in_the_middle_and_outside_at_the_corner(
    letters: dict[int, Glyph],
) -> None:
    drawn = [glyph for glyph in letters.values() if glyph.width > 6 and glyph.height > 6]
    assert drawn
    for glyph in drawn:
        assert max(glyph.bitmap) > 191  # the edge
        assert glyph.bitmap[0] < 191


def test_there_is_a_file_for_every_subset_we_name() -> None:
    if not FONTS.exists():
        pytest.skip("needs `npm ci` in api/web")
    for subset in SUBSETS:
        assert (FONTS / f"source-sans-3-{subset}-400-normal.woff").exists()


def decode(data: bytes) -> tuple[str, str, list[Glyph]]:
    """The font stack, the range and the letters of a glyph protobuf."""
    (stack,) = (value for number, value in fields(data) if number == 1)
    assert isinstance(stack, bytes)
    parts = list(fields(stack))
    texts = {
        number: value.decode() for number, value in parts if isinstance(value, bytes) and number < 3
    }
    letters = [
        decode_glyph(value) for number, value in parts if number == 3 and isinstance(value, bytes)
    ]
    return texts[1], texts[2], letters


def decode_glyph(data: bytes) -> Glyph:
    values = dict(fields(data))
    bitmap = values.get(2, b"")
    whole = {number: value for number, value in values.items() if isinstance(value, int)}
    assert isinstance(bitmap, bytes)
    return Glyph(whole[1], bitmap, whole[3], whole[4], signed(whole[5]), signed(whole[6]), whole[7])


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        value, at = varint(data, at)
        if tag & 7 == 2:
            yield tag >> 3, data[at : at + value]
            at += value
        else:
            yield tag >> 3, value


def varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def signed(value: int) -> int:
    return (value >> 1) ^ -(value & 1)
