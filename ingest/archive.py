"""The files inside what was given: plain files, gzip, and zips opened with care.

A zip or gzip is refused when it would escape its folder, hide a zip in a zip, or swell beyond
any honest ratio. Every way a stream can break is told as `SourceRefused`.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal, cast

from isal import igzip

from ingest.errors import SourceRefused
from ingest.text import CHUNK_BYTES

MAX_BYTES = 32 << 30  # inflated; the largest honest city file seen is 1 GB
MAX_RATIO = 250  # inflated to compressed; text reaches 30, sparse tables 100
RATIO_FROM_BYTES = 64 << 20  # below it, a high ratio can do no harm
MAX_MEMBERS = 10_000
CONTENT_TYPES, WORKBOOK = "[Content_Types].xml", "xl/workbook.xml"  # of Office's own zips
SIDE_SUFFIXES = (
    *(".xml", ".pdf", ".html", ".htm", ".md", ".doc", ".docx", ".odt", ".rtf", ".url"),
    *(".png", ".jpg", ".jpeg", ".gif", ".svg", ".css", ".js", ".sha256", ".md5"),
    *(".qml", ".qmd", ".qgs", ".qgz", ".sld", ".lyr", ".lyrx"),
)
SIDE_STEMS = ("readme", "licence", "license", "lisez", "metadata", "metadonnees", "leeme")
SHAPEFILE_PARTS = (
    *(".shp", ".shx", ".dbf", ".prj", ".cpg", ".cst", ".qpj", ".shp.xml"),
    *(".sbn", ".sbx", ".qix", ".fix", ".idx", ".atx", ".ain", ".aih"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file to read: on disk, or packed in a gzip or zip. `size` is its compressed bytes."""

    name: str
    path: Path
    packed: Literal["no", "gzip", "zip"] = "no"
    inside: str = ""
    size: int
    inflated: int | None = None

    @property
    def stem(self) -> str:
        name = PurePosixPath(self.inside or self.path.name).name
        name = name.removesuffix(".gz") if self.packed == "gzip" else name
        return PurePosixPath(name).stem

    def head(self, size: int = 8192) -> bytes:
        """The first bytes, inflated."""
        with self.open() as stream:
            return stream.read(size)

    def chunks(self) -> Iterator[bytes]:
        """All bytes, inflated, in pieces."""
        with self.open() as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk

    @contextmanager
    def open(self) -> Iterator[Stream]:
        """The inflated bytes, read once from the start."""
        with _told(self.name), self.path.open("rb") as raw:
            if self.packed == "gzip":
                with _gunzip(raw) as inner:
                    yield Stream(self, inner, raw)
            elif self.packed == "zip":
                with zipfile.ZipFile(raw) as outer, outer.open(self.inside) as inner:
                    yield Stream(self, inner, None)
            else:
                yield Stream(self, raw, raw)

    def extract(self, target: Path) -> None:
        """Write the inflated bytes to `target`."""
        with target.open("wb") as out:
            for chunk in self.chunks():
                out.write(chunk)


def _gunzip(raw: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], igzip.IGzipFile(fileobj=raw, mode="rb"))  # type: ignore[no-untyped-call]


class Stream:
    """Bytes of a member, counted as they pass and stopped when there are absurdly many."""

    def __init__(self, member: Member, inner: IO[bytes], raw: IO[bytes] | None) -> None:
        self._member = member
        self._inner = inner
        self._raw = raw
        self._read = 0

    def read(self, size: int) -> bytes:
        with _told(self._member.name):
            data = self._inner.read(size)
        self._read += len(data)
        _check_swelling(self._member.name, self._read, self._member.size)
        return data

    def chunks(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK_BYTES):
            yield chunk

    @property
    def consumed(self) -> int:
        """Compressed bytes read so far."""
        if self._raw is not None:
            return min(self._raw.tell(), self._member.size)
        whole = self._member.inflated or 1
        return min(self._member.size, self._member.size * self._read // whole)


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except SourceRefused:
        raise
    except (EOFError, zlib.error, igzip.BadGzipFile, zipfile.BadZipFile) as exc:
        raise SourceRefused(
            name, f"the compressed file is damaged or cut short ({exc}); fetch it again"
        ) from exc
    except (NotImplementedError, RuntimeError) as exc:
        raise SourceRefused(name, f"cannot be unpacked ({exc}); zip it with deflate") from exc
    except OSError as exc:
        raise SourceRefused(name, f"cannot be read: {exc.strerror or exc}") from exc


def _check_swelling(name: str, inflated: int, compressed: int) -> None:
    if inflated > MAX_BYTES:
        raise SourceRefused(name, f"unpacks to more than {MAX_BYTES >> 30} GB")
    if inflated > RATIO_FROM_BYTES and inflated > MAX_RATIO * max(compressed, 1):
        raise SourceRefused(
            name, f"unpacks to more than {MAX_RATIO} times its size; this looks like a zip bomb"
        )


def unpack(path: Path) -> list[Member]:
    """The members of one given file: itself, or what its zip holds apart from side files."""
    with _told(path.name), path.open("rb") as raw:
        magic = raw.read(4)
    size = path.stat().st_size
    if magic[:2] == b"\x1f\x8b":
        return [Member(name=path.name, path=path, packed="gzip", size=size)]
    if magic == b"PK\x03\x04":
        return _unzip(path)
    if magic == b"PK\x05\x06":
        raise SourceRefused(path.name, "the zip is empty")
    return [Member(name=path.name, path=path, size=size)]


def _unzip(path: Path) -> list[Member]:
    with _told(path.name), zipfile.ZipFile(path) as outer:
        infos = [info for info in outer.infolist() if not info.is_dir()]
    if any(info.filename == "mimetype" for info in infos):
        raise SourceRefused(path.name, "this is an OpenDocument file; save it as XLSX or CSV")
    _check_zip(path.name, infos)
    if any(info.filename == CONTENT_TYPES for info in infos):
        if not any(info.filename == WORKBOOK for info in infos):
            raise SourceRefused(path.name, "this is an Office document and no workbook; give XLSX")
        return [Member(name=path.name, path=path, size=path.stat().st_size)]
    members = [
        Member(
            name=f"{path.name}/{info.filename}",
            path=path,
            packed="zip",
            inside=info.filename,
            size=info.compress_size,
            inflated=info.file_size,
        )
        for info in infos
        if not _is_litter(info.filename)
    ]
    found = _without_sides(members)
    if not found:
        raise SourceRefused(path.name, "the zip holds no data file")
    return found


def _check_zip(name: str, infos: Sequence[zipfile.ZipInfo]) -> None:
    if len(infos) > MAX_MEMBERS:
        raise SourceRefused(name, f"the zip holds {len(infos)} files; at most {MAX_MEMBERS}")
    for info in infos:
        inside = info.filename
        if inside.startswith(("/", "\\")) or ".." in PurePosixPath(inside).parts or ":" in inside:
            raise SourceRefused(name, f"the zip holds {inside!r}, a path outside its own folder")
        if info.flag_bits & 0x1:
            raise SourceRefused(name, f"{inside} is encrypted; publish it without a password")
        if inside.lower().endswith((".zip", ".7z", ".rar", ".tar", ".tgz")):
            raise SourceRefused(name, f"{inside} is an archive in an archive; unpack it first")
        _check_swelling(f"{name}/{inside}", info.file_size, info.compress_size)
    _check_swelling(
        name, sum(info.file_size for info in infos), sum(info.compress_size for info in infos)
    )


def _is_litter(inside: str) -> bool:
    parts = PurePosixPath(inside).parts
    return (
        "__MACOSX" in parts
        or any(part.startswith(".") for part in parts)
        or (parts[-1].lower() in ("thumbs.db", "desktop.ini"))
    )


def _without_sides(members: list[Member]) -> list[Member]:
    """The members less what only accompanies data; plain .txt counts where nothing else does."""

    def is_side(member: Member) -> bool:
        path = PurePosixPath(member.inside.lower())
        return path.suffix in SIDE_SUFFIXES or path.name.startswith(SIDE_STEMS)

    data = [member for member in members if not is_side(member)]
    better = [member for member in data if not member.inside.lower().endswith(".txt")]
    return better or data


def is_shapefile_part(member: Member) -> bool:
    """Whether this is one of the files that together make a shapefile."""
    name = PurePosixPath(member.inside or member.path.name).name.lower()
    return name.endswith(SHAPEFILE_PARTS)


def is_workbook(member: Member) -> bool:
    """Whether the member is a zip on disk that `unpack` left whole: an Excel workbook."""
    if member.packed != "no":
        return False
    with member.path.open("rb") as raw:
        return raw.read(4) == b"PK\x03\x04"
