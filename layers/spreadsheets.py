"""What is withheld, as CSV that a spreadsheet opens without running anything in it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

HEAD = ("id", "file", "line", "column", "key", "reason", "acceptable", "content")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run
BOM = "\ufeff"  # or Excel takes UTF-8 for something else


def withheld_csv(rows: Iterable[Mapping[str, Any]], *, head: bool = True) -> str:
    """Lines of CSV; cells that a spreadsheet would run begin with an apostrophe."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    if head:
        writer.writerow(HEAD)
    for row in rows:
        told = {**row, "content": json.dumps(row["content"], ensure_ascii=False)}
        writer.writerow([_safe(told[name]) for name in HEAD])
    return out.getvalue()


def _safe(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
