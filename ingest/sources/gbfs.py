"""GBFS, the feeds of shared bikes: stations with what they say of themselves and of the moment.

Versions 1 to 3 (gbfs.org/documentation/reference): what a later version writes otherwise is read
as the earlier one wrote it, so that a layer survives the change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from ingest.archive import Member
from ingest.errors import SourceRefused
from ingest.sources.dialects import instant, shown
from ingest.sources.memory import MemoryTable, Record

LISTS = {"stations": "station_id", "bikes": "bike_id", "vehicles": "vehicle_id"}
HEAD = re.compile(rb'\s*\{.*?"data"\s*:\s*\{\s*"(?:stations|bikes|vehicles|feeds|en|fr)"\s*:', re.S)
MAX_BYTES = 256 << 20
INSTANTS = ("last_reported", "last_updated", "available_until")


def is_gbfs(head: bytes) -> bool:
    """Whether a JSON file that begins so is a feed of GBFS, or their index."""
    return HEAD.match(head) is not None


def open_gbfs(members: Sequence[Member]) -> MemoryTable:
    """The records of one feed; several feeds of one system are joined by their ids."""
    joined: dict[Any, Record] = {}
    lines: dict[Any, int] = {}
    notes: dict[str, object] = {}
    for member in members:
        kind, records, version = _read(member)
        notes |= {"gbfs_version": version} if version else {}
        for number, record in enumerate(records, 1):
            name = record.get(LISTS[kind])
            if not isinstance(name, str | int) or (len(members) == 1 and name in joined):
                name = f"#{len(joined)}"
            joined[name] = joined.get(name, {}) | record
            lines.setdefault(name, number)
    return MemoryTable(
        name=", ".join(member.name for member in members),
        format="gbfs",
        size=sum(member.size for member in members),
        headers=tuple(dict.fromkeys(key for record in joined.values() for key in record)),
        records=list(joined.values()),
        lines=list(lines.values()),
        sparse=True,
        notes=notes,
    )


def _read(member: Member) -> tuple[str, list[Record], str | None]:
    text = bytearray()
    for chunk in member.chunks():
        text += chunk
        if len(text) > MAX_BYTES:
            raise SourceRefused(member.name, f"a feed of more than {MAX_BYTES >> 20} MB")
    try:
        value = orjson.loads(bytes(text).removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as exc:
        problem = f"line {exc.lineno}, column {exc.colno}: {exc.msg}; fetch it again"
        raise SourceRefused(member.name, problem) from exc
    data = value.get("data") if isinstance(value, dict) else None
    data = data if isinstance(data, dict) else {}
    kind = next((name for name in LISTS if name in data), None)
    if kind is None or not isinstance(data[kind], list):
        raise SourceRefused(
            member.name, "this is GBFS without stations or vehicles; give station_information"
        )
    wrong = next((each for each in data[kind] if not isinstance(each, dict)), None)
    if wrong is not None:
        raise SourceRefused(member.name, f"{shown(wrong)} stands where a station should")
    return kind, [_record(each) for each in data[kind]], value.get("version")


def _record(given: Record) -> Record:
    record: Record = {}
    for name, value in given.items():
        if _is_translated(value):
            record[name] = value[0]["text"]
            record |= {f"{name}_{each['language']}": each["text"] for each in value}
        elif name in INSTANTS and isinstance(value, int | float) and not isinstance(value, bool):
            record[name] = instant(value)
        else:
            record[name] = value
    return record


def _is_translated(value: Any) -> bool:
    """Version 3 writes a text as a list of texts, each with its language."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) and each.keys() == {"text", "language"} for each in value)
    )
