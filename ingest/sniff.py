"""What a file is, told by its first bytes; its name is never asked."""

from __future__ import annotations

import html
import re

from ingest.archive import Member, is_workbook
from ingest.errors import SourceRefused
from ingest.sources.gbfs import is_gbfs
from ingest.text import bare_utf16
from layers.source import Format

READABLE = "CSV, GeoJSON, GeoPackage, shapefile, FlatGeobuf, GeoParquet, XLSX, KML, GPX or OSM PBF"
KNOWN: tuple[tuple[bytes, Format], ...] = (
    (b"SQLite format 3\x00", "geopackage"),
    (b"\x00\x00\x27\x0a", "shapefile"),
    (b"fgb\x03", "flatgeobuf"),
    (b"PAR1", "parquet"),
)
OSM_HEADER = b"\x0a\x09OSMHeader"  # of a PBF file, behind four bytes of its length
XML: dict[str, Format] = {"kml": "kml", "gpx": "gpx", "osm": "osm"}
BINARY = (
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"%PDF", "a PDF"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
)
HTML = re.compile(
    rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|script|title)\b", re.I | re.S
)
TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.I | re.S)
XML_ROOT = re.compile(rb"\s*<(?:[\w.-]+:)?([\w.-]+)")
XML_BEFORE = re.compile(  # what may stand before the root: comments, instructions, the doctype
    rb"\s*(?:<!--.*?-->|<\?.*?\?>|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>)", re.S
)
# Words by which GDAL takes a file for one that names other files, or addresses, to be read.
POINTERS = re.compile(rb"<(?:OGR\w*DataSource|VRT\w*|GDAL_W\w*|\w*Capabilities)\b", re.I)
POINTERS_WITHIN = 1 << 16


def sniff(member: Member) -> Format:
    """The format of a member, or `SourceRefused` naming what it is instead."""
    head = member.head()
    if not head:
        raise SourceRefused(member.name, "the file is empty")
    if (binary := _binary(member, head)) is not None:
        return binary
    text = _plain(head)
    if not text.strip():
        raise SourceRefused(member.name, "the file holds nothing but blanks")
    if (marked_up := _markup(member, text)) is not None:
        return marked_up
    if is_gbfs(text):
        return "gbfs"
    return "geojson" if text.lstrip()[:1] in (b"{", b"[", b"\x1e") else "csv"


def _binary(member: Member, head: bytes) -> Format | None:
    known: Format | None = "xlsx" if is_workbook(member) else _known(head)
    if known is not None:
        return known
    for magic, what in BINARY:
        if head.startswith(magic):
            raise SourceRefused(member.name, f"this is {what}; give {READABLE}")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or bare_utf16(head):
        return None  # UTF-16, with or without its mark
    if b"\x00\x00" in head:
        raise SourceRefused(member.name, f"this is no text and no format known; give {READABLE}")
    return None


def _known(head: bytes) -> Format | None:
    if head[4:].startswith(OSM_HEADER):
        return "osm"
    return next((kind for magic, kind in KNOWN if head.startswith(magic)), None)


def _plain(head: bytes) -> bytes:
    """The head as ASCII-like bytes: without mark, and without the zeros of UTF-16."""
    for mark in (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"):
        head = head.removeprefix(mark)
    return head.replace(b"\x00", b"")


def _markup(member: Member, text: bytes) -> Format | None:
    """The format of an XML file that is read; None for what is no markup."""
    if HTML.match(text):
        title = TITLE.search(text)
        words = (
            " ".join(html.unescape(title[1].decode("utf-8", "replace")).split()) if title else ""
        )
        said = f" titled {words!r}" if words else ""
        raise SourceRefused(
            member.name, f"this is a web page{said}, not data; the address may need a login"
        )
    if POINTERS.search(member.head(POINTERS_WITHIN)):
        raise SourceRefused(
            member.name, f"this names other files or addresses and holds no data; give {READABLE}"
        )
    while before := XML_BEFORE.match(text):
        text = text[before.end() :]
    if root := XML_ROOT.match(text):
        if (known := XML.get(root[1].decode().lower())) is not None:
            return known
        raise SourceRefused(
            member.name, f"this is XML ({root[1].decode()}), which is not read; give {READABLE}"
        )
    return None
