from __future__ import annotations

import pytest

from ingest import text
from ingest.errors import SourceRefused
from tests.unit.ingest.making import Folder, layer_of, take

NAME = layer_of("n", "x")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]
)
def test_texts_arrive_whole_in_every_encoding(folder: Folder, encoding: str) -> None:
    rows = "".join(f"Chêne n°{number},œuvre\n" for number in range(50))
    taken = take(NAME, folder.text("n,x\n" + rows, encoding=encoding))
    assert taken.column("n")[:2] == ["Chêne n°0", "Chêne n°1"]
    assert taken.column("x")[49] == "œuvre"


def test_a_guess_is_told(folder: Folder) -> None:
    taken = take(NAME, folder.text("n,x\né,1\n", encoding="cp1252"))
    assert taken.facts[0].encoding == "cp1252"
    assert "not UTF-8" in str(taken.notes["encoding_guessed"])


def test_a_late_byte_decides_the_encoding_of_the_whole_file(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.archive.CHUNK_BYTES", 64)
    data = b"n,x\n" + b"plain,1\n" * 500 + "Orée,1\n".encode("cp1252")
    assert take(NAME, folder.data(data)).column("n")[-1] == "Orée"


def test_characters_across_chunks_stay_whole(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.archive.CHUNK_BYTES", 7)
    taken = take(NAME, folder.text("n,x\n" + "éèêë€,ñ\n" * 40))
    assert set(taken.column("n")) == {"éèêë€"}
    assert taken.facts[0].encoding == "utf-8"


def test_a_declared_encoding_wins(folder: Folder) -> None:
    layer = layer_of("n", "x", source={"encoding": "mac_roman"})
    assert take(layer, folder.text("n,x\nété,1\n", encoding="mac_roman")).column("n") == ["été"]


def test_a_declared_encoding_that_is_wrong_is_refused(folder: Folder) -> None:
    path = folder.text("n,x\né,1\n", encoding="cp1252")
    with pytest.raises(SourceRefused, match=r"says utf-8, but 1 bytes are not"):
        take(layer_of("n", "x", source={"encoding": "utf-8"}), path)
    with pytest.raises(SourceRefused, match=r"'klingon' is not an encoding"):
        take(layer_of("n", "x", source={"encoding": "klingon"}), path)


def test_bytes_that_no_western_encoding_has_are_refused(folder: Folder) -> None:
    with pytest.raises(SourceRefused, match=r"neither UTF-8 nor Windows-1252"):
        take(NAME, folder.data(b"n,x\n\x8e\x8f\x90,1\n"))


def test_a_row_with_a_wrong_byte_in_a_utf8_file_is_withheld_alone(folder: Folder) -> None:
    data = b"n,x\n" + "é,1\n".encode() * 30 + b"caf\xe9,1\n" + "ü,2\n".encode()
    taken = take(NAME, folder.data(data))
    assert len(taken.rows) == 31
    assert [(refusal.line, refusal.row) for refusal in taken.refusals] == [(32, 31)]
    assert "0xe9" in taken.refusals[0].reason


def test_mojibake_is_told_and_left_alone(folder: Folder) -> None:
    broken = "Orée".encode().decode("cp1252")
    taken = take(NAME, folder.text(f"n,x\n{broken},1\n{broken},2\n"))
    assert taken.column("n") == ["OrÃ©e", "OrÃ©e"]
    assert taken.notes["mojibake"] == 2


def test_utf16_without_mark_is_told_from_binary() -> None:
    assert text.bare_utf16("a,b\n".encode("utf-16-le")) == "utf-16-le"
    assert text.bare_utf16("a,b\n".encode("utf-16-be")) == "utf-16-be"
    assert text.bare_utf16(b"\x00\x01\x00\x00\x00\x02\x00\x00") is None
    assert text.bare_utf16(b"a,b\n") is None
