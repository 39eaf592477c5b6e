"""What is withheld, as CSV that a spreadsheet opens without running anything in it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

HEAD = ("id", "file", "line", "column", "key", "reason", "acceptable", "content")
# What a spreadsheet would run, also where it parts cells at semicolons or tabs, as many do.
FORMULA = re.compile(r"(^|[;,\t\n\r])(\s*)(?=[=+\-@\t\r])")
BOM = "\ufeff"  # or Excel takes UTF-8 for something else


def withheld_csv(rows: Iterable[Mapping[str, Any]], *, head: bool = True) -> str:
    """Lines of CSV; what a spreadsheet would run is preceded by an apostrophe."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    if head:
        writer.writerow(HEAD)
    for row in rows:
        content = json.dumps(row["content"], ensure_ascii=False).replace(";", "\\u003b")
        told = {**row, "content": content}
        writer.writerow([_safe(told[name]) for name in HEAD])
    return out.getvalue()


def _safe(cell: object) -> object:
    return FORMULA.sub(r"\1\2'", cell) if isinstance(cell, str) else cell
