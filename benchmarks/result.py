"""What a benchmark found: a table for people, and everything raw as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`rows` under `columns` are the table; `raw` holds every round as it was measured."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    targets: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, object] = field(default_factory=dict)


def show(result: Result) -> None:
    table = Table(title=result.title, title_justify="left")
    for number, column in enumerate(result.columns):
        table.add_column(column, justify="right" if number else "left")
    for row in result.rows:
        table.add_row(*map(_shown, row))
    console = Console(width=None if Console().is_terminal else 110)
    console.print(table)
    for what, target in result.targets.items():
        console.print(f"  {what}: {target}", highlight=False)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)


def write(name: str, result: Result, data: str, machine: Mapping[str, object]) -> Path:
    """Write `results/NAME-DATE.json`, in the place of all earlier results of that name."""
    now = datetime.now(UTC)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{now:%Y-%m-%d}.json"
    content = {
        "benchmark": name,
        "finished": now.isoformat(timespec="seconds"),
        "data": data,
        "machine": machine,
        "targets": result.targets,
        "columns": result.columns,
        "rows": _rounded(result.rows),
        "raw": _rounded(result.raw),
    }
    for old in RESULTS.glob(f"{name}-????-??-??.json"):
        old.unlink()
    lines = [f" {json.dumps(key)}: {_laid_out(value)}" for key, value in content.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return path


def _rounded(value: object) -> object:
    """Three figures of each number are more than a second run will give again."""
    if isinstance(value, float):
        return float(f"{value:.3g}")
    if isinstance(value, Mapping):
        return {str(key): _rounded(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(each) for each in value]
    return value


def _laid_out(value: object) -> str:
    """One line for each thing in a list or mapping."""
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"  {json.dumps(each)}" for each in value) + "\n ]"
    if isinstance(value, dict) and value:
        lines = [f"  {json.dumps(key)}: {json.dumps(each)}" for key, each in value.items()]
        return "{\n" + ",\n".join(lines) + "\n }"
    return json.dumps(value)
