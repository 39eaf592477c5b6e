from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from ingest import archive
from ingest.errors import SourceRefused
from tests.unit.ingest.making import Folder, layer_of, take

AB = layer_of("a", "b")
ROWS = b"a,b\n1,2\n"


def test_gzip_is_read_whatever_its_name(folder: Folder) -> None:
    assert take(AB, folder.gz(ROWS, "things.csv")).column("a") == ["1"]


def test_a_zip_of_tables_alike_is_one_layer(folder: Folder) -> None:
    path = folder.zip({"north/one.csv": ROWS, "two.csv": b"b;a\n4;3\n"})
    taken = take(AB, path)
    assert taken.column("a") == ["1", "3"]
    assert [facts.file for facts in taken.facts] == [
        "things.zip/north/one.csv",
        "things.zip/two.csv",
    ]


def test_what_accompanies_data_is_passed_over(folder: Folder) -> None:
    sides = [
        "README.txt",
        "__MACOSX/._one.csv",
        ".DS_Store",
        "meta.xml",
        "guide.pdf",
        "licence.csv",
    ]
    taken = take(AB, folder.zip({"data/one.csv": ROWS} | dict.fromkeys(sides, b"noise")))
    assert taken.read == 1


def test_a_txt_is_data_where_nothing_else_is(folder: Folder) -> None:
    assert take(AB, folder.zip({"one.txt": ROWS})).read == 1


def test_different_tables_in_a_zip_need_a_sublayer(folder: Folder) -> None:
    path = folder.zip({"trees.csv": ROWS, "banks.csv": b"c,d\n1,2\n"})
    with pytest.raises(SourceRefused, match=r"source.sublayer as one of: trees, banks"):
        take(AB, path)
    assert take(layer_of("a", "b", source={"sublayer": "trees"}), path).read == 1
    with pytest.raises(SourceRefused, match=r"no layer 'lamps'"):
        take(layer_of("a", "b", source={"sublayer": "lamps"}), path)


def test_different_formats_in_a_zip_need_a_sublayer(folder: Folder) -> None:
    path = folder.zip({"trees.csv": ROWS, "banks.geojson": b'{"type":"FeatureCollection"}'})
    with pytest.raises(SourceRefused, match=r"declare source.sublayer as one of: trees, banks"):
        take(AB, path)


@pytest.mark.parametrize(
    "inside", ["../evil.csv", "/etc/evil.csv", "a/../../evil.csv", "C:evil.csv"]
)
def test_a_path_out_of_the_zip_is_refused(folder: Folder, inside: str) -> None:
    with pytest.raises(SourceRefused, match=r"outside its own folder"):
        take(AB, folder.zip({"a.csv": ROWS, inside: ROWS}))


def test_a_zip_in_a_zip_is_refused(folder: Folder) -> None:
    with pytest.raises(SourceRefused, match=r"inner.zip is an archive in an archive"):
        take(AB, folder.zip({"inner.zip": b"PK"}))


def test_an_encrypted_member_is_refused(folder: Folder) -> None:
    path = folder.zip({"a.csv": ROWS})
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    with pytest.raises(SourceRefused, match=r"a.csv is encrypted"):
        take(AB, folder.data(bytes(data), "things.zip"))


def test_an_empty_zip_is_refused(folder: Folder) -> None:
    with pytest.raises(SourceRefused, match=r"the zip is empty"):
        take(AB, folder.zip({}))
    with pytest.raises(SourceRefused, match=r"holds no data file"):
        take(AB, folder.zip({"readme.md": b"hello"}))


def test_a_bomb_is_refused(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "RATIO_FROM_BYTES", 100_000)
    data = b"a,b\n" + b"0,0\n" * 500_000
    for path in (folder.zip({"a.csv": data}), folder.gz(data)):
        with pytest.raises(SourceRefused, match=r"more than 250 times its size"):
            take(AB, path)


def test_a_file_larger_than_any_is_refused(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 1 << 10)
    with pytest.raises(SourceRefused, match=r"unpacks to more than"):
        take(AB, folder.data(b"a,b\n" + b"1,2\n" * 1000))


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_cut_gzip_is_refused(folder: Folder, kept: float) -> None:
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(20_000)))
    with pytest.raises(SourceRefused, match=r"damaged or cut short"):
        take(AB, folder.data(whole[: int(len(whole) * kept)], "things.csv.gz"))


def test_a_damaged_gzip_is_refused(folder: Folder) -> None:
    whole = bytearray(gzip.compress(b"a,b\n" + b"".join(b"%d,2\n" % n for n in range(9_000))))
    whole[-8] ^= 1
    with pytest.raises(SourceRefused, match=r"damaged or cut short"):
        take(AB, folder.data(bytes(whole), "things.csv.gz"))


@pytest.mark.parametrize("kept", [0.3, 0.95])
def test_a_cut_zip_is_refused(folder: Folder, kept: float) -> None:
    path = folder.zip({"a.csv": b"a,b\n" + b"".join(b"%d,2\n" % n for n in range(9_000))})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(SourceRefused, match=r"damaged or cut short"):
        take(AB, path)


def test_an_unknown_compression_is_refused(folder: Folder) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as packed:
        packed.writestr("a.csv", ROWS)
    data = bytearray(out.getvalue())
    for magic, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(magic) + offset] = 97
    with pytest.raises(SourceRefused, match=r"cannot be unpacked"):
        take(AB, folder.data(bytes(data), "things.zip"))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match=r"gone.csv: cannot be read"):
        take(AB, tmp_path / "gone.csv")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (
            b"<!DOCTYPE html><html><head><title>Sign in &amp; go</title>",
            r"web page titled 'Sign in & go'",
        ),
        (b"\xef\xbb\xbf\n<!-- x --><HTML><body>Blocked", r"this is a web page, not data"),
        (
            b'<?xml version="1.0"?><ows:ExceptionReport xmlns="x">',
            r"this is XML \(ExceptionReport\)",
        ),
        (b"PAR1\x15\x04", r"damaged or not what it seems"),
        (b"fgb\x03fgb\x00", r"it holds no layer"),
        (b"%PDF-1.7", r"this is a PDF"),
        (b"\x01\x02\x00\x00\x00\x00\x07", r"no text and no format known"),
    ],
)
def test_what_is_not_data_is_named(folder: Folder, head: bytes, said: str) -> None:
    with pytest.raises(SourceRefused, match=said):
        take(AB, folder.data(head))


@pytest.mark.parametrize("before", ["<!-- <kml> -->", "", "<?xml version='1.0'?>\n"])
def test_a_file_that_names_other_files_is_refused(folder: Folder, before: str) -> None:
    """GDAL would read what it names, whatever its own name is."""
    secret = folder.text("name\nsecret\n", "secret.csv")
    pointer = (
        f"{before}<OGRVRTDataSource><OGRVRTLayer name='secret'>"
        f"<SrcDataSource>CSV:{secret}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"
    )
    with pytest.raises(SourceRefused, match=r"names other files or addresses"):
        take(AB, folder.text(pointer, "a.kml"))


def test_comments_before_the_root_of_kml_do_not_matter(folder: Folder) -> None:
    kml = (
        "<?xml version='1.0'?><!-- <html> -->\n"
        "<kml xmlns='http://www.opengis.net/kml/2.2'><Placemark><name>x</name>"
        "<Point><coordinates>2,48</coordinates></Point></Placemark></kml>"
    )
    layer = layer_of({"name": "name", "from": "Name"}, geometry="point")
    assert take(layer, folder.text(kml, "a.kml")).column("name") == ["x"]
