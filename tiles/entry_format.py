"""A finished tile as bytes that lie on a disk or in Redis, where anything may happen to them."""

from __future__ import annotations

import orjson
import xxhash

from tiles.cache import Entry

MAGIC = b"quartier tile 1\n"  # another number is another form: an entry of it is a miss
DIGEST = 8  # bytes; against truncation and rot, not against people
LENGTH = 4  # bytes that tell how long the header is
BODY = len(MAGIC) + DIGEST
MOST_BYTES = 64 * 1024 * 1024  # nothing larger is an entry of ours


class NotAnEntry(ValueError):
    """These bytes are no whole entry of this form and key."""


def pack(key: str, entry: Entry) -> bytes:
    header = orjson.dumps(
        {
            "key": key,
            "validator": entry.validator,
            "truncated": entry.truncated,
            "gzip": len(entry.body),
            "brotli": len(entry.brotli),
            "tight": entry.is_tight,
        }
    )
    rest = b"".join((len(header).to_bytes(LENGTH, "big"), header, entry.body, entry.brotli))
    return MAGIC + xxhash.xxh3_64_digest(rest) + rest


def unpack(key: str, packed: bytes) -> Entry:
    """The entry that was packed under the key; raises NotAnEntry."""
    rest = memoryview(packed)[BODY:]
    if packed[: len(MAGIC)] != MAGIC or len(rest) < LENGTH:
        raise NotAnEntry("another form")
    if packed[len(MAGIC) : BODY] != xxhash.xxh3_64_digest(rest):
        raise NotAnEntry("cut off or damaged")
    start = LENGTH + int.from_bytes(rest[:LENGTH], "big")
    header = orjson.loads(rest[LENGTH:start])
    if header["key"] != key:
        raise NotAnEntry("the entry of another key")
    middle = start + header["gzip"]
    return Entry(
        validator=header["validator"],
        body=bytes(rest[start:middle]),
        truncated=tuple(header["truncated"]),
        brotli=bytes(rest[middle : middle + header["brotli"]]),
        is_tight=header["tight"],
    )
