from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import SourceRefused
from ingest.sources.csv import find_delimiter
from ingest.sources.records import Records, split
from layers.model import Layer
from tests.unit.ingest.making import Folder, Taken, layer_of, lines_of, take

AB = layer_of("a", "b")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(folder: Folder, delimiter: str) -> None:
    rows = "".join(f"x{n}{delimiter}y{n}\n" for n in range(150))
    taken = take(AB, folder.text(f"a{delimiter}b\n{rows}"))
    assert taken.column("b")[:2] == ["y0", "y1"]
    assert taken.facts[0].delimiter == delimiter


def test_commas_in_quotes_and_decimals_do_not_count_as_delimiters() -> None:
    assert find_delimiter(b'a;b\n"x,y,z";1,5\n"u,v,w";2,5\n') == ";"
    assert find_delimiter(b'name;point\n"a;b";48.85, 2.35\nc;48.86, 2.36\n') == ";"


def test_a_declared_delimiter_wins(folder: Folder) -> None:
    taken = take(layer_of("a", "b", source={"delimiter": "~"}), folder.text("a~b\n1,2~3\n"))
    assert taken.column("a") == ["1,2"]


def test_the_byte_order_mark_is_no_part_of_the_first_header(folder: Folder) -> None:
    assert take(AB, folder.data(b"\xef\xbb\xbfa;b\r\n1;2\r\n")).column("a") == ["1"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_one(folder: Folder, end: str) -> None:
    taken = take(AB, folder.text(end.join(["a,b", "1,2", "3,4", ""])))
    assert taken.column("b") == ["2", "4"]


def test_the_last_line_needs_no_line_end(folder: Folder) -> None:
    assert take(AB, folder.text("a,b\n1,2\n3,4")).read == 2


def test_lines_are_physical_through_quoted_newlines_and_blank_lines(folder: Folder) -> None:
    text = 'a,b\n1,"x\ny\n"\n\n2,z\n\r\n3,"p""q\n"\n4,r\n'
    taken = take(AB, folder.text(text))
    assert taken.column("line") == [2, 6, 8, 10]
    assert taken.column("b") == ["x\ny", "z", 'p"q', "r"]


def test_a_quote_inside_a_bare_cell_is_a_character(folder: Folder) -> None:
    text = 'a,b\n5" pipe,x\n6" pipe,"y\nz"\n7,w\n'
    taken = take(AB, folder.text(text))
    assert taken.column("a") == ['5" pipe', '6" pipe', "7"]
    assert taken.column("line") == [2, 3, 5]


def test_a_ragged_row_is_withheld_whole_with_its_line(folder: Folder) -> None:
    taken = take(AB, folder.text('a,b\n1,"2\n"\n3\n\n4,5,6\n7,8\n9,10\n11,12\n'))
    assert [row["a"] for row in taken.rows] == ["1", "7", "9", "11"]
    assert taken.column("row") == [1, 4, 5, 6]
    assert lines_of(taken.refusals) == [4, 6]
    assert [refusal.row for refusal in taken.refusals] == [2, 3]
    assert taken.refusals[1].content == {"text": "4,5,6"}
    assert "3 cells where the header has 2" in taken.refusals[1].reason


def test_an_unbalanced_quote_is_refused_with_the_line_it_opens_on(folder: Folder) -> None:
    with pytest.raises(SourceRefused, match=r"starts on line 3 is never closed"):
        take(AB, folder.text('a,b\n1,2\n3,"4\n5,6\n'))


def test_a_header_alone_is_a_table_without_rows(folder: Folder) -> None:
    taken = take(AB, folder.text("a,b\n"))
    assert (taken.read, taken.rows) == (0, [])


@pytest.mark.parametrize("data", [b"", b"\n\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_content_is_refused(folder: Folder, data: bytes) -> None:
    with pytest.raises(SourceRefused, match=r"things.csv: the file (is empty|holds nothing)"):
        take(AB, folder.data(data))


def test_columns_that_are_not_declared_are_told(folder: Folder) -> None:
    taken = take(layer_of("b"), folder.text("a,b,c\n1,2,3\n"))
    assert taken.facts[0].ignored == ("a", "c")


def test_a_doubled_header_is_refused_only_where_it_is_declared(folder: Folder) -> None:
    path = folder.text("a,x,x\n1,2,3\n")
    assert take(layer_of("a"), path).column("a") == ["1"]
    with pytest.raises(SourceRefused, match=r"'x' stands there 2 times"):
        take(layer_of("x"), path)


def test_several_files_are_one_layer(folder: Folder) -> None:
    one, two = folder.text("a,b\n1,2\n", "one.csv"), folder.text("b;a\n4;3\n", "two.csv")
    taken = take(AB, one, two)
    assert taken.column("a") == ["1", "3"]
    assert taken.column("row") == [1, 2]
    assert [facts.file for facts in taken.facts] == ["one.csv", "two.csv"]


def test_progress_ends_at_the_compressed_size(folder: Folder) -> None:
    path = folder.gz(b"a,b\n" + b"1,2\n" * 1000)
    taken = take(AB, path, path, batch_rows=300)
    assert taken.progress == sorted(taken.progress)
    assert taken.progress[-1] == taken.total_bytes == 2 * path.stat().st_size


def test_the_content_of_a_refused_row_holds_every_column(folder: Folder) -> None:
    layer = layer_of({"name": "n", "type": "integer"})
    taken = take(layer, folder.text('n,other\n1,x\n2,y\nbad,"a ""b"" c"\n'))
    assert taken.refusals[0].content == {"n": "bad", "other": 'a "b" c'}


letters = st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('",;|\t\n')
cells = st.text(letters, max_size=12)
dialects = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(",;\t|"),
        "lineterminator": st.sampled_from(["\n", "\r\n"]),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    }
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8),
    dialect=dialects,
    batch=st.integers(1, 5),
    size=st.integers(1, 40),
)
def test_what_a_csv_writer_writes_is_read_back(
    rows: list[tuple[str, str, str]], dialect: dict[str, Any], batch: int, size: int
) -> None:
    out = io.StringIO()
    csv.writer(out, **dialect).writerows([("x", *row) for row in rows])
    data = out.getvalue().encode()
    chunks = (data[start : start + size] for start in range(0, len(data), size))
    records = Records("t", chunks, dialect["delimiter"])
    read = []
    while len(block := records.take(batch)):
        read += [split(block.text(record), dialect["delimiter"]) for record in range(len(block))]
    assert [tuple(record[1:]) for record in read] == rows


def taken_or_refused(layer: Layer, path: Path, batch_rows: int) -> Taken | str:
    try:
        return take(layer, path, batch_rows=batch_rows)
    except SourceRefused as refused:
        return str(refused)


odd_cells = st.sampled_from(["1", "x", "", '"q\nr"', '5"'])


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.lists(odd_cells, max_size=4), max_size=25), batch=st.integers(1, 7))
def test_every_record_is_taken_or_withheld_whatever_the_batch(
    rows: list[list[str]], batch: int
) -> None:
    text = "n,b\n" + "".join(",".join(row) + "\n" for row in rows)
    layer = layer_of({"name": "n", "type": "integer", "required": True}, "b")
    with tempfile.TemporaryDirectory() as folder:
        path = Folder(Path(folder)).text(text)
        whole = taken_or_refused(layer, path, 65_536)
        parts = taken_or_refused(layer, path, batch)
    if isinstance(whole, str) or isinstance(parts, str):
        assert whole == parts
        return
    assert whole.read == len(whole.rows) + len(whole.withheld)
    assert (parts.rows, parts.refusals) == (whole.rows, whole.refusals)
