"""Archives written are archives read: by our reader, and by that of the format's authors."""

from __future__ import annotations

import contextlib
import gzip
import io
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pmtiles.reader import MemorySource, Reader, all_tiles
from pmtiles.tile import deserialize_directory, zxy_to_tileid

from layers.catalog import Bounds
from tiles import varints
from tiles.address import TileAddress
from tiles.archive import TileKind
from tiles.archive_writers import (
    MOST_ROOT_BYTES,
    ArchiveMeta,
    PmtilesWriter,
    archive_writer,
    directory,
)
from tiles.errors import ArchiveBroken
from tiles.hilbert import tile_ids
from tiles.pmtiles_file import PmtilesFile, parse_directory
from tiles.render import compress
from tiles.tilesets import open_archive

META = ArchiveMeta(
    name="Trees",
    description="Each one",
    attribution="© City",
    minzoom=0,
    maxzoom=9,
    bounds=Bounds(1.5, 2.5, 3.5, 4.5),
    json={"vector_layers": [{"id": "trees", "fields": {}}], "quartier:revision": {"trees": 7}},
)


@given(st.lists(st.integers(0, 2**62)))
def test_numbers_of_varying_length_come_back(numbers: list[int]) -> None:
    assert varints.decode(varints.encode(np.array(numbers, np.int64))).tolist() == numbers


@pytest.mark.parametrize("raw", [b"\x80", b"\x01\xff", b"\xff" * 9 + b"\x01"])
def test_numbers_cut_off_or_too_long_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="number"):
        varints.decode(raw)


@pytest.mark.parametrize("z", range(7))
def test_ids_are_those_of_the_format(z: int) -> None:
    places = [(x, y) for x in range(1 << z) for y in range(1 << z)]
    xs, ys = (np.array(axis) for axis in zip(*places, strict=True))
    assert tile_ids(z, xs, ys).tolist() == [zxy_to_tileid(z, x, y) for x, y in places]


@given(st.integers(0, 22), st.integers(0), st.integers(0))
def test_ids_of_deep_zooms_are_those_of_the_format(z: int, x: int, y: int) -> None:
    x, y = x % (1 << z), y % (1 << z)
    assert tile_ids(z, np.array([x]), np.array([y])).tolist() == [zxy_to_tileid(z, x, y)]


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(1, 99), st.integers(0, 999)),
        min_size=1,
    )
)
def test_a_directory_is_read_as_its_authors_read_it(rows: list[tuple[int, ...]]) -> None:
    steps, runs, lengths, offsets = (np.array(c, np.int64) for c in zip(*rows, strict=True))
    packed = directory(np.cumsum(steps), runs, lengths, offsets)
    theirs = deserialize_directory(packed)
    ours = parse_directory(gzip.decompress(packed))
    for entry, *mine in zip(theirs, ours.ids, ours.runs, ours.lengths, ours.offsets, strict=True):
        assert [entry.tile_id, entry.run_length, entry.length, entry.offset] == mine


def many() -> dict[TileAddress, bytes]:
    """Tiles of nine zooms in order, with gaps, and the same sea again and again."""
    chance = random.Random(1)
    places = [TileAddress(z, x, y) for z in range(9) for x in range(1 << z) for y in range(1 << z)]
    places = sorted(chance.sample(places, 60_000), key=lambda at: zxy_to_tileid(*at))
    sea = compress(b"sea")
    return {
        at: sea if chance.random() < 0.3 else compress(b"%d" % chance.getrandbits(60))
        for at in places
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[TileAddress, bytes]]:
    path, tiles = tmp_path_factory.mktemp("archive") / "a.pmtiles", many()
    with archive_writer(path, META) as writer:
        for at, body in tiles.items():
            writer.add(at, body)
    return path, tiles


Whole = tuple[Path, dict[TileAddress, bytes]]


def test_a_large_archive_is_read_by_the_authors_reader(whole: Whole) -> None:
    path, tiles = whole
    raw = path.read_bytes()
    header = Reader(MemorySource(raw)).header()
    assert {TileAddress(*at): body for at, body in all_tiles(MemorySource(raw))} == tiles
    assert header["leaf_directory_length"] > 0
    assert header["root_length"] <= MOST_ROOT_BYTES
    assert header["addressed_tiles_count"] == len(tiles)
    assert header["tile_contents_count"] == len(set(tiles.values()))
    assert header["clustered"]
    parts = ("root_length", "metadata_length", "leaf_directory_length", "tile_data_length")
    assert len(raw) == 127 + sum(header[part] for part in parts)


def test_a_large_archive_is_read_by_our_reader_and_has_nothing_else(whole: Whole) -> None:
    path, tiles = whole
    archive = PmtilesFile(path)
    for z in range(9):
        for x in range(1 << z):
            for y in range(0, 1 << z, 7):
                at = TileAddress(z, x, y)
                assert archive.read(at) == tiles.get(at)
    assert archive.read(TileAddress(9, 0, 0)) is None
    assert archive.info.kinds == (TileKind.MVT,)
    assert archive.info.bounds == META.bounds
    assert archive.info.vector_layers == ({"id": "trees", "fields": {}},)


def test_tiles_must_come_in_order() -> None:
    writer = PmtilesWriter(io.BytesIO())
    writer.add(TileAddress(1, 0, 0), b"x")
    with pytest.raises(ValueError, match="too late"):
        writer.add(TileAddress(0, 0, 0), b"x")


def test_an_mbtiles_file_holds_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "odd name?#.mbtiles"
    tiles = {TileAddress(2, 1, 0): b"north", TileAddress(2, 1, 3): b"south"}
    with archive_writer(path, META) as writer:
        for at, body in tiles.items():
            writer.add(at, body)
    archive = open_archive(path)
    assert {at: archive.read(at) for at in tiles} == tiles
    assert archive.read(TileAddress(2, 1, 1)) is None
    assert archive.info.metadata["quartier:revision"] == '{"trees": 7}'
    assert archive.info.bounds == META.bounds


def broken_files(path: Path) -> dict[str, bytes]:
    raw = path.read_bytes()
    return {
        "nothing": b"",
        "a web page": b"<html>not found</html>" * 20,
        "the header alone": raw[:127],
        "cut off in the root": raw[:140],
        "another version": raw[:7] + b"\x02" + raw[8:],
        "a root of noise": raw[:127] + random.Random(3).randbytes(2000) + raw[2127:],
        "a root of no length": raw[:16] + bytes(8) + raw[24:],
        "a root without end": raw[:16] + b"\xff" * 8 + raw[24:],
        "tiles of an unknown kind": raw[:99] + b"\x09" + raw[100:],
        "tiles packed with zstd": raw[:98] + b"\x04" + raw[99:],
    }


@pytest.mark.parametrize("ending", ["pmtiles", "mbtiles"])
def test_a_file_that_is_no_archive_is_refused_with_a_reason(
    whole: Whole, tmp_path: Path, ending: str
) -> None:
    taken = []
    for what, content in broken_files(whole[0]).items():
        path = tmp_path / f"broken.{ending}"
        path.write_bytes(content)
        with contextlib.suppress(ArchiveBroken):
            open_archive(path)
            taken.append(what)
    assert taken == []


def test_a_file_cut_off_in_its_tiles_is_refused_at_the_tile(whole: Whole, tmp_path: Path) -> None:
    path, tiles = whole
    assert list(tiles.values()).count(list(tiles.values())[-1]) == 1
    cut = tmp_path / "cut.pmtiles"
    cut.write_bytes(path.read_bytes()[:-1000])
    archive = PmtilesFile(cut)
    last = list(tiles)[-1]
    with pytest.raises(ArchiveBroken, match="cut off"):
        archive.read(last)


def test_reading_without_waiting_gives_the_tile_or_says_so(whole: Whole) -> None:
    path, tiles = whole
    archive = PmtilesFile(path)
    for at in list(tiles)[:500]:
        try:
            assert archive.read(at, wait=False) == tiles[at]
        except BlockingIOError:
            assert archive.read(at) == tiles[at]
