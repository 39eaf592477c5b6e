from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from ingest.errors import SourceRefused
from tests.unit.ingest.making import Folder, collection, feature, layer_of, take


def cells(folder: Folder, column: dict[str, object], *texts: str, **more: Any) -> list[object]:
    """What texts become in a column, None where a cell was refused or empty."""
    layer = layer_of({"name": "v", **column}, "x", **more)
    quoted = (text.replace('"', '""') for text in texts)
    taken = take(layer, folder.text("v;x\n" + "".join(f'"{text}";1\n' for text in quoted)))
    assert taken.read == len(texts)
    return taken.column("v")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-7", -7),
        ("+7", 7),
        (" 12 ", 12),
        ("12.0", 12),
        ("12.", 12),
        ("007", 7),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("12.5", None),
        ("1 234", 1234),
        ("1 23", None),
        ("1\u00a0234", 1234),
        ("0x1F", None),
        ("1e3", None),
        ("n.d.", None),
        ("\u0663", None),
    ],
)
def test_whole_numbers(folder: Folder, text: str, value: int | None) -> None:
    assert cells(folder, {"type": "integer"}, "1", text, "2") == [1, value, 2]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("48.85", 48.85),
        ("48,85", 48.85),
        ("-0,5", -0.5),
        ("0,123", 0.123),
        ("1,234", None),
        ("1.234,5", None),
        ("1 234,5", 1234.5),
        ("1 23,5", None),
        (".5", 0.5),
        ("+1.5E-3", 0.0015),
        ("1e999", None),
        ("NaN", None),
        ("inf", None),
        ("12 m", None),
    ],
)
def test_numbers(folder: Folder, text: str, value: float | None) -> None:
    assert cells(folder, {"type": "number"}, "1", text, "2.5") == [1, value, 2.5]


def test_booleans_have_the_words_of_their_column(folder: Folder) -> None:
    usual = cells(folder, {"type": "boolean"}, "TRUE", "f", "1", "No", "oui", "")
    assert usual == [True, False, True, False, None, None]
    french = {"true_values": ["Oui", "X"], "false_values": ["Non"]}
    assert cells(folder, {"type": "boolean", **french}, "oui", "NON", "x", "true") == [
        True,
        False,
        True,
        None,
    ]


def test_text_is_trimmed_composed_and_free_of_control_characters(folder: Folder) -> None:
    texts = ["  a b ", "e\u0301", "a\x00b\x07", "\u00a0c\u00a0", "   ", "", "01004", "x\x1fy"]
    assert cells(folder, {}, *texts) == ["a b", "é", "ab", "c", None, None, "01004", "xy"]


def test_lines_within_a_text_are_kept(folder: Folder) -> None:
    assert cells(folder, {}, "a\nb\tc") == ["a\nb\tc"]


def test_declared_words_are_null(folder: Folder) -> None:
    source = {"null_values": ["", "NC", "-"]}
    assert cells(folder, {}, "NC", "-", "nc", "a", source=source) == [None, None, "nc", "a"]


def test_json_is_kept_with_its_keys_in_order(folder: Folder) -> None:
    read = cells(folder, {"type": "json"}, '{"b":1,"a":[]}', "[1, 2]", "plain", "{broken", "5")
    assert read == ['{"a":[],"b":1}', "[1,2]", '"plain"', None, "5"]


def test_a_cell_that_cannot_be_read_is_told_and_its_row_survives(folder: Folder) -> None:
    layer = layer_of({"name": "n", "type": "integer"}, "id", key="id")
    taken = take(layer, folder.text("id,n\na,1\nb,many\nc,3\n"))
    assert taken.column("n") == [1, None, 3]
    (refusal,) = taken.refusals
    assert (refusal.line, refusal.row, refusal.column, refusal.key) == (3, 2, "n", "b")
    assert refusal.reason == "n: 'many' is not a whole number such as 12"


@pytest.mark.parametrize("value", ["", "many"])
def test_a_required_column_withholds_the_row(folder: Folder, value: str) -> None:
    layer = layer_of({"name": "n", "type": "integer", "required": True}, "x")
    taken = take(layer, folder.text(f"n,x\n1,a\n{value},b\n3,c\n"))
    assert taken.column("x") == ["a", "c"]
    assert taken.column("row") == [1, 3]
    assert taken.withheld[0].row == 2
    assert "n" in taken.withheld[0].reason


def test_most_rows_withheld_refuse_the_file_and_say_why(folder: Folder) -> None:
    layer = layer_of({"name": "n", "type": "integer", "required": True}, "x")
    with pytest.raises(SourceRefused, match=r"2 of 3 rows would be withheld: 2 such as: n: 'a'"):
        take(layer, folder.text("n,x\na,1\nb,2\n3,3\n"), batch_rows=1)


def test_every_type_has_its_arrow_type(folder: Folder) -> None:
    kinds = ["text", "integer", "number", "boolean", "date", "datetime", "time", "json"]
    columns: list[dict[str, object]] = [{"name": kind, "type": kind} for kind in kinds]
    taken = take(
        layer_of(*columns, geometry="point"),
        folder.json(collection(feature(None, dict.fromkeys(kinds)))),
    )
    assert dict(zip(taken.schema.names, taken.schema.types, strict=True)) == {
        "source_key": pa.string(),
        "row": pa.int64(),
        "line": pa.int64(),
        "text": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "datetime": pa.timestamp("us", "UTC"),
        "time": pa.time64("us"),
        "json": pa.string(),
        "geom": pa.binary(),
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-10-05", dt.date(2026, 10, 5)),
        ("2026-10-05 23:30:00", dt.date(2026, 10, 5)),
        ("2026-10-05T23:30:00.123Z", dt.date(2026, 10, 5)),
        ("2026-10-05T00:30:00+09:00", dt.date(2026, 10, 5)),
        ("20261005", dt.date(2026, 10, 5)),
        ("2026-02-30", None),
        ("0000-01-01", None),
        ("9999-12-31", dt.date(9999, 12, 31)),
        ("2026-10", None),
        ("5 Oct 2026", None),
        ("05/10/2026", None),
    ],
)
def test_dates(folder: Folder, text: str, value: dt.date | None) -> None:
    day = dt.date(2020, 1, 2)
    assert cells(folder, {"type": "date"}, "2020-01-02", text, "2020-01-02") == [day, value, day]


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-07-05T12:00:00Z", utc(2026, 7, 5, 12)),
        ("2026-07-05T12:00:00+09:00", utc(2026, 7, 5, 3)),
        ("2026-07-05 12:00:00.5+0200", utc(2026, 7, 5, 10, 0, 0, 500_000)),
        ("2026-07-05T12:00", utc(2026, 7, 5, 10)),
        ("2026-07-05", utc(2026, 7, 4, 22)),
        ("20260705", utc(2026, 7, 4, 22)),
        ("2026-07-05T12:00:00.123456789Z", utc(2026, 7, 5, 12, 0, 0, 123_456)),
        ("2026-10-25T02:30:00", utc(2026, 10, 25, 0, 30)),
        ("2026-03-29T02:30:00", utc(2026, 3, 29, 1)),
        ("2026-13-05T12:00:00Z", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("0001-01-01T00:00:00+12:00", None),
        ("noon", None),
    ],
)
def test_instants(folder: Folder, text: str, value: dt.datetime | None) -> None:
    good = "2020-01-02T00:00:00Z"
    read = cells(folder, {"type": "datetime"}, good, text, good, time_zone="Europe/Paris")
    assert read == [utc(2020, 1, 2), value, utc(2020, 1, 2)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("14:30", dt.time(14, 30)),
        ("6:05", dt.time(6, 5)),
        ("14:30:15.25", dt.time(14, 30, 15, 250_000)),
        ("06:30:00:00", dt.time(6, 30)),
        ("24:00", None),
        ("7h30", None),
    ],
)
def test_times_of_day(folder: Folder, text: str, value: dt.time | None) -> None:
    assert cells(folder, {"type": "time"}, "01:00", text, "02:00")[1] == value


@pytest.mark.parametrize(
    ("kind", "form", "text", "value"),
    [
        ("date", "%d/%m/%Y", "05/10/2026", dt.date(2026, 10, 5)),
        ("date", "%d/%m/%Y", "5/1/2026", dt.date(2026, 1, 5)),
        ("date", "%d/%m/%Y", "31/02/2026", None),
        ("date", "%d/%m/%Y", "2026-10-05", None),
        ("datetime", "%m/%d/%Y %I:%M:%S %p", "07/05/2026 01:00:00 PM", utc(2026, 7, 5, 11)),
        ("datetime", "%d.%m.%Y %H:%M", "05.07.2026 13:00", utc(2026, 7, 5, 11)),
        ("datetime", "%Y-%m-%dT%H:%M%z", "2026-07-05T13:00+0000", utc(2026, 7, 5, 13)),
        ("time", "%Hh%M", "07h30", dt.time(7, 30)),
    ],
)
def test_a_declared_format_wins(
    folder: Folder, kind: str, form: str, text: str, value: object
) -> None:
    column: dict[str, object] = {"type": kind, "format": form}
    good = {"date": "06/10/2026"}.get(kind, text)
    assert cells(folder, column, good, text, good, time_zone="Europe/Paris")[1] == value


def test_days_and_months_that_cannot_be_told_apart_refuse_the_file(folder: Folder) -> None:
    layer = layer_of({"name": "d", "type": "date"}, "x")
    with pytest.raises(SourceRefused, match=r"d: 3 of 4 values, such as '05/10/2026', leave open"):
        take(layer, folder.text("d,x\n05/10/2026,1\n06/10/2026,1\n7/1/2026,1\n2026-01-01,1\n,1\n"))


def test_forms_of_dates_are_counted(folder: Folder) -> None:
    layer = layer_of({"name": "t", "type": "datetime"}, {"name": "h", "type": "time"})
    text = "t,h\n2026-01-01,01:00:00:00\n2026-01-01T00:00,\n2026-01-01T00:00Z,\n2026-01-01 01:00,\n"
    notes = take(layer, folder.text(text)).notes
    assert notes == {
        "t.bare_dates": 1,
        "t.local_times": 2,
        "t.with_offset": 1,
        "h.times_of_four_parts": 1,
    }
