"""Nothing that a spreadsheet would run leaves in a cell, wherever it parts cells."""

from __future__ import annotations

import csv
import io
import re

import pytest

from layers.spreadsheets import HEAD, withheld_csv

ODD = ["=1+1", "+1", "-1", "@x", "\t=1", "x;=cmd|' /C calc'!A0;", "a;\t-1", "a\n=1"]


@pytest.mark.parametrize("odd", ODD)
def test_a_cell_begins_with_no_formula(odd: str) -> None:
    row = dict.fromkeys(HEAD, "") | {"key": odd, "reason": odd, "content": {"a": odd}}
    text = withheld_csv([row], head=False)
    for delimiter in ",;\t":
        for cells in csv.reader(io.StringIO(text), delimiter=delimiter):
            assert not [cell for cell in cells if re.match(r"\s*[=+\-@]", cell)]
